"""The latest log messages of the process, for editors that show them."""

from __future__ import annotations

import asyncio
import datetime
import logging
import shutil
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

MAX_ENTRIES = 300
MAX_ENTRY_LENGTH = 10_000
MAX_LISTENERS = 100
"""Clients do not say when they leave; of more than this, those that asked first are forgotten."""
FLUSH_SECONDS = 0.25

Entry = dict[str, str]


class LogBook(logging.Handler):
    """Keeps what is logged and tells it to the clients that asked, not oftener than every quarter of a second.

    Args:
        tell: called on the event loop's thread with a client's id and the data of a `logs` message.
    """

    def __init__(self, tell: Callable[[str, dict[str, Any]], None]) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self.entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._tell = tell
        self._untold: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._listeners: OrderedDict[str, None] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_due = False

    def open(self) -> None:
        """Begin to keep what the process logs."""
        self._loop = asyncio.get_running_loop()
        logging.getLogger().addHandler(self)

    def close(self) -> None:
        """Keep no more."""
        logging.getLogger().removeHandler(self)
        self._loop = None
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a message, on any thread."""
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        if len(text) > MAX_ENTRY_LENGTH:
            text = text[:MAX_ENTRY_LENGTH] + " ..."
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry = {"t": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "m": f"{text}\n"}
        self.entries.append(entry)
        loop = self._loop
        if self._listeners and loop is not None and not loop.is_closed():
            self._untold.append(entry)
            loop.call_soon_threadsafe(self._plan)

    def subscribe(self, client_id: str) -> None:
        """Tell a client what is logged from now on."""
        self._listeners[client_id] = None
        self._listeners.move_to_end(client_id)
        if len(self._listeners) > MAX_LISTENERS:
            self._listeners.popitem(last=False)

    def unsubscribe(self, client_id: str) -> None:
        """Tell it no more."""
        self._listeners.pop(client_id, None)

    def _plan(self) -> None:
        if not self._is_due and self._loop is not None:
            self._is_due = True
            self._loop.call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._is_due = False
        told = [self._untold.popleft() for _ in range(len(self._untold))]
        for client_id in [*self._listeners] if told else ():
            self._tell(client_id, as_message(told))


def as_message(entries: list[Entry]) -> dict[str, Any]:
    """Entries as clients get them, with the size of the terminal that the server writes to."""
    size = shutil.get_terminal_size()
    return {"entries": entries, "size": {"cols": size.columns, "rows": size.lines}}
