"""One real server with two packs, the older and the newer class API, for all tests of this folder."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ..server.serving import Client, Server

PACKS = Path(__file__).with_name("packs")
_numbers = itertools.count(1000, 1000)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("compat"), "--custom-nodes", str(PACKS))
    yield server
    assert server.stop() == 0, "".join(server.said)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """A client that listens."""
    async with Client.of(server, f"compat-{next(_numbers)}") as client:
        assert (await client.next())["data"]["sid"] == client.sid
        yield client


@pytest.fixture
def salt() -> int:
    """An even number that no other test has."""
    return next(_numbers)
