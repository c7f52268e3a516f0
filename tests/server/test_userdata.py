"""`/userdata`: files that editors keep, and no path out of their folder (wire protocol §1.8)."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from yarl import URL

from .serving import Client, Server


async def call(client: Client, method: str, path: str, content: bytes | None = None) -> tuple[int, Any]:
    """An answer's status and body. The path is sent as it is written."""
    address = URL(client.server.url + path, encoded=True)
    async with client.session.request(method, address, data=content) as response:
        text = await response.text()
        return response.status, json.loads(text) if response.content_type == "application/json" else text


def named(path: str) -> str:
    """The address of a file: its path is one part of it."""
    return f"/api/userdata/{quote(path, safe='')}"


@pytest.fixture
def folder(salt: int) -> str:
    """A folder that no other test uses."""
    return f"folder-{salt}"


async def test_a_file_is_kept_found_and_removed(client: Client, server: Server, folder: str) -> None:
    path = f"{folder}/sub ä/日本 & #?%.json"
    assert await call(client, "POST", named(path), b'{"a": 1}') == (200, path)
    assert (server.home / "user" / "default" / path).read_bytes() == b'{"a": 1}'
    assert await call(client, "GET", named(path)) == (200, {"a": 1})
    assert await call(client, "DELETE", named(path)) == (204, "")
    assert (await call(client, "GET", named(path)))[0] == 404
    assert (await call(client, "DELETE", named(path)))[0] == 404


async def test_a_file_is_replaced_unless_that_is_forbidden(client: Client, folder: str) -> None:
    address = named(f"{folder}/a.json")
    assert (await call(client, "POST", f"{address}?overwrite=false", b"1"))[0] == 200
    assert (await call(client, "POST", f"{address}?overwrite=false", b"2"))[0] == 409
    assert await call(client, "GET", address) == (200, 1)
    assert (await call(client, "POST", f"{address}?overwrite=true", b"3"))[0] == 200
    assert (await call(client, "POST", address, b"4"))[0] == 200
    assert await call(client, "GET", address) == (200, 4)


async def test_of_many_that_write_a_new_file_at_once_one_wins(client: Client, folder: str) -> None:
    address = named(f"{folder}/race.json") + "?overwrite=false"
    answers = await asyncio.gather(*(call(client, "POST", address, str(number).encode()) for number in range(20)))
    statuses = [status for status, _ in answers]
    assert sorted(statuses) == [200] + [409] * 19
    assert (await call(client, "GET", named(f"{folder}/race.json")))[1] == statuses.index(200)


async def test_of_many_that_replace_a_file_at_once_each_is_written_whole(client: Client, folder: str) -> None:
    address = named(f"{folder}/race.json")
    contents = [json.dumps([number] * 50_000).encode() for number in range(8)]
    answers = await asyncio.gather(*(call(client, "POST", address, content) for content in contents))
    assert {status for status, _ in answers} == {200}
    found = (await call(client, "GET", address))[1]
    assert found == [found[0]] * 50_000


async def test_what_is_known_of_a_file_is_told(client: Client, server: Server, folder: str) -> None:
    _, facts = await call(client, "POST", named(f"{folder}/a.json") + "?full_info=true", b"12345")
    status = (server.home / "user" / "default" / folder / "a.json").stat()
    assert facts == {
        "path": f"{folder}/a.json",
        "size": 5,
        "modified": int(status.st_mtime * 1000),
        "created": int(status.st_ctime * 1000),
    }
    _, (listed,) = await call(client, "GET", f"/userdata?dir={folder}&full_info=true")
    assert listed == {**facts, "path": "a.json"}


async def test_a_file_is_moved(client: Client, folder: str) -> None:
    for name in ("a", "b"):
        await call(client, "POST", named(f"{folder}/{name}.json"), f'"{name}"'.encode())

    def move(source: str, target: str, query: str = "") -> str:
        return f"{named(f'{folder}/{source}')}/move/{quote(f'{folder}/{target}', safe='')}{query}"

    assert (await call(client, "POST", move("a.json", "b.json", "?overwrite=false")))[0] == 409
    assert await call(client, "POST", move("a.json", "new/c.json", "?overwrite=false")) == (200, f"{folder}/new/c.json")
    assert (await call(client, "GET", named(f"{folder}/a.json")))[0] == 404
    assert await call(client, "GET", named(f"{folder}/new/c.json")) == (200, "a")
    status, facts = await call(client, "POST", move("new/c.json", "b.json", "?full_info=true"))
    assert (status, facts["path"], facts["size"]) == (200, f"{folder}/b.json", 3)
    assert await call(client, "GET", named(f"{folder}/b.json")) == (200, "a")
    assert (await call(client, "POST", move("gone.json", "d.json")))[0] == 404
    assert (await call(client, "POST", move("b.json", "../../e.json")))[0] == 403


async def test_the_forms_of_the_list(client: Client, server: Server, folder: str) -> None:
    for name in ("b.json", "sub/a.json", "sub/deep/ü.json", ".index.json"):
        await call(client, "POST", named(f"{folder}/{name}"), b"1")
    lists = {
        query: await call(client, "GET", f"/userdata?dir={folder}{query}")
        for query in ("", "&recurse=true", "&recurse=true&split=true", "&recurse=true&full_info=true&split=true")
    }
    names = ["b.json", "sub/a.json", "sub/deep/ü.json"]
    assert lists[""] == (200, ["b.json"])
    assert lists["&recurse=true"] == (200, names)
    assert lists["&recurse=true&split=true"] == (200, [[name, *name.split("/")] for name in names])
    (_, listed) = lists["&recurse=true&full_info=true&split=true"]
    assert [facts["path"] for facts in listed] == names
    assert (await call(client, "GET", "/userdata"))[0] == 400
    assert (await call(client, "GET", "/userdata?dir="))[0] == 400
    assert (await call(client, "GET", "/userdata?dir=nowhere"))[0] == 404
    assert (await call(client, "GET", f"/userdata?dir={folder}/b.json"))[0] == 404


async def test_the_second_form_of_the_list(client: Client, server: Server, folder: str) -> None:
    await call(client, "POST", named(f"{folder}/sub/a.json"), b"123")
    status, entries = await call(client, "GET", f"/v2/userdata?path={folder}")
    modified = entries[1].pop("modified")
    assert (status, entries) == (
        200,
        [
            {"name": "sub", "path": f"{folder}/sub", "type": "directory"},
            {"name": "a.json", "path": f"{folder}/sub/a.json", "type": "file", "size": 3},
        ],
    )
    assert modified == int((server.home / "user/default" / folder / "sub/a.json").stat().st_mtime * 1000)
    everything = (await call(client, "GET", "/api/v2/userdata"))[1]
    assert {"name": folder, "path": folder, "type": "directory"} in everything
    assert (await call(client, "GET", f"/v2/userdata?path={folder}/sub/a.json"))[0] == 400
    assert (await call(client, "GET", "/v2/userdata?path=nowhere"))[0] == 404
    assert (await call(client, "GET", "/v2/userdata?path=../.."))[0] == 400


HOSTILE = {
    "..%2Fsecret.txt": 403,
    "%2e%2e%2fsecret.txt": 403,
    "a%2F..%2F..%2Fsecret.txt": 403,
    "%2Fetc%2Fpasswd": 403,
    "%2F%2Fetc%2Fpasswd": 403,
    "C%3A%5Csecret.txt": 403,
    "C%3Asecret.txt": 403,
    "..%5Csecret.txt": 403,
    "a%5C..%5C..%5Csecret.txt": 403,
    "a%00.json": 400,
    "con": 400,
    "sub%2FNUL.json": 400,
    "com1.tar.gz": 400,
    "link-to-secret.txt": 403,
    "link-out%2Fsecret.txt": 403,
    "a%2F" * 100 + "a": 400,
}


@pytest.fixture
def secret(server: Server) -> Path:
    """A file beside the user's folder, and links that lead to it."""
    root = server.home / "user" / "default"
    root.mkdir(parents=True, exist_ok=True)
    secret = root.parent / "secret.txt"
    secret.write_text("secret!")
    for name, target in (("link-to-secret.txt", "../secret.txt"), ("link-out", "..")):
        if not os.path.lexists(root / name):
            (root / name).symlink_to(target)
    return secret


@pytest.mark.parametrize(("path", "status"), HOSTILE.items(), ids=lambda value: str(value)[:30])
async def test_no_path_leads_out(client: Client, server: Server, secret: Path, path: str, status: int) -> None:
    before = sorted(server.home.rglob("*"))
    for method, address, content in (
        ("GET", f"/userdata/{path}", None),
        ("POST", f"/userdata/{path}", b"overwritten"),
        ("DELETE", f"/userdata/{path}", None),
        ("POST", f"/userdata/{path}/move/stolen.txt", None),
    ):
        got, body = await call(client, method, address, content)
        assert (got, "secret!" in str(body)) == (status, False)
    assert sorted(server.home.rglob("*")) == before
    assert (server.home / "user" / "secret.txt").read_bytes() == b"secret!"


@pytest.mark.parametrize("path", ["a" * 300, "a" * 300 + "/b"])
async def test_names_that_no_file_can_have_are_refused(client: Client, secret: Path, path: str) -> None:
    assert (await call(client, "GET", named(path)))[0] == 404
    assert (await call(client, "POST", named(path), b"1"))[0] in (400, 404, 409)


async def test_lists_do_not_lead_out(client: Client, secret: Path) -> None:
    for query in ("dir=..", "dir=link-out", "dir=/etc", "dir=a/../.."):
        assert (await call(client, "GET", f"/userdata?{query}"))[0] == 403
    for path in ("/userdata?dir=.&recurse=true", "/v2/userdata"):
        status, listed = await call(client, "GET", path)
        assert status == 200
        assert "link" not in json.dumps(listed)


async def test_a_folder_is_no_file(client: Client, folder: str) -> None:
    await call(client, "POST", named(f"{folder}/a.json"), b"1")
    assert (await call(client, "GET", named(folder)))[0] == 404
    assert (await call(client, "DELETE", named(folder)))[0] == 404
    assert (await call(client, "POST", named(folder), b"1"))[0] == 400
    assert (await call(client, "POST", named(f"{folder}/a.json/b.json"), b"1"))[0] in (400, 409)


async def test_what_a_browser_would_run_is_plain_data_but_styles_are_styles(client: Client, folder: str) -> None:
    types = {}
    for name in ("page.html", "code.js", "drawing.svg", "user.css", "a.json"):
        await call(client, "POST", named(f"{folder}/{name}"), b"<script>")
        async with client.session.get(URL(client.server.url + named(f"{folder}/{name}"), encoded=True)) as response:
            types[name] = response.content_type
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-cache"
    assert types == {
        "page.html": "application/octet-stream",
        "code.js": "application/octet-stream",
        "drawing.svg": "application/octet-stream",
        "user.css": "text/css",
        "a.json": "application/json",
    }
