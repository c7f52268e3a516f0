"""What is remembered of a run over several attempts at it, by whoever keeps jobs; the engine keeps nothing itself.

A process may die at any moment. An attempt that follows takes output nodes that had finished as done, and a file that
was written, or about to be, keeps its name: nothing is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from blake3 import blake3

from .atomic_file import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, new_file, publish_new, write_new

UNKNOWN = ""
"""The digest of a file that is about to be written and not known yet."""


class FileClaim(NamedTuple):
    """A file that a step writes: its path, and the blake3 hash of what it holds."""

    path: Path
    digest: str

    @property
    def is_met(self) -> bool:
        """Whether the file is there, and is that one."""
        try:
            return blake3().update_mmap(self.path).hexdigest() == self.digest
        except OSError:
            return False


class RunRecord(Protocol):
    """Remembers a run. What it is told has been kept when a method returns; lanes call it, too.

    Attributes:
        finished: what output nodes of earlier attempts showed, by step; they are not run again.
    """

    finished: Mapping[str, dict[str, list[Any]] | None]

    def began(self, step_id: str, parents: Iterable[str]) -> None:
        """A body of the step is about to be called: the steps whose values it takes are done."""

    def claimed(self, step_id: str, ordinal: str) -> FileClaim | None:
        """The file that the step's save of that ordinal was to write in an earlier attempt, or in this."""

    def claim(self, step_id: str, ordinal: str, claim: FileClaim) -> bool:
        """The file that it is to write now; False when another job has claimed that path."""


class FileClaims:
    """The files that one call of a step writes, each once however many attempts it takes."""

    def __init__(self, record: RunRecord, job_id: str, step_id: str, call_index: int) -> None:
        self._record, self._job_id, self._step_id, self._call_index = record, job_id, step_id, call_index
        self._count = 0

    def write(self, folder: Path, names: Iterable[str], data: bytes) -> str:
        """Write a file under the first of `names` that is free, or have it as an earlier attempt wrote it.

        Returns:
            Its name. Raises OSError as `write_new` does.
        """
        ordinal, earlier = self._next(folder)
        if earlier is not None:
            if earlier.is_met:
                return earlier.path.name
            names = chain([earlier.path.name], names)
        claimed = self._claimed(folder, names, ordinal, blake3(data).hexdigest())
        first = next(claimed)  # claimed before a byte is written, so that what is left of it can be found
        temporary = temporary_name(self._job_id, self._step_id, ordinal)
        return write_new(folder, chain([first], claimed), data, temporary)

    def write_large(self, folder: Path, names: Iterable[str], write: Callable[[IO[bytes]], None]) -> str:
        """As `write`, a file that is never in memory as a whole: `write` is given it, open."""
        ordinal, earlier = self._next(folder)
        if earlier is not None:
            if earlier.is_met:
                return earlier.path.name
            names = chain([earlier.path.name], names)
        first = next(self._claimed(folder, names, ordinal, UNKNOWN))
        with new_file(folder, temporary_name(self._job_id, self._step_id, ordinal)) as (temporary, file):
            write(file)
            file.close()
            digest = blake3().update_mmap(temporary).hexdigest()
            return publish_new(temporary, self._claimed(folder, chain([first], names), ordinal, digest))

    def _next(self, folder: Path) -> tuple[str, FileClaim | None]:
        """Which save of the step this is, and what it was to write into this folder in an earlier attempt."""
        ordinal = f"{self._call_index}.{self._count}"
        self._count += 1
        earlier = self._record.claimed(self._step_id, ordinal)
        return ordinal, earlier if earlier is not None and earlier.path.parent == folder else None

    def _claimed(self, folder: Path, names: Iterable[str], ordinal: str, digest: str) -> Iterator[str]:
        for name in names:
            if self._record.claim(self._step_id, ordinal, FileClaim(folder / name, digest)):
                yield name


def temporary_name(job_id: str, step_id: str, ordinal: str) -> str:
    """What a file is called until it is whole, so that what a dead process left can be found."""
    token = blake3(f"{job_id} {step_id} {ordinal}".encode()).hexdigest()[:32]
    return f"{TEMPORARY_PREFIX}{token}{TEMPORARY_SUFFIX}"
