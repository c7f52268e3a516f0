"""The jobs that wait, in order, and those that run: what the worker decides by. The database holds the jobs themselves.

The rule: the lowest number goes first, of equal ones the earlier. A number that somebody chose (with `number`, `front`,
a move, a priority) is absolute: nothing passes such a job, and it passes nothing. Among jobs numbered by the server
that no such job parts, clients take turns: whose job began longest ago is next, with the first of its jobs.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .job import Job

MAX_TURNS = 10_000
"""How many clients' turns are remembered."""
MAX_HELD = 200
"""How many waiting jobs are kept in memory whole; others are read from the database when their turn comes."""

MAX_BASE = 1e12
"""Numbers beyond are not counted from, so that one more always makes a difference."""


@dataclass(slots=True, eq=False)
class Entry:
    """A job that waits or runs.

    Attributes:
        arrival: counts up with each submission. is_suspect: the process died while it ran, so it runs alone.
        is_resumed: it ran before.
        job: the job itself, or None when it is to be read from the database.
    """

    job_id: str
    number: float
    arrival: int
    client_id: str | None = None
    is_fixed: bool = False
    is_suspect: bool = False
    is_resumed: bool = False
    job: Job | None = None

    @property
    def place(self) -> tuple[float, int]:
        return self.number, self.arrival


def place_of(entry: Entry) -> tuple[float, int]:
    return entry.place


class JobQueue:
    """The order of the jobs. Used on the event loop's thread only.

    Args:
        on_change: called when the number of jobs may have changed, and when one begins.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.running: dict[str, Entry] = {}
        self.is_paused = False
        self._on_change = on_change
        self._pending: dict[str, Entry] = {}
        self._fixed: list[Entry] = []
        self._by_client: dict[str | None, list[Entry]] = {}
        self._turns: dict[str | None, int] = {}
        self._turn = 0
        self._counter = 0

    @property
    def pending(self) -> list[Entry]:
        """The jobs that wait, by their numbers."""
        return sorted(self._pending.values(), key=place_of)

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    @property
    def remaining(self) -> int:
        """How many jobs wait or run."""
        return len(self._pending) + len(self.running)

    def count_from(self, number: int) -> None:
        """Let numbers that the server gives begin here."""
        self._counter = number

    @property
    def upcoming_number(self) -> int:
        """The number that the next job gets that names none."""
        return self._counter

    def next_number(self, *, front: bool = False) -> int:
        """The number of a job that names none: counts up from 0; negative for one that goes to the front."""
        number = self._counter
        self._counter += 1
        return -number if front else number

    def has(self, job_id: str) -> bool:
        """Whether a job of that id waits or runs."""
        return job_id in self._pending or job_id in self.running

    def waits(self, job_id: str) -> bool:
        return job_id in self._pending

    def put(self, *entries: Entry) -> None:
        """Add jobs."""
        for entry in entries:
            if len(self._pending) >= MAX_HELD and not (entry.job and entry.job.secrets):
                entry.job = None
            self._pending[entry.job_id] = entry
            insort(self._line(entry), entry, key=place_of)
        self._on_change()

    def next(self) -> Entry | None:
        """The job whose turn it is; None when none waits."""
        heads = [line[0] for line in self._by_client.values()]
        if self._fixed:
            heads = [entry for entry in heads if entry.place < self._fixed[0].place]
            if not heads:
                return self._fixed[0]
        return min(heads, key=lambda entry: (self._turns.get(entry.client_id, 0), *entry.place), default=None)

    def take(self, entry: Entry) -> None:
        """The job runs from now on."""
        self._forget(entry)
        self.running[entry.job_id] = entry
        self._turn += 1
        self._turns.pop(entry.client_id, None)
        self._turns[entry.client_id] = self._turn
        if len(self._turns) > MAX_TURNS:
            del self._turns[next(iter(self._turns))]
        self._on_change()

    def finish(self, job_id: str) -> None:
        """A running job ended."""
        self.running.pop(job_id, None)
        self._on_change()

    def remove(self, job_ids: Iterable[str]) -> list[str]:
        """Drop waiting jobs; returns the ids of those that did wait."""
        found = [job_id for job_id in dict.fromkeys(job_ids) if job_id in self._pending]
        for job_id in found:
            self._forget(self._pending[job_id])
        self._on_change()
        return found

    def move(self, job_id: str, number: float) -> None:
        """Give a waiting job a number that counts."""
        entry = self._pending[job_id]
        self._forget(entry)
        entry.number, entry.is_fixed = number, True
        self._pending[job_id] = entry
        insort(self._line(entry), entry, key=place_of)

    def number_at_front(self) -> float:
        """A number that goes before all that wait."""
        return min((entry.number for entry in self._pending.values()), default=0.0) - 1

    def number_at_back(self) -> float:
        """A number that goes behind all that wait, and before those that the server numbers later."""
        return max([self.next_number(), *(entry.number + 1 for entry in self._pending.values())])

    def number_beside(self, job_id: str, other_id: str, *, is_before: bool) -> float | None:
        """A number that takes a job right before or behind another; None when there is none between two others."""
        entries = [entry for entry in self.pending if entry.job_id != job_id]
        at = next(index for index, entry in enumerate(entries) if entry.job_id == other_id) + (not is_before)
        if at == 0:
            return entries[0].number - 1
        if at == len(entries):
            return entries[-1].number + 1
        low, high = entries[at - 1].number, entries[at].number
        middle = low + (high - low) / 2
        return middle if low < middle < high else None

    def spread(self) -> dict[str, float]:
        """New numbers for all that wait, one apart, in the same order: room between any two."""
        entries = self.pending
        base = entries[0].number if entries and abs(entries[0].number) < MAX_BASE else 0.0
        numbers = {entry.job_id: base + index for index, entry in enumerate(entries)}
        for entry in entries:
            entry.number = numbers[entry.job_id]
        self._counter = max(self._counter, int(base) + len(entries))
        return numbers

    def _line(self, entry: Entry) -> list[Entry]:
        return self._fixed if entry.is_fixed else self._by_client.setdefault(entry.client_id, [])

    def _forget(self, entry: Entry) -> None:
        del self._pending[entry.job_id]
        line = self._line(entry)
        line.remove(entry)
        if not line and not entry.is_fixed:
            del self._by_client[entry.client_id]
