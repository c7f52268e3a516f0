"""Writes the lines of a log on a thread of its own: whoever logs never waits for whoever reads."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from typing import TextIO

MAX_LINES = 10_000
"""How many lines may wait; beyond, they are left out and counted."""
FLUSH_SECONDS = 1.0
"""How long the end of the process waits for what is still to be written."""


class LogWriter(logging.Handler):
    """A handler of log records. A pipe that nobody reads holds up its thread alone.

    Args:
        stream: where to; written to past its buffer, whose lock a blocked write would keep beyond the process's end.
    """

    def __init__(self, stream: TextIO, max_lines: int = MAX_LINES) -> None:
        super().__init__()
        self._stream, self._max_lines = stream, max_lines
        self._lines: deque[str] = deque()
        self._left_out = 0
        self._is_writing = self._is_closed = False
        self._has_changed = threading.Condition()
        threading.Thread(target=self._serve, name="mezzotint-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record, on any thread."""
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self.put(line)

    def put(self, line: str) -> None:
        """Have a line written, soon."""
        with self._has_changed:
            if len(self._lines) < self._max_lines:
                self._lines.append(line)
            else:
                self._left_out += 1
            self._has_changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is written, but not long."""
        deadline = time.monotonic() + FLUSH_SECONDS
        with self._has_changed:
            while (self._lines or self._is_writing) and (left := deadline - time.monotonic()) > 0:
                self._has_changed.wait(left)

    def close(self) -> None:
        """Write what is there and take no more."""
        self.flush()
        with self._has_changed:
            self._is_closed = True
            self._has_changed.notify_all()
        super().close()

    def _serve(self) -> None:
        while text := self._next():
            with contextlib.suppress(OSError, ValueError):  # there is nobody to tell that nobody listens
                self._write(text)
            with self._has_changed:
                self._is_writing = False
                self._has_changed.notify_all()

    def _next(self) -> str:
        """What waits, as one text; empty at the end."""
        with self._has_changed:
            while not self._lines and not self._is_closed:
                self._has_changed.wait()
            lines, left_out = [*self._lines], self._left_out
            self._lines.clear()
            self._left_out = 0
            self._is_writing = bool(lines)
        if left_out:
            lines.append(f"{left_out:,} lines of the log were left out, since nobody read what came before.")
        return "".join(f"{line}\n" for line in lines)

    def _write(self, text: str) -> None:
        try:
            number = self._stream.fileno()
        except (OSError, ValueError):  # none of the system's files, as in tests
            self._stream.write(text)
            return
        self._stream.flush()
        data = text.encode(self._stream.encoding, self._stream.errors or "strict")
        while data:
            data = data[os.write(number, data) :]
