"""What the websocket says of one job, until somebody reads it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

SUPERSEDED = frozenset({"progress_state", "progress"})
"""Kinds of which only the newest counts: a reader who is slow misses the older ones, and nothing else."""

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PreviewMessage:
    """A preview of a node: an encoded picture."""

    node_id: str
    job_id: str
    image: bytes


@dataclass(frozen=True, slots=True)
class TextMessage:
    """What a node says of itself while it runs ("loss 0.12"). Of which job is not said: that in which it runs."""

    node_id: str
    text: str


AnyMessage = Message | PreviewMessage | TextMessage


class Feed:
    """A queue of messages, bounded but for those that nobody may miss."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, AnyMessage] = OrderedDict()
        self._count = 0
        self._wake = asyncio.Event()
        self._error: Exception | None = None
        self.has_gap = False

    def put(self, message: AnyMessage) -> None:
        """Add a message."""
        self._count += 1
        key: Hashable = self._count
        if isinstance(message, PreviewMessage):
            key = ("preview", message.node_id)
        elif isinstance(message, TextMessage):
            key = ("text", message.node_id)
        elif message["type"] in SUPERSEDED:
            key = (message["type"], message["data"].get("node"))
        self._waiting.pop(key, None)
        self._waiting[key] = message
        self._wake.set()

    def note_gap(self) -> None:
        """Messages may have been missed: whoever reads should ask for them."""
        self.has_gap = True
        self._wake.set()

    def fail(self, error: Exception) -> None:
        """No more messages come, and why."""
        self._error = error
        self._wake.set()

    async def get(self, timeout_s: float) -> AnyMessage | None:
        """The next message; None when none came for so long, or when there is a gap to fill first.

        Raises:
            ServerError: the connection is lost for good.
        """
        if not self.has_news and not await self._news(timeout_s):
            return None
        if self._waiting and not self.has_gap:
            return self._waiting.popitem(last=False)[1]
        if self._error is not None:
            raise self._error
        self.has_gap = False
        return None

    @property
    def has_news(self) -> bool:
        """Whether `get` would not wait."""
        return bool(self._waiting) or self.has_gap or self._error is not None

    async def _news(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while not self.has_news:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            return False
        return True
