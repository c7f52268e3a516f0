"""Who may use a server that others can reach: whoever knows its token.

Programs send it as `Authorization: Bearer TOKEN`, or as `?token=TOKEN` where they cannot set headers. A person
opens a page with `?token=TOKEN` once, or types the token: it becomes a cookie, and leaves the address.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

OPEN_PATHS = frozenset({"/health", "/api/health"})
"""What is answered without a token: it tells nothing but that the server is there."""
COOKIE_SECONDS = 30 * 24 * 3600
HIDDEN = "***"
_PARAMETER, _OPTION = "token", "--token"
_PAGE = Path(__file__).parent / "page" / "token.html"
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
_HINT = "This server wants its token: open it with ?token=... once, or send the header 'Authorization: Bearer ...'."


def why_unusable(token: str) -> str | None:
    """Why a text cannot be a token, or None when it can: it must fit into a header."""
    if not token:
        return "it is empty"
    return None if all("!" <= letter <= "~" for letter in token) else "allowed are visible ASCII characters, no spaces"


def without_token(arguments: Sequence[str]) -> list[str]:
    """A command line as it may be shown: the value of `--token` replaced."""
    shown = [HIDDEN if before == _OPTION else word for before, word in zip(["", *arguments], arguments, strict=False)]
    return [f"{_OPTION}={HIDDEN}" if word.startswith(f"{_OPTION}=") else word for word in shown]


class Access:
    """Knows the token, but keeps only digests of it, so that nothing can show it by accident."""

    def __init__(self, token: str) -> None:
        self._digest = _digest(token)
        self._cookie_value = hmac.digest(token.encode(), b"mezzotint cookie", "sha256").hex()
        # Cookies do not tell ports apart, and several servers may be on one machine.
        self._cookie_name = f"mezzotint_{hashlib.sha256(self._cookie_value.encode()).hexdigest()[:8]}"

    def allows(self, request: web.Request) -> bool:
        """Whether a request carries the token, or the cookie that stands for it."""
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(given.strip()):
            return True
        return self._is_in_address(request) or self._has_cookie(request)

    def _has_cookie(self, request: web.Request) -> bool:
        given = request.cookies.get(self._cookie_name, "")
        return hmac.compare_digest(_digest(given), _digest(self._cookie_value))

    def turns_into_cookie(self, request: web.Request) -> bool:
        """Whether a browser opens a page with the token in the address."""
        is_page = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
        return is_page and self._is_in_address(request)

    def to_cookie(self, request: web.Request) -> web.Response:
        """Sends the browser to the same address without the token, with the cookie."""
        kept = [(name, value) for name, value in request.query.items() if name != _PARAMETER]
        # One slash alone: an address that begins with two would name another host.
        where = "/" + str(request.rel_url.with_query(kept)).lstrip("/\\")
        answer = web.Response(status=303, headers={"Location": where, "Cache-Control": "no-store"})
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.set_cookie(
            self._cookie_name,
            self._cookie_value,
            max_age=COOKIE_SECONDS,
            path="/",
            secure=request.secure,
            httponly=True,
            samesite="Strict",
        )
        return answer

    def _is_in_address(self, request: web.Request) -> bool:
        return any(map(self._is_token, request.query.getall(_PARAMETER, [])))

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(_digest(given), self._digest)


def guard_access(token: str | None) -> Middleware:
    """A middleware that answers 401 to whoever does not know the token; without a token it lets everybody in."""
    access = None if token is None else Access(token)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if access is None or request.path in OPEN_PATHS:
            return await handler(request)
        if not access.allows(request):
            return _refusal(request)
        return access.to_cookie(request) if access.turns_into_cookie(request) else await handler(request)

    return guard


def _refusal(request: web.Request) -> web.Response:
    headers = {"WWW-Authenticate": 'Bearer realm="mezzotint"', "Cache-Control": "no-store"}
    if request.method != "GET" or "text/html" not in request.headers.get("Accept", ""):
        return web.Response(status=401, text=_HINT, headers=headers)
    headers |= {"Content-Security-Policy": _PAGE_POLICY, "Referrer-Policy": "no-referrer"}
    page = _PAGE.read_text(encoding="utf-8")
    return web.Response(status=401, text=page, content_type="text/html", headers=headers)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
