"""`mezzotint serve`: runs the server until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from aiohttp import web

from mezzotint.server.access import why_unusable
from mezzotint.server.app import make_app
from mezzotint.server.app_key import LIMITS, WORKER
from mezzotint.server.editor import CURE, editor_folder
from mezzotint.server.limited_site import LimitedSite, limited_runner
from mezzotint.server.origin import is_loopback

from .exit_code import DONE, INTERRUPTED
from .host import open_host
from .terminal import Terminal
from .usage import UsageError


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """What the command line asks for."""

    host_name: str
    port: int
    is_insecure: bool = False
    is_multi_user: bool = False
    allowed_origin: str | None = None
    host: dict[str, Any] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)
    wants_editor: bool | None = None
    database: str | None = None
    width: int = 2
    grace: float = 2.0
    has_previews: bool = True


def serve(request: ServeRequest) -> int:
    """Listen until SIGINT or SIGTERM, and return the exit code.

    Raises:
        UsageError: the address is none, is taken, or may not be used.
    """
    _check_access(request)
    editor = _editor(request.wants_editor)
    terminal = Terminal()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    with open_host(terminal, **request.host) as host:
        app = make_app(
            host,
            database_url=request.database,
            width=request.width,
            grace=request.grace,
            has_previews=request.has_previews,
            is_public=request.is_insecure or request.token is not None,
            token=request.token,
            is_multi_user=request.is_multi_user,
            allowed_origin=request.allowed_origin,
            editor=editor,
        )
        asyncio.run(_listen(app, request, terminal))
    return DONE


def _editor(is_wanted: bool | None) -> Path | None:
    """The folder of the editor to serve, or None. `is_wanted` None: if it is installed."""
    found = None if is_wanted is False else editor_folder()
    if is_wanted and found is None:
        raise UsageError(f"--editor: the editor is not installed; {CURE}")
    return found


def _check_access(request: ServeRequest) -> None:
    if request.token is not None:
        if why := why_unusable(request.token):
            raise UsageError(f"--token (or MEZZOTINT_TOKEN): {why}; give a long random text of letters and digits")
    elif not (is_loopback(request.host_name) or request.is_insecure):
        raise UsageError(
            f"--host {request.host_name}: others could reach the server there, and it asks nobody who they are; "
            "whoever reaches it can run workflows and read and write files in its folders. Leave --host out to serve "
            "this machine only, add --token TOKEN to let in those who know it, or --insecure if everybody who can "
            "reach that address may do so"
        )


async def _listen(app: web.Application, request: ServeRequest, terminal: Terminal) -> None:
    runner = limited_runner(app, app[LIMITS])
    stop = asyncio.Event()
    with _stopping(stop):
        try:
            await runner.setup()
            await _start(runner, request)
            terminal.say(f"Listening on http://{_shown(request.host_name)}:{_port(runner)}  (Ctrl-C stops)")
            if request.token is not None:
                terminal.say("It asks for its token: open it with ?token=... once, or send it as a bearer token.")
            await stop.wait()
            terminal.say("Stopping. Ctrl-C again leaves at once.")
        finally:
            await runner.cleanup()
    if app[WORKER].is_stuck:
        # Its thread cannot be ended from outside. Files appear whole or not at all, so leaving harms none.
        terminal.warn("A node that was running did not stop and is left behind")
        os._exit(DONE)


async def _start(runner: web.AppRunner, request: ServeRequest) -> None:
    try:
        await LimitedSite(runner, request.host_name, request.port, runner.app[LIMITS]).start()
    except OSError as error:
        raise UsageError(_refusal(request, error)) from None


@contextmanager
def _stopping(stop: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set the event; the second leaves at once."""
    loop = asyncio.get_running_loop()

    def take(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)
        loop.call_soon_threadsafe(stop.set)

    if threading.current_thread() is not threading.main_thread():  # Python takes signals nowhere else
        yield
        return
    # Not `loop.add_signal_handler`, which Windows does not have.
    before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refusal(request: ServeRequest, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {request.port}: another program listens there; choose another, or 0 for any that is free"
    return f"--host {request.host_name} --port {request.port}: cannot listen there: {error.strerror or error}"


def _shown(host_name: str) -> str:
    return f"[{host_name}]" if ":" in host_name else host_name


def _port(runner: web.AppRunner) -> int:
    return int(runner.addresses[0][1])
