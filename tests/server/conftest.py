"""Clients of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .serving import Client, Server


@pytest.fixture
async def client(server: Server, salt: int) -> AsyncIterator[Client]:
    """A client that listens."""
    async with Client.of(server, f"client-{salt}") as client:
        assert (await client.next())["data"]["sid"] == client.sid
        yield client
