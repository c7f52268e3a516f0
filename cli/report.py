"""Problems and failures as people read them."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mezzotint.engine.event import StepFailed
from mezzotint.engine.folders import Folders
from mezzotint.engine.node import NodeSpec
from mezzotint.engine.problem import Problem
from mezzotint.engine.registry import Registry
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.workflow import Workflow

from . import TRACEBACK_VARIABLE
from .missing_models import describe, missing_models
from .terminal import Terminal, sentence

SHOWN_NODES = 8


def tell_problems(terminal: Terminal, problems: Sequence[Problem], workflow: Workflow, folders: Folders) -> None:
    """Say why a workflow cannot run, and what models it lacks."""
    lines = problem_lines(problems)
    if len(lines) == 1:
        terminal.fail(lines[0])
    else:
        terminal.fail(f"The workflow has {len(lines)} problems:", hint="\n".join(f"  {line}" for line in lines))
    for line in missing_lines(problems, workflow, folders):
        terminal.hint(line)


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """A sentence for each problem."""
    return [sentence(str(problem)) for problem in problems]


def missing_lines(problems: Sequence[Problem], workflow: Workflow, folders: Folders) -> list[str]:
    """What is said of missing models; nothing when no problem is one."""
    if not any(problem.models for problem in problems):
        return []
    missing = missing_models(problems, workflow.ui, folders)
    return ["Missing models:", *("  " + describe(model, folders).replace("\n", "\n  ") for model in missing)]


def tell_failures(terminal: Terminal, result: RunResult, registry: Registry, *, with_traceback: bool) -> None:
    """Say what failed in a run, where, and what could not run because of it."""
    for failure in result.failures:
        terminal.fail(failure.sentence, hint=_where(failure, registry))
        if with_traceback:
            terminal.hint("".join(failure.traceback).rstrip())
    if result.skipped:
        terminal.hint(f"Not run because of that: {_counted(sorted(result.skipped, key=_natural_order))}.")
    if not with_traceback and any(not failure.is_expected for failure in result.failures):
        terminal.hint(f"Add --traceback, or set {TRACEBACK_VARIABLE}=1, to see all of where it happened.")


def _where(failure: StepFailed, registry: Registry) -> str:
    """The line of the node's own code that raised; nothing for errors that explain themselves."""
    spec = registry.get(failure.node_type)
    frames = traceback.extract_tb(failure.error.__traceback__)
    if failure.is_expected or spec is None or not frames:
        return ""
    own = [frame for frame in frames if frame.filename == _source_file(spec)]
    frame = own[-1] if own else frames[-1]
    return f"  raised at {frame.filename}:{frame.lineno} in {frame.name}"


def _source_file(spec: NodeSpec) -> str | None:
    code = getattr(spec.body, "__code__", None)
    return code.co_filename if code is not None else None


def _counted(node_ids: Sequence[str]) -> str:
    shown = ", ".join(node_ids[:SHOWN_NODES])
    more = f" and {len(node_ids) - SHOWN_NODES} more" if len(node_ids) > SHOWN_NODES else ""
    return f"node {shown}" if len(node_ids) == 1 else f"nodes {shown}{more}"


def _natural_order(node_id: str) -> list[tuple[bool, int | str]]:
    """9 before 10, and 3 before its own 3.0.1."""
    parts = re.split("[.:]", node_id)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else part) for part in parts]


def shown_files(outputs: Mapping[str, Mapping[str, Sequence[Any]]]) -> list[Mapping[str, Any]]:
    """What output nodes say of the files that they wrote: `filename`, `subfolder` and `type` of each."""
    return [item for shown in outputs.values() for item in _items(shown) if _is_file(item)]


def file_place(shown: Mapping[str, Any], folders: Folders) -> str:
    """Where such a file lies: an absolute path, or the address that a store has given it."""
    if isinstance(shown.get("url"), str):
        return str(shown["url"])
    folder = folders.by_type(shown.get("type", "output")).absolute()
    return str(folder / str(shown.get("subfolder", "")) / str(shown["filename"]))


def shown_texts(shown: Mapping[str, Sequence[Any]]) -> list[str]:
    """The texts that an output node reports."""
    return [item for item in _items(shown) if isinstance(item, str)]


def _items(shown: Mapping[str, Sequence[Any]]) -> Iterator[Any]:
    return (item for items in shown.values() if not isinstance(items, str) for item in items)


def _is_file(item: Any) -> bool:
    if not isinstance(item, Mapping) or not isinstance(item.get("filename"), str):
        return False
    return item.get("type", "output") in ("input", "output", "temp")
