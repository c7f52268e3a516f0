"""Writes requests to the log at the level `debug`: what was asked, what was answered, and of which job, if of one."""

from __future__ import annotations

import logging
import time

from aiohttp import web
from aiohttp.typedefs import Handler

from mezzotint.engine.current_job import CURRENT_JOB

log = logging.getLogger("mezzotint.requests")


@web.middleware
async def log_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A middleware. What stands behind the path is left out: it may hold a token."""
    began, status = time.perf_counter(), 500
    outside = CURRENT_JOB.set(request.match_info.get("job_id", ""))
    try:
        response = await handler(request)
        status = response.status
    except web.HTTPException as answer:
        status = answer.status
        raise
    finally:
        if log.isEnabledFor(logging.DEBUG):
            milliseconds = 1000 * (time.perf_counter() - began)
            log.debug("%s %s: %d in %.1f ms", request.method, request.path, status, milliseconds)
        CURRENT_JOB.reset(outside)
    return response
