"""Ctrl-C in the middle of a run: once stops it where it can be stopped, twice leaves at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol, Self

from .exit_code import INTERRUPTED

SHOW_CURSOR = b"\x1b[?25h"


class Cancellable(Protocol):
    """What can be stopped."""

    def cancel(self) -> None:
        """Ask it to stop; returns at once."""
        ...


class Interrupts:
    """Takes SIGINT and SIGTERM while it is entered, on the event loop's thread.

    Args:
        announce: told, on the loop, that the run is being stopped.

    Attributes:
        run: what is to be stopped. is_requested: whether somebody asked.
    """

    def __init__(self, announce: Callable[[], None]) -> None:
        self.run: Cancellable | None = None
        self.is_requested = False
        self._announce = announce
        self._loop = asyncio.get_running_loop()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python takes signals nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                # Not `loop.add_signal_handler`, which Windows does not have.
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stop(self) -> None:
        """Stop the run, on the loop's thread."""
        self.is_requested = True
        if self.run is not None:
            self.run.cancel()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.is_requested:
            _leave()
        self.is_requested = True
        self._loop.call_soon_threadsafe(self._stop_aloud)

    def _stop_aloud(self) -> None:
        self._announce()
        self.stop()


def _leave() -> None:
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), SHOW_CURSOR + b"\n")
    os._exit(INTERRUPTED)
