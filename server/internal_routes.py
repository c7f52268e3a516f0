"""`/internal`: what an editor of the same installation may ask; there is no form under `/api` (wire protocol §1.7)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from aiohttp import web

from mezzotint.engine.errors import FolderError

from .app_key import HOST, LOG_BOOK
from .json_body import json_answer, read_object
from .log_book import as_message


async def get_logs(request: web.Request) -> web.Response:
    """The latest log messages as one text."""
    return json_answer("".join(f"{entry['t']} - {entry['m']}" for entry in [*request.app[LOG_BOOK].entries]))


async def get_raw_logs(request: web.Request) -> web.Response:
    """The latest log messages, each with its time."""
    return json_answer(as_message([*request.app[LOG_BOOK].entries]))


async def subscribe_logs(request: web.Request) -> web.Response:
    """Tell a client what is logged from now on, or no more."""
    body = await read_object(request)
    client_id = body.get("clientId")
    if not isinstance(client_id, str) or not client_id:
        raise web.HTTPBadRequest(text="'clientId' must be the id of a client.")
    book = request.app[LOG_BOOK]
    if body.get("enabled"):
        book.subscribe(client_id)
    else:
        book.unsubscribe(client_id)
    return web.Response()


async def get_folder_paths(request: web.Request) -> web.Response:
    """The folders of each kind of model."""
    folders = request.app[HOST].folders
    return json_answer({kind: [*map(str, folders.model_folders(kind))] for kind in folders.kinds})


async def get_files(request: web.Request) -> web.Response:
    """The files of the input, output or temp folder, not of those below it; the newest first."""
    try:
        folder = request.app[HOST].folders.by_type(request.match_info["folder_type"])
    except FolderError as error:
        raise web.HTTPBadRequest(text=f"{error}.") from None
    return json_answer(await asyncio.to_thread(_newest_first, folder))


def _newest_first(folder: Path) -> list[str]:
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".") and entry.is_file()]
        return [entry.name for entry in sorted(entries, key=lambda entry: -entry.stat().st_mtime_ns)]
    except OSError:  # it was not made yet, or a file went away
        return []


BARE_ROUTES = (
    web.get("/internal/logs", get_logs),
    web.get("/internal/logs/raw", get_raw_logs),
    web.patch("/internal/logs/subscribe", subscribe_logs),
    web.get("/internal/folder_paths", get_folder_paths),
    web.get("/internal/files/{folder_type}", get_files),
)
