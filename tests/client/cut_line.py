"""A TCP proxy that a test can cut: what runs through it breaks off as a lost network does."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class CutLine:
    """Listens on a free port and passes everything on to a server.

    Args:
        target: the server's `host:port`.

    Attributes:
        swallow_answer_to: connections whose client sent these bytes are cut before anything comes back.
        connections: how many were made.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.swallow_answer_to: bytes | None = None
        self.swallowed = self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # aborted connections are closed by the loop's next rounds

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Break every connection, without a word."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        host, _, port = self.target.rpartition(":")
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, upstream_writer}
        await asyncio.gather(
            self._pass(reader, upstream_writer, writer), self._pass(upstream_reader, writer, upstream_writer)
        )

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, other: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
                if self.swallow_answer_to is not None and self.swallow_answer_to in data:
                    self.swallow_answer_to = None
                    self.swallowed += 1
                    await asyncio.sleep(0.2)  # the server takes the request meanwhile
                    other.transport.abort()
        except (ConnectionError, OSError):
            pass
        finally:
            writer.transport.abort()
            other.transport.abort()
