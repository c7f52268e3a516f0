"""Why did this step run again? Compares a step with the one that had its place in an earlier run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from blake3 import blake3

from .atomic_file import write_atomically
from .plan import Plan, Step
from .value_type import NotStorableError, canonical

FILE_NAME = "last-steps.json"
MAX_STORED, MAX_REMEMBERED = 5000, 50_000
"""How many steps are kept, the latest, on disk and in memory."""


@dataclass(frozen=True, slots=True)
class Ancestry:
    """What a step's key was made of: the type with its version, and a digest or parent for each input."""

    node_type: str
    code: str
    key: str | None
    inputs: dict[str, str] = field(default_factory=dict)


class Lineage:
    """Remembers the steps of earlier runs by place (node id), in memory and, with a folder, between processes."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = folder / FILE_NAME if folder is not None else None
        self._plans: dict[str, Plan] = {}
        self._stored: dict[str, Ancestry] | None = None

    def reason(self, plan: Plan, step: Step) -> str:
        """Why the step's value is not reused, in words."""
        if step.key is None:
            return "never reused: something it depends on changes each time or has no lasting name"
        plan_before = self._plans.get(step.id)
        if plan_before is not None:
            return _difference_in_memory(plan_before, plan_before.steps[step.id], plan, step)
        before = self._load().get(step.id)
        return "first run" if before is None else _difference(before, _ancestry(plan, step), step)

    def remember(self, plan: Plan) -> None:
        """A run of the plan ended; its steps are what the next run is compared with."""
        plans = self._plans
        for step_id in plan.steps:
            plans.pop(step_id, None)
            plans[step_id] = plan
        too_many = len(plans) - max(MAX_REMEMBERED, len(plan.steps))
        for step_id in list(
            islice(plans, max(0, too_many))
        ):  # once: each look at a dict's first key passes what is gone
            del plans[step_id]

    def store(self, plan: Plan) -> None:
        """Keep the steps for other processes; a folder that cannot be written is no error."""
        if self._path is None or len(plan.steps) > MAX_STORED:
            return
        older = {step_id: ancestry for step_id, ancestry in self._load().items() if step_id not in plan.steps}
        stored = {**older, **{step.id: _ancestry(plan, step) for step in plan.steps.values()}}
        kept = dict(list(stored.items())[-MAX_STORED:])
        try:
            text = json.dumps({step_id: asdict(ancestry) for step_id, ancestry in kept.items()})
            write_atomically(self._path, text.encode())
        except OSError:
            return

    def _load(self) -> dict[str, Ancestry]:
        if self._stored is None:
            self._stored = _read(self._path) if self._path is not None else {}
        return self._stored


def _read(path: Path) -> dict[str, Ancestry]:
    """What was stored; nothing when the file is missing, torn or another one."""
    try:
        found = {step_id: Ancestry(**given) for step_id, given in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {step_id: ancestry for step_id, ancestry in found.items() if isinstance(ancestry.inputs, dict)}


def _difference(before: Ancestry, now: Ancestry, step: Step) -> str:
    if before.node_type != now.node_type:
        return "first run"
    if before.key == now.key:
        return "an output node writes anew in each process" if step.spec.is_sink else "its value is no longer kept"
    if before.code != now.code:
        return "the node's code changed"
    names = {**before.inputs, **now.inputs}
    return _change(step, [name for name in names if before.inputs.get(name) != now.inputs.get(name)])


def _difference_in_memory(plan_before: Plan, before: Step, plan: Plan, step: Step) -> str:
    """As `_difference`, without making ancestries: every step that runs again is asked this."""
    old, new = before.spec, step.spec
    if old.name != new.name:
        return "first run"
    if before.key == step.key:
        return "its value is no longer kept"
    if (old.version, old.code_version) != (new.version, new.code_version):
        return "the node's code changed"
    names = {**before.literals, **before.links, **step.literals, **step.links}
    return _change(step, [name for name in names if _differs(name, plan_before, before, plan, step)])


def _differs(name: str, plan_before: Plan, before: Step, plan: Plan, step: Step) -> bool:
    old, new = before.links.get(name), step.links.get(name)
    if old is not None and new is not None:
        return old.slot != new.slot or plan_before.steps[old.node_id].key != plan.steps[new.node_id].key
    if old is not None or new is not None or (name in before.literals) != (name in step.literals):
        return True
    value_before, value = before.literals[name], step.literals[name]
    return value_before is not value and _name(value_before) != _name(value)


def _change(step: Step, changed: list[str]) -> str:
    if changed:
        return "changed: " + ", ".join(_described(step, name) for name in changed)
    if step.spec.is_sink and step.spec.fingerprint is None:
        return "the output folder changed"
    return "what it reads outside the workflow changed"


def _ancestry(plan: Plan, step: Step) -> Ancestry:
    inputs = {name: _name(value) for name, value in step.literals.items()}
    for name, link in step.links.items():
        inputs[name] = f"@{plan.steps[link.node_id].key}.{link.slot}"
    return Ancestry(step.spec.name, f"{step.spec.version} {step.spec.code_version}", step.key, inputs)


def _name(value: object) -> str:
    """Stands for a literal: itself when it is short, else a digest."""
    is_short = len(value) <= 16 if type(value) is str else type(value) is not int or abs(value) < 1 << 64
    if is_short and (value is None or type(value) in (bool, int, float, str)):
        return f"{type(value).__name__} {value!r}"
    try:
        return blake3(b"".join(canonical(value))).hexdigest(8)
    except NotStorableError:
        return ""


def _described(step: Step, name: str) -> str:
    link = step.links.get(name)
    return f"'{name}'" if link is None else f"'{name}' (from node {link.node_id})"
