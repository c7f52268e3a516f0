"""Where saved files go. The output folder is the store that is there; plugins bring others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from io import BytesIO
from typing import IO, TYPE_CHECKING, Protocol

from .output_file import fill_placeholders, output_series

if TYPE_CHECKING:
    from .folders import Folders
    from .run_record import FileClaims

LOCAL = "local"
"""The name of the store that is the output folder."""


@dataclass(frozen=True, slots=True)
class OutputName:
    """What a node calls a file that it saves. The store adds a number, so that nothing is overwritten.

    Attributes:
        prefix: a path below the outputs, parted by '/'; placeholders for size and time are filled in.
        extension: with its dot. batch_index: which of several, for `%batch_num%` in the prefix.
        claims: in a job that may be taken up again after a crash, remember what it wrote.
    """

    prefix: str
    extension: str = ".png"
    batch_index: int = 0
    claims: FileClaims | None = None


class OutputStore(Protocol):
    """Keeps the files that workflows make. Called on several threads at once.

    A store may have `save_large(write, name)`, too: as `save`, of a file that `write`, called with one that is open,
    writes bit by bit.
    """

    def save(self, data: bytes, name: OutputName) -> Mapping[str, str]:
        """Keep a file; return what clients ask for it by: `{"filename": ..., "subfolder": ..., "type": "output"}`.

        A further `"url"` tells people where it can be had directly.

        Raises:
            OutputError: it cannot be kept; nothing of it was.
        """

    def read(self, filename: str, subfolder: str) -> bytes | None:
        """A file that `save` kept, by what it returned; None when there is none."""


class LocalStore:
    """The output folder: numbered files in it and its sub-folders."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    def save(self, data: bytes, name: OutputName) -> Mapping[str, str]:
        """Write the next file of a series. Raises OutputError."""
        series = replace(output_series(self._folders.output, name.prefix), claims=name.claims)
        return series.save(data, name.extension, name.batch_index).shown()

    def save_large(self, write: Callable[[IO[bytes]], None], name: OutputName) -> Mapping[str, str]:
        """As `save`, a file that is never in memory as a whole: `write` is given it, open."""
        series = replace(output_series(self._folders.output, name.prefix), claims=name.claims)
        return series.save_large(write, name.extension).shown()

    def read(self, filename: str, subfolder: str) -> bytes | None:
        """A file of the folder."""
        path = self._folders.output / subfolder / filename
        is_inside = path.resolve().is_relative_to(self._folders.output.resolve())
        return path.read_bytes() if is_inside and path.is_file() else None


@dataclass(slots=True)
class Outputs:
    """Where the files of one engine go.

    Attributes:
        folders: where previews go. name: of the store in use. makers: what makes each store there is, by name.
        claims: see `OutputName`.
    """

    folders: Folders
    name: str = LOCAL
    makers: dict[str, Callable[[Folders], OutputStore]] = field(default_factory=lambda: {LOCAL: LocalStore})
    claims: FileClaims | None = None
    _store: OutputStore | None = None

    @property
    def store(self) -> OutputStore:
        """The store in use, made when it is needed first."""
        if self._store is None:
            self._store = self.makers[self.name](self.folders)
        return self._store

    def claiming(self, claims: FileClaims) -> Outputs:
        """The same store for one call of a step."""
        return Outputs(self.folders, self.name, self.makers, claims, self.store)

    def series(self, prefix: str, *, width: int = 0, height: int = 0, now: datetime | None = None) -> OutputNames:
        """The files of one prefix; size in pixels and time fill its placeholders."""
        return OutputNames(self.store, fill_placeholders(prefix, width, height, now), self.claims)


@dataclass(frozen=True, slots=True)
class OutputNames:
    """Saves the files of one prefix."""

    store: OutputStore
    prefix: str
    claims: FileClaims | None = None

    def save(self, data: bytes, extension: str = ".png", batch_index: int = 0) -> Mapping[str, str]:
        """Save the next file; returns its entry for `ctx.show(images=[...])`. Raises OutputError."""
        return self.store.save(data, OutputName(self.prefix, extension, batch_index, self.claims))

    def save_large(self, write: Callable[[IO[bytes]], None], extension: str) -> Mapping[str, str]:
        """As `save`, a file that `write` writes bit by bit; a store without a `save_large` gets it as a whole."""
        name = OutputName(self.prefix, extension, 0, self.claims)
        if save_large := getattr(self.store, "save_large", None):
            saved: Mapping[str, str] = save_large(write, name)
            return saved
        buffer = BytesIO()
        write(buffer)
        return self.store.save(buffer.getvalue(), name)
