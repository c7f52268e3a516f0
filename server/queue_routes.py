"""`/queue` and `/history` (wire protocol §1.2 and §1.3)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .app_key import CONTROL, LISTING, STORE
from .json_body import read_object


async def get_queue(request: web.Request) -> web.Response:
    """The jobs that run and those that wait."""
    return _json(await request.app[LISTING].queue())


async def post_queue(request: web.Request) -> web.Response:
    """Drop waiting jobs: all with `clear`, some with `delete`."""
    body = await read_object(request)
    job_ids = _to_delete(body)
    if body.get("clear"):
        await request.app[CONTROL].drop_all()
    if job_ids:
        await request.app[CONTROL].drop(job_ids)
    return web.Response()


async def get_history(request: web.Request) -> web.Response:
    """What became of jobs, oldest first; a part of it by `max_items` and `offset`."""
    offset = _whole_number(request, "offset")
    return _json(await request.app[LISTING].history(_whole_number(request, "max_items"), offset))


async def get_history_entry(request: web.Request) -> web.Response:
    """What became of one job; an empty object until it ended."""
    return _json(await request.app[LISTING].history_entry(request.match_info["job_id"]))


async def post_history(request: web.Request) -> web.Response:
    """Forget jobs that ended: all with `clear`, some with `delete`."""
    body = await read_object(request)
    job_ids = _to_delete(body)
    if body.get("clear"):
        await request.app[STORE].forget()
    if job_ids:
        await request.app[STORE].forget(job_ids)
    return web.Response()


def _to_delete(body: dict[str, Any]) -> list[str]:
    job_ids: Any = body.get("delete", [])
    if not isinstance(job_ids, list):
        raise web.HTTPBadRequest(text="'delete' must be a list of job ids.")
    return [job_id for job_id in job_ids if isinstance(job_id, str)]


def _json(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")


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
