"""Tells clients what happens, in order, once it is in the database: what anybody heard can be asked for again.

Messages of a job get a sequence number, which grows over all jobs and over restarts. Progress and previews are
worthless later and are not kept, but they wait for what was said before them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, delete, func, insert, select

from .clients import Clients
from .database import Database
from .frame import AnyFrame, Frame, encoded
from .job import Job
from .job_store import LAST_SEQUENCE, value_of
from .schema import events

MAX_EVENTS = 200_000
"""How many messages are kept; beyond, the oldest are forgotten."""
PRUNE_EVERY = 1000

log = logging.getLogger("mezzotint.server")


@dataclass(slots=True)
class Telling:
    """Messages on their way: to a client, or to all; `is_stored` once they may be sent.

    Attributes:
        has_owner: they are of a job of the client `sid`; None is a job without one.
    """

    frames: Sequence[AnyFrame]
    sid: str | None
    has_owner: bool
    is_stored: bool


@dataclass(slots=True)
class Writing:
    """Messages of one job that are written together, each with the future that waits for it.

    Attributes:
        also: what else is written with the last of them.
    """

    job: Job
    tellings: list[tuple[Telling, asyncio.Future[None]]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    also: Callable[[Connection], None] | None = None


class Stored(NamedTuple):
    """A message that was sent."""

    sequence: int
    type: str
    data: str

    def encoded(self) -> str:
        """The message as it was sent."""
        return encoded(self.type, self.data, self.sequence)


class EventLog:
    """Keeps and delivers. Used on the event loop's thread only."""

    def __init__(self, database: Database, clients: Clients) -> None:
        self._database, self._clients = database, clients
        self._sequence = database.read_now(_last_sequence)
        self._pruned_at = 0
        self._delivered = self._sequence
        self._telling: deque[Telling] = deque()
        self._unwritten: list[Writing] = []

    @property
    def last(self) -> int:
        """The number of the last message that was sent."""
        return self._delivered

    def is_heard(self, job: Job) -> bool:
        """Whether the owner of a job listens. May be asked on any thread."""
        return job.client_id is not None and self._clients.is_connected(job.client_id)

    def tell_all(self, frame: AnyFrame) -> None:
        """Tell everybody something that is not kept."""
        self.pass_on(frame, None)

    def pass_on(self, frame: AnyFrame, sid: str | None) -> None:
        """Tell a client, or everybody, something that is not kept, after all that was said before."""
        self._telling.append(Telling([frame], sid, has_owner=False, is_stored=True))
        self._deliver()

    def tell(
        self, job: Job, frames: Sequence[AnyFrame], also: Callable[[Connection], None] | None = None
    ) -> asyncio.Future[None]:
        """Tell the owner of a job; `also` is written in the same transaction. Done when that is committed.

        If it fails, nobody is told; say it again.
        """
        kept = [frame for frame in frames if isinstance(frame, Frame) and frame.is_kept]
        done = asyncio.get_running_loop().create_future()
        telling = Telling(frames, job.client_id, has_owner=True, is_stored=not kept and also is None)
        self._telling.append(telling)
        if telling.is_stored:
            done.set_result(None)
            self._deliver()
            return done
        writing = self._writing(job)
        writing.tellings.append((telling, done))
        writing.also = also
        for frame in kept:
            self._sequence += 1
            frame.sequence = self._sequence
            writing.rows.append(_row(job, frame))
        return done

    def _writing(self, job: Job) -> Writing:
        """What the next messages of a job are written with.

        It is handed over at the end of this turn of the loop, when what began at it is on its way: the database's
        thread would hold up that.
        """
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._hand_over)
        elif self._unwritten[-1].job is job and self._unwritten[-1].also is None:
            return self._unwritten[-1]
        self._unwritten.append(Writing(job))
        return self._unwritten[-1]

    def _hand_over(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        for writing in unwritten:
            work = partial(_write, writing.rows, writing.also, self._to_prune())
            future = self._database.write(work, is_vital=writing.also is not None)
            future.add_done_callback(partial(self._written, asyncio.get_running_loop(), writing))

    def _written(self, loop: asyncio.AbstractEventLoop, writing: Writing, future: Future[None]) -> None:
        loop.call_soon_threadsafe(self._stored, writing, future.exception())

    async def after(self, client_id: str, sequence: int, last: int, limit: int = 500) -> list[Stored]:
        """What a client's jobs were told with a number in `sequence` < n <= `last`, the oldest first."""
        statement = _numbered(sequence, last, limit).where(events.c.client_id == client_id)
        return await self._database.read(partial(_stored, statement))

    async def of_job(self, job_id: str, sequence: int, limit: int) -> list[Stored]:
        """What was told of a job with a number > `sequence`, the oldest first."""
        statement = _numbered(sequence, self._delivered, limit).where(events.c.job_id == job_id)
        return await self._database.read(partial(_stored, statement))

    def _to_prune(self) -> int | None:
        """Up to which number messages are forgotten now; None for not now."""
        if self._sequence - self._pruned_at < PRUNE_EVERY:
            return None
        self._pruned_at = self._sequence
        return self._sequence - MAX_EVENTS

    def _stored(self, writing: Writing, error: BaseException | None) -> None:
        if error is not None:
            log.error("what happened to a job could not be kept, so nobody was told: %s", error)
        for telling, done in writing.tellings:
            telling.is_stored = True
            if error is not None:
                telling.frames = []
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
                done.exception()  # most callers do not ask
        self._deliver()

    def _deliver(self) -> None:
        while self._telling and self._telling[0].is_stored:
            telling = self._telling.popleft()
            for frame in telling.frames:
                if isinstance(frame, Frame) and frame.sequence is not None:
                    self._delivered = frame.sequence
                if telling.has_owner:
                    self._clients.tell_owner(telling.sid, frame)
                elif telling.sid is None:
                    self._clients.tell_all(frame)
                else:
                    self._clients.tell(telling.sid, frame)


def _row(job: Job, frame: Frame) -> dict[str, Any]:
    facts = {"job_id": job.job_id, "client_id": job.client_id, "type": frame.type, "data": frame.data_text}
    return {"sequence": frame.sequence, **facts}


def _write(
    rows: list[dict[str, Any]], also: Callable[[Connection], None] | None, prune_to: int | None, connection: Connection
) -> None:
    if rows:
        connection.execute(insert(events), rows)
    if also is not None:
        also(connection)
    if prune_to is not None:
        connection.execute(delete(events).where(events.c.sequence <= prune_to))


def _last_sequence(connection: Connection) -> int:
    kept = connection.execute(select(func.max(events.c.sequence))).scalar() or 0
    return max(kept, int(value_of(connection, LAST_SEQUENCE) or 0))


def _numbered(after: int, last: int, limit: int) -> Select[tuple[int, str, str]]:
    columns = select(events.c.sequence, events.c.type, events.c.data)
    return columns.where(events.c.sequence > after, events.c.sequence <= last).order_by(events.c.sequence).limit(limit)


def _stored(statement: Select[tuple[int, str, str]], connection: Connection) -> list[Stored]:
    return [Stored(row.sequence, row.type, row.data) for row in connection.execute(statement)]
