"""Who listens: the websockets that are connected, by the id of their client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from aiohttp import WSCloseCode, web

from .features import FEATURES
from .frame import AnyFrame, Frame, Preview, closing
from .outbox import Outbox, OutboxFullError

CLOSE_SECONDS = 2.0
"""How long clients are given to take what waits for them when the server stops."""

TOO_SLOW = "You read too slowly. Connect again with after=N, the last sequence number you heard."

Backlog = AsyncGenerator[str, None]


class Connection:
    """One websocket. What is put is sent by a task of its own, so whoever puts never waits.

    Args:
        sid: the client's id. outbox_nbytes: how much may wait for it.
        backlog: what is sent before all that is put, as fast as the client takes it.

    Attributes:
        socket: what it is sent over.
        dropped_previews: how many were not sent, since the client was slow and a later one came.
    """

    def __init__(
        self,
        sid: str,
        socket: web.WebSocketResponse,
        transport: asyncio.BaseTransport | None,
        outbox_nbytes: int,
        backlog: Backlog | None = None,
    ) -> None:
        self.sid, self.socket = sid, socket
        self._transport, self._backlog = transport, backlog
        self._greeting: str | None = None
        self._outbox = Outbox(outbox_nbytes)
        self._is_given_up = False
        self._takes_metadata = False
        self._has_spoken = False
        self.dropped_previews = 0

    def greet(self, frame: Frame) -> None:
        """Send a frame before all others."""
        self._greeting = frame.encoded()

    @property
    def unread_nbytes(self) -> int:
        """How much waits for the client."""
        return self._outbox.total_nbytes

    def put(self, frame: AnyFrame) -> None:
        """Send a frame later; a client that does not read is disconnected in the end."""
        if self._is_given_up or (isinstance(frame, Preview) and (frame.metadata is not None) != self._takes_metadata):
            return
        try:
            takes_a_place = self._outbox.put(frame.encoded(), frame.topic)
            self.dropped_previews += takes_a_place and isinstance(frame, Preview)
        except OutboxFullError:
            self._give_up()

    def hear(self, text: str) -> None:
        """Take a text from the client. Only the first counts: it may say what the client can do."""
        if self._has_spoken:
            return
        self._has_spoken = True
        data = _feature_flags(text)
        if data is not None:
            self._takes_metadata = data.get("supports_preview_metadata") is True
            self.put(Frame("feature_flags", FEATURES))

    async def write(self) -> None:
        """Send what is put until the outbox or the connection is closed."""
        with contextlib.suppress(ConnectionError, RuntimeError):  # the client left
            if self._greeting is not None:
                await self.socket.send_str(self._greeting)
            if self._backlog is not None:
                async for text in self._backlog:
                    await self.socket.send_str(text)
            while (payload := await self._outbox.get()) is not None:
                if isinstance(payload, str):
                    await self.socket.send_str(payload)
                else:
                    await self.socket.send_bytes(payload)
            await self.socket.close(code=WSCloseCode.GOING_AWAY, message=b"The server stops.")

    def _give_up(self) -> None:
        """Drop what waits, and close: should the client read on, it hears why. If not, its connection is cut later."""
        self._is_given_up = True
        self._outbox.clear()
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.write(closing(WSCloseCode.TRY_AGAIN_LATER, TOO_SLOW))
            self._transport.close()

    def close(self) -> None:
        """Disconnect once everything is sent."""
        self._outbox.close()

    def abort(self) -> None:
        """Disconnect now."""
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()


class Clients:
    """The connections. A client that connects again takes the place of its earlier connection, which hears no more."""

    def __init__(self) -> None:
        self._by_sid: dict[str, Connection] = {}
        self._writers: dict[asyncio.Task[None], Connection] = {}
        self._dropped_before = 0

    def __len__(self) -> int:
        return len(self._writers)

    @property
    def dropped_previews(self) -> int:
        """How many previews were not sent to slow clients, those that left included."""
        return self._dropped_before + sum(connection.dropped_previews for connection in self._writers.values())

    @property
    def sockets(self) -> dict[str, web.WebSocketResponse]:
        """The sockets by the id of their client."""
        return {sid: connection.socket for sid, connection in self._by_sid.copy().items()}

    @property
    def most_unread_nbytes(self) -> int:
        """How much waits for the slowest of them."""
        return max((connection.unread_nbytes for connection in self._writers.values()), default=0)

    def join(self, connection: Connection) -> asyncio.Task[None]:
        """Take up a connection; returns the task that sends."""
        self._by_sid[connection.sid] = connection
        writer = asyncio.create_task(connection.write())
        self._writers[writer] = connection
        writer.add_done_callback(self._forget)
        return writer

    def is_connected(self, sid: str) -> bool:
        """Whether a client listens. May be asked on any thread."""
        return sid in self._by_sid

    def leave(self, connection: Connection) -> None:
        """A connection ended."""
        if self._by_sid.get(connection.sid) is connection:
            del self._by_sid[connection.sid]

    def _forget(self, writer: asyncio.Task[None]) -> None:
        self._dropped_before += self._writers.pop(writer).dropped_previews

    def tell(self, sid: str, frame: AnyFrame) -> None:
        """Send to one client, if it is connected."""
        connection = self._by_sid.get(sid)
        if connection is not None:
            connection.put(frame)

    def tell_all(self, frame: AnyFrame) -> None:
        """Send to everybody."""
        for connection in self._by_sid.values():
            connection.put(frame)

    def tell_owner(self, sid: str | None, frame: AnyFrame) -> None:
        """Send to the client that a job belongs to; of a job without one, what is meant for all."""
        if sid is not None:
            self.tell(sid, frame)
        elif frame.is_for_all:
            self.tell_all(frame)

    async def close(self) -> None:
        """Send what waits and disconnect everybody."""
        writers = dict(self._writers)
        for connection in writers.values():
            connection.close()
        if writers:
            await asyncio.wait(writers, timeout=CLOSE_SECONDS)
        for connection in writers.values():
            connection.abort()


def _feature_flags(text: str) -> dict[str, Any] | None:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("type") != "feature_flags":
        return None
    data = message.get("data")
    return data if isinstance(data, dict) else None
