"""Queues a workflow once, however often the connection breaks."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import Any

from mezzotint.engine.errors import InvalidWorkflowError
from mezzotint.engine.problem import Problem
from mezzotint.engine.workflow import Workflow

from .errors import ConnectionLostError, RequestRefusedError, ServerUnreachableError
from .job_queries import JobQueries
from .rejection import problems_of
from .transport import Transport, backing_off


def check_converted(workflow: Workflow) -> None:
    """See that all of an editor's document could be converted.

    Raises:
        InvalidWorkflowError: it could not.
    """
    if workflow.problems:
        raise InvalidWorkflowError(
            [Problem("missing_node_type", sentence.rstrip(".")) for sentence in workflow.problems]
        )


def request_body(
    workflow: Workflow,
    client_id: str,
    *,
    targets: Collection[str] | None,
    priority: float | None,
    front: bool,
    extra_data: Mapping[str, Any],
) -> dict[str, Any]:
    """The body of `POST /prompt` (wire protocol §1.1), under an id of its own."""
    extra = dict(extra_data)
    if workflow.extra_pnginfo:
        extra.setdefault("extra_pnginfo", workflow.extra_pnginfo)
    body: dict[str, Any] = {
        "prompt": workflow.to_api(),
        "prompt_id": str(uuid.uuid4()),
        "client_id": client_id,
        "extra_data": extra,
    }
    if targets is not None:
        body["partial_execution_targets"] = [*targets]
    if priority is not None:
        body["number"] = priority
    elif front:
        body["front"] = True
    return body


async def post_prompt(
    transport: Transport, queries: JobQueries, body: Mapping[str, Any], workflow: Workflow, patience_s: float
) -> list[Problem]:
    """Queue a prompt; returns what is wrong with outputs that were left out.

    When the answer is lost, the server is asked whether it knows the job before it is posted again; and since the id
    is the same, a server that took it both times would refuse the second.

    Raises:
        InvalidWorkflowError: nothing of it can run. ServerError: it is not queued, as far as anybody knows.
    """
    try:
        answer = await _posted(transport, queries, body, patience_s)
    except RequestRefusedError as refused:
        problems = problems_of(refused.body, workflow) if refused.status == 400 else []
        if not problems:
            raise
        raise InvalidWorkflowError(problems) from None
    return problems_of(answer, workflow)


async def _posted(transport: Transport, queries: JobQueries, body: Mapping[str, Any], patience_s: float) -> Any:
    try:
        return await transport.ask("POST", "/prompt", body)
    except ConnectionLostError as error:
        lost: ServerUnreachableError = error
    job_id = str(body["prompt_id"])
    async for _ in backing_off(patience_s):
        try:
            if await queries.is_known(job_id):
                return None
            return await transport.ask("POST", "/prompt", body)
        except RequestRefusedError as refused:
            if not _is_taken(refused):
                raise
            return None
        except ServerUnreachableError as error:
            lost = error
    raise lost


def _is_taken(refused: RequestRefusedError) -> bool:
    """Whether the server refuses because it has a job of this id."""
    error = refused.body.get("error") if isinstance(refused.body, Mapping) else None
    return isinstance(error, Mapping) and error.get("type") == "invalid_prompt_id"
