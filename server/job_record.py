"""What the database remembers of an attempt at a job, so that the next one repeats nothing that was done.

The engine's lanes call a record, too: it writes on the database's thread and waits for the commit.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Integer, bindparam, case, delete, insert, select, update

from mezzotint.engine.run_record import FileClaim, temporary_name

from .database import Database
from .json_body import to_json
from .schema import file_claims, finished_outputs, jobs

Place = tuple[str, str]
"""A step and the ordinal of one of its saves."""


_DONE = bindparam("done", type_=Integer)
_NOTE = update(jobs).where(jobs.c.id == bindparam("job")).values(
    running_steps=bindparam("running"), steps_done=case((jobs.c.steps_done < _DONE, _DONE), else_=jobs.c.steps_done)
)  # fmt: skip
_FORGET = [
    delete(table).where(table.c.job_id.in_(bindparam("jobs", expanding=True)))
    for table in (finished_outputs, file_claims)
]
"""Statements that are run for every job: made once, since to make one takes longer than to run it."""


class Progress(NamedTuple):
    """How far an attempt is: steps with a value, steps under way, and what output nodes showed that are new."""

    steps_done: int
    running: tuple[str, ...]
    finished: Mapping[str, Any]


class JobRecords:
    """The records of all jobs that have not ended. Two jobs never claim one path."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._owners: dict[Path, str] = {}

    def recover(self) -> None:
        """Take up the claims that the database holds, and remove what dead processes left half-written. Blocks."""
        statement = select(file_claims)
        for row in self._database.read_now(lambda connection: connection.execute(statement).all()):
            path = Path(row.path)
            self._owners[path] = row.job_id
            with contextlib.suppress(OSError):
                path.with_name(temporary_name(row.job_id, row.step_id, row.ordinal)).unlink(missing_ok=True)

    async def open(self, job_id: str, *, is_resumed: bool, is_suspect: bool) -> JobRecord:
        """The record of a job that is about to run; `is_resumed`: it ran before."""
        record = JobRecord(self, self._database, job_id, is_suspect=is_suspect)
        if is_resumed:
            record.finished, record.claims = await self._database.read(partial(_remembered, job_id))
        return record

    def take(self, path: Path, job_id: str) -> bool:
        """Let a job have a path, if no other has it."""
        with self._lock:
            return self._owners.setdefault(path, job_id) == job_id

    def close(self, job_id: str) -> None:
        """The job ended."""
        with self._lock:
            self._owners = {path: owner for path, owner in self._owners.items() if owner != job_id}


class JobRecord:
    """The `RunRecord` of a job.

    Args:
        is_suspect: the process died of the job before, so each step is written down before it begins.
    """

    def __init__(self, records: JobRecords, database: Database, job_id: str, *, is_suspect: bool = False) -> None:
        self.finished: Mapping[str, dict[str, list[Any]] | None] = {}
        self.claims: dict[Place, FileClaim] = {}
        self._records, self._database, self._job_id, self._is_suspect = records, database, job_id, is_suspect
        self._lock = threading.Lock()
        self._begun: dict[str, None] = {}
        self._ended: set[str] = set()

    def began(self, step_id: str, parents: Iterable[str]) -> None:
        """Only of suspects is it kept before the step begins; of others `note` tells soon after."""
        if not self._is_suspect:
            return
        with self._lock:
            for parent in parents:  # the loop may not have heard of their end yet
                self._end(parent)
            self._begun[step_id] = None
            progress = Progress(len(self._ended), tuple(self._begun), {})
        self._database.write(partial(_note, self._job_id, progress)).result()

    def ended(self, step_id: str) -> None:
        """The step is not what the process dies of."""
        with self._lock:
            self._end(step_id)

    def _end(self, step_id: str) -> None:
        self._begun.pop(step_id, None)
        self._ended.add(step_id)

    def claimed(self, step_id: str, ordinal: str) -> FileClaim | None:
        """The file of a save, if it is known."""
        return self.claims.get((step_id, ordinal))

    def claim(self, step_id: str, ordinal: str, claim: FileClaim) -> bool:
        """Keep the file of a save before it is there."""
        if not self._records.take(claim.path, self._job_id):
            return False
        self.claims[step_id, ordinal] = claim
        place = {"job_id": self._job_id, "step_id": step_id, "ordinal": ordinal}
        self._database.write(partial(_claim, place, claim)).result()
        return True

    def note(self, progress: Progress) -> None:
        """Keep how far the attempt is; nobody waits for it."""
        self._database.write(lambda connection: _note(self._job_id, self._as_known_now(progress), connection))

    def _as_known_now(self, progress: Progress) -> Progress:
        """Of suspects what has begun is known here before it is told: seen when it is written, else it might be old."""
        if not self._is_suspect:
            return progress
        with self._lock:
            return progress._replace(running=tuple(self._begun))


def forget_records(connection: Connection, job_ids: Iterable[str]) -> None:
    """The jobs have ended: what is remembered for another attempt goes."""
    chosen = {"jobs": [*job_ids]}
    for statement in _FORGET:
        connection.execute(statement, chosen)


def _remembered(
    job_id: str, connection: Connection
) -> tuple[dict[str, dict[str, list[Any]] | None], dict[Place, FileClaim]]:
    outputs = connection.execute(select(finished_outputs).where(finished_outputs.c.job_id == job_id))
    finished = {row.step_id: json.loads(row.shown) for row in outputs}
    claims = connection.execute(select(file_claims).where(file_claims.c.job_id == job_id))
    return finished, {(row.step_id, row.ordinal): FileClaim(Path(row.path), row.digest) for row in claims}


def _claim(place: Mapping[str, str], claim: FileClaim, connection: Connection) -> None:
    same = [file_claims.c[name] == value for name, value in place.items()]
    connection.execute(delete(file_claims).where(*same))
    connection.execute(insert(file_claims), {**place, "path": str(claim.path), "digest": claim.digest})


def _note(job_id: str, progress: Progress, connection: Connection) -> None:
    facts = {"job": job_id, "done": progress.steps_done, "running": to_json([*progress.running])}
    connection.execute(_NOTE, facts)
    if progress.finished:
        steps = [*progress.finished]
        table = finished_outputs
        connection.execute(delete(table).where(table.c.job_id == job_id, table.c.step_id.in_(steps)))
        rows = [
            {"job_id": job_id, "step_id": step_id, "shown": to_json(shown)}
            for step_id, shown in progress.finished.items()
        ]
        connection.execute(insert(table), rows)
