"""What the residency manager wants of recipes, what loaders give it, and its own record of each object."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

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
        movable: its weights, if they can be moved to main memory and back; else the object is dropped and made anew.
        whole_nbytes: what it would hold if it were all on the device; `nbytes` when None.
    """

    object: Any
    nbytes: int
    movable: Movable | None = None
    whole_nbytes: int | None = None


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
    """Memory that `Residency.reserve` found. While it is entered, it is kept free of what is loaded meanwhile."""

    __slots__ = ("_nbytes", "_rooms")

    def __init__(self, rooms: list[int], nbytes: int) -> None:
        self._rooms, self._nbytes = rooms, nbytes

    def __enter__(self) -> None:
        self._rooms.append(self._nbytes)

    def __exit__(self, *_: object) -> None:
        self._rooms.remove(self._nbytes)
