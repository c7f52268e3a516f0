"""The time between being asked to end and ending: jobs that run may finish, new ones are turned away."""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

SENTENCE = "The server is stopping and takes no new jobs; try again when it is back."
RETRY_SECONDS = "10"


class Stopping:
    """Whether the server was asked to end."""

    def __init__(self) -> None:
        self.has_begun = False


def guard_stopping(stopping: Stopping) -> Middleware:
    """A middleware that answers 503 to new jobs once the server was asked to end."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if stopping.has_begun and request.method == hdrs.METH_POST and _adds_a_job(request.path):
            raise web.HTTPServiceUnavailable(text=SENTENCE, headers={hdrs.RETRY_AFTER: RETRY_SECONDS})
        return await handler(request)

    return guard


def _adds_a_job(path: str) -> bool:
    return path.rstrip("/").endswith(("/prompt", "/retry"))
