"""§8.1: how packs are found, loaded and served."""

from __future__ import annotations

import pytest

from ..server.serving import Client, Server
from .conftest import PACKS
from .prompts import graph, shown, texts


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


async def test_P2_P3_scripts_run_before_packs_are_imported_and_packs_have_names_of_their_own(
    client: Client, server: Server
) -> None:
    before, name, package, sibling, _ = await texts(client, graph(n1=("PackFacts", {})), "1")
    assert before == "before []"  # no pack was there when the script ran
    assert name == f"name {str(PACKS / 'statements').replace('.', '_x_')}"
    assert (package, sibling) == ("package False", "sibling True")


async def test_P4_between_packs_the_later_one_wins(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldReplaced", value=salt)) == ["2"]
    told = await client.get("/object_info/OldReplaced")
    assert told["OldReplaced"]["python_module"] == "custom_nodes.statements"


async def test_P6_a_pack_may_name_its_folder_in_its_project_file_or_set_it(client: Client) -> None:
    assert {"/extensions/statements/buttons.js", "/extensions/panels/panel.js"} <= {*await client.get("/extensions")}
    async with client.session.get("/extensions/panels/panel.js") as response:
        assert (response.status, await response.text()) == (200, "export {};\n")


async def test_P9_packs_add_kinds_of_models(client: Client, server: Server) -> None:
    (server.home / "input" / "granite.txt").write_text("grey")
    *_, listed = await texts(client, graph(n1=("PackFacts", {"again": 1})), "1")
    assert listed == "listed ['granite.txt']"
    assert "rocks" in await client.get("/models")
    assert await client.get("/models/rocks") == ["granite.txt"]


async def test_P9_a_settings_file_adds_folders_by_the_names_of_old_and_new(client: Client) -> None:
    assert await client.get("/models/hypernetworks") == []
    assert await client.get("/models/diffusion_models") == await client.get("/models/unet") == ["sub/one.safetensors"]
    assert await client.get("/models/text_encoders") == ["two.sft"]
    kinds = {*await client.get("/models")}
    assert {
        "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models",
        "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "hypernetworks",
        "photomaker", "classifiers", "model_patches", "audio_encoders",
    } <= kinds  # fmt: skip


async def test_P10_translations_workflows_and_pages_of_packs_are_served(client: Client) -> None:
    assert (await client.get("/i18n"))["fr"]["nodeDefs"]["PackFacts"] == {"display_name": "Faits"}
    assert (await client.get("/workflow_templates"))["statements"] == ["facts"]
    assert "1" in await client.get("/api/workflow_templates/statements/facts.json")
    async with client.session.get("/extensions/statements/docs/PackFacts/en.md") as response:
        assert (response.status, await response.text()) == (200, "# Facts\n")
