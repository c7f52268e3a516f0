"""JSON in and out: what clients send is taken as they write it, what they get is always standard JSON."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from aiohttp import web

from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.workflow import is_nested
from mezzotint.engine.workflow_file import parse_json

MAX_DEPTH = 100
"""How deep lists and objects of a body may lie inside each other, and of an answer do."""
MAX_VALUES = 4_000_000
"""How many values a body may have: a text of brackets takes thirty times its size as objects."""
LARGE_NBYTES = 1 << 18
"""A body of more is read on a thread, so that others are answered meanwhile."""


def to_json(value: Any) -> str:
    """A value as one line of JSON. What JSON lacks is replaced: NaN and infinities by null, objects by their text."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=str)
    except (ValueError, TypeError, RecursionError):
        return json.dumps(_plain(value), separators=(",", ":"))


def _plain(value: Any, depth: int = 0) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if depth < MAX_DEPTH and isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if depth < MAX_DEPTH and isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return str(value) if depth < MAX_DEPTH else "..."


def json_answer(value: Any, status: int = 200) -> web.Response:
    """A response that carries a value."""
    return web.Response(text=to_json(value), status=status, content_type="application/json")


async def read_json(request: web.Request) -> Any:
    """The body of a request; None when it is empty.

    Raises:
        web.HTTPBadRequest: it is not JSON. web.HTTPRequestEntityTooLarge: it is larger than the server takes.
    """
    content = await request.read()
    return _parsed(content) if len(content) < LARGE_NBYTES else await asyncio.to_thread(_parsed, content)


def _parsed(content: bytes) -> Any:
    if sum(content.count(letter) for letter in (b",", b"[", b"{")) > MAX_VALUES:
        raise web.HTTPRequestEntityTooLarge(MAX_VALUES, 0, text=f"The body has more than {MAX_VALUES:,} values.")
    try:
        text = content.decode("utf-8-sig")
        value = parse_json(text, "The body") if text.strip() else None
    except (UnicodeDecodeError, WorkflowError) as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    if isinstance(value, dict | list) and is_nested(value, MAX_DEPTH):
        raise web.HTTPBadRequest(text=f"The body is nested more than {MAX_DEPTH} levels deep; flatten it.")
    return value


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body of a request, which must be an object; an empty one counts as `{}`.

    Raises:
        web.HTTPBadRequest: it is not. web.HTTPRequestEntityTooLarge: it is larger than the server takes.
    """
    body = await read_json(request)
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text=f"The body must be a JSON object, and it is a {type(body).__name__}.")
    return body
