"""What the database knows of jobs, and how it changes: one method for each thing that happens to a job.

A method returns when the change is committed. What is only read is in `job_listing.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from .database import Database
from .job import ENDED, Job, JobStatus
from .job_queue import Entry
from .job_record import forget_records
from .json_body import to_json
from .schema import events, jobs, settings

MAX_ENDED = 10_000
"""How many ended jobs are remembered; beyond, the oldest are forgotten."""
LAST_SEQUENCE = "last sequence"
"""The setting that keeps the last event's number when the event itself is deleted with its job."""
MAX_BOUND = 500
"""How many values one statement may name; databases have limits."""


_END = update(jobs).where(jobs.c.id == bindparam("job"))
"""What is set are the other parameters."""


class Ending(NamedTuple):
    """How a job ended, as the history keeps it."""

    status: JobStatus
    outputs: Mapping[str, Any]
    meta: Mapping[str, Any]
    messages: Sequence[Any]


class KnownJobError(Exception):
    """The id of a new job is taken."""


class Waiting(NamedTuple):
    """What was left when the server began: jobs that wait, and those that ran when it ended."""

    pending: list[Entry]
    interrupted: list[Row[Any]]
    first_number: int
    is_paused: bool


class JobStore:
    """Jobs in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._arrival, self._ending, self._ended_count = database.read_now(_counters)

    def left_over(self) -> Waiting:
        """What there is to do when the server begins. Blocks."""
        return self._database.read_now(_left_over)

    async def add(self, job: Job, *, begins: bool = False) -> Entry:
        """A job was submitted; it outlasts a power cut once this returns.

        Args:
            begins: it is about to run, so that `start` need not be called: one commit less before its first step.

        Raises:
            KnownJobError: its id is taken.
        """
        self._arrival += 1
        row = {**_row(job), "arrival": self._arrival}
        if begins:
            row |= {"status": "in_progress", "start_time": now_ms(), "attempts": 1}
        await self._database.written(partial(_add, row), is_durable=True)
        return Entry(job.job_id, job.number, row["arrival"], job.client_id, job.is_fixed, job=job)

    async def start(self, job_id: str) -> None:
        """A job is about to run."""
        changes = {
            "status": "in_progress",
            "start_time": now_ms(),
            "attempts": jobs.c.attempts + 1,
            "steps_before": jobs.c.steps_done,
            "running_steps": "[]",
        }
        await self._database.written(_updating([job_id], changes), is_vital=True)

    def ending(self, job_id: str, ending: Ending) -> Callable[[Connection], None]:
        """What is to be written when a job ends, together with its last events."""
        self._ending += 1
        self._ended_count += 1
        excess, self._ended_count = self._ended_count - MAX_ENDED, min(self._ended_count, MAX_ENDED)
        changes = {
            "status": ending.status,
            "ending": self._ending,
            "end_time": now_ms(),
            "has_run": True,
            "outputs": to_json(ending.outputs),
            "meta": to_json(ending.meta),
            "messages": to_json(ending.messages),
        }

        def write(connection: Connection) -> None:
            connection.execute(_END, {"job": job_id, **changes})
            forget_records(connection, [job_id])
            if excess > 0:
                _forget_oldest(connection, excess)

        return write

    async def hand_back(self, job_id: str) -> None:
        """A job that runs goes back to its place."""
        statement = update(jobs).where(jobs.c.id == job_id, jobs.c.is_cancelling.is_(False)).values(status="pending")
        await self._database.written(lambda connection: connection.execute(statement), is_vital=True)

    async def take_up(self, job_id: str, number: float, is_fixed: bool, deaths: int, suspects: Sequence[str]) -> None:
        """A job that ran when the process died waits again."""
        place = {"status": "pending", "number": number, "is_fixed": is_fixed}
        changes = {**place, "deaths": deaths, "suspects": to_json(suspects)}
        await self._database.written(_updating([job_id], changes), is_vital=True)

    async def ask_to_cancel(self, job_ids: Sequence[str]) -> None:
        """Jobs that run are to be cancelled, even if the process dies before they are."""
        await self._database.written(_updating(job_ids, {"is_cancelling": True}), is_durable=True)

    async def cancel_pending(self, job_ids: Sequence[str]) -> None:
        """Jobs that wait will not run."""
        changes = [
            {"status": "cancelled", "ending": self._ending + index, "end_time": now_ms()}
            for index, _ in enumerate(job_ids, 1)
        ]
        self._ending += len(job_ids)
        self._ended_count += len(job_ids)

        def write(connection: Connection) -> None:
            for job_id, change in zip(job_ids, changes, strict=True):
                _updating([job_id], change)(connection)
            for part in _parts(job_ids):
                forget_records(connection, part)

        await self._database.written(write, is_durable=True)

    async def renumber(self, numbers: Mapping[str, float], chosen: Iterable[str] = ()) -> None:
        """Jobs have other numbers; of the `chosen`, somebody chose it."""
        fixed = frozenset(chosen)

        def write(connection: Connection) -> None:
            for job_id, number in numbers.items():
                changes = {"number": number} | ({"is_fixed": True} if job_id in fixed else {})
                _updating([job_id], changes)(connection)

        await self._database.written(write, is_durable=True)

    async def forget(self, job_ids: Sequence[str] | None = None) -> None:
        """Jobs that ended are deleted with their events; all of them when no ids are given."""
        count = await self._database.written(partial(_forget, job_ids), is_durable=True)
        self._ended_count -= count

    async def drop(self, job_id: str) -> None:
        """A job that waited is deleted."""
        await self._database.written(partial(_delete_jobs, [job_id]), is_durable=True)

    async def set_paused(self, is_paused: bool) -> None:
        """The queue is paused, or goes on."""
        value = "yes" if is_paused else "no"
        await self._database.written(lambda connection: set_value(connection, "paused", value), is_durable=True)

    async def read_row(self, job_id: str) -> Row[Any] | None:
        """All that is known of a job."""
        statement = select(jobs).where(jobs.c.id == job_id)
        return await self._database.read(lambda connection: connection.execute(statement).one_or_none())


def now_ms() -> int:
    """The time in milliseconds since the epoch."""
    return int(time.time() * 1000)


def value_of(connection: Connection, name: str) -> str | None:
    """A setting of the queue."""
    return connection.execute(select(settings.c.value).where(settings.c.name == name)).scalar()


def set_value(connection: Connection, name: str, value: str) -> None:
    """Keep a setting of the queue."""
    if not connection.execute(update(settings).where(settings.c.name == name).values(value=value)).rowcount:
        connection.execute(insert(settings).values(name=name, value=value))


def _row(job: Job) -> dict[str, Any]:
    return {
        "id": job.job_id,
        "status": "pending",
        "number": job.number,
        "is_fixed": job.is_fixed,
        "client_id": job.client_id,
        "prompt": to_json(job.prompt),
        "extra_data": to_json(job.extra_data),
        "targets": to_json([*job.validation.outputs]),
        "secret_names": to_json(sorted(job.secrets)),
        "retry_of": job.retry_of,
        "workflow_id": job.workflow_id,
        "create_time": job.extra_data.get("create_time", now_ms()),
        "has_run": False,
        "is_cancelling": False,
        "attempts": 0,
    }


def _add(row: dict[str, Any], connection: Connection) -> None:
    try:
        connection.execute(insert(jobs), row)
    except IntegrityError:
        raise KnownJobError from None


def _updating(job_ids: Sequence[str], changes: Mapping[str, Any]) -> Callable[[Connection], None]:
    def write(connection: Connection) -> None:
        for part in _parts(job_ids):
            connection.execute(update(jobs).where(jobs.c.id.in_(part)).values(changes))

    return write


def _counters(connection: Connection) -> tuple[int, int, int]:
    statement = select(func.max(jobs.c.arrival), func.max(jobs.c.ending), func.count(jobs.c.ending))
    arrival, ending, count = connection.execute(statement).one()
    return arrival or 0, ending or 0, count


def _left_over(connection: Connection) -> Waiting:
    light = select(
        jobs.c.id,
        jobs.c.number,
        jobs.c.arrival,
        jobs.c.client_id,
        jobs.c.is_fixed,
        jobs.c.deaths > 0,
        jobs.c.attempts > 0,
    )
    pending = connection.execute(light.where(jobs.c.status == "pending")).all()
    interrupted = connection.execute(select(jobs).where(jobs.c.status == "in_progress").order_by(jobs.c.number)).all()
    highest = connection.execute(select(func.max(jobs.c.number)).where(jobs.c.is_fixed.is_(False))).scalar()
    first_number = 0 if highest is None else int(highest) + 1
    return Waiting(
        [Entry(*row) for row in pending], [*interrupted], first_number, value_of(connection, "paused") == "yes"
    )


def _forget(job_ids: Sequence[str] | None, connection: Connection) -> int:
    is_ended = jobs.c.status.in_(sorted(ENDED))
    if job_ids is None:
        found = connection.execute(select(jobs.c.id).where(is_ended)).scalars().all()
    else:
        found = [
            job_id
            for part in _parts(job_ids)
            for job_id in connection.execute(select(jobs.c.id).where(is_ended, jobs.c.id.in_(part))).scalars()
        ]
    return _delete_jobs(found, connection)


def _forget_oldest(connection: Connection, count: int) -> None:
    oldest = select(jobs.c.id).where(jobs.c.ending.is_not(None)).order_by(jobs.c.ending).limit(count)
    _delete_jobs(connection.execute(oldest).scalars().all(), connection)


def _delete_jobs(job_ids: Sequence[str], connection: Connection) -> int:
    last = connection.execute(select(func.max(events.c.sequence))).scalar()
    if job_ids and last is not None:
        set_value(connection, LAST_SEQUENCE, str(last))
    for part in _parts(job_ids):
        connection.execute(delete(events).where(events.c.job_id.in_(part)))
        forget_records(connection, part)
        connection.execute(delete(jobs).where(jobs.c.id.in_(part)))
    return len(job_ids)


def _parts(job_ids: Sequence[str]) -> list[Sequence[str]]:
    return [job_ids[at : at + MAX_BOUND] for at in range(0, len(job_ids), MAX_BOUND)]
