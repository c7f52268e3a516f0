"""What becomes of jobs that ran when the server ended without being asked to.

A job may be what the process dies of. It runs alone from then on, and each of its steps is written down before it
begins. The rule: a job in whose same step the process died twice goes behind the others; after a third death, with no
step finished in between that had not finished before, it is set aside as failed.
"""

from __future__ import annotations

import json
from collections.abc import Set
from typing import Any, NamedTuple

from sqlalchemy import Row

from mezzotint.engine.validation import Validation
from mezzotint.engine.workflow import Workflow

from .event_log import EventLog
from .frame import AnyFrame, end_of_job
from .job import Job
from .job_queue import Entry, JobQueue
from .job_record import JobRecords
from .job_report import JobReport
from .job_store import JobStore

DEATHS_TO_BACK, DEATHS_TO_FAIL = 2, 3


class Deaths(NamedTuple):
    """How often the process died of a job in one step, and in which: one of those."""

    times: int = 0
    suspects: frozenset[str] = frozenset()

    def another(self, running: Set[str], *, has_progressed: bool) -> Deaths:
        """After one more death, with these steps under way; `has_progressed`: further steps than ever had finished."""
        same = self.suspects & running
        if has_progressed or (self.suspects and running and not same):
            return Deaths(1, frozenset(running))
        return Deaths(self.times + 1, same or frozenset(running) or self.suspects)


class Recovery:
    """Fills the queue when the server begins."""

    def __init__(self, store: JobStore, queue: JobQueue, records: JobRecords, event_log: EventLog) -> None:
        self._store, self._queue, self._records, self._log = store, queue, records, event_log

    async def run(self) -> None:
        """Take up what the database holds: jobs that wait, and those that ran."""
        self._records.recover()
        left = self._store.left_over()
        self._queue.is_paused = left.is_paused
        self._queue.count_from(left.first_number)
        self._queue.put(*left.pending)
        for row in left.interrupted:
            if row.is_cancelling:
                report = JobReport(_job(row))
                await self._end(row, report, report.interrupted_before_start())
            else:
                await self._take_up(row)

    async def _take_up(self, row: Row[Any]) -> None:
        before = Deaths(row.deaths, frozenset(json.loads(row.suspects)))
        has_progressed = row.steps_done > row.steps_before
        deaths = before.another(frozenset(json.loads(row.running_steps)), has_progressed=has_progressed)
        if deaths.times >= DEATHS_TO_FAIL:
            report = JobReport(_job(row))
            await self._end(row, report, report.refused(_sentence(row, deaths)))
            return
        is_last = deaths.times >= DEATHS_TO_BACK
        number = self._queue.number_at_back() if is_last else row.number
        await self._store.take_up(row.id, number, is_last or row.is_fixed, deaths.times, sorted(deaths.suspects))
        entry = Entry(row.id, number, row.arrival, row.client_id, is_last or row.is_fixed)
        entry.is_suspect = entry.is_resumed = True
        self._queue.put(entry)

    async def _end(self, row: Row[Any], report: JobReport, frames: list[AnyFrame]) -> None:
        job = _job(row)
        await self._log.tell(job, frames, self._store.ending(job.job_id, report.ending()))
        self._log.tell(job, [end_of_job(job.job_id)])
        self._records.close(job.job_id)


def _job(row: Row[Any]) -> Job:
    prompt, extra_data = json.loads(row.prompt), json.loads(row.extra_data)
    return Job(row.number, row.id, Workflow(), Validation([], [], {}), prompt, extra_data)


def _sentence(row: Row[Any], deaths: Deaths) -> str:
    nodes = json.loads(row.prompt)
    named = [f"{step} ({nodes[step]['class_type']})" if step in nodes else step for step in sorted(deaths.suspects)]
    where = f"in step {' or '.join(named)}" if named else "before any step began"
    return (
        f"The server process died {deaths.times} times {where} of this job, without getting further. The job is set "
        "aside so that others can run; repeat it when the cause is mended"
    )
