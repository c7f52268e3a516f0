"""Where the server listens, with limits on connections that HTTP itself knows nothing of.

A connection stands between a socket and aiohttp's protocol and passes everything on. It counts for the limit of
connections, is cut when its client does not read, and, while it is a websocket, when its client floods it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import cast

from aiohttp import WSCloseCode, web
from aiohttp.http_exceptions import HttpProcessingError

from .frame import closing
from .limits import Limits
from .origin import is_loopback

SHUTDOWN_SECONDS = 1.0
"""How long requests are given to be answered when the server stops."""
_SENTENCE = b"The server has as many connections as it takes; try again later.\n"
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_SENTENCE), _SENTENCE)
)
FLOODED = closing(WSCloseCode.POLICY_VIOLATION)


class Connections:
    """How many connections are open, in all and by address."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count a connection; False when there are too many, and it is not counted."""
        is_ours = is_loopback(address)
        if self._open.total() >= self.limits.connections:
            return False
        if not is_ours and self._open[address] >= self.limits.connections_per_address:
            return False
        self._open[address] += 1
        return True

    def release(self, address: str) -> None:
        """A connection that was counted is closed."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


class LimitedConnection(asyncio.Protocol):
    """One connection."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self._inner, self._connections = inner, connections
        self._limits = connections.limits
        self._loop = asyncio.get_running_loop()
        self._address: str | None = None
        self._transport: asyncio.Transport | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._allowance: float | None = None
        self._heard_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass a new connection on, or turn it away."""
        self._transport = cast(asyncio.Transport, transport)
        address = str((transport.get_extra_info("peername") or [""])[0])
        if self._connections.admit(address):
            self._address = address
            self._inner.connection_made(transport)
        else:
            self._transport.write(BUSY)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        if self._unread is not None:
            self._unread.cancel()
        if self._address is not None:
            self._connections.release(self._address)
            self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Pass on what the client sent, unless it is too much of it."""
        if self._address is None:
            return
        if self._allowance is not None and self._is_flood(len(data)):
            assert self._transport is not None
            self._transport.write(FLOODED)
            self._transport.close()
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The client will send no more."""
        return self._inner.eof_received() if self._address is not None else None

    def pause_writing(self) -> None:
        """The client does not read as fast as it is sent to: from now on it has so long to go on."""
        self._unread = self._loop.call_later(self._limits.unread_seconds, self._cut)
        if self._address is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
            if self._address is not None:
                self._inner.resume_writing()

    def begin_websocket(self) -> None:
        """From now on little is to be heard from the client."""
        self._allowance, self._heard_at = float(self._limits.chatter_nbytes), self._loop.time()

    def end_websocket(self) -> None:
        """What follows is HTTP again, if the request was refused."""
        self._allowance = None

    def _is_flood(self, nbytes: int) -> bool:
        assert self._allowance is not None
        now = self._loop.time()
        earned = (now - self._heard_at) * self._limits.chatter_nbytes_per_second
        self._allowance = min(self._allowance + earned, self._limits.chatter_nbytes) - nbytes
        self._heard_at = now
        return self._allowance < 0

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def limited_runner(app: web.Application, limits: Limits) -> web.AppRunner:
    """Runs an application, and does not wait for clients longer than allowed."""
    logging.getLogger("aiohttp.server").addFilter(_is_our_fault)
    return web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=SHUTDOWN_SECONDS,
        keepalive_timeout=limits.idle_seconds,
        lingering_time=limits.linger_seconds,
        auto_decompress=False,  # nobody sends bodies compressed, and a small one may become a huge one
    )


def _is_our_fault(record: logging.LogRecord) -> bool:
    """A filter for the log: that a client sent no HTTP is answered with 400, and no reason for a traceback."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


class LimitedSite(web.BaseSite):
    """A TCP address where a runner's application is served.

    Args:
        port: 0 for any that is free.
    """

    def __init__(self, runner: web.AppRunner, host: str, port: int, limits: Limits) -> None:
        super().__init__(runner)
        self._host, self._port = host, port
        self._connections = Connections(limits)

    @property
    def name(self) -> str:
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        await super().start()
        serve = self._runner.server
        assert serve is not None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: LimitedConnection(serve(), self._connections), self._host, self._port, backlog=self._backlog
        )
