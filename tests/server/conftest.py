"""One real server for all tests of this folder; each test uses values of its own, so none is served another's."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from .serving import Client, Server

_numbers = itertools.count(100_000)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    assert server.stop() == 0, "".join(server.said)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """A client that listens."""
    async with Client.of(server, f"client-{next(_numbers)}") as client:
        assert (await client.next())["data"]["sid"] == client.sid
        yield client


@pytest.fixture
def salt() -> int:
    """A number that no other test has."""
    return next(_numbers)


@pytest.fixture
def chain(salt: int) -> dict[str, Any]:
    """Two steps and an output: 1 → 2 → 3."""
    return {
        "1": {"class_type": "SmallSum", "inputs": {"a": salt}},
        "2": {"class_type": "SmallSum", "inputs": {"a": ["1", 0], "b": 1}},
        "3": {"class_type": "SmallShow", "inputs": {"source": ["2", 0]}},
    }
