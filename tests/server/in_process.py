"""The server in this process, with settings of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mezzotint.plugins.host import Host, Settings
from mezzotint.server.app import make_app
from mezzotint.server.limited_site import LimitedSite, limited_runner
from mezzotint.server.limits import DEFAULT_LIMITS, Limits

from .serving import NODES

Address = tuple[str, int]


def open_host(home: Path) -> Host:
    """A host with the small nodes. Close it."""
    return Host(Settings(home=home, plugins=(NODES,)))


@asynccontextmanager
async def serving(host: Host, limits: Limits = DEFAULT_LIMITS, **options: Any) -> AsyncIterator[Address]:
    """The server, listening as `mezzotint serve` does; gives its address."""
    app = make_app(host, limits=limits, **options)
    runner = limited_runner(app, limits)
    await runner.setup()
    try:
        await LimitedSite(runner, "127.0.0.1", 0, limits).start()
        name, port = runner.addresses[0][:2]
        yield str(name), int(port)
    finally:
        await runner.cleanup()
