"""`/view`: the pictures and other files that workflows read and write (wire protocol §1.5)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from .app_key import HOST
from .file_headers import file_headers
from .file_place import is_file, place
from .picture import PictureError, transcode


async def view(request: web.Request) -> web.StreamResponse:
    """A file, or with `preview` or `channel` a picture made from it."""
    query = request.query
    if "filename" not in query:
        raise web.HTTPNotFound(text="Say which file: ?filename=...")
    subfolder, folder_type = query.get("subfolder", ""), query.get("type", "output")
    path = await asyncio.to_thread(_file, request, query["filename"], subfolder, folder_type)
    channel = query.get("channel", "")
    if "preview" in query or channel in ("rgb", "a"):
        try:
            made = await asyncio.to_thread(transcode, path, query.get("preview"), channel)
        except PictureError as error:
            raise web.HTTPBadRequest(text=f"{error}.") from None
        if made is not None:
            content, content_type = made
            return web.Response(body=content, headers=file_headers(path.name, content_type))
    return web.FileResponse(path, headers=file_headers(path.name))


def _file(request: web.Request, filename: str, subfolder: str, folder_type: str) -> Path:
    path = place(request.app[HOST].folders, filename, subfolder, folder_type)
    if is_file(path):
        return path
    raise web.HTTPNotFound(text="There is no such file.")


ROUTES = (web.get("/view", view),)
