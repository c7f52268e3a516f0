"""Headers of files that are given out: their name and type, and nothing that a browser would run."""

from __future__ import annotations

import mimetypes
import re
from urllib.parse import quote

BINARY = "application/octet-stream"
STYLESHEET = "text/css"
_ACTIVE = re.compile(r"html|script|css|xml")
"""Types that a browser would run or let other files run: they are given out as plain data."""


def file_headers(filename: str, content_type: str | None = None, *, may_style: bool = False) -> dict[str, str]:
    """The headers of a file.

    Args:
        content_type: guessed from the name when None. may_style: whether a stylesheet may be used as one.
    """
    content_type = content_type or mimetypes.guess_type(filename)[0] or BINARY
    is_active = _ACTIVE.search(content_type) is not None and not (may_style and content_type == STYLESHEET)
    return {
        "Content-Type": BINARY if is_active else content_type,
        "Content-Disposition": ("attachment; " if is_active else "") + _disposition(filename),
        "X-Content-Type-Options": "nosniff",
    }


def _disposition(filename: str) -> str:
    plain = re.sub(r'[^\x20-\x7e]|["\\]', "_", filename)
    exact = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"
    return f'filename="{plain}"{exact}'
