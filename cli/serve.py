"""`mezzotint serve`: runs the server until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from aiohttp import web

from mezzotint.engine.folders import default_home
from mezzotint.server.access import why_unusable
from mezzotint.server.app import make_app
from mezzotint.server.app_key import LIMITS, STOPPING, WORKER
from mezzotint.server.editor import CURE, editor_folder
from mezzotint.server.limited_site import LimitedSite, limited_runner
from mezzotint.server.origin import is_loopback

from .exit_code import DONE, INTERRUPTED
from .host import open_host
from .log_output import LogFormat, LogLevel, set_up_logging
from .size import read_size
from .terminal import Terminal
from .usage import UsageError

log = logging.getLogger("mezzotint.serve")


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
    max_memory: str | None = None
    log_format: LogFormat = LogFormat.TEXT
    log_level: LogLevel = LogLevel.INFO


def serve(request: ServeRequest) -> int:
    """Listen until SIGINT or SIGTERM, and return the exit code.

    Raises:
        UsageError: the address is none, is taken, or may not be used; the size of the memory is none.
    """
    _check_access(request)
    editor = _editor(request.wants_editor)
    writer = set_up_logging(request.log_format, request.log_level)
    say = writer.put if request.log_format is LogFormat.TEXT else log.info
    with open_host(Terminal(), max_memory_nbytes=_memory(request), **_with_cache(request.host)) as host:
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
        asyncio.run(_listen(app, request, say))
    return DONE


def _editor(is_wanted: bool | None) -> Path | None:
    """The folder of the editor to serve, or None. `is_wanted` None: if it is installed."""
    found = None if is_wanted is False else editor_folder()
    if is_wanted and found is None:
        raise UsageError(f"--editor: the editor is not installed; {CURE}")
    return found


def _with_cache(options: dict[str, Any]) -> dict[str, Any]:
    """The host's options, with the disk cache that a server has unless it may hold nothing."""
    if not options.get("cache_nbytes"):
        return {**options, "cache_dir": None, "cache_nbytes": None}
    return {**options, "cache_dir": options.get("cache_dir") or default_home() / "cache"}


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


def _memory(request: ServeRequest) -> int | None:
    return None if request.max_memory is None else read_size(request.max_memory, "--max-memory", at_least="512M")


async def _listen(app: web.Application, request: ServeRequest, say: Callable[[str], None]) -> None:
    runner = limited_runner(app, app[LIMITS])
    stop = asyncio.Event()
    with _stopping(stop):
        try:
            await runner.setup()
            await _start(runner, request)
            say(f"Listening on http://{_shown(request.host_name)}:{_port(runner)}  (Ctrl-C stops)")
            if request.token is not None:
                say("It asks for its token: open it with ?token=... once, or send it as a bearer token.")
            await stop.wait()
            say(f"Stopping: running jobs have {request.grace:g} s to finish. Asked again, it leaves at once.")
            app[STOPPING].has_begun = True
            await app[WORKER].stop(request.grace)
        finally:
            await runner.cleanup()
    if app[WORKER].is_stuck:
        # Its thread cannot be ended from outside. Files appear whole or not at all, so leaving harms none.
        log.warning("A node that was running did not stop and is left behind")
        logging.shutdown()
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
