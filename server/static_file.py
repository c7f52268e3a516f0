"""Gives out the files of a folder, and nothing beside it, with types that browsers insist on (wire protocol §0)."""

from __future__ import annotations

import asyncio
import mimetypes
from pathlib import Path, PurePosixPath

from aiohttp import web

from .file_place import below_root, is_file

FRESH = {"Cache-Control": "no-store, must-revalidate", "Pragma": "no-cache", "Expires": "0"}
"""Headers of a page that is never to be taken from a browser's cache."""
_TYPES = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".webp": "image/webp"}
"""What operating systems make of these endings varies."""


async def static_file(root: Path, name: str, headers: dict[str, str] | None = None) -> web.StreamResponse:
    """A file below a folder. A browser that has it already is told whether it is still the same.

    Args:
        name: the way from the folder to it, parted by `/`. headers: further ones.

    Raises:
        web.HTTPNotFound: there is no such file. web.HTTPForbidden: it is not below the folder.
    """
    path = await asyncio.to_thread(below_root, root, name, "the folder")
    if not is_file(path):
        raise web.HTTPNotFound(text="There is no such file.")
    facts = {"Content-Type": _content_type(name), "X-Content-Type-Options": "nosniff"}
    return web.FileResponse(path, headers={**facts, **(headers or {})})


def _content_type(name: str) -> str:
    return _TYPES.get(PurePosixPath(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
