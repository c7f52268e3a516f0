"""The residency manager: materialises recipes on a device, shares what they became, and evicts by a budget.

A recipe is a small immutable description; what it becomes (weights, normally) is made at first need, once however many
threads ask, and stays while the budget allows. What is evicted waits in main memory, where there is room for it, if the
device has memory of its own. Torch is imported only to find the device or its free memory.
"""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import OutOfMemoryError
from .free_memory import free_nbytes
from .resident import Entry, Loadable, Loaded, Resident, Room

if TYPE_CHECKING:
    from .folders import Folders

__all__ = ["Loadable", "Loaded", "Residency", "Resident"]

BUDGET_SHARE = 0.9
"""The default budget, as a share of the memory that is free when the first recipe is materialised."""
HOST_SHARE = 0.5
"""How much of the main memory that is free may hold what was evicted from another device."""


SPARE_SHARE = 0.1
"""How much of the budget is left for adapters and small work by what is only in part on the device."""
MOVED_NBYTES = 64 << 20
"""What waits in main memory is brought to the device in no smaller parts, since each time all of it is looked at."""

Loader = Callable[[Any, "Residency"], Loaded]
"""Makes the object of a recipe."""


class _Latest(NamedTuple):
    """What was borrowed last, and what it was configured to. To hash a recipe takes long after a forward."""

    recipe: Any
    entry: Entry
    configured: Any


class Loan:
    """What `Residency.borrow` gives. Samplers borrow at every step: a class and no generator, and of few calls."""

    __slots__ = ("_entry", "_recipe", "_residency")

    def __init__(self, residency: Residency, recipe: Loadable) -> None:
        self._residency, self._recipe = residency, recipe

    def __enter__(self) -> Any:
        residency = self._residency
        with residency._lock:
            latest = residency._latest
            if latest is not None and latest.recipe is self._recipe:  # what was borrowed last, by this very object
                self._entry = latest.entry
                residency._count_in(latest.entry)
                return latest.configured
        self._entry = residency._acquire(self._recipe.weights)
        assert self._entry.loaded is not None
        try:
            configured = self._recipe.configure(self._entry.loaded.object)
        except BaseException:
            self.__exit__()
            raise
        residency._latest = _Latest(self._recipe, self._entry, configured)
        return configured

    def __exit__(self, *_: object) -> None:
        with self._residency._lock:
            self._entry.borrowers -= 1


class Residency:
    """What is materialised on one device. Safe for threads.

    Attributes:
        salt: what of its settings makes other results; "" when nothing was said.

    Args:
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, ...; None decides at first need: CUDA where torch has it.
        budget_nbytes: how much the materialised objects and what is reserved beside them may hold; None for 90% of the
            memory that is free at first need.
        folders: where the files lie; the default ones when None.
        host_nbytes: how much of what is evicted may wait in main memory; None for half of what is free at first need,
            and for nothing on the CPU.
        dtypes: what the user wants networks to compute in, by the kind of their recipes, for loaders that ask.
    """

    def __init__(
        self,
        device: str | None = None,
        budget_nbytes: int | None = None,
        folders: Folders | None = None,
        *,
        host_nbytes: int | None = None,
        dtypes: Mapping[str, str] | None = None,
    ) -> None:
        self.dtypes: Mapping[str, str] = dtypes or {}
        self.salt = ", ".join(f"{kind} in {dtype}" for kind, dtype in sorted(self.dtypes.items()))
        self._device = device
        self._budget_nbytes = budget_nbytes
        self._host_nbytes = host_nbytes
        self._folders = folders
        self._loaders: dict[str, Loader] = {}
        self._entries: dict[Any, Entry] = {}
        self._latest: _Latest | None = None
        self._rooms: list[int] = []
        self._loading = threading.local()
        self._uses = itertools.count(1)
        self._lock = threading.RLock()

    @property
    def device(self) -> str:
        """Where recipes are materialised. If it was not given, asking imports torch."""
        if self._device is None:
            self._device = "cuda" if _has_cuda() else "cpu"
        return self._device

    @property
    def folders(self) -> Folders:
        if self._folders is None:
            from .folders import Folders

            self._folders = Folders.default()
        return self._folders

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
        return max(self._rooms, default=0)

    def register(self, kind: str, loader: Loader) -> None:
        """Materialise recipes of a kind with this loader in place of their own `load`."""
        self._loaders[kind] = loader

    def borrow(self, recipe: Loadable) -> Loan:
        """A context manager that gives the materialised recipe, made if need be; it stays while the context lasts.

        Entering raises OutOfMemoryError when it does not fit, and whatever else the loader raises.
        """
        return Loan(self, recipe)

    def _count_in(self, entry: Entry) -> None:
        """One more borrows this, so it is used now, and so is what it stands on. With the lock held."""
        entry.borrowers += 1
        entry.last_use = next(self._uses)
        for part in entry.parts:
            part.last_use = next(self._uses)

    def _acquire(self, weights: Any) -> Entry:
        while True:
            with self._lock:
                entry = self._entries.get(weights)
                is_ours = entry is None
                if entry is None:
                    entry = self._entries[weights] = Entry()
                self._count_in(entry)
            if is_ours:
                self._materialise(weights, entry)
            else:
                entry.is_settled.wait()
                if entry.host_nbytes:
                    self._bring_back(entry)
            if entry.loaded is not None:
                return entry
            # The thread that was making it failed, and said why to its own caller: try again here.

    def _materialise(self, weights: Any, entry: Entry) -> None:
        loader = self._loaders.get(weights.kind)
        under_way = self._under_way()
        try:
            budget_nbytes = self.budget_nbytes
            for part in getattr(weights, "parts", ()):
                entry.parts += (self._acquire(part),)
            under_way.append(entry)
            try:
                loaded = loader(weights, self) if loader else weights.load(self)
            finally:
                under_way.pop()
            with self._lock:
                entry.loaded, entry.nbytes = loaded, loaded.nbytes
                entry.host_nbytes = max((loaded.whole_nbytes or 0) - loaded.nbytes, 0)
                self._evict(self.total_nbytes + self.working_nbytes - budget_nbytes)
        except BaseException:
            with self._lock:
                self._drop(weights)
            raise
        finally:
            entry.is_settled.set()

    def _bring_back(self, entry: Entry) -> None:
        """Move to the device what waits in main memory: all that fits, if nobody but the caller uses the object."""
        with self._lock:
            loaded = entry.loaded
            is_used = entry.borrowers > 1 and not entry.is_parked
            if loaded is None or loaded.movable is None or not entry.host_nbytes or is_used:
                return
            whole_nbytes = loaded.whole_nbytes or loaded.nbytes
            try:
                least = max(loaded.movable.least_nbytes - entry.nbytes, 0) if entry.is_parked else 0
                more = self._make_room(whole_nbytes - entry.nbytes, least, "using a model again", is_loading=True)
                if more >= min(whole_nbytes - entry.nbytes, MOVED_NBYTES) or entry.is_parked:
                    entry.nbytes = loaded.movable.to_device(entry.nbytes + more)
                    entry.host_nbytes = max(whole_nbytes - entry.nbytes, 0)
            except BaseException:
                entry.borrowers -= 1
                raise

    def _under_way(self) -> list[Entry]:
        """What this thread is loading, the innermost last."""
        if not hasattr(self._loading, "entries"):
            self._loading.entries = []
        entries: list[Entry] = self._loading.entries
        return entries

    def reserve(self, nbytes: int, what: str) -> Room:
        """Make sure that so much memory can be had now, evicting what nobody borrows.

        A loader's reservation counts as held until its object is there. Elsewhere nothing is set aside but in a `with`:
        then what is loaded meanwhile leaves so much free.

        Args:
            nbytes: a rough estimate is enough. what: begins the error's sentence: `"decoding a 512×512 picture"`.

        Raises:
            OutOfMemoryError: it does not fit, whatever is evicted; nothing was.
        """
        self._reserve(nbytes, nbytes, what)
        return Room(self._rooms, nbytes)

    def reserve_part(self, nbytes: int, least_nbytes: int, what: str) -> int:
        """`reserve` for a loader whose object can do with less on a device with memory of its own: how much it gets.

        Raises:
            OutOfMemoryError: not even `least_nbytes` fit.
        """
        return self._reserve(nbytes, min(nbytes, least_nbytes) if self.host_nbytes else nbytes, what)

    def _reserve(self, nbytes: int, least_nbytes: int, what: str) -> int:
        under_way = self._under_way()
        with self._lock:
            granted = self._make_room(nbytes, least_nbytes, what, is_loading=bool(under_way))
            if under_way:
                under_way[-1].nbytes += granted
            return granted

    def _make_room(self, nbytes: int, least_nbytes: int, what: str, *, is_loading: bool) -> int:
        """Free as many bytes as can be had of `nbytes`, and say how many to take. Raises OutOfMemoryError: too few."""
        kept = self.working_nbytes if is_loading else 0
        available = min(free_nbytes(self.device), self.budget_nbytes - self.total_nbytes - kept)
        idle = sum(entry.nbytes for entry in self._evictable())
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

    def _evictable(self) -> list[Entry]:
        """What could be let go of: what nobody borrows, and what only such entries stand on."""
        borrowers = {entry: entry.borrowers for entry in self._entries.values() if entry.loaded}
        found: list[Entry] = []
        while idle := [entry for entry, count in borrowers.items() if not count]:
            found += idle
            for entry in idle:
                del borrowers[entry]
                for part in entry.parts:
                    borrowers[part] -= 1
        return found

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
        """Move an idle object to main memory, if it can be and there is room: what waited longest makes it."""
        assert entry.loaded is not None
        nbytes = entry.loaded.whole_nbytes or entry.loaded.nbytes
        if entry.loaded.movable is None or nbytes > self.host_nbytes:
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


def _in_words(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"


def _has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
