"""`/queue` and `/history` (wire protocol §1.2 and §1.3). Both are in memory, gone when the process ends."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .app_key import HISTORY, QUEUE
from .history import History
from .job_queue import JobQueue
from .json_body import json_answer, read_object


async def get_queue(request: web.Request) -> web.Response:
    """The job that runs and those that wait."""
    queue = request.app[QUEUE]
    running = [] if queue.running is None else [queue.running.item()]
    return json_answer({"queue_running": running, "queue_pending": [job.item() for job in queue.pending]})


async def post_queue(request: web.Request) -> web.Response:
    """Drop waiting jobs: all with `clear`, some with `delete`."""
    return await _drop(request, request.app[QUEUE])


async def get_history(request: web.Request) -> web.Response:
    """What became of jobs, oldest first; a part of it by `max_items` and `offset`."""
    offset = _whole_number(request, "offset")
    entries = request.app[HISTORY].entries(_whole_number(request, "max_items"), offset)
    return json_answer(entries)


async def get_history_entry(request: web.Request) -> web.Response:
    """What became of one job; an empty object until it ended."""
    return json_answer(request.app[HISTORY].entry(request.match_info["job_id"]))


async def post_history(request: web.Request) -> web.Response:
    """Forget jobs: all with `clear`, some with `delete`."""
    return await _drop(request, request.app[HISTORY])


async def _drop(request: web.Request, jobs: JobQueue | History) -> web.Response:
    body = await read_object(request)
    job_ids: Any = body.get("delete", [])
    if not isinstance(job_ids, list):
        raise web.HTTPBadRequest(text="'delete' must be a list of job ids.")
    if body.get("clear"):
        jobs.clear()
    if job_ids:
        jobs.delete(job_ids)
    return web.Response()


def _whole_number(request: web.Request, name: str) -> int | None:
    """A parameter of the address; None when it is absent or negative, which asks for nothing."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError:
        raise web.HTTPBadRequest(text=f"'{name}' must be a whole number.") from None
    return number if number >= 0 else None


ROUTES = (
    web.get("/queue", get_queue),
    web.post("/queue", post_queue),
    web.get("/history", get_history),
    web.get("/history/{job_id}", get_history_entry),
    web.post("/history", post_history),
)
