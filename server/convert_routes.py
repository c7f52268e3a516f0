"""`/mezzotint/convert`: any saved form of a workflow to API format, for clients that cannot convert it themselves."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

from aiohttp import web

from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_edit import with_values
from mezzotint.engine.workflow_file import load_workflow, read_file
from mezzotint.plugins.host import Host

from .app_key import HOST
from .json_body import json_answer, read_object

_EXAMPLE = '{"node_id": "5", "input": "seed", "value": 1}'


async def convert(request: web.Request) -> web.Response:
    """The graph of a workflow, and the editor's document if it has one.

    The body is a file, of whatever kind; or, as `application/json`, `{"document": ..., "values": [...]}`: a document in
    either format, and inputs to be changed in it, in both forms of it.
    """
    host = request.app[HOST]
    try:
        if request.content_type == "application/json":
            body = await read_object(request)
            workflow = await asyncio.to_thread(_changed, body, host)
        else:
            content = BytesIO(await request.read())
            workflow = await asyncio.to_thread(read_file, content, host.definitions, "The file")
        if workflow.problems:
            raise WorkflowError("\n".join(workflow.problems))
    except WorkflowError as error:
        return json_answer({"error": str(error)}, status=400)
    return json_answer(_shape(workflow))


def _shape(workflow: Workflow) -> dict[str, Any]:
    return {
        "prompt": workflow.to_api(),
        "workflow": workflow.ui,
        "extra": workflow.extra,
        "warnings": workflow.warnings,
    }


def _changed(body: dict[str, Any], host: Host) -> Workflow:
    document, values = body.get("document"), body.get("values", [])
    if not isinstance(document, dict):
        raise WorkflowError("The body has no 'document', which is an object: a workflow in API or editor format.")
    if not isinstance(values, list):
        raise WorkflowError(f"'values' must be a list of changes, each as in {_EXAMPLE}.")
    workflow = load_workflow(document, host.definitions)
    return with_values(workflow, {(_name(given, "node_id"), _name(given, "input")): given["value"] for given in values})


def _name(given: Any, key: str) -> str:
    if not isinstance(given, dict) or not isinstance(given.get(key), str) or "value" not in given:
        raise WorkflowError(f"Each of 'values' must be as in {_EXAMPLE}.")
    return str(given[key])


ROUTES = (web.post("/mezzotint/convert", convert),)
