"""Events: named in the past tense, immutable, and plain JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from mezzotint.engine import event as events

PLACE: dict[str, Any] = {"node_id": "5.0.0.1", "node_type": "Add", "display_id": "5", "parent_id": "5", "real_id": "5"}
HEAD: dict[str, Any] = {"job_id": "j", "sequence": 3, "time": 1.5}
EVERY = [
    events.RunStarted(**HEAD, step_count=3, reused=("1",)),
    events.WorkflowUpgraded(**HEAD, sentences=("Node 3 (Mix) was upgraded from version 1 to 2.",)),
    events.StepStarted(**HEAD, **PLACE, reason="first run"),
    events.StepProgressed(**HEAD, **PLACE, value=1, total=2, preview=object()),
    events.StepShown(**HEAD, **PLACE, shown={"images": [{"filename": "a.png"}]}, is_reused=False),
    events.StepFinished(**HEAD, **PLACE, source="ran", seconds=0.5),
    events.StepBlocked(**HEAD, **PLACE, message="closed"),
    events.StepFailed(
        **HEAD, **PLACE, sentence="s", exception_type="ValueError", message="m", traceback=("t",), inputs={"a": [1]},
        is_expected=False, error=ValueError("m"),
    ),
    events.RunFinished(**HEAD, status="done", seconds=1.0, skipped=()),
]  # fmt: skip


@pytest.mark.parametrize("event", EVERY, ids=lambda event: event.kind)
def test_every_event_is_plain_json_with_its_kind_first(event: events.Event) -> None:
    written = json.loads(json.dumps(event.to_json()))
    assert next(iter(written)) == "event"
    assert written["event"] == event.kind
    assert {"job_id", "sequence", "time"} <= {*written}
    assert not {"preview", "error"} & {*written}


@pytest.mark.parametrize("event", EVERY, ids=lambda event: event.kind)
def test_an_event_does_not_change(event: events.Event) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.sequence = 9  # type: ignore[misc]


def test_every_event_there_is_has_been_looked_at() -> None:
    classes = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
    assert {*classes} - {events.Event, events.StepEvent} == {type(event) for event in EVERY}


def test_kinds_are_in_snake_case() -> None:
    assert [event.kind for event in EVERY] == [
        "run_started", "workflow_upgraded", "step_started", "step_progressed", "step_shown", "step_finished",
        "step_blocked", "step_failed", "run_finished",
    ]  # fmt: skip
