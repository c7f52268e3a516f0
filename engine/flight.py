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
        self._flights: dict[Key, tuple[object, list[Landed]]] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._flights

    def join(self, key: Key, landed: Landed) -> bool:
        """Be told when the value is there; False when nobody is computing it."""
        if key not in self._flights:
            return False
        self._flights[key][1].append(landed)
        return True

    def open(self, key: Key | None, owner: object) -> None:
        """Say that `owner` is computing the value from now on."""
        if key is not None:
            self._flights.setdefault(key, (owner, []))

    def close(self, key: Key | None, owner: object, value: StepValue | None) -> None:
        """Say that it is there, or (None) that it will not come: then those who wait compute it themselves.

        Nothing happens unless `owner` is who opened the flight. Consumed state is of one run: nobody else gets it.
        """
        if key is None or key not in self._flights or self._flights[key][0] is not owner:
            return
        waiting = self._flights.pop(key)[1]
        shared = None if value is not None and value.holds_state else value
        for landed in waiting:
            landed(shared)
