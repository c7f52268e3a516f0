"""`/jobs`: look at jobs and steer them (wire protocol §1.9, and docs/server.md). `/queue/state`, `/queue/pause`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .app_key import CONTROL, EVENTS, LISTING, QUEUE, STORE, WORKER
from .error_shape import PromptRejectedError
from .job import STATUSES, JobStatus
from .job_control import JobStateError, UnknownJobError
from .job_listing import Selection, plain_number
from .job_view import job_details
from .json_body import json_answer, read_object
from .submission import MAX_NUMBER

Handler = Callable[[web.Request], Awaitable[web.Response]]
SORTS = ("created_at", "execution_duration")
ORDERS = ("desc", "asc")
MAX_EVENTS = 1000


class BadRequestError(Exception):
    """A request is not understood; the text says why."""


def answering(handler: Handler) -> Handler:
    """Turns what is wrong with a request about jobs into `{"error": "a sentence"}`."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except UnknownJobError:
            return json_answer({"error": "Job not found"}, status=404)
        except JobStateError as error:
            return json_answer({"error": str(error)}, status=409)
        except BadRequestError as error:
            return json_answer({"error": str(error)}, status=400)

    return answer


@answering
async def get_jobs(request: web.Request) -> web.Response:
    """Jobs, by their status."""
    selection = _selection(request)
    listed, total = await request.app[LISTING].jobs(selection)
    for job in listed:
        _add_progress(request, job)
    limit = total if selection.limit is None else selection.limit
    has_more = selection.offset + len(listed) < total
    pagination = {"offset": selection.offset, "limit": limit, "total": total, "has_more": has_more}
    return json_answer({"jobs": listed, "pagination": pagination})


@answering
async def get_job(request: web.Request) -> web.Response:
    """All about one job."""
    return json_answer(await _details(request, request.match_info["job_id"]))


@answering
async def get_job_events(request: web.Request) -> web.Response:
    """What was told of a job, from a number on."""
    job_id = request.match_info["job_id"]
    if await request.app[STORE].read_row(job_id) is None:
        raise UnknownJobError
    after, limit = _whole(request, "after", 0), _whole(request, "limit", MAX_EVENTS)
    found = await request.app[EVENTS].of_job(job_id, after, min(limit, MAX_EVENTS))
    told = [{"sequence": event.sequence, "type": event.type, "data": json.loads(event.data)} for event in found]
    return json_answer({"events": told, "last": found[-1].sequence if found else after})


@answering
async def cancel_job(request: web.Request) -> web.Response:
    """Stop or drop a job."""
    job_id = request.match_info["job_id"]
    cancelled = await request.app[CONTROL].cancel([job_id])
    if not cancelled and await request.app[STORE].read_row(job_id) is None:
        raise UnknownJobError
    return json_answer({"cancelled": bool(cancelled)})


@answering
async def cancel_jobs(request: web.Request) -> web.Response:
    """Stop or drop several jobs; ids that do not wait or run are ignored."""
    job_ids: Any = (await read_object(request)).get("job_ids")
    if not isinstance(job_ids, list):
        raise BadRequestError("'job_ids' must be a list of job ids")
    cancelled = await request.app[CONTROL].cancel(job_id for job_id in job_ids if isinstance(job_id, str))
    return json_answer({"cancelled": bool(cancelled), "job_ids": cancelled})


@answering
async def retry_job(request: web.Request) -> web.Response:
    """Queue a job that ended once more."""
    try:
        job = await request.app[CONTROL].retry(request.match_info["job_id"])
    except PromptRejectedError as rejected:
        return json_answer(rejected.shape, status=400)
    return json_answer({"prompt_id": job.job_id, "number": job.number, "node_errors": {}})


@answering
async def move_job(request: web.Request) -> web.Response:
    """Give a waiting job another place."""
    control, job_id = request.app[CONTROL], request.match_info["job_id"]
    match await read_object(request):
        case {"to": "front" | "back" as end}:
            number = await control.move(job_id, end)
        case {"before": str(other_id)}:
            number = await control.move(job_id, ("before", other_id))
        case {"after": str(other_id)}:
            number = await control.move(job_id, ("after", other_id))
        case _:
            raise BadRequestError('Say where to: {"to": "front"}, {"to": "back"}, {"before": id} or {"after": id}')
    return json_answer({"number": plain_number(number)})


@answering
async def patch_job(request: web.Request) -> web.Response:
    """Give a waiting job another priority: its number, of which the lowest goes first."""
    priority: Any = (await read_object(request)).get("priority")
    if isinstance(priority, bool) or not isinstance(priority, int | float) or not abs(priority) <= MAX_NUMBER:
        raise BadRequestError(f"'priority' must be a number up to {MAX_NUMBER:g}; the lowest goes first")
    job_id = request.match_info["job_id"]
    await request.app[CONTROL].set_number(job_id, float(priority))
    return json_answer(await _details(request, job_id))


@answering
async def delete_job(request: web.Request) -> web.Response:
    """Forget a job that ended, drop one that waits."""
    await request.app[CONTROL].delete(request.match_info["job_id"])
    return web.Response(status=204)


async def get_queue_state(request: web.Request) -> web.Response:
    """Whether the queue is paused, and how long it is."""
    queue = request.app[QUEUE]
    state = {"paused": queue.is_paused, "pending": queue.pending_count, "running": len(queue.running)}
    return json_answer(state)


async def pause_queue(request: web.Request) -> web.Response:
    """Let no waiting job begin until told otherwise, over restarts too."""
    await request.app[CONTROL].set_paused(True)
    return await get_queue_state(request)


async def resume_queue(request: web.Request) -> web.Response:
    """Let waiting jobs begin again."""
    await request.app[CONTROL].set_paused(False)
    return await get_queue_state(request)


async def _details(request: web.Request, job_id: str) -> dict[str, Any]:
    row = await request.app[STORE].read_row(job_id)
    if row is None:
        raise UnknownJobError
    return _add_progress(request, job_details(row))


def _add_progress(request: web.Request, job: dict[str, Any]) -> dict[str, Any]:
    attempt = request.app[WORKER].attempt(job["id"])
    if job["status"] == "in_progress" and attempt is not None:
        job["progress"] = attempt.report.progress
    return job


def _selection(request: web.Request) -> Selection:
    query = request.query
    return Selection(
        [_status(name) for name in query.get("status", "").split(",") if name],
        query.get("workflow_id"),
        _one_of(request, "sort_by", SORTS),
        _one_of(request, "sort_order", ORDERS) == "desc",
        _whole(request, "offset", 0),
        _whole(request, "limit", 0) or None,
    )


def _status(name: str) -> JobStatus:
    if name not in STATUSES:
        raise BadRequestError(f"'{name[:40]}' is no status of a job; allowed are {', '.join(STATUSES)}")
    return name


def _one_of(request: web.Request, name: str, allowed: tuple[str, ...]) -> str:
    given = request.query.get(name, allowed[0])
    if given not in allowed:
        raise BadRequestError(f"'{name}' must be {' or '.join(allowed)}")
    return given


def _whole(request: web.Request, name: str, default: int) -> int:
    try:
        number = int(request.query.get(name, default))
    except ValueError:
        number = -1
    if not 0 <= number <= MAX_NUMBER:
        raise BadRequestError(f"'{name}' must be a whole number, 0 or more")
    return number


ROUTES = (
    web.get("/jobs", get_jobs),
    web.post("/jobs/cancel", cancel_jobs),
    web.get("/jobs/{job_id}", get_job),
    web.patch("/jobs/{job_id}", patch_job),
    web.delete("/jobs/{job_id}", delete_job),
    web.get("/jobs/{job_id}/events", get_job_events),
    web.post("/jobs/{job_id}/cancel", cancel_job),
    web.post("/jobs/{job_id}/retry", retry_job),
    web.post("/jobs/{job_id}/move", move_job),
    web.get("/queue/state", get_queue_state),
    web.post("/queue/pause", pause_queue),
    web.post("/queue/resume", resume_queue),
)
