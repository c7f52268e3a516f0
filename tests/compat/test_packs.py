"""§8.1: how packs are found, loaded and served."""

from __future__ import annotations

import pytest

from ..server.serving import Client, Server


async def test_P1_P7_packs_that_cannot_be_loaded_are_reported_and_skipped(server: Server, client: Client) -> None:
    said = "".join(server.said)
    assert "'comfy.model_patcher' belongs to the model internals" in said
    assert "'nodes.NoSuchNode' belongs to the host that the pack was written for" in said
    assert "neither NODE_CLASS_MAPPINGS nor comfy_entrypoint" in said
    assert "disabled packs" not in said


async def test_P4_P5_titles_and_modules_are_told_and_built_in_names_stay(client: Client) -> None:
    told = await client.get("/object_info/OldSum")
    assert (told["OldSum"]["display_name"], told["OldSum"]["python_module"]) == ("Sum (old)", "custom_nodes.old_api")
    assert "value" in (await client.get("/object_info/SmallNumber"))["SmallNumber"]["input"]["required"]


async def test_P6_scripts_for_editors_are_served(client: Client) -> None:
    assert "/extensions/old_api/old.js" in await client.get("/extensions")


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_P8_routes_of_packs_are_served(client: Client, prefix: str) -> None:
    assert await client.get(f"{prefix}/old_api/folders") == []
