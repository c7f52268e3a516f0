"""What plugins bring for editors: scripts, translations, example workflows (wire protocol §1.7)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from yarl import URL

from mezzotint.server.app import make_app
from mezzotint.server.app_key import PACKS
from mezzotint.server.packs import Pack, Packs

from .in_process import open_host
from .serving import Client


def write(folder: Path, **contents: Any) -> Path:
    """A folder of JSON files, and of scripts where the content is text; `__` in a name parts folders."""
    for name, content in contents.items():
        *folders, last = name.split("__")
        path = folder.joinpath(*folders, f"{last}.{'js' if isinstance(content, str) else 'json'}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    (tmp_path / "secret.js").write_text("secret!")
    web = write(tmp_path / "web", js__b="b()", a="a()", data={"a": 1})
    (web / "out.js").symlink_to("../secret.js")
    return Pack(
        "my pack",
        web,
        write(tmp_path / "locales", fr__main={"a": "à"}, fr__nodeDefs={"N": {"x": "y"}}, de__settings={"s": 1}),
        write(tmp_path / "templates", first={"1": {}}, second={"2": {}}),
    )


@pytest.fixture
async def address(tmp_path: Path, pack: Pack) -> AsyncIterator[str]:
    with open_host(tmp_path / "home") as host:
        app = make_app(host)
        app[PACKS].add(pack)
        async with TestServer(app) as server:
            yield f"http://{server.host}:{server.port}"


async def test_editors_load_what_a_pack_brings(address: str) -> None:
    async with aiohttp.ClientSession(address) as session:
        for prefix in ("", "/api"):
            async with session.get(f"{prefix}/extensions") as response:
                scripts = await response.json()
        assert scripts == ["/extensions/my%20pack/a.js", "/extensions/my%20pack/js/b.js"]
        async with session.get(URL(address + scripts[1], encoded=True)) as response:
            assert (response.status, await response.text()) == (200, "b()")
            assert response.content_type == "text/javascript"
            assert response.headers["Cache-Control"] == "no-cache"
        async with session.get("/workflow_templates") as response:
            assert await response.json() == {"my pack": ["first", "second"]}
        async with session.get("/api/workflow_templates/my%20pack/second.json") as response:
            assert await response.json() == {"2": {}}
        async with session.get("/i18n") as response:
            assert await response.json() == {
                "fr": {"a": "à", "nodeDefs": {"N": {"x": "y"}}},
                "de": {"settings": {"s": 1}},
            }


@pytest.mark.parametrize(
    "path",
    ["my%20pack/out.js", "my%20pack/..%2Fsecret.js", "my%20pack/%2e%2e/secret.js", "my%20pack//etc/passwd",
     "my%20pack/js", "my%20pack/gone.js", "other/a.js", "../secret.js"],
)  # fmt: skip
async def test_nothing_beside_a_pack_is_given(address: str, path: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(URL(f"{address}/extensions/{path}", encoded=True)) as got,
    ):
        assert got.status in (403, 404)
        assert "secret!" not in await got.text()


async def test_without_packs_there_is_nothing(client: Client) -> None:
    assert await client.get("/extensions") == []
    assert await client.get("/api/i18n") == {}
    assert await client.get("/workflow_templates") == {}


def test_translations_of_packs_come_together_and_broken_ones_are_left_out(tmp_path: Path) -> None:
    packs = Packs()
    one = write(tmp_path / "one", fr__nodeDefs={"A": {"t": 1, "u": 1}}, fr__main={"m": 1})
    two = write(tmp_path / "two", fr__nodeDefs={"A": {"u": 2}, "B": {}})
    (two / "fr" / "main.json").write_text("{")
    packs.add(Pack("one", locales=one))
    packs.add(Pack("two", locales=two))
    packs.add(Pack("three", locales=tmp_path / "nowhere"))
    assert packs.translations() == {"fr": {"m": 1, "nodeDefs": {"A": {"t": 1, "u": 2}, "B": {}}}}


@pytest.mark.parametrize("name", ["", "..", "a/b", "taken"])
def test_a_name_that_cannot_stand_in_an_address_or_is_taken_is_refused(name: str) -> None:
    packs = Packs()
    packs.add(Pack("taken"))
    with pytest.raises(ValueError, match="pack"):
        packs.add(Pack(name))
