"""Takes items from any thread and hands them to the event loop, many at one waking."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

LOOK_SECONDS = 0.05
"""How late what is not urgent may be. To wake the loop for each item would make lanes wait for the interpreter."""


class Mailbox:
    """Items in order; the loop is woken once for all that lie there.

    Args:
        deliver: called on the loop's thread with each item. then: called once after the last.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deliver: Callable[[Any], None], then: Callable[[], None]
    ) -> None:
        self._loop, self._deliver, self._then = loop, deliver, then
        self._items: deque[Any] = deque()
        self._is_waking = self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None

    def look_now_and_then(self) -> None:
        """From now on deliver what is not urgent too, until `close`."""
        if self._items:
            self._wake()
        self._timer = self._loop.call_later(LOOK_SECONDS, self.look_now_and_then)

    def close(self) -> None:
        """Stop looking, and drop what comes from now on: the loop may end before a body does that was left alone."""
        self._is_closed = True
        self._items.clear()
        del self._deliver, self._then  # they keep the run alive that owns this
        if self._timer is not None:
            self._timer.cancel()

    def put(self, item: Any, is_urgent: bool = True) -> bool:
        """Leave an item; one that is not urgent waits for the next that is, or for a look. False when it is closed."""
        if self._is_closed:
            return False
        self._items.append(item)
        if is_urgent and not self._is_waking:
            self._is_waking = True
            self._loop.call_soon_threadsafe(self._wake)
        return True

    def _wake(self) -> None:
        if self._is_closed:
            return
        self._is_waking = False
        while self._items:
            self._deliver(self._items.popleft())
        self._then()
