"""The residency manager: materialises recipes on a device, shares what they became, and evicts by a budget.

A recipe is a small immutable description; what it becomes (weights, normally) is made at first need, once however many
threads ask, and stays while the budget allows. What is evicted waits in main memory, where there is room for it, if the
device has memory of its own. Torch is imported only to find the device or its free memory.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from .memory_account import MemoryAccount
from .read_ahead import read_ahead
from .resident import Entry, Loadable, Loaded, NotNowError, Resident, Room

if TYPE_CHECKING:
    from .folders import Folders

__all__ = ["Loadable", "Loaded", "Residency", "Resident"]

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
        residency.was_borrowed()
        return configured

    def __exit__(self, *_: object) -> None:
        with self._residency._lock:
            self._entry.borrowers -= 1


class Residency(MemoryAccount):
    """What is materialised on one device. Safe for threads.

    Attributes:
        salt: what of its settings makes other results; "" when nothing was said.
        was_borrowed: called when something is borrowed, but for what was borrowed last.

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
        super().__init__(device, budget_nbytes, host_nbytes)
        self.dtypes: Mapping[str, str] = dtypes or {}
        self.salt = ", ".join(f"{kind} in {dtype}" for kind, dtype in sorted(self.dtypes.items()))
        self._folders = folders
        self._loaders: dict[str, Loader] = {}
        self._loading = threading.local()
        self._uses = itertools.count(1)
        self._ahead_thread: int | None = None
        self._is_wanted: Callable[[], bool] = bool
        self.was_borrowed: Callable[[], object] = bool
        self._ahead_ended = threading.Condition(self._lock)

    @property
    def folders(self) -> Folders:
        if self._folders is None:
            from .folders import Folders

            self._folders = Folders.default()
        return self._folders

    def register(self, kind: str, loader: Loader) -> None:
        """Materialise recipes of a kind with this loader in place of their own `load`."""
        self._loaders[kind] = loader

    def borrow(self, recipe: Loadable) -> Loan:
        """A context manager that gives the materialised recipe, made if need be; it stays while the context lasts.

        Entering raises OutOfMemoryError when it does not fit, and whatever else the loader raises.
        """
        return Loan(self, recipe)

    def has(self, recipe: Loadable) -> bool:
        """Whether it is materialised on the device, at least in part. Waits for nothing."""
        entry = self._entries.get(recipe.weights)
        return entry is not None and entry.is_here

    def fetch_ahead(self, recipe: Loadable, is_wanted: Callable[[], bool]) -> None:
        """Have a recipe closer before it is borrowed. One thread at a time; who borrows it meanwhile waits for that.

        Its files are read, if the system can be told so. On a device with memory of its own it is also materialised, or
        brought back there, if all of it fits: nothing makes way for it. Once there, it makes way like all that is idle.

        Args:
            is_wanted: asked now and then; False ends it.

        Raises:
            Exception: what its loader raises, and will raise again where it is borrowed.
        """
        weights = recipe.weights
        with self._lock:
            entry = self._entries.get(weights)
            absent = [*self._absent(weights)]
        for path in (path for part in absent if hasattr(part, "files") for path in part.files(self.folders)):
            read_ahead(path, is_wanted)
        if (entry is None or entry.is_parked) and self.host_nbytes and is_wanted():
            self._materialise_ahead(weights, is_wanted)

    def _absent(self, weights: Any) -> Iterator[Any]:
        """Of a recipe and what it stands on, what is not there and not being made."""
        if weights not in self._entries:
            yield weights
            for part in getattr(weights, "parts", ()):
                yield from self._absent(part)

    def _materialise_ahead(self, weights: Any, is_wanted: Callable[[], bool]) -> None:
        with self._lock:
            self._ahead_thread, self._is_wanted = threading.get_ident(), is_wanted
        try:
            with suppress(NotNowError):
                entry = self._acquire(weights)
                with self._lock:
                    entry.borrowers -= 1
        finally:
            with self._lock:
                self._ahead_thread = None
                self._ahead_ended.notify_all()

    def _let_ahead_end(self, nbytes: int, *, is_loading: bool) -> None:
        """Where so much is not free, wait for what is being fetched ahead: then it can make way. With the lock held.

        That waits for nobody, so this ends.
        """
        while self._ahead_thread is not None and self._free(self.working_nbytes if is_loading else 0) < nbytes:
            self._ahead_ended.wait()

    def _require_free(self, nbytes: int) -> None:
        """On the thread that fetches ahead, with the lock held. Raises NotNowError: so much is not free."""
        if self._free(max(self.working_nbytes, self._rooms.found_nbytes)) < nbytes:
            raise NotNowError

    @property
    def _is_ahead(self) -> bool:
        """Whether this thread fetches ahead."""
        return self._ahead_thread == threading.get_ident()

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
            elif self._is_ahead:
                self._bring_back_ahead(weights, entry)
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
                if self._is_ahead:
                    self._require_free(loaded.nbytes - entry.nbytes)  # of what its loader did not reserve
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
            self._let_ahead_end(entry.host_nbytes, is_loading=True)
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

    def _bring_back_ahead(self, weights: Any, entry: Entry) -> None:
        """`_bring_back` of an object that waits and nobody uses, with others free to use the manager meanwhile.

        Raises:
            NotNowError: that cannot be now.
        """
        with self._lock:
            loaded = entry.loaded
            is_ready = entry.is_settled.is_set() and loaded is not None
            if is_ready and not entry.is_parked:
                return
            if not is_ready or entry.borrowers > 1 or loaded is None or loaded.movable is None:
                entry.borrowers -= 1
                raise NotNowError
            whole_nbytes = loaded.whole_nbytes or loaded.nbytes
            try:
                self._require_free(whole_nbytes)
            except BaseException:
                entry.borrowers -= 1
                raise
            entry.nbytes, entry.host_nbytes = whole_nbytes, 0
            entry.is_settled.clear()
        try:
            loaded.movable.to_device(whole_nbytes)
        except BaseException:
            with self._lock:
                entry.loaded = None
                self._drop(weights)
            raise
        finally:
            entry.is_settled.set()

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
        is_loading = bool(under_way)
        with self._lock:
            if self._is_ahead:
                if not self._is_wanted():
                    raise NotNowError
                self._require_free(nbytes)
                granted = nbytes
            else:
                self._let_ahead_end(nbytes, is_loading=is_loading)
                granted = self._make_room(nbytes, least_nbytes, what, is_loading=is_loading)
            if under_way:
                under_way[-1].nbytes += granted
            return granted
