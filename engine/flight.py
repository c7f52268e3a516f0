"""Single flight: a value that is being computed now is awaited, not computed twice, whoever wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .key import Key
    from .memory_cache import StepValue

Landed = Callable[["StepValue | None"], None]


class Flights:
    """The keys being computed, by whom, and who waits for each. Used on the event loop's thread only."""

    def __init__(self) -> None:
        self._owners: dict[Key, object] = {}
        self._waiting: dict[Key, list[Landed]] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._owners

    def join(self, key: Key, landed: Landed) -> bool:
        """Be told when the value is there; False when nobody is computing it."""
        if key not in self._owners:
            return False
        self._waiting.setdefault(key, []).append(landed)
        return True

    def open(self, key: Key | None, owner: object) -> None:
        """Say that `owner` is computing the value from now on."""
        if key is not None:
            self._owners.setdefault(key, owner)

    def close(self, key: Key | None, owner: object, value: StepValue | None) -> None:
        """Say that it is there, or (None) that it will not come: then those who wait compute it themselves.

        Nothing happens unless `owner` is who opened the flight. Consumed state is of one run: nobody else gets it.
        """
        if key is None or self._owners.get(key) is not owner:
            return
        del self._owners[key]
        shared = None if value is not None and value.holds_state else value
        for landed in self._waiting.pop(key, ()):
            landed(shared)
