"""Who may use the server: with a token, whoever knows it; without one, this machine."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from mezzotint.cli.serve import ServeRequest, serve
from mezzotint.cli.usage import UsageError
from mezzotint.plugins.host import Host, Settings
from mezzotint.server.access import why_unusable, without_token
from mezzotint.server.app import make_app

TOKEN = "correct-horse_battery.staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PAGE = {"Accept": "text/html,application/xhtml+xml"}

Client = TestClient  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with Host(Settings(home=tmp_path_factory.mktemp("access"))) as host:
        yield host


@pytest.fixture
async def client(host: Host) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(host, is_public=True, token=TOKEN))) as client:
        yield client


async def status_of(client: Client, path: str = "/prompt", method: str = "GET", **headers: str) -> int:
    async with client.request(method, path, headers=headers, allow_redirects=False) as response:
        return response.status


@pytest.mark.parametrize("path", ["/prompt", "/api/prompt", "/nothing", "/view?filename=a", "/ws", "/"])
async def test_without_the_token_nothing_is_answered(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert TOKEN not in await response.text()


async def test_the_token_lets_in(client: Client) -> None:
    assert await status_of(client, **BEARER) == 200
    assert await status_of(client, Authorization=f"bearer   {TOKEN} ") == 200
    assert await status_of(client, f"/prompt?token={TOKEN}") == 200
    assert await status_of(client, "/queue", "POST", **BEARER) == 200


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \xff\xfe",
     f"Bearer {TOKEN.upper()}"],
)  # fmt: skip
async def test_anything_else_does_not(client: Client, header: str) -> None:
    assert await status_of(client, Authorization=header) == 401
    assert await status_of(client, f"/prompt?token={header}.") == 401
    assert await status_of(client, Cookie=f"mezzotint={header}; mezzotint_0=\xff") == 401


async def test_a_browser_gets_a_cookie_and_an_address_without_the_token(client: Client) -> None:
    async with client.get(f"/queue?a=1&token={TOKEN}&b=2", headers=PAGE, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/queue?a=1&b=2")
        (cookie,) = response.cookies.values()
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert TOKEN not in str(cookie)
    async with client.get("/queue", headers=PAGE) as response:  # the client keeps cookies as browsers do
        assert response.status == 200
    client.session.cookie_jar.clear()
    assert await status_of(client, Cookie=f"{cookie.key}={cookie.value[:-1]}") == 401


async def test_a_browser_without_the_token_is_asked_for_it(client: Client) -> None:
    for path in ("/", f"/?token={TOKEN}x"):
        async with client.get(path, headers=PAGE) as response:
            assert (response.status, response.content_type) == (401, "text/html")
            assert 'name="token" type="password"' in await response.text()
    async with client.post("/queue", headers=PAGE) as response:
        assert (response.status, response.content_type) == (401, "text/plain")


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example/x", "///evil.example"])
async def test_the_browser_is_never_sent_to_another_host(client: Client, path: str) -> None:
    import yarl

    url = yarl.URL(f"http://{client.host}:{client.port}{path}?token={TOKEN}", encoded=True)
    async with client.session.get(url, headers=PAGE, allow_redirects=False) as response:
        assert response.status == 303
        where = response.headers["Location"]
    assert where.startswith("/")
    assert where[1:2] not in ("/", "\\")


async def test_the_websocket_asks_for_the_token_too(client: Client) -> None:
    for path in ("/ws", "/api/ws?clientId=a"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(path)
        assert refused.value.status == 401
        async with client.ws_connect(path, headers=BEARER) as socket:
            assert (await socket.receive_json())["type"] == "status"
    async with client.ws_connect(f"/ws?token={TOKEN}") as socket:
        assert (await socket.receive_json())["type"] == "status"


async def test_the_token_shows_in_no_answer(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mezzotint", "serve", "--token", TOKEN, f"--token={TOKEN}", "--port", "1"])
    async with client.get("/system_stats", headers=BEARER) as response:
        assert TOKEN not in await response.text()
        argv = (await response.json())["system"]["argv"]
    assert argv[:-1] == ["mezzotint", "serve", "--token", "***", "--token=***", "--port", "1"]


async def test_under_a_public_name_only_the_servers_own_pages_may_ask(client: Client) -> None:
    named = {"Host": "draw.example:8188", **BEARER}
    assert await status_of(client, **named) == 200
    assert await status_of(client, **named, Origin="http://draw.example:8188") == 200
    for origin in ("http://evil.example", "http://draw.example", "https://draw.example", "null"):
        assert await status_of(client, **named, Origin=origin) == 403


async def test_behind_a_proxy_that_speaks_https_the_servers_own_pages_may_ask(client: Client) -> None:
    named = {"Host": "draw.example", **BEARER}
    assert await status_of(client, **named, Origin="https://draw.example") == 200
    assert await status_of(client, **named, Origin="http://draw.example") == 200
    assert await status_of(client, **named, Origin="https://draw.example:8443") == 403


@pytest.mark.parametrize("token", ["", " ", "a b", "a\n", "tökn", "a\x7f"])
def test_a_token_that_fits_no_header_is_refused(token: str) -> None:
    assert why_unusable(token)
    with pytest.raises(UsageError, match=r"--token \(or MEZZOTINT_TOKEN\): .*; give a long random text"):
        serve(ServeRequest("127.0.0.1", 0, token=token))


def test_only_the_token_of_a_command_line_is_hidden() -> None:
    assert without_token(["a", "--tokens", "b", "--token"]) == ["a", "--tokens", "b", "--token"]
    assert without_token([]) == []
    assert why_unusable(TOKEN) is None
