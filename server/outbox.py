"""What waits to be sent to one websocket: bounded, so that a client that does not read costs nobody anything."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable

BACKLOG = 64
"""With so many payloads waiting, one that a later one makes worthless is dropped."""


class OutboxFullError(Exception):
    """The client does not read."""


class Outbox:
    """Payloads in order, with one taker, of at most so many bytes together."""

    def __init__(self, max_nbytes: int) -> None:
        self._max_nbytes = max_nbytes
        self._waiting: OrderedDict[int, tuple[str | bytes, Hashable | None]] = OrderedDict()
        self._latest: dict[Hashable, int] = {}
        self._total_nbytes = 0
        self._sequence = 0
        self._has_changed = asyncio.Event()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def total_nbytes(self) -> int:
        """How much waits."""
        return self._total_nbytes

    def put(self, payload: str | bytes, topic: Hashable | None = None) -> bool:
        """Add a payload. While many wait, it takes the place of an earlier one of its topic; returns whether it did.

        Raises:
            OutboxFullError: more would wait than is allowed.
        """
        takes_a_place = topic is not None and len(self._waiting) >= BACKLOG and topic in self._latest
        if takes_a_place:
            self._remove(self._latest[topic])
        if self._total_nbytes + len(payload) > self._max_nbytes:
            raise OutboxFullError
        self._total_nbytes += len(payload)
        self._sequence += 1
        self._waiting[self._sequence] = (payload, topic)
        if topic is not None:
            self._latest[topic] = self._sequence
        self._has_changed.set()
        return takes_a_place

    def clear(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        self._latest.clear()
        self._total_nbytes = 0

    def close(self) -> None:
        """What waits is still to be taken, then nothing more comes."""
        self._is_closed = True
        self._has_changed.set()

    async def get(self) -> str | bytes | None:
        """The next payload; None at the end."""
        while not self._waiting:
            if self._is_closed:
                return None
            self._has_changed.clear()
            await self._has_changed.wait()
        return self._remove(next(iter(self._waiting)))

    def _remove(self, sequence: int) -> str | bytes:
        payload, topic = self._waiting.pop(sequence)
        self._total_nbytes -= len(payload)
        if topic is not None and self._latest.get(topic) == sequence:
            del self._latest[topic]
        return payload
