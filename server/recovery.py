"""What becomes of jobs that ran when the server ended without being asked to."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row

from mezzotint.engine.validation import Validation
from mezzotint.engine.workflow import Workflow

from .event_log import EventLog
from .frame import end_of_job
from .job import Job
from .job_queue import Entry, JobQueue
from .job_report import JobReport
from .job_store import JobStore


class Recovery:
    """Fills the queue when the server begins."""

    def __init__(self, store: JobStore, queue: JobQueue, event_log: EventLog) -> None:
        self._store, self._queue, self._log = store, queue, event_log

    async def run(self) -> None:
        """Take up what the database holds: jobs that wait, and those that ran."""
        left = self._store.left_over()
        self._queue.is_paused = left.is_paused
        self._queue.count_from(left.first_number)
        entries = left.pending
        for row in left.interrupted:
            if row.is_cancelling:
                await self._cancel(row)
            else:
                await self._store.hand_back(row.id)
                entries.append(Entry(row.id, row.number, row.arrival, row.client_id, row.is_fixed))
        self._queue.put(*entries)

    async def _cancel(self, row: Row[Any]) -> None:
        """Somebody had asked to cancel it."""
        job = Job(
            row.number, row.id, Workflow(), Validation([], [], {}), json.loads(row.prompt), json.loads(row.extra_data)
        )  # fmt: skip
        report = JobReport(job)
        frames = report.interrupted_before_start()
        await self._log.tell(job, frames, self._store.ending(job.job_id, report.ending()))
        self._log.tell(job, [end_of_job(job.job_id)])
