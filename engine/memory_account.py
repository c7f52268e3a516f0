"""The account of what is materialised on a device: how many bytes, who uses them, and what makes way for others."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterable
from typing import Any

from .errors import OutOfMemoryError
from .free_memory import free_nbytes, has_cuda
from .resident import Entry, Resident, Rooms

BUDGET_SHARE = 0.9
"""The default budget, as a share of the memory that is free when the first recipe is materialised."""
HOST_SHARE = 0.5
"""How much of the main memory that is free may hold what was evicted from another device."""
SPARE_SHARE = 0.1
"""How much of the budget is left for adapters and small work by what is only in part on the device."""


class MemoryAccount:
    """What a `Residency` holds on its device and, evicted, in main memory. Its methods with `_` want the lock held.

    Args: see `Residency`.
    """

    def __init__(self, device: str | None, budget_nbytes: int | None, host_nbytes: int | None) -> None:
        self._device = device
        self._budget_nbytes = budget_nbytes
        self._host_nbytes = host_nbytes
        self._entries: dict[Any, Entry] = {}
        self._latest: Any = None  # what was borrowed last, as long as it is where it was
        self._rooms = Rooms()
        self._lock = threading.RLock()

    @property
    def device(self) -> str:
        """Where recipes are materialised. If it was not given, asking imports torch."""
        if self._device is None:
            self._device = "cuda" if has_cuda() else "cpu"
        return self._device

    @property
    def budget_nbytes(self) -> int:
        """How much may be held, in bytes."""
        if self._budget_nbytes is None:
            self._budget_nbytes = int(free_nbytes(self.device) * BUDGET_SHARE)
        return self._budget_nbytes

    @property
    def host_nbytes(self) -> int:
        """How much of what is evicted may wait in main memory, in bytes."""
        if self._host_nbytes is None:
            self._host_nbytes = 0 if self.device == "cpu" else int(free_nbytes("cpu") * HOST_SHARE)
        return self._host_nbytes

    @property
    def total_nbytes(self) -> int:
        """How much the materialised objects hold on the device, by their loaders' account; also what is loaded now."""
        with self._lock:
            return sum(entry.nbytes for entry in self._entries.values())

    @property
    def working_nbytes(self) -> int:
        """How much is kept free for work that is under way. Steps of several runs take turns, so it is the most."""
        return self._rooms.kept_nbytes

    def clear(self) -> None:
        """Let go of everything that nobody borrows, in main memory, too."""
        with self._lock:
            while idle := [weights for weights, entry in self._entries.items() if entry.loaded and not entry.borrowers]:
                for weights in idle:
                    self._drop(weights)
        gc.collect()

    def residents(self) -> list[Resident]:
        """What is materialised now, the least recently used first."""
        with self._lock:
            return [
                Resident(weights, entry.nbytes, entry.borrowers > 0, entry.host_nbytes)
                for weights, entry in self._by_use()
                if entry.loaded
            ]

    def _free(self, kept_nbytes: int) -> int:
        """How much can be had with nothing making way, if so much is to be left for others."""
        return min(free_nbytes(self.device), self.budget_nbytes - self.total_nbytes - kept_nbytes)

    def _make_room(self, nbytes: int, least_nbytes: int, what: str, *, is_loading: bool) -> int:
        """Free as many bytes as can be had of `nbytes`, and say how many to take. Raises OutOfMemoryError: too few."""
        available = self._free(self.working_nbytes if is_loading else 0)
        idle = sum(entry.nbytes for entry in evictable(self._entries.values()))
        granted = min(nbytes, max(available + idle, 0))
        if granted < least_nbytes:
            cure = "use a smaller model, or one in a narrower dtype" if is_loading else "choose a smaller size or batch"
            raise OutOfMemoryError(
                f"{what} needs about {_in_words(least_nbytes)} of memory, and {_in_words(granted)} can be had on "
                f"{self._device_in_words()}; {cure}, or free some memory"
            )
        self._evict(granted - available)
        if granted == nbytes:
            return granted
        return max(granted - int(self.budget_nbytes * SPARE_SHARE), least_nbytes)

    def _by_use(self) -> list[tuple[Any, Entry]]:
        """The least recently used first."""
        return sorted(self._entries.items(), key=lambda item: item[1].last_use)

    def _evict(self, nbytes: int) -> None:
        """Free so many bytes of what is idle, or as many as there are, the least recently used first."""
        freed, has_dropped = 0, False
        while freed < nbytes:
            oldest = next((pair for pair in self._by_use() if pair[1].is_here and not pair[1].borrowers), None)
            if oldest is None:
                break
            weights, entry = oldest
            freed += entry.nbytes
            if not self._park(entry):
                self._drop(weights)
                has_dropped = True
        if has_dropped:
            gc.collect()  # modules may refer to themselves in circles

    def _park(self, entry: Entry) -> bool:
        """Move an idle object to main memory, if it can be and there is room: what waited longest makes it.

        What stands on others is not moved: as long as it is there, they stay on the device.
        """
        assert entry.loaded is not None
        nbytes = entry.loaded.whole_nbytes or entry.loaded.nbytes
        if entry.loaded.movable is None or entry.parts or nbytes > self.host_nbytes:
            return False
        parked = [(weights, other) for weights, other in self._by_use() if other.is_parked and not other.borrowers]
        held = sum(other.host_nbytes for _, other in parked)
        for weights, other in parked:
            if held + nbytes <= self.host_nbytes:
                break
            held -= other.host_nbytes
            self._drop(weights)
        try:
            entry.loaded.movable.to_host()
        except (RuntimeError, MemoryError):  # main memory is short
            return False
        entry.nbytes, entry.host_nbytes, self._latest = 0, nbytes, None
        return True

    def _drop(self, weights: Any) -> None:
        self._latest = None
        for part in self._entries.pop(weights).parts:
            part.borrowers -= 1

    def _device_in_words(self) -> str:
        return "this machine" if self.device == "cpu" else f"device {self.device}"


def evictable(entries: Iterable[Entry]) -> list[Entry]:
    """What could be let go of: what nobody borrows, and what only such entries stand on."""
    borrowers = {entry: entry.borrowers for entry in entries if entry.loaded}
    found: list[Entry] = []
    while idle := [entry for entry, count in borrowers.items() if not count]:
        found += idle
        for entry in idle:
            del borrowers[entry]
            for part in entry.parts:
                borrowers[part] -= 1
    return found


def _in_words(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"
