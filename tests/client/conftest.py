"""The client library, pointed at the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mezzotint.client import Client

from ..server.serving import Server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server.url) as client:
        yield client


@pytest.fixture
def slow(salt: int) -> dict[str, Any]:
    """A step that tells its progress for a second, and an output: 1 → 2."""
    return {
        "1": {"class_type": "SmallSleep", "inputs": {"ticks": 50, "seconds": 0.02, "salt": str(salt)}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
