"""Messages in, events out: in any number of pieces, however often."""

from __future__ import annotations

from typing import Any

from mezzotint.client.event_reader import EventReader
from mezzotint.engine.event import Event
from mezzotint.engine.workflow import Workflow

GRAPH = {
    "1": {"class_type": "Number", "inputs": {"value": 1}},
    "2": {"class_type": "Sum", "inputs": {"a": ["1", 0]}},
    "3": {"class_type": "Show", "inputs": {"source": ["2", 0]}},
}


def message(kind: str, sequence: int | None = None, **data: Any) -> dict[str, Any]:
    numbered = {} if sequence is None else {"sequence": sequence}
    return {"type": kind, **numbered, "data": {"prompt_id": "job", **data}}


def state(node_id: str, word: str, value: float = 0, total: float = 1) -> dict[str, Any]:
    return {node_id: {"value": value, "max": total, "state": word, "node_id": node_id, "real_node_id": node_id}}


FRESH = [
    message("execution_start", 1, timestamp=1000),
    message("execution_cached", 2, nodes=["1"], timestamp=1000),
    message("executing", 3, node="2", display_node="2"),
    message("progress", node="2", value=1, max=2),
    message("progress_state", nodes=state("2", "finished", 2, 2)),
    message("executing", 4, node="3", display_node="3"),
    message("executed", 5, node="3", display_node="3", output={"text": ["2"]}),
    message("progress_state", nodes={**state("2", "finished", 2, 2), **state("3", "finished", 1, 1)}),
    message("execution_success", 6, timestamp=2500),
    message("executing", 7, node=None),
]
KINDS = [
    "run_started", "step_finished 1 memory", "step_started 2", "step_progressed 2", "step_finished 2 ran",
    "step_started 3", "step_shown 3", "step_finished 3 ran", "run_finished done",
]  # fmt: skip


def reader() -> EventReader:
    return EventReader("job", Workflow.from_api(GRAPH))


def read(to: EventReader, messages: list[dict[str, Any]]) -> list[Event]:
    return [event for sent in messages for event in to.read(sent, now=2.5)]


def short(event: Event) -> str:
    parts = (getattr(event, name, "") for name in ("kind", "node_id", "source", "status"))
    return " ".join(str(part) for part in parts if part)


def test_a_run_reads_as_a_local_run_tells_it() -> None:
    events = read(reader(), FRESH)
    assert [short(event) for event in events] == KINDS
    assert [event.sequence for event in events] == [*range(1, len(events) + 1)]
    assert events[-1].to_json()["seconds"] == 1.5


def test_messages_that_come_again_are_read_once() -> None:
    for split in range(len(FRESH)):
        to = reader()
        events = read(to, FRESH[:split]) + read(to, FRESH)
        assert [short(event) for event in events] == KINDS, split


def test_without_progress_the_steps_and_the_end_are_told_all_the_same() -> None:
    kept = [sent for sent in FRESH if "sequence" in sent]
    assert [short(event) for event in read(reader(), kept)] == [
        "run_started", "step_finished 1 memory", "step_started 2", "step_finished 2 ran", "step_started 3",
        "step_shown 3", "step_finished 3 ran", "run_finished done",
    ]  # fmt: skip


def test_the_history_alone_tells_what_was_shown_and_the_end() -> None:
    entry = {
        "prompt": [0, "job", GRAPH, {}, ["3"]],
        "outputs": {"3": {"text": ["2"]}},
        "status": {"messages": [[m["type"], m["data"]] for m in (FRESH[0], FRESH[1], FRESH[8])]},
    }
    to = reader()
    assert [short(event) for event in to.read_history(entry, 2.5)] == [
        "run_started", "step_started 3", "step_shown 3", "step_finished 3 ran", "run_finished done",
    ]  # fmt: skip
    assert to.is_done


def test_a_failure_is_the_sentence_of_a_local_run_and_names_what_could_not_run() -> None:
    error = message(
        "execution_error", node_id="2", node_type="Sum", exception_type="ValueError", exception_message="no\n",
        traceback=["a\n"], current_inputs={"a": [1]}, timestamp=2000,
    )  # fmt: skip
    failed, end = read(reader(), [*FRESH[:3], error, FRESH[-1]])[-2:]
    assert failed.to_json()["sentence"] == "Node 2 (Sum): ValueError: no"
    assert failed.to_json()["is_expected"] is False
    assert end.to_json() | {"time": 0} == {
        "event": "run_finished", "job_id": "job", "sequence": 5, "time": 0,
        "status": "failed", "seconds": 1.5, "skipped": ("3",),
    }  # fmt: skip


def test_an_expected_failure_is_its_text_alone() -> None:
    error = message(
        "execution_error", node_id="2", node_type="Sum", exception_type="mezzotint.engine.errors.OutOfMemoryError",
        exception_message="the memory ran out\n",
    )  # fmt: skip
    (failed,) = read(reader(), [error])
    assert failed.to_json()["sentence"] == "Node 2 (Sum): the memory ran out"


def test_a_step_that_was_made_by_another_is_told_by_the_node_that_shows_it() -> None:
    (started,) = read(reader(), [message("executing", node="2.0.0.1", display_node="2")])
    assert started.to_json()["real_id"] == "2"
    assert started.to_json()["node_type"] == "Sum"


def test_a_job_that_is_taken_up_again_begins_anew() -> None:
    again = [sent | {"sequence": sent["sequence"] + 10} for sent in FRESH if "sequence" in sent]
    events = read(reader(), FRESH[:4] + again)
    assert [event.kind for event in events].count("run_started") == 2
    assert [event.kind for event in events].count("run_finished") == 1


def test_messages_of_other_jobs_are_left_out() -> None:
    assert read(reader(), [message("execution_start") | {"data": {"prompt_id": "other"}}]) == []
