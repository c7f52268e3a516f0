"""Headers that all answers get: how long static files may be kept, and who may ask from other pages (protocol §0)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from aiohttp import web

OnPrepare = Callable[[web.Request, web.StreamResponse], Awaitable[None]]

_MUST_ASK = re.compile(r"\.(js|css)$|/index[^/]*\.json$")
_PICTURE = re.compile(r"\.(png|jpe?g|gif|webp|avif|svg|ico|bmp|tiff?)$", re.IGNORECASE)
_CHANGES = re.compile(r"^(/api)?/userdata/")
"""Files that clients replace under the same name."""
METHODS = "POST, GET, DELETE, PUT, OPTIONS, PATCH"


async def set_cache_control(request: web.Request, response: web.StreamResponse) -> None:
    """Scripts, styles and indexes are asked for anew each time; pictures are kept a day, their absence an hour."""
    path, kept = request.path, None
    if _MUST_ASK.search(path) or _CHANGES.match(path):
        kept = "no-cache"
    elif _PICTURE.search(path):
        kept = {200: "public, max-age=86400", 404: "public, max-age=3600"}.get(response.status)
    if kept is not None:
        response.headers.setdefault("Cache-Control", kept)


def allow_origin(origin: str) -> OnPrepare:
    """Let pages of other addresses read the answers: those of `origin`, or of all with `*`."""

    async def set_access_control(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Methods"] = METHODS
        response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization"
        response.headers["Access-Control-Allow-Credentials"] = "true"

    return set_access_control
