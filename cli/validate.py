"""`mezzotint validate`: everything that is wrong with a workflow, without running it."""

from __future__ import annotations

import json
from typing import Any

from mezzotint.engine.problem import Problem
from mezzotint.engine.validation import Validation
from mezzotint.engine.workflow import Workflow

from .exit_code import DONE, INVALID
from .host import open_host
from .report import missing_lines, problem_lines
from .terminal import Terminal
from .workflow_source import read_workflow


def validate(file: str, *, as_json: bool, host: dict[str, Any]) -> int:
    """Check a workflow, say what is wrong, and return the exit code.

    Raises:
        MezzotintError: it cannot be read as a workflow.
    """
    terminal = Terminal()
    with open_host(terminal, **host) as opened:
        workflow = read_workflow(file, opened)
        found = opened.engine.validate(workflow)
        if as_json:
            terminal.result(json.dumps(_as_json(workflow, found), indent=2, default=str))
        else:
            for warning in workflow.warnings:
                terminal.warn(warning)
            for sentence in workflow.upgrades:
                terminal.say(sentence)
            for line in _lines(workflow, found):
                terminal.show(line)
            for line in missing_lines(found.problems, workflow, opened.folders):
                terminal.show(line)
    return INVALID if found.problems else DONE


def _lines(workflow: Workflow, found: Validation) -> list[str]:
    if found.problems:
        count = len(found.problems)
        return [*problem_lines(found.problems), f"invalid: {count} {'problem' if count == 1 else 'problems'}"]
    outputs = ", ".join(f"{node_id} ({found.nodes[node_id].spec.name})" for node_id in found.outputs)
    unused = len(workflow.nodes) - len(found.nodes)
    note = f", {unused} of them not needed" if unused else ""
    return [f"valid: {len(workflow.nodes)} nodes{note}; outputs {outputs}"]


def _as_json(workflow: Workflow, found: Validation) -> dict[str, Any]:
    return {
        "valid": not found.problems,
        "nodes": len(workflow.nodes),
        "outputs": found.outputs,
        "problems": [_problem(problem) for problem in found.problems],
        "warnings": workflow.warnings,
        "upgrades": workflow.upgrades,
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "message": str(problem),
        "node_id": problem.node_id,
        "node_type": problem.node_type,
        "title": problem.title,
        "input_name": problem.input_name,
        "given": problem.given,
        "dependent_outputs": [*problem.dependent_outputs],
    }
