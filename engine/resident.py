"""What the residency manager wants of recipes, what loaders give it, and its own record of each object."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from .residency import Residency


class Movable(Protocol):
    """The weights of an object, where they can be moved between the device and main memory."""

    @property
    def least_nbytes(self) -> int:
        """What they must take on the device, if most of them are fetched only while they are used."""

    def to_host(self) -> None:
        """Move all of them to main memory."""

    def to_device(self, most_nbytes: int) -> int:
        """Move to the device what fits into so many bytes, at least `least_nbytes`; returns what they take there.

        The rest stays in main memory and is fetched whenever it is used. Nobody uses the object meanwhile.
        """


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a loader made: the object and the bytes it holds on the device.

    Attributes:
        movable: its weights, if they can be moved to main memory and back; else, and if it stands on others, the object
            is dropped and made anew.
        whole_nbytes: what it would hold if it were all on the device; `nbytes` when None.
    """

    object: Any
    nbytes: int
    movable: Movable | None = None
    whole_nbytes: int | None = None


class Loadable(Protocol):
    """What the manager wants of a recipe, beside that it can be hashed and compared.

    Its `weights` may have a method `files(folders)`, which gives the paths of the files that they are read from: then
    these can be read ahead.
    """

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


@dataclass(frozen=True, slots=True)
class Resident:
    """A recipe that is materialised, for reports.

    Attributes:
        nbytes: what it holds on the device. offloaded_nbytes: what of it waits in main memory.
    """

    recipe: Any
    nbytes: int
    is_borrowed: bool
    offloaded_nbytes: int = 0


@dataclass(slots=True, eq=False)
class Entry:
    """One materialised object.

    Attributes:
        borrowers: loans, and the entries that stand on this one, its `parts`.
        nbytes: what it takes on the device; while it is loaded, what was reserved for it so far.
        host_nbytes: what of it lies in main memory.
    """

    borrowers: int = 0
    last_use: int = 0
    nbytes: int = 0
    host_nbytes: int = 0
    loaded: Loaded | None = None
    parts: tuple[Entry, ...] = ()
    is_settled: threading.Event = field(default_factory=threading.Event)

    @property
    def is_parked(self) -> bool:
        """Whether all of it lies in main memory."""
        return self.loaded is not None and not self.nbytes and self.host_nbytes > 0

    @property
    def is_here(self) -> bool:
        """Whether it can be used as it is."""
        return self.loaded is not None and not self.is_parked


class Room:
    """Memory that `Residency.reserve` found. While it is entered, it is kept free of what is loaded meanwhile; of what
    is fetched ahead, as long as it exists."""

    __slots__ = ("__weakref__", "_rooms", "nbytes")

    def __init__(self, rooms: Rooms, nbytes: int) -> None:
        self._rooms, self.nbytes = rooms, nbytes
        rooms.found.add(self)

    def __enter__(self) -> None:
        self._rooms.entered.append(self.nbytes)

    def __exit__(self, *_: object) -> None:
        self._rooms.entered.remove(self.nbytes)


class Rooms:
    """The rooms of one manager: sizes of those that are entered, and all that exist."""

    def __init__(self) -> None:
        self.entered: list[int] = []
        self.found: WeakSet[Room] = WeakSet()

    @property
    def kept_nbytes(self) -> int:
        """How much is kept free. Steps of several runs take turns, so it is the most."""
        return max(self.entered, default=0)

    @property
    def found_nbytes(self) -> int:
        """How much may be used by those who asked for it."""
        return max((room.nbytes for room in [*self.found]), default=0)


class NotNowError(Exception):
    """What is fetched ahead would have to wait, or something would have to make way for it."""
