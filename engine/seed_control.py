"""What the control behind a widget does to its value after a run: `fixed`, `increment`, `decrement`, `randomize`."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from .ui_widgets import combo_choices, declared_inputs, input_options
from .workflow import Place, Workflow, unwrap_value
from .workflow_edit import with_values

Definitions = Mapping[str, Mapping[str, Any]]

# Editors are written in JavaScript, whose numbers are exact below 2**53; they draw seeds below this.
MAX_RANDOM = 2**50


def advance_controls(workflow: Workflow, definitions: Definitions, rng: Random) -> Workflow:
    """A copy of a workflow for the next run: every controlled value moved on, in the editor's document too.

    A value that several inputs share (a primitive that feeds them) moves once.
    """
    moved: dict[Place | tuple[str, str], Any] = {}
    changes: dict[tuple[str, str], Any] = {}
    for node_id, modes in workflow.controls.items():
        node = workflow.nodes[node_id]
        specs = dict(declared_inputs(definitions.get(node.class_type, {})))
        for name, mode in modes.items():
            if mode == "fixed":
                continue
            key = workflow.places.get(node_id, {}).get(name, (node_id, name))
            if key not in moved:
                moved[key] = next_value(unwrap_value(node.inputs.get(name)), mode, specs.get(name), rng)
            changes[node_id, name] = moved[key]
    return with_values(workflow, changes)


def next_value(value: Any, mode: str, spec: Any, rng: Random) -> Any:
    """The value of a controlled input in the next run.

    A number moves by the `step` of its SPEC and stays within its `min` and `max`; a combo moves along its choices and
    stays at the end of them, except with `increment-wrap`. A value of another kind stays.
    """
    choices = combo_choices(spec)
    if choices:
        return _next_choice(value, mode, choices, rng)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return _next_number(value, mode, input_options(spec), rng)


def _next_choice(value: Any, mode: str, choices: list[Any], rng: Random) -> Any:
    index = choices.index(value) if value in choices else 0
    if mode == "randomize":
        return rng.choice(choices)
    if mode == "increment-wrap":
        return choices[(index + 1) % len(choices)]
    step = {"increment": 1, "decrement": -1}.get(mode, 0)
    return choices[min(max(index + step, 0), len(choices) - 1)]


def _next_number(value: float, mode: str, options: Mapping[str, Any], rng: Random) -> float:
    low = max(options.get("min", 0), -MAX_RANDOM)
    high = options.get("max", MAX_RANDOM)
    step = options.get("step") or 1
    if mode == "randomize":
        count = int((min(high, MAX_RANDOM) - low) // step)
        return type(value)(low + rng.randint(0, max(count, 0)) * step)
    moved = value + {"increment": step, "decrement": -step}.get(mode, 0)
    return type(value)(min(max(moved, low), high))
