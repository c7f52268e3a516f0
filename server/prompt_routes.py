"""`/prompt`: submit a job (wire protocol §1.1). `/interrupt` and `/free` (§1.4)."""

from __future__ import annotations

from aiohttp import web

from mezzotint.engine.current_job import CURRENT_JOB

from .app_key import CONTROL, HOST, QUEUE, WORKER
from .database import DatabaseError
from .error_shape import PromptRejectedError, error_shape, node_errors
from .job_store import KnownJobError
from .json_body import json_answer, read_object
from .submission import read_job
from .worker import Release


async def get_prompt(request: web.Request) -> web.Response:
    """How many jobs wait or run."""
    return json_answer({"exec_info": {"queue_remaining": request.app[QUEUE].remaining}})


async def post_prompt(request: web.Request) -> web.Response:
    """Queue a workflow. The answer comes once it is checked and on disk."""
    host, queue = request.app[HOST], request.app[QUEUE]
    try:
        job = await read_job(host.rewritten(await read_object(request)), host, queue)
        CURRENT_JOB.set(job.job_id)
        await request.app[CONTROL].submit(job)
    except PromptRejectedError as rejected:
        return json_answer(rejected.shape, status=400)
    except KnownJobError:
        return json_answer(error_shape("invalid_prompt_id", "A job with this 'prompt_id' is known already"), status=400)
    except DatabaseError as error:
        return json_answer(error_shape("not_stored", f"The job was not queued: {error}"), status=503)
    errors = node_errors(job.validation, job.workflow, host.registry, host.definitions)
    return json_answer({"prompt_id": job.job_id, "number": job.number, "node_errors": errors})


async def interrupt(request: web.Request) -> web.Response:
    """Stop the job that runs longest; with a `prompt_id`, that one if it runs."""
    job_id = (await read_object(request)).get("prompt_id")
    control = request.app[CONTROL]
    await (control.interrupt_oldest() if job_id is None else control.interrupt([str(job_id)]))
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
