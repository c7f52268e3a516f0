"""`/users` and `/settings` (wire protocol §1.8)."""

from __future__ import annotations

import asyncio

from aiohttp import web

from .app_key import USERS
from .json_body import json_answer, read_json, read_object
from .users import DEFAULT_USER


async def get_users(request: web.Request) -> web.Response:
    """The users, or that there is one and whether anything of theirs is kept here."""
    users = request.app[USERS]
    if users.is_multi:
        return json_answer({"storage": "server", "users": await asyncio.to_thread(users.names)})
    has_folder = await asyncio.to_thread((users.root / DEFAULT_USER).is_dir)
    return json_answer({"storage": "server", "migrated": has_folder})


async def post_user(request: web.Request) -> web.Response:
    """Make a user."""
    users, body = request.app[USERS], await read_object(request)
    if not users.is_multi:
        return json_answer({"error": "This server has one user; --multi-user allows several."}, 400)
    try:
        return json_answer(await asyncio.to_thread(users.add, str(body.get("username") or "")))
    except ValueError as error:
        return json_answer({"error": str(error)}, 400)


async def get_settings(request: web.Request) -> web.Response:
    """All settings."""
    return json_answer(await asyncio.to_thread(request.app[USERS].settings(request).read))


async def post_settings(request: web.Request) -> web.Response:
    """Set some."""
    return await _update(request, await read_object(request))


async def get_setting(request: web.Request) -> web.Response:
    """One setting; null when it was never set."""
    settings = await asyncio.to_thread(request.app[USERS].settings(request).read)
    return json_answer(settings.get(request.match_info["key"]))


async def post_setting(request: web.Request) -> web.Response:
    """Set one, to any JSON value."""
    if not (await request.read()).strip():
        raise web.HTTPBadRequest(text="The body must be the setting's value, as JSON.")
    return await _update(request, {request.match_info["key"]: await read_json(request)})


async def _update(request: web.Request, changes: dict[str, object]) -> web.Response:
    settings = request.app[USERS].settings(request)
    try:
        await asyncio.to_thread(settings.update, changes)
    except OSError as error:
        raise web.HTTPInsufficientStorage(text=f"The settings cannot be written: {error.strerror}.") from None
    return web.Response()


ROUTES = (
    web.get("/users", get_users),
    web.post("/users", post_user),
    web.get("/settings", get_settings),
    web.post("/settings", post_settings),
    web.get("/settings/{key}", get_setting),
    web.post("/settings/{key}", post_setting),
)
