"""`/` is the editor where there is one, else our own page; their files, and nothing beside them, are given out."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from mezzotint.cli.serve import ServeRequest, serve
from mezzotint.cli.usage import UsageError
from mezzotint.plugins.host import Host
from mezzotint.server import editor
from mezzotint.server.page_routes import PAGE

from .in_process import open_host, serving
from .serving import Client


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with open_host(tmp_path_factory.mktemp("home")) as host:
        yield host


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of an editor, and a secret beside them."""
    folder = tmp_path / "static"
    for name in ("index.html", "logo.png", "assets/index-1.js", "assets/images/a.webp", "extensions/core/old.js"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    (tmp_path / "secret.js").write_text("secret", encoding="utf-8")
    (folder / "assets" / "out.js").symlink_to(tmp_path / "secret.js")
    return folder


@pytest.fixture
async def beside_editor(host: Host, folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(host, editor=folder) as (name, port), aiohttp.ClientSession(f"http://{name}:{port}") as session:
        yield session


@pytest.fixture
async def alone(host: Host) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(host) as (name, port), aiohttp.ClientSession(f"http://{name}:{port}") as session:
        yield session


async def facts(session: aiohttp.ClientSession, path: str) -> tuple[int, str, str]:
    """Status, content type, caching."""
    async with session.get(path, allow_redirects=False) as response:
        return response.status, response.content_type, response.headers.get("Cache-Control", "")


async def test_the_editor_is_at_the_root_with_its_files(beside_editor: aiohttp.ClientSession) -> None:
    assert await facts(beside_editor, "/") == (200, "text/html", "no-store, must-revalidate")
    assert await facts(beside_editor, "/assets/index-1.js") == (200, "text/javascript", "no-cache")
    assert await facts(beside_editor, "/extensions/core/old.js") == (200, "text/javascript", "no-cache")
    assert await facts(beside_editor, "/assets/images/a.webp") == (200, "image/webp", "public, max-age=86400")
    assert await facts(beside_editor, "/logo.png") == (200, "image/png", "public, max-age=86400")
    assert (await facts(beside_editor, "/assets/none.png"))[::2] == (404, "public, max-age=3600")


@pytest.mark.parametrize("path", ["/assets/../../secret.js", "/assets/%2e%2e/%2e%2e/secret.js", "/assets/out.js", "/x"])
async def test_nothing_else_is(beside_editor: aiohttp.ClientSession, path: str) -> None:
    async with beside_editor.get(URL(path, encoded=True)) as response:
        assert response.status in (403, 404)
        assert "secret" not in await response.text()


async def test_a_file_that_did_not_change_is_not_sent_again(beside_editor: aiohttp.ClientSession) -> None:
    async with beside_editor.get("/assets/index-1.js") as first:
        headers = {"If-None-Match": first.headers["ETag"]}
    async with beside_editor.get("/assets/index-1.js", headers=headers) as second:
        assert second.status == 304


async def test_our_page_has_its_place_beside_the_editor(beside_editor: aiohttp.ClientSession) -> None:
    async with beside_editor.get("/mezzotint", allow_redirects=True) as response:
        assert response.url.path == "/mezzotint/"
        assert "<title>Mezzotint</title>" in await response.text()
    assert (await facts(beside_editor, "/mezzotint/page/page.css"))[:2] == (200, "text/css")


async def test_our_page_is_at_the_root_where_there_is_no_editor(alone: aiohttp.ClientSession) -> None:
    assert await facts(alone, "/") == (200, "text/html", "no-store, must-revalidate")
    assert (await facts(alone, "/page/page.js"))[:2] == (200, "text/javascript")
    for address in ("/mezzotint", "/mezzotint/"):
        async with alone.get(address, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, "/")


async def test_our_page_may_load_nothing_from_elsewhere_and_run_nothing_inline(alone: aiohttp.ClientSession) -> None:
    async with alone.get("/") as response:
        policy, text = response.headers["Content-Security-Policy"], await response.text()
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert re.findall(r"<style|style=|<script(?![^>]*\ssrc=)|\son\w+=|https?://", text) == []


def test_our_page_is_small_and_names_files_that_are_there() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in PAGE.iterdir()}
    assert sum(map(len, files.values())) < 60_000
    named = re.findall(r"(?:page/|from \"\./)([\w.]+)", "".join(files.values()))
    assert named
    assert {*named} <= {*files}


def test_the_editor_is_found_without_being_imported() -> None:
    found = editor.editor_folder()
    assert found is not None
    assert (found / "index.html").is_file()
    assert not any(name.startswith("comfyui") for name in sys.modules)


def test_an_editor_that_is_asked_for_and_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editor, "DISTRIBUTION", "no-such-distribution")
    assert editor.editor_folder() is None
    with pytest.raises(UsageError, match=r"mezzotint\[editor\]"):
        serve(ServeRequest("127.0.0.1", 0, wants_editor=True))


async def test_templates_are_listed_with_pictures_and_open_as_documents(client: Client) -> None:
    for name in ("index.json", "index.de.json"):
        groups = await client.get(f"/templates/{name}")
    templates = [template for group in groups for template in group["templates"]]
    assert templates[0]["name"] == "text_to_image"
    for template in templates:
        document = await client.get(f"/templates/{template['name']}.json")
        assert {"SaveImage"} <= {node["type"] for node in document["nodes"]}
        async with client.session.get(f"/templates/{template['name']}-1.webp") as response:
            assert (await response.read())[8:12] == b"WEBP"
    assert await client.get("/templates/index_logo.json") == {}


@pytest.mark.parametrize("name", ["none.json", "none-1.webp", "..%2F__init__.py", "..%2Ftext_to_image.json"])
async def test_there_are_no_other_templates(client: Client, name: str) -> None:
    async with client.session.get(f"/templates/{name}") as response:
        assert response.status in (403, 404)
