"""The residency manager: materialises recipes on a device, shares what they became, and evicts by a budget.

A recipe is a small immutable description; what it becomes (weights, normally) is made at first need, once however many
threads ask, and stays while the budget allows. Torch is imported only to find the device or its free memory.
"""

from __future__ import annotations

import gc
import itertools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .errors import OutOfMemoryError
from .free_memory import free_nbytes

if TYPE_CHECKING:
    from .folders import Folders

BUDGET_SHARE = 0.9
"""The default budget, as a share of the memory that is free when the first recipe is materialised."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a loader made: the object and the bytes it holds on the device."""

    object: Any
    nbytes: int


class Loadable(Protocol):
    """What the manager wants of a recipe, beside that it can be hashed and compared."""

    @property
    def kind(self) -> str:
        """Which registered loader it wants, if there is one: `"model"`."""

    @property
    def weights(self) -> Any:
        """The recipe without what changes no weights: recipes that agree in this share one object."""

    def load(self, residency: Residency) -> Loaded:
        """Make the object; how recipes of a kind with no registered loader are materialised.

        What it borrows in there and goes on using must be named by its attribute `parts`, a tuple of `weights` of other
        recipes (a recipe that stands on nothing needs no such attribute): they stay as long as the object does.
        """

    def configure(self, loaded: Any) -> Any:
        """The shared object as this recipe wants it. Must be cheap and must not change the shared one."""


Loader = Callable[[Any, "Residency"], Loaded]


@dataclass(frozen=True, slots=True)
class Resident:
    """A recipe that is materialised, for reports."""

    recipe: Any
    nbytes: int
    is_borrowed: bool


@dataclass(slots=True, eq=False)
class _Entry:
    """One materialised object. borrowers: loans, and the entries that stand on this one, its `parts`."""

    borrowers: int = 0
    last_use: int = 0
    loaded: Loaded | None = None
    parts: tuple[_Entry, ...] = ()
    is_settled: threading.Event = field(default_factory=threading.Event)


class _Latest(NamedTuple):
    """What was borrowed last, and what it was configured to. To hash a recipe takes long after a forward."""

    recipe: Any
    entry: _Entry
    configured: Any


class Loan:
    """What `Residency.borrow` gives. A class and not a generator, since samplers borrow at every step."""

    __slots__ = ("_entry", "_recipe", "_residency")

    def __init__(self, residency: Residency, recipe: Loadable) -> None:
        self._residency, self._recipe = residency, recipe

    def __enter__(self) -> Any:
        again = self._residency._acquire_again(self._recipe)
        if again is not None:
            self._entry = again.entry
            return again.configured
        self._entry = self._residency._acquire(self._recipe.weights)
        assert self._entry.loaded is not None
        try:
            configured = self._recipe.configure(self._entry.loaded.object)
        except BaseException:
            self._residency._give_back(self._entry)
            raise
        self._residency._latest = _Latest(self._recipe, self._entry, configured)
        return configured

    def __exit__(self, *_: object) -> None:
        self._residency._give_back(self._entry)


class Residency:
    """What is materialised on one device. Safe for threads.

    Args:
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, ...; None decides at first need: CUDA where torch has it.
        budget_nbytes: how much the materialised objects and what is reserved beside them may hold; None for 90% of the
            memory that is free at first need.
        folders: where the files lie; the default ones when None.
    """

    def __init__(
        self, device: str | None = None, budget_nbytes: int | None = None, folders: Folders | None = None
    ) -> None:
        self._device = device
        self._budget_nbytes = budget_nbytes
        self._folders = folders
        self._loaders: dict[str, Loader] = {}
        self._entries: dict[Any, _Entry] = {}
        self._latest: _Latest | None = None
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
    def total_nbytes(self) -> int:
        """How much the materialised objects hold, by their loaders' account."""
        with self._lock:
            return sum(entry.loaded.nbytes for entry in self._entries.values() if entry.loaded)

    def register(self, kind: str, loader: Loader) -> None:
        """Materialise recipes of a kind with this loader in place of their own `load`."""
        self._loaders[kind] = loader

    def borrow(self, recipe: Loadable) -> Loan:
        """A context manager that gives the materialised recipe, made if need be; it stays while the context lasts.

        Entering raises OutOfMemoryError when it does not fit, and whatever else the loader raises.
        """
        return Loan(self, recipe)

    def _give_back(self, entry: _Entry) -> None:
        with self._lock:
            entry.borrowers -= 1

    def _acquire_again(self, recipe: Loadable) -> _Latest | None:
        """What was borrowed last, if it was by this very object and is still here."""
        with self._lock:
            latest = self._latest
            if latest is None or latest.recipe is not recipe:
                return None
            latest.entry.borrowers += 1
            for used in (latest.entry, *latest.entry.parts):
                used.last_use = next(self._uses)
            return latest

    def _acquire(self, weights: Any) -> _Entry:
        while True:
            with self._lock:
                entry = self._entries.get(weights)
                is_ours = entry is None
                if entry is None:
                    entry = self._entries[weights] = _Entry()
                entry.borrowers += 1
                for used in (entry, *entry.parts):
                    used.last_use = next(self._uses)
            if is_ours:
                self._materialise(weights, entry)
            else:
                entry.is_settled.wait()
            if entry.loaded is not None:
                return entry
            # The thread that was making it failed, and said why to its own caller: try again here.

    def _materialise(self, weights: Any, entry: _Entry) -> None:
        loader = self._loaders.get(weights.kind)
        try:
            budget_nbytes = self.budget_nbytes
            for part in getattr(weights, "parts", ()):
                entry.parts += (self._acquire(part),)
            entry.loaded = loader(weights, self) if loader else weights.load(self)
            with self._lock:
                self._evict(self.total_nbytes - budget_nbytes)
        except BaseException:
            with self._lock:
                self._drop(weights)
            raise
        finally:
            entry.is_settled.set()

    def reserve(self, nbytes: int, what: str) -> None:
        """Make sure that so much memory can be had now, evicting what nobody borrows. Nothing is set aside.

        Args:
            nbytes: a rough estimate is enough. what: begins the error's sentence: `"decoding a 512×512 picture"`.

        Raises:
            OutOfMemoryError: it does not fit, whatever is evicted; nothing was.
        """
        with self._lock:
            available = min(free_nbytes(self.device), self.budget_nbytes - self.total_nbytes)
            idle = sum(entry.loaded.nbytes for entry in self._evictable() if entry.loaded)
            if nbytes > available + idle:
                most = max(available + idle, 0)
                raise OutOfMemoryError(
                    f"{what} needs about {_in_words(nbytes)} of memory, and {_in_words(most)} can be had on "
                    f"{self._device_in_words()}; choose a smaller size or batch, or free some memory"
                )
            self._evict(nbytes - available)

    def clear(self) -> None:
        """Let go of everything that nobody borrows."""
        with self._lock:
            self._drop_oldest(math.inf)
        gc.collect()

    def residents(self) -> list[Resident]:
        """What is materialised now, the least recently used first."""
        with self._lock:
            return [
                Resident(weights, entry.loaded.nbytes, entry.borrowers > 0)
                for weights, entry in self._by_use()
                if entry.loaded
            ]

    def _evictable(self) -> list[_Entry]:
        """What could be let go of: what nobody borrows, and what only such entries stand on."""
        borrowers = {entry: entry.borrowers for entry in self._entries.values() if entry.loaded}
        found: list[_Entry] = []
        while idle := [entry for entry, count in borrowers.items() if not count]:
            found += idle
            for entry in idle:
                del borrowers[entry]
                for part in entry.parts:
                    borrowers[part] -= 1
        return found

    def _by_use(self) -> list[tuple[Any, _Entry]]:
        """The least recently used first."""
        return sorted(self._entries.items(), key=lambda item: item[1].last_use)

    def _evict(self, nbytes: int) -> None:
        """Let go of idle entries until so many bytes are freed, or none is left."""
        if nbytes > 0 and self._drop_oldest(nbytes):
            gc.collect()  # modules may refer to themselves in circles

    def _drop_oldest(self, nbytes: float) -> bool:
        dropped = 0
        while dropped < nbytes:
            oldest = next((pair for pair in self._by_use() if pair[1].loaded and not pair[1].borrowers), None)
            if oldest is None:
                break
            weights, entry = oldest
            assert entry.loaded is not None
            dropped += entry.loaded.nbytes
            self._drop(weights)
        return dropped > 0

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
