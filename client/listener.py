"""The websocket of one client: connected again whenever it breaks; what it hears goes to the feeds of its jobs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing
from typing import Any, cast

import websockets
from websockets.client import backoff, process_exception
from websockets.exceptions import InvalidStatus

from .address import ServerAddress
from .errors import ServerError, ServerUnreachableError
from .feed import Feed, Message, PreviewMessage, TextMessage
from .transport import denied

TEXT, PREVIEW_WITH_METADATA = 3, 4
FEATURES = {"supports_preview_metadata": True}


def _delays() -> Generator[float]:
    return backoff(initial_delay=0.5, min_delay=0.3, max_delay=10.0)


class Listener:
    """Listens for one client id.

    Args:
        patience_s: how long a lost server is waited for.
    """

    def __init__(self, address: ServerAddress, headers: dict[str, str], client_id: str, *, patience_s: float) -> None:
        self._address, self._headers, self._client_id = address, headers, client_id
        self._patience_s = patience_s
        self._feeds: dict[str, list[Feed]] = {}
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._failure: ServerError | None = None
        self._lost_at: float | None = None
        self._last = 0

    async def start(self) -> None:
        """Connect, if that was not done yet.

        Raises:
            ServerUnreachableError, AccessDeniedError, ServerError: there is no such server, or it refuses.
        """
        if self._task is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._listen())
        assert self._ready is not None
        await asyncio.shield(self._ready)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if self._ready is not None and self._ready.done() and not self._ready.cancelled():
                self._ready.exception()  # it was raised to whoever started

    def open(self, job_id: str) -> Feed:
        """A feed of what is heard of a job from now on; `drop` it."""
        feed = Feed()
        self._feeds.setdefault(job_id, []).append(feed)
        if self._failure is not None:
            feed.fail(self._failure)
        return feed

    def drop(self, job_id: str, feed: Feed) -> None:
        """Hear no more."""
        self._feeds[job_id].remove(feed)
        if not self._feeds[job_id]:
            del self._feeds[job_id]

    @contextlib.contextmanager
    def feed(self, job_id: str, opened: Feed | None = None) -> Iterator[Feed]:
        """A feed for a while; one that was opened before, if there is."""
        feed = opened or self.open(job_id)
        try:
            yield feed
        finally:
            self.drop(job_id, feed)

    def note_gap(self, job_id: str) -> None:
        """Let whoever follows the job ask the server about it."""
        for feed in self._feeds.get(job_id, ()):
            feed.note_gap()

    async def _listen(self) -> None:
        try:
            await self._connect()
        except Exception as error:
            self._failure = self._translated(error)
            assert self._ready is not None
            if not self._ready.done():
                self._ready.set_exception(self._failure)
            for feed in self._all_feeds():
                feed.fail(self._failure)

    async def _connect(self) -> None:
        connecting = websockets.connect(
            self._url,
            additional_headers=self._headers,
            max_size=None,
            proxy=None,
            process_exception=self._judge,
            reconnect_delays=_delays,
        )
        # Closed by name: left to the garbage collector, the socket would outlive the task.
        async with aclosing(cast("AsyncGenerator[websockets.ClientConnection]", aiter(connecting))) as sockets:
            async for socket in sockets:
                self._lost_at = None
                with contextlib.suppress(websockets.ConnectionClosed):
                    await self._hear(socket)
                connecting.uri = self._url
                for feed in self._all_feeds():
                    feed.note_gap()

    @property
    def _url(self) -> str:
        return self._address.socket(clientId=self._client_id, after=self._last)

    async def _hear(self, socket: websockets.ClientConnection) -> None:
        await socket.send(json.dumps({"type": "feature_flags", "data": FEATURES}))
        async for received in socket:
            if isinstance(received, bytes):
                self._take_binary(received)
            else:
                self._take(json.loads(received))

    def _take(self, message: Message) -> None:
        assert self._ready is not None
        if message.get("type") == "status" and not self._ready.done():
            self._ready.set_result(None)
        if isinstance(message.get("sequence"), int):
            self._last = max(self._last, message["sequence"])
        data: Any = message.get("data")
        job_id = data.get("prompt_id") if isinstance(data, dict) else None
        for feed in self._feeds.get(str(job_id), ()):
            feed.put(message)

    def _take_binary(self, frame: bytes) -> None:
        message = _read_preview(frame) or _read_text(frame)
        if isinstance(message, PreviewMessage):
            for feed in self._feeds.get(message.job_id, ()):
                feed.put(message)
        elif message is not None:
            for feed in self._all_feeds():
                feed.put(message)

    def _all_feeds(self) -> Iterator[Feed]:
        return (feed for feeds in self._feeds.values() for feed in feeds)

    def _judge(self, error: Exception) -> Exception | None:
        """None to try again; what is returned ends it."""
        now = asyncio.get_running_loop().time()
        self._lost_at = now if self._lost_at is None else self._lost_at
        assert self._ready is not None
        if not self._ready.done() or now - self._lost_at > self._patience_s:
            return error
        return process_exception(error)

    def _translated(self, error: Exception) -> ServerError:
        if isinstance(error, ServerError):
            return error
        if isinstance(error, InvalidStatus):
            if error.response.status_code == 401:
                return denied(self._address, has_token=bool(self._headers))
            return ServerError(
                f"the server at {self._address} refuses a websocket: {error.response.status_code} "
                f"{error.response.reason_phrase}"
            )
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ServerUnreachableError(f"the server at {self._address} cannot be reached: {reason}")


def _read_preview(frame: bytes) -> PreviewMessage | None:
    """A binary frame (wire protocol §2.4), if it is a preview that says whose it is."""
    if len(frame) < 8 or struct.unpack_from(">I", frame)[0] != PREVIEW_WITH_METADATA:
        return None
    end = 8 + struct.unpack_from(">I", frame, 4)[0]
    try:
        metadata = json.loads(frame[8:end])
        return PreviewMessage(str(metadata["node_id"]), str(metadata["prompt_id"]), frame[end:])
    except (ValueError, KeyError, TypeError):
        return None


def _read_text(frame: bytes) -> TextMessage | None:
    """A binary frame, if it is what a node says of itself."""
    if len(frame) < 8 or struct.unpack_from(">I", frame)[0] != TEXT:
        return None
    end = 8 + struct.unpack_from(">I", frame, 4)[0]
    return TextMessage(frame[8:end].decode(errors="replace"), frame[end:].decode(errors="replace"))
