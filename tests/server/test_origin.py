"""Pages of other places cannot use the server through the user's browser (wire protocol §0, CORS)."""

from __future__ import annotations

import pytest
import websockets

from mezzotint.server.origin import is_loopback

from .serving import Client, Server


async def status_of(client: Client, method: str = "GET", path: str = "/prompt", **headers: str) -> int:
    async with client.session.request(method, path, headers=headers) as response:
        if response.status == 403:
            assert await response.read() == b""
        return response.status


async def test_a_request_without_origin_passes(client: Client) -> None:
    assert await status_of(client) == 200


async def test_the_servers_own_pages_may_ask(client: Client, server: Server) -> None:
    assert await status_of(client, Origin=server.url) == 200
    assert await status_of(client, Origin="http://localhost", Host="localhost:80") == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:1", "http://127.0.0.1", "null", "file://", "", "http://[", "x"]
)
async def test_other_pages_may_not(client: Client, origin: str) -> None:
    for method, path in (("GET", "/prompt"), ("POST", "/api/interrupt"), ("OPTIONS", "/prompt"), ("GET", "/nothing")):
        assert await status_of(client, method, path, Origin=origin) == 403


async def test_a_page_that_gives_its_own_name_this_address_may_not_either(client: Client) -> None:
    assert await status_of(client, Host="evil.example", Origin="http://evil.example") == 403
    assert await status_of(client, Host="evil.example:8188") == 403


async def test_options_are_answered_with_nothing(client: Client) -> None:
    assert await status_of(client, "OPTIONS") == 200


async def test_a_websocket_of_another_page_is_refused(server: Server) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(f"ws://{server.address}/ws", origin=websockets.Origin("http://evil.example")):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_names_of_this_machine_are_loopback(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize("name", ["", "0.0.0.0", "::", "192.168.0.1", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_other_names_are_not(name: str) -> None:
    assert not is_loopback(name)
