"""One real server for the tests of this folder, and a client of it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from mezzotint.client import Client

from ..server.serving import Server

_numbers = itertools.count(500_000)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("client"))
    yield server
    assert server.stop() == 0, "".join(server.said)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server.url) as client:
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


@pytest.fixture
def slow(salt: int) -> dict[str, Any]:
    """A step that tells its progress for a second, and an output: 1 → 2."""
    return {
        "1": {"class_type": "SmallSleep", "inputs": {"ticks": 50, "seconds": 0.02, "salt": str(salt)}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
