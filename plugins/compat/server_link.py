"""What packs ask of the server that they are loaded into; `PromptServer.instance` passes it on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from aiohttp import web


class ServerLink(Protocol):
    """A server. All but `next_number` may be used on any thread."""

    @property
    def app(self) -> web.Application: ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the server runs on.

        Raises:
            RuntimeError: it does not run yet.
        """

    @property
    def sockets(self) -> Mapping[str, web.WebSocketResponse]:
        """The websockets that are connected, by the id of their client."""

    @property
    def remaining(self) -> int:
        """How many jobs wait or run."""

    @property
    def next_number(self) -> int:
        """The number that the next job would get."""

    def send_json(self, kind: str, data: Any, sid: str | None) -> None:
        """Send a message to a client, to all when `sid` is None. The data are written down at once."""

    def send_bytes(self, content: bytes, sid: str | None) -> None:
        """Send a binary message to a client, to all when `sid` is None."""
