"""Keeps web pages that the user happens to visit from using the server through the user's browser.

A browser names the page that a request comes from in `Origin`. On a loopback address only pages that the server itself
gave out may ask; programs send no `Origin` and pass. A page can also give its own name the address 127.0.0.1 and then
ask in its own name: so a server that is there for this machine alone answers to this machine's names only. Under a
public name, too, only the server's own pages may ask; a proxy in front of it must pass `Host` on.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_loopback(name: str) -> bool:
    """Whether a host name is one of this machine that no other can reach: `localhost`, `127.0.0.1`, `::1`."""
    name = name.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def guard_origin(*, is_public: bool, allowed_origin: str | None = None) -> Middleware:
    """A middleware that refuses what a foreign page asks, with 403 and no text; `OPTIONS` is answered with 200.

    Args:
        is_public: whether the server may be asked under any name; if not, only under a loopback one.
        allowed_origin: whose pages may ask as well, `http://localhost:5173` say; `*` for all.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if allowed_origin is not None and allowed_origin in ("*", origin):
            origin = None  # as if a program asked
        if not _may_ask(request.headers.get("Host", ""), origin, is_public):
            return web.Response(status=403)
        return web.Response() if request.method == "OPTIONS" else await handler(request)

    return guard


def _may_ask(host: str, origin: str | None, is_public: bool) -> bool:
    # The port that is not said is that of the page's scheme: a proxy may speak https for the server.
    scheme = "https" if origin is not None and origin.startswith("https:") else "http"
    asked = _host_and_port(f"{scheme}://{host}") if host else None
    if asked is None:
        return not host and origin is None
    if not (is_public or is_loopback(asked[0])):
        return False
    return origin is None or _host_and_port(origin) == asked


def _host_and_port(address: str) -> tuple[str, int] | None:
    """Of `http://localhost:8188`; None when it is no such address (`null`, say)."""
    try:
        parts = urlsplit(address)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None
