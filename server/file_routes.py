"""`/view`: the pictures and other files that workflows read and write (wire protocol §1.5)."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path

from aiohttp import web

from mezzotint.engine.output_store import LOCAL

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
    name, found = await asyncio.to_thread(_file, request, query["filename"], subfolder, folder_type)
    channel = query.get("channel", "")
    if "preview" in query or channel in ("rgb", "a"):
        try:
            made = await asyncio.to_thread(transcode, found, query.get("preview"), channel)
        except PictureError as error:
            raise web.HTTPBadRequest(text=f"{error}.") from None
        if made is not None:
            content, content_type = made
            return web.Response(body=content, headers=file_headers(name, content_type))
    if isinstance(found, BytesIO):
        return web.Response(body=found.getvalue(), headers=file_headers(name))
    return web.FileResponse(found, headers=file_headers(name))


def _file(request: web.Request, filename: str, subfolder: str, folder_type: str) -> tuple[str, Path | BytesIO]:
    """A file's name, and where it lies or, from a store that is no folder, what it holds."""
    host = request.app[HOST]
    path = place(host.folders, filename, subfolder, folder_type)
    if is_file(path):
        return path.name, path
    if folder_type == "output" and host.outputs.name != LOCAL:
        content = host.outputs.store.read(filename, subfolder)
        if content is not None:
            return path.name, BytesIO(content)
    raise web.HTTPNotFound(text="There is no such file.")


ROUTES = (web.get("/view", view),)
