"""JSON in and out: what clients send is taken as they write it, what they get is always standard JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.workflow_file import parse_json

MAX_DEPTH = 100


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


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A response that carries a value."""
    return web.Response(text=to_json(value), status=status, headers=headers, content_type="application/json")


async def read_json(request: web.Request) -> Any:
    """The body of a request; None when it is empty.

    Raises:
        web.HTTPBadRequest: it is not JSON. web.HTTPRequestEntityTooLarge: it is larger than the server takes.
    """
    try:
        text = (await request.read()).decode("utf-8-sig")
        return parse_json(text, "The body") if text.strip() else None
    except (UnicodeDecodeError, WorkflowError) as error:
        raise web.HTTPBadRequest(text=str(error)) from None


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
