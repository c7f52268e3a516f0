"""`/view`: the pictures and other files that workflows read and write (wire protocol §1.5)."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from .app_key import HOST
from .file_place import place
from .picture import transcode

_BINARY = "application/octet-stream"
_ACTIVE = re.compile(r"html|script|css|xml")
"""Types that a browser would run or let other files run: they are given out as plain data."""


async def view(request: web.Request) -> web.StreamResponse:
    """A file, or with `preview` or `channel` a picture made from it."""
    query = request.query
    if "filename" not in query:
        raise web.HTTPNotFound(text="Say which file: ?filename=...")
    subfolder, folder_type = query.get("subfolder", ""), query.get("type", "output")
    path = await asyncio.to_thread(_file, request, query["filename"], subfolder, folder_type)
    channel = query.get("channel", "")
    if "preview" in query or channel in ("rgb", "a"):
        made = await asyncio.to_thread(transcode, path, query.get("preview"), channel)
        if made is not None:
            content, content_type = made
            return web.Response(body=content, headers=_headers(path.name, content_type))
    content_type = mimetypes.guess_type(path.name)[0] or _BINARY
    return web.FileResponse(path, headers=_headers(path.name, content_type))


def _file(request: web.Request, filename: str, subfolder: str, folder_type: str) -> Path:
    path = place(request.app[HOST].folders, filename, subfolder, folder_type)
    try:
        if path.is_file():
            return path
    except OSError:  # a name that is too long
        pass
    raise web.HTTPNotFound(text="There is no such file.")


def _headers(filename: str, content_type: str) -> dict[str, str]:
    is_active = _ACTIVE.search(content_type) is not None
    return {
        "Content-Type": _BINARY if is_active else content_type,
        "Content-Disposition": ("attachment; " if is_active else "") + _disposition(filename),
        "X-Content-Type-Options": "nosniff",
    }


def _disposition(filename: str) -> str:
    plain = re.sub(r'[^\x20-\x7e]|["\\]', "_", filename)
    exact = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"
    return f'filename="{plain}"{exact}'


ROUTES = (web.get("/view", view),)
