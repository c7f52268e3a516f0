"""What became of the jobs that ended, as clients ask for it. It lives in memory, up to a bound."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from .job import Job
from .job_report import JobReport

MAX_ENTRIES = 10_000


class History:
    """Job id → entry (wire protocol §1.3), oldest first; beyond `MAX_ENTRIES` the oldest are dropped."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._entries: dict[str, dict[str, Any]] = {}

    def add(self, job: Job, report: JobReport) -> None:
        """A job ended."""
        self._entries.pop(job.job_id, None)
        self._entries[job.job_id] = {
            "prompt": job.item(),
            "outputs": report.outputs,
            "status": report.status(),
            "meta": report.meta,
        }
        while len(self._entries) > self._max_entries:
            del self._entries[next(iter(self._entries))]

    def entry(self, job_id: str) -> dict[str, Any]:
        """The job's entry under its id; empty when there is none."""
        return {job_id: self._entries[job_id]} if job_id in self._entries else {}

    def entries(self, max_items: int | None = None, offset: int | None = None) -> dict[str, Any]:
        """A part of the history, oldest first.

        Args:
            max_items: how many; all when None. offset: how many of the oldest to skip; when None, the newest are given.
        """
        total = len(self._entries)
        count = total if max_items is None else min(max_items, total)
        start = total - count if offset is None else min(offset, total)
        return dict(islice(self._entries.items(), start, start + count))

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def delete(self, job_ids: Iterable[Any]) -> None:
        """Forget some jobs; unknown ids are ignored."""
        for job_id in job_ids:
            if isinstance(job_id, str):
                self._entries.pop(job_id, None)
