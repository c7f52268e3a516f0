"""`/prompt`: submit a job (wire protocol §1.1). `/interrupt` and `/free` (§1.4)."""

from __future__ import annotations

from aiohttp import web

from .app_key import HOST, QUEUE, WORKER
from .error_shape import PromptRejectedError, node_errors
from .json_body import json_answer, read_object
from .submission import read_job
from .worker import Release


async def get_prompt(request: web.Request) -> web.Response:
    """How many jobs wait or run."""
    return json_answer({"exec_info": {"queue_remaining": request.app[QUEUE].remaining}})


async def post_prompt(request: web.Request) -> web.Response:
    """Queue a workflow. The answer comes once it is checked and queued; the queue is in memory."""
    host, queue = request.app[HOST], request.app[QUEUE]
    try:
        job = await read_job(await read_object(request), host, queue)
    except PromptRejectedError as rejected:
        return json_answer(rejected.shape, status=400)
    queue.put(job)
    errors = node_errors(job.validation, job.workflow, host.registry, host.definitions)
    return json_answer({"prompt_id": job.job_id, "number": job.number, "node_errors": errors})


async def interrupt(request: web.Request) -> web.Response:
    """Stop the running job; with a `prompt_id`, only if it is that one."""
    job_id = (await read_object(request)).get("prompt_id")
    request.app[WORKER].interrupt(None if job_id is None else str(job_id))
    return web.Response()


async def free(request: web.Request) -> web.Response:
    """Let go of loaded models, or of models and kept values, now or after the running job."""
    body = await read_object(request)
    values = body.get("free_memory") is True
    await request.app[WORKER].release(Release(models=values or body.get("unload_models") is True, values=values))
    return web.Response()


ROUTES = (
    web.get("/prompt", get_prompt),
    web.post("/prompt", post_prompt),
    web.post("/interrupt", interrupt),
    web.post("/free", free),
)
