"""A real server on a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mezzotint.plugins.host import Host
from mezzotint.server.app import make_app
from mezzotint.server.limited_site import LimitedSite, limited_runner
from mezzotint.server.limits import DEFAULT_LIMITS

STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class ServerUnderTest:
    """A server that listens. `host` is what it runs workflows with; `address` is "127.0.0.1:" and its port."""

    host: Host
    address: str

    @property
    def url(self) -> str:
        """What clients are given."""
        return f"http://{self.address}"


@contextmanager
def serving(host: Host, **options: Any) -> Iterator[ServerUnderTest]:
    """The server, on a free port of this machine, until the block is left. Takes the options of `make_app`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="mezzotint-server", daemon=True)
    thread.start()
    try:
        runner = limited_runner(make_app(host, **options), DEFAULT_LIMITS)
        try:
            port = asyncio.run_coroutine_threadsafe(_start(runner), loop).result(STOP_S)
            yield ServerUnderTest(host, f"127.0.0.1:{port}")
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(STOP_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STOP_S)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _start(runner: Any) -> int:
    await runner.setup()
    await LimitedSite(runner, "127.0.0.1", 0, DEFAULT_LIMITS).start()
    return int(runner.addresses[0][1])
