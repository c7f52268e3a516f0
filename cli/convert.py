"""`mezzotint convert`: any workflow as API JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mezzotint.engine.atomic_file import write_atomically
from mezzotint.engine.errors import OutputError, WorkflowError

from .exit_code import DONE
from .host import open_host
from .terminal import Terminal
from .workflow_source import read_workflow


def convert(file: str, target: Path | None, host: dict[str, Any]) -> int:
    """Write a workflow in API format to a file, or to the standard output, and return the exit code.

    Raises:
        WorkflowError: it cannot be read, or some of its nodes cannot be converted. OutputError: the file cannot be
            written.
    """
    terminal = Terminal()
    with open_host(terminal, **host) as opened:
        workflow = read_workflow(file, opened)
    for warning in workflow.warnings:
        terminal.warn(warning)
    if workflow.problems:
        raise WorkflowError("\n".join(workflow.problems))
    text = json.dumps(workflow.to_api(), indent=2, ensure_ascii=target is None)
    if target is None:
        terminal.result(text)
    else:
        _write(target, text + "\n")
        terminal.say(f"Wrote {target.absolute()}")
    return DONE


def _write(target: Path, text: str) -> None:
    try:
        write_atomically(target, text.encode("utf-8", "replace"))
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from None
