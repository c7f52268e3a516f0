"""Where a command's workflow comes from: a file, the standard input, or the workflows that come with Mezzotint."""

from __future__ import annotations

import sys
from pathlib import Path

from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.registry import closest
from mezzotint.engine.upgrade import upgraded
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_file import parse_json, read_document
from mezzotint.workflows import bundled_workflows

from .runner import KnownNodes

STDIN = "-"


def read_workflow(name: str, nodes: KnownNodes) -> Workflow:
    """The workflow that a command was given.

    Args:
        name: a path; `-` for JSON on the standard input; or, if there is no such file, a bundled workflow's name.

    Raises:
        WorkflowError: it is none.
    """
    if name == STDIN:
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        return _read_text(text, "The standard input", nodes)
    path = Path(name).expanduser()
    if path.exists() or path.suffix or len(path.parts) > 1:
        return nodes.load(path)
    bundled = bundled_workflows()
    if name not in bundled:
        raise WorkflowError(_no_such_workflow(name, list(bundled)))
    return _read_text(bundled[name], f"The bundled workflow {name}", nodes)


def _read_text(text: str, name: str, nodes: KnownNodes) -> Workflow:
    return upgraded(read_document(parse_json(text, name), nodes.definitions, name), nodes.registry)


def _no_such_workflow(name: str, bundled: list[str]) -> str:
    near = closest(name, bundled)
    hint = f"did you mean '{near}'?" if near else f"bundled are: {', '.join(bundled) or 'none'}."
    return f"There is no file {name}, and no bundled workflow of that name; {hint}"
