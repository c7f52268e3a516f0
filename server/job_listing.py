"""What clients may ask about jobs: the queue, the history and the jobs themselves, read from the database as JSON text.

Graphs and outputs are stored as JSON and go into the answers as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, case, func, select

from .database import Database
from .job import JobStatus
from .job_view import job_view
from .json_body import to_json
from .schema import jobs

_ITEM = (jobs.c.id, jobs.c.number, jobs.c.prompt, jobs.c.extra_data, jobs.c.targets)
_ENTRY = (*_ITEM, jobs.c.status, jobs.c.outputs, jobs.c.messages, jobs.c.meta)
_IS_PAST = jobs.c.has_run.is_(True)
_DURATION = jobs.c.end_time - jobs.c.start_time


class Selection(NamedTuple):
    """Which jobs are listed, and how.

    Attributes:
        statuses: all when empty. workflow_id: of the editor's document. sort_by: what they are ordered by, the
            largest first if `is_descending`. offset, limit: the part of them.
    """

    statuses: Sequence[JobStatus] = ()
    workflow_id: str | None = None
    sort_by: str = "created_at"
    is_descending: bool = True
    offset: int = 0
    limit: int | None = None


class JobListing:
    """Answers of the database, as JSON text."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def queue(self) -> str:
        """`{"queue_running": [...], "queue_pending": [...]}` (wire protocol §1.2)."""
        return await self._database.read(_queue)

    async def history(self, max_items: int | None = None, offset: int | None = None) -> str:
        """A part of the history (wire protocol §1.3), oldest first.

        Args:
            max_items: how many; all when None. offset: how many of the oldest to skip; when None, the newest are given.
        """
        return await self._database.read(partial(_history, max_items, offset))

    async def history_entry(self, job_id: str) -> str:
        """The job's entry under its id; empty when it has not ended."""
        statement = select(*_ENTRY).where(jobs.c.id == job_id, _IS_PAST)
        return await self._database.read(lambda connection: _entries(connection.execute(statement)))

    async def jobs(self, selection: Selection) -> tuple[list[dict[str, Any]], int]:
        """The jobs of a selection (wire protocol §1.9), and how many there are without its limit."""
        return await self._database.read(partial(_jobs, selection))


def _item(row: Any) -> str:
    return f"[{to_json(plain_number(row.number))},{to_json(row.id)},{row.prompt},{row.extra_data},{row.targets}]"


def plain_number(number: float) -> float:
    """A queue number as clients know it: whole ones without a point."""
    return int(number) if float(number).is_integer() else number  # 3.11 has no int.is_integer


def _queue(connection: Connection) -> str:
    def items(status: JobStatus) -> str:
        statement = select(*_ITEM).where(jobs.c.status == status).order_by(jobs.c.number, jobs.c.arrival)
        return ",".join(_item(row) for row in connection.execute(statement))

    return f'{{"queue_running":[{items("in_progress")}],"queue_pending":[{items("pending")}]}}'


def _history(max_items: int | None, offset: int | None, connection: Connection) -> str:
    total = connection.execute(select(func.count()).select_from(jobs).where(_IS_PAST)).scalar_one()
    count = total if max_items is None else min(max_items, total)
    start = total - count if offset is None else min(offset, total)
    statement = select(*_ENTRY).where(_IS_PAST).order_by(jobs.c.ending).offset(start).limit(count)
    return _entries(connection.execute(statement))


def _entries(rows: Iterable[Row[Any]]) -> str:
    return f"{{{','.join(map(_entry, rows))}}}"


def _entry(row: Row[Any]) -> str:
    is_done = row.status == "completed"
    words = f'"status_str":"{"success" if is_done else "error"}","completed":{to_json(is_done)}'
    status = f'{{{words},"messages":{row.messages}}}'
    return f'{to_json(row.id)}:{{"prompt":{_item(row)},"outputs":{row.outputs},"status":{status},"meta":{row.meta}}}'


def _jobs(selection: Selection, connection: Connection) -> tuple[list[dict[str, Any]], int]:
    chosen: list[ColumnElement[bool]] = []
    if selection.statuses:
        chosen.append(jobs.c.status.in_(selection.statuses))
    if selection.workflow_id is not None:
        chosen.append(jobs.c.workflow_id == selection.workflow_id)
    total = connection.execute(select(func.count()).select_from(jobs).where(*chosen)).scalar_one()
    key = _DURATION if selection.sort_by == "execution_duration" else jobs.c.arrival
    # Jobs that have no duration come last either way.
    order = [case((key.is_(None), 1), else_=0), key.desc() if selection.is_descending else key.asc(), jobs.c.arrival]
    columns = [column for column in jobs.c if column.name not in ("prompt", "extra_data", "meta")]
    statement = select(*columns).where(*chosen).order_by(*order).offset(selection.offset).limit(selection.limit)
    return [job_view(row) for row in connection.execute(statement)], total
