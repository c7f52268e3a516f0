"""Reads the body of `POST /prompt` into a job, or says in the wire's shapes why it is none."""

from __future__ import annotations

import asyncio
import json
import math
import time
import uuid
from collections.abc import Container
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import Row

from mezzotint.engine.errors import MezzotintError, WorkflowError
from mezzotint.engine.upgrade import upgraded
from mezzotint.engine.validation import Validation
from mezzotint.engine.workflow import Workflow, WorkflowNode
from mezzotint.plugins.host import Host

from .error_shape import PromptRejectedError, Refusal, error_shape, rejection
from .job import Job
from .job_queue import JobQueue
from .job_store import JobStore

SECRETS = frozenset({"auth_token_comfy_org", "api_key_comfy_org"})
"""Parts of `extra_data` that nobody but nodes may see."""


SMALL_NODES = 50
"""A graph of so few nodes is checked sooner than a thread would have begun to."""
MAX_NUMBER = 1e15
"""Beyond, there would be no numbers between two."""


class LostJobError(MezzotintError):
    """A stored job cannot run any more. `job` is what is left of it."""

    def __init__(self, job: Job, reason: str) -> None:
        super().__init__(reason)
        self.job = job


async def read_job(body: dict[str, Any], host: Host, queue: JobQueue) -> Job:
    """The job that a body asks for, checked; it is not in the queue yet.

    Raises:
        PromptRejectedError: nothing of it can run, or the body is not understood.
    """
    number = _number(body, queue)
    if "prompt" not in body:
        raise _rejected("no_prompt", "The body has no 'prompt', which holds the graph in API format")
    workflow = upgraded(_workflow(body["prompt"]), host.registry, is_document=False)
    incomplete = {node_id for node_id, node in body["prompt"].items() if "inputs" not in node}
    validation = await _checked(workflow, body.get("partial_execution_targets"), host, incomplete)
    workflow = _as_read(workflow, validation)
    extra_data, secrets = _extra_data(body)
    is_fixed = body.get("number") is not None or body.get("front") is True
    job_id = _job_id(body, queue)
    return Job(number, job_id, workflow, validation, workflow.to_api(), extra_data, secrets, is_fixed)


async def repeat_job(row: Row[Any], host: Host, queue: JobQueue) -> Job:
    """A new job that does what a stored one did.

    Raises:
        PromptRejectedError: it cannot run any more.
    """
    workflow = upgraded(_workflow(json.loads(row.prompt)), host.registry)
    validation = await _checked(workflow, json.loads(row.targets), host)
    extra_data = {**json.loads(row.extra_data), "create_time": int(time.time() * 1000)}
    number, job_id = queue.next_number(), str(uuid.uuid4())
    return Job(number, job_id, workflow, validation, workflow.to_api(), extra_data, retry_of=row.id)


async def restore_job(job_id: str, store: JobStore, host: Host) -> Job:
    """A job as the database holds it, checked again: nodes and models may have changed since.

    Raises:
        LostJobError: it cannot run any more.
    """
    row = await store.read_row(job_id)
    assert row is not None, "jobs that wait are not deleted by others"
    return await asyncio.to_thread(_restored, row, host)


def _restored(row: Row[Any], host: Host) -> Job:
    prompt, extra_data = json.loads(row.prompt), json.loads(row.extra_data)
    targets, secrets = json.loads(row.targets), json.loads(row.secret_names)
    rest = Job(row.number, row.id, Workflow(), Validation([], [], {}), prompt, extra_data)
    if secrets:
        raise LostJobError(rest, f"The server was restarted, and {' and '.join(secrets)}, which came with the job, "
                           "is a secret that is not written to disk; submit the job again")  # fmt: skip
    try:
        workflow = upgraded(Workflow.from_api(prompt), host.registry)
        validation = host.engine.validate(workflow, targets)
    except MezzotintError as error:
        raise LostJobError(rest, f"The job cannot run any more: {error}") from None
    if validation.outputs != targets:
        reasons = " ".join(str(problem) for problem in validation.problems)
        raise LostJobError(rest, f"The job was valid when it was submitted and is not any more. {reasons}")
    return Job(row.number, row.id, workflow, validation, prompt, extra_data, {}, row.is_fixed, row.retry_of)


def _rejected(kind: Refusal, message: str, details: str = "", **extra_info: Any) -> PromptRejectedError:
    return PromptRejectedError(error_shape(kind, message, details, **extra_info))


def _number(body: dict[str, Any], queue: JobQueue) -> float:
    if body.get("number") is None:
        return queue.next_number(front=body.get("front") is True)
    number: Any = body["number"]
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not abs(number) <= MAX_NUMBER:  # which NaN is not either
        raise _rejected(
            "invalid_prompt", f"The job's 'number' must be a number up to {MAX_NUMBER:g}", str(number)[:100]
        )
    return cast(float, number)


def _job_id(body: dict[str, Any], queue: JobQueue) -> str:
    given = body.get("prompt_id")
    if given is None:
        return str(uuid.uuid4())
    try:
        job_id = str(uuid.UUID(given))
    except (ValueError, AttributeError, TypeError):
        raise _rejected("invalid_prompt_id", "The 'prompt_id' must be a UUID", str(given)[:100]) from None
    if queue.has(job_id):
        raise _rejected("invalid_prompt_id", "A job with this 'prompt_id' waits or runs already", job_id)
    return job_id


def _workflow(prompt: Any) -> Workflow:
    if isinstance(prompt, dict):
        for node_id, node in prompt.items():
            if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
                message = f"Node {node_id} has no class_type, which names the type of a node"
                raise _rejected("invalid_prompt", message, f"Node ID '#{node_id}'")
    try:
        return Workflow.from_api(prompt)
    except WorkflowError as error:
        raise _rejected("invalid_prompt", str(error)) from None


async def _checked(workflow: Workflow, targets: Any, host: Host, incomplete: Container[str] = ()) -> Validation:
    """In a thread where it may take long: the graph is large, or choices are looked up in folders."""
    if len(workflow.nodes) <= SMALL_NODES and not any(_looks_outside(node, host) for node in workflow.nodes.values()):
        return _validated(workflow, targets, host, incomplete)
    return await asyncio.to_thread(_validated, workflow, targets, host, incomplete)


def _looks_outside(node: WorkflowNode, host: Host) -> bool:
    spec = host.registry.get(node.class_type)
    return spec is None or spec.looks_outside  # of an unknown type, it is looked who might have it


def _validated(workflow: Workflow, targets: Any, host: Host, incomplete: Container[str]) -> Validation:
    try:
        validation = host.engine.validate(workflow, _targets(workflow, targets, host), incomplete)
    except MezzotintError as error:  # a folder of choices that cannot be read, say
        raise _rejected("invalid_prompt", str(error)) from None
    shape = rejection(validation, workflow, host.registry, host.definitions)
    if shape is not None:
        raise PromptRejectedError(shape)
    return validation


def _as_read(workflow: Workflow, validation: Validation) -> Workflow:
    """The workflow with constants as nodes read them, 5 for "5": so nodes, pictures and the history have them too."""
    nodes = dict(workflow.nodes)
    for node_id, checked in validation.nodes.items():
        node, inputs = nodes[node_id], checked.spec.inputs
        read = {
            name: checked.literals[name]
            for name, given in node.inputs.items()
            if name in checked.literals and inputs[name].choices is None and _differs(given, checked.literals[name])
        }
        if read:
            nodes[node_id] = replace(node, inputs={**node.inputs, **read})
    return workflow.model_copy(update={"nodes": nodes})


def _differs(given: Any, read: Any) -> bool:
    """Whether a plain value, which means the same when it is read again, was written as another."""
    is_plain = isinstance(read, str | int) or (isinstance(read, float) and math.isfinite(read))
    return is_plain and (type(read) is not type(given) or read != given)


def _targets(workflow: Workflow, targets: Any, host: Host) -> list[str] | None:
    """The output nodes that are asked for; ids of other nodes are ignored."""
    if targets is None:
        return None
    if not isinstance(targets, list):
        raise _rejected("invalid_prompt", "The 'partial_execution_targets' must be a list of node ids")
    types = {node_id: host.registry.get(node.class_type) for node_id, node in workflow.nodes.items()}
    sinks = {node_id for node_id, spec in types.items() if spec is not None and spec.is_sink}
    return [target for target in targets if isinstance(target, str) and target in sinks]


def _extra_data(body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What came with the graph, and apart from it what is secret."""
    given = body.get("extra_data")
    given = dict(given) if isinstance(given, dict) else {}
    if isinstance(body.get("client_id"), str):
        given["client_id"] = body["client_id"]
    given["create_time"] = int(time.time() * 1000)
    secrets = {name: given.pop(name) for name in SECRETS & given.keys()}
    return given, secrets
