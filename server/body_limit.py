"""Bodies: not too large, not too many at once, and not a byte a second."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import StreamReader, hdrs, web
from aiohttp.typedefs import Handler, Middleware

from .limited_site import LimitedConnection
from .limits import Limits

TICK_SECONDS = 1.0
"""How often it is looked how much of a body came."""


def guard_bodies(limits: Limits) -> Middleware:
    """A middleware that answers 413 to a body that is too large, 415 to one that is compressed, 503 when too many are
    being received, and 408 when one comes too slowly. A websocket's connection is told that it is one.
    """
    room = _Room(limits.bodies_nbytes)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.body_exists:
            with _as_websocket(request):
                return await handler(request)
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise web.HTTPUnsupportedMediaType(text="Send the body as it is, without Content-Encoding.")
        nbytes = limits.body_nbytes if request.content_length is None else request.content_length
        if nbytes > limits.body_nbytes:
            raise web.HTTPRequestEntityTooLarge(max_size=limits.body_nbytes, actual_size=nbytes)
        if not room.has(nbytes):
            busy = "The server is receiving as much as it takes at once; try again later."
            raise web.HTTPServiceUnavailable(text=busy, headers={hdrs.RETRY_AFTER: "5"})
        with room.taken(nbytes):
            return await _in_time(request, handler, limits)

    return guard


async def _in_time(request: web.Request, handler: Handler, limits: Limits) -> web.StreamResponse:
    try:
        async with asyncio.timeout(limits.body_seconds) as deadline:
            patience = Patience(request.content, deadline, limits)
            try:
                return await handler(request)
            finally:
                patience.end()
    except web.RequestPayloadError:
        raise web.HTTPBadRequest(text="The body is broken.") from None
    except TimeoutError:
        if not deadline.expired():
            raise
        slow = web.Response(status=408, text="The body came too slowly.")
        slow.force_close()
        return slow


class Patience:
    """Moves a deadline on while a body comes fast enough, and takes it away once all of it is there."""

    def __init__(self, body: StreamReader, deadline: asyncio.Timeout, limits: Limits) -> None:
        self._body, self._deadline, self._limits = body, deadline, limits
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._has_ended = False
        self._timer = self._loop.call_soon(self._look)
        body.on_eof(self._arrived)

    def end(self) -> None:
        """The request is answered."""
        self._has_ended = True
        self._timer.cancel()

    @property
    def _is_over(self) -> bool:
        return self._has_ended or self._deadline.expired()

    def _look(self) -> None:
        if self._is_over or self._body.is_eof():
            return
        seconds = self._limits.body_seconds + self._body.total_bytes / self._limits.body_nbytes_per_second
        self._deadline.reschedule(self._began + seconds)
        tick = min(TICK_SECONDS, self._limits.body_seconds / 4)
        self._timer = self._loop.call_later(tick, self._look)

    def _arrived(self) -> None:
        if not self._is_over:
            self._deadline.reschedule(None)


class _Room:
    """How many bytes of bodies are being received."""

    def __init__(self, max_nbytes: int) -> None:
        self._max_nbytes, self._total_nbytes = max_nbytes, 0

    def has(self, nbytes: int) -> bool:
        return self._total_nbytes + nbytes <= self._max_nbytes

    @contextmanager
    def taken(self, nbytes: int) -> Iterator[None]:
        self._total_nbytes += nbytes
        try:
            yield
        finally:
            self._total_nbytes -= nbytes


@contextmanager
def _as_websocket(request: web.Request) -> Iterator[None]:
    transport = request.transport
    connection = transport.get_protocol() if transport is not None else None
    if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket" or not isinstance(connection, LimitedConnection):
        yield
        return
    connection.begin_websocket()
    try:
        yield
    finally:
        connection.end_websocket()
