"""`/users` and `/settings`: one user or several, and settings that no crash loses (wire protocol §1.8)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from mezzotint.server.object_file import ObjectFile

from .serving import Client, Server


async def test_settings_are_merged_and_each_can_be_asked_for(client: Client, salt: int) -> None:
    first, second = f"Comfy.First{salt}", f"Comfy.Zweite ü/%{salt}"
    assert await client.get(f"/settings/{first}") is None
    assert await client.post("/settings", {first: 1, second: {"a": [None, "ü"]}}) == (200, "")
    assert await client.post(f"/api/settings/{first}", "dark") == (200, "")
    assert await client.get(f"/settings/{first}") == "dark"
    kept = await client.get("/api/settings")
    assert (kept[first], kept[second]) == ("dark", {"a": [None, "ü"]})
    async with client.session.get(f"/settings/Comfy.Zweite%20%C3%BC%2F%25{salt}") as response:
        assert await response.json() == {"a": [None, "ü"]}


async def test_a_setting_may_be_null_but_not_nothing(client: Client, salt: int) -> None:
    async with client.session.post(f"/settings/n{salt}", data=b"null") as response:
        assert response.status == 200
    for body in (b"", b"{", b"\xff"):
        async with client.session.post(f"/settings/n{salt}", data=body) as response:
            assert response.status == 400
    assert (await client.get("/settings"))[f"n{salt}"] is None


@pytest.mark.parametrize("body", [[], 1, "text"])
async def test_all_settings_are_an_object(client: Client, body: object) -> None:
    assert (await client.post("/settings", body))[0] == 400


async def test_settings_written_at_once_are_all_kept(client: Client, salt: int) -> None:
    names = [f"at-once-{salt}-{number}" for number in range(40)]
    answers = await asyncio.gather(*(client.post(f"/settings/{name}", number) for number, name in enumerate(names)))
    assert {status for status, _ in answers} == {200}
    kept = await client.get("/settings")
    assert [kept[name] for name in names] == [*range(40)]


async def test_settings_lie_with_the_user_s_other_files(client: Client, server: Server, salt: int) -> None:
    await client.post(f"/settings/s{salt}", salt)
    path = server.home / "user" / "default" / "comfy.settings.json"
    assert json.loads(path.read_text())[f"s{salt}"] == salt
    assert await client.get("/userdata/comfy.settings.json") == await client.get("/settings")
    assert await client.get("/users") == {"storage": "server", "migrated": True}


def test_a_torn_file_costs_the_last_change_alone(tmp_path: Path) -> None:
    kept = ObjectFile(tmp_path / "kept.json")
    kept.update({"a": 1})
    kept.update({"b": 2})
    content = kept.path.read_bytes()
    kept.path.write_bytes(content[: len(content) // 2])
    assert kept.read() == {"a": 1}
    kept.update({"c": 3})
    assert kept.read() == {"a": 1, "c": 3}
    assert (tmp_path / "kept.json.damaged-1").read_bytes() == content[: len(content) // 2]


@pytest.mark.parametrize("content", [b"", b"[]", b"\0" * 100, b"\xff\xfe{"])
def test_a_damaged_file_is_kept_and_the_good_state_is_not_lost(tmp_path: Path, content: bytes) -> None:
    kept = ObjectFile(tmp_path / "kept.json")
    for number in range(3):
        kept.update({"number": number})
    kept.path.write_bytes(content)
    kept.update({"other": True})
    assert kept.read() == {"number": 1, "other": True}
    kept.path.write_bytes(content)
    assert kept.read() == {"number": 1}  # the damaged content never became the state before


def test_a_file_that_was_removed_is_empty(tmp_path: Path) -> None:
    kept = ObjectFile(tmp_path / "kept.json")
    assert kept.read() == {}
    kept.update({"a": 1})
    kept.update({"a": 2})
    kept.path.unlink()
    assert kept.read() == {}


async def test_one_user_s_server_makes_no_others(client: Client) -> None:
    status, body = await client.post("/users", {"username": "ann"})
    assert (status, "--multi-user" in body["error"]) == (400, True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of several users, that pages of one other address may use."""
    server = Server(
        tmp_path_factory.mktemp("shared"), "--multi-user", "--enable-cors-header", "http://editor.example:5173"
    )
    yield server
    assert server.stop() == 0, "".join(server.said)


async def test_users_have_settings_and_files_of_their_own(shared: Server) -> None:
    async with Client.of(shared) as client:
        assert await client.get("/users") == {"storage": "server", "users": {}}
        ids = [(await client.post("/users", {"username": name}))[1] for name in ("Ann O'Neil", "../Bob")]
        assert ids[0].startswith("Ann-O-Neil_")
        assert ids[1].startswith("---Bob_")
        assert await client.get("/users") == {
            "storage": "server",
            "users": {ids[0]: "Ann O'Neil", ids[1]: "../Bob"},
        }
        ann, bob = ({"headers": {"comfy-user": user_id}} for user_id in ids)
        async with client.session.post("/settings/colour", data=b'"red"', **ann) as response:
            assert response.status == 200
        assert (await client.get("/settings", **ann), await client.get("/settings", **bob)) == ({"colour": "red"}, {})
        async with client.session.post("/userdata/a.json", data=b"1", **bob) as response:
            assert response.status == 200
        async with client.session.get("/userdata/a.json", **ann) as response:
            assert response.status == 404


async def test_a_user_that_there_is_not_is_refused(shared: Server) -> None:
    async with Client.of(shared) as client:
        for user_id in ("", "nobody", "../default", "default"):
            for path in ("/settings", "/settings/a", "/userdata/a.json", "/userdata?dir=a", "/v2/userdata"):
                async with client.session.get(path, headers={"comfy-user": user_id}) as response:
                    assert response.status == 401


async def test_user_names_are_neither_blank_nor_taken(shared: Server) -> None:
    async with Client.of(shared) as client:
        assert (await client.post("/users", {"username": "Cy"}))[0] == 200
        assert await client.post("/users", {"username": " Cy "}) == (400, {"error": "Duplicate username."})
        for name in ("", "   ", "x" * 1000, None):
            assert (await client.post("/users", {"username": name}))[0] == 400


async def test_pages_of_the_allowed_address_may_ask_and_no_others(shared: Server) -> None:
    async with aiohttp.ClientSession(shared.url) as session:
        for path, status in (("/prompt", 200), ("/nothing", 404)):
            async with session.get(path, headers={"Origin": "http://editor.example:5173"}) as response:
                assert response.status == status
                assert {k: v for k, v in response.headers.items() if k.startswith("Access-Control")} == {
                    "Access-Control-Allow-Origin": "http://editor.example:5173",
                    "Access-Control-Allow-Methods": "POST, GET, DELETE, PUT, OPTIONS, PATCH",
                    "Access-Control-Allow-Headers": "Content-Type, Authorization",
                    "Access-Control-Allow-Credentials": "true",
                }
        async with session.options("/prompt", headers={"Origin": "http://editor.example:5173"}) as response:
            assert (response.status, await response.read()) == (200, b"")
            assert response.headers["Access-Control-Allow-Origin"] == "http://editor.example:5173"
        async with session.get("/prompt", headers={"Origin": "http://elsewhere.example"}) as response:
            assert response.status == 403


async def test_without_the_option_no_page_is_allowed(client: Client) -> None:
    async with client.session.get("/prompt") as response:
        assert not [name for name in response.headers if name.startswith("Access-Control")]
