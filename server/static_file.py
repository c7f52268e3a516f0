"""Gives out the files of a folder, and nothing beside it, with the types and the caching of wire protocol §0."""

from __future__ import annotations

import asyncio
import mimetypes
from pathlib import Path, PurePosixPath

from aiohttp import web

FRESH = {"Cache-Control": "no-store, must-revalidate", "Pragma": "no-cache", "Expires": "0"}
"""Headers of a page that is never to be taken from a browser's cache."""
_TYPES = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".webp": "image/webp"}
"""Those that a browser insists on; what an operating system makes of these endings varies."""
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".ico", ".avif"})


async def static_file(root: Path, name: str, headers: dict[str, str] | None = None) -> web.StreamResponse:
    """A file below a folder. A browser that has it already is told whether it is still the same.

    Args:
        name: the way from the folder to it, parted by `/`. headers: further ones, which prevail.

    Raises:
        web.HTTPNotFound: there is no such file, or it is not below the folder.
    """
    path = await asyncio.to_thread(_below, root, name)
    if path is None:
        raise web.HTTPNotFound(text="There is no such file.", headers=_caching(name, is_there=False))
    facts = {"Content-Type": _content_type(name), "X-Content-Type-Options": "nosniff", **_caching(name)}
    return web.FileResponse(path, headers={**facts, **(headers or {})})


def _below(root: Path, name: str) -> Path | None:
    try:
        path = (root / name).resolve()
        return path if path.is_relative_to(root.resolve()) and path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # a name that is too long, a link to itself, a NUL
        return None


def _content_type(name: str) -> str:
    return _TYPES.get(PurePosixPath(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def _caching(name: str, *, is_there: bool = True) -> dict[str, str]:
    if PurePosixPath(name).suffix.lower() in _PICTURES:
        return {"Cache-Control": f"public, max-age={86400 if is_there else 3600}"}
    return {"Cache-Control": "no-cache"}
