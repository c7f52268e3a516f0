"""Why a step ran again: every reason there is, in this process and from a file."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mezzotint.engine import lineage as lineage_module
from mezzotint.engine.lineage import FILE_NAME, Lineage
from mezzotint.engine.node import node
from mezzotint.engine.plan import Plan
from mezzotint.engine.registry import Registry
from mezzotint.engine.validation import validate
from mezzotint.engine.workflow import Workflow


@node("Number")
def number(value: int = 1, text: str = "", big: Any = None) -> int: ...


@node("Other")
def other(value: int = 1) -> int: ...


@node("Double")
def double(a: int, b: int = 0) -> int: ...


@node("Show", sink=True)
def show(value: Any = None) -> None: ...


def api(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def plan(nodes: dict[str, Any] | None = None, code_version: str = "1", **options: Any) -> Plan:
    registry = Registry()
    for function in (number, other, double, show):
        registry.register(function, "pack", code_version)
    graph = {"1": api("Number"), "2": api("Double", a=["1", 0]), "3": api("Show", value=["2", 0]), **(nodes or {})}
    return Plan(validate(Workflow.from_api(graph), registry), **options)


def reasons(lineage: Lineage, now: Plan) -> dict[str, str]:
    return {step.id: lineage.reason(now, step) for step in now.steps.values()}


@pytest.fixture(params=["the same process", "another process"])
def after(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Plan], Lineage]:
    """A lineage that remembers a run of a plan."""

    def remembering(before: Plan) -> Lineage:
        lineage = Lineage(tmp_path)
        lineage.remember(before)
        lineage.store(before)
        return lineage if request.param == "the same process" else Lineage(tmp_path)

    return remembering


After = Callable[[Plan], Lineage]


def test_the_first_run() -> None:
    assert reasons(Lineage(), plan()) == dict.fromkeys("123", "first run")


def test_a_value_that_was_dropped(after: After) -> None:
    told = reasons(after(plan()), plan())
    assert told["1"] == told["2"] == "its value is no longer kept"


def test_a_changed_input_and_what_depends_on_it(after: After) -> None:
    assert reasons(after(plan()), plan({"1": api("Number", value=2)})) == {
        "1": "changed: 'value'",
        "2": "changed: 'a' (from node 1)",
        "3": "changed: 'value' (from node 2)",
    }


def test_several_changed_inputs(after: After) -> None:
    told = reasons(after(plan()), plan({"1": api("Number", value=2, text="x" * 100, big=10**5000)}))
    assert told["1"] == "changed: 'value', 'text', 'big'"


@pytest.mark.parametrize(("before", "now"), [(1, True), (1, "1"), ("a" * 20, "a" * 21), (None, "None"), (2.0, 2)])
def test_a_change_of_type_alone_is_a_change(after: After, before: Any, now: Any) -> None:
    told = reasons(after(plan({"1": api("Number", big=before)})), plan({"1": api("Number", big=now)}))
    assert told["1"] == "changed: 'big'"


def test_another_link(after: After) -> None:
    told = reasons(after(plan()), plan({"2": api("Double", a=["0", 0]), "0": api("Number", value=9)}))
    assert told["2"] == "changed: 'a' (from node 0)"


def test_a_link_in_place_of_a_constant_and_the_other_way(after: After) -> None:
    linked = {"2": api("Double", a=["1", 0], b=["1", 0])}
    assert reasons(after(plan()), plan(linked))["2"] == "changed: 'b' (from node 1)"
    assert reasons(after(plan(linked)), plan())["2"] == "changed: 'b'"


def test_another_node_type_in_its_place(after: After) -> None:
    assert reasons(after(plan()), plan({"1": api("Other")}))["1"] == "first run"


def test_changed_code(after: After) -> None:
    assert reasons(after(plan()), plan(code_version="2"))["1"] == "the node's code changed"


def test_a_changed_world(after: After) -> None:
    told = reasons(after(plan(fingerprints={"1": "monday"})), plan(fingerprints={"1": "tuesday"}))
    assert told["1"] == "what it reads outside the workflow changed"
    assert told["2"] == "changed: 'a' (from node 1)"


def test_another_output_folder(after: After) -> None:
    told = reasons(after(plan(sink_salt="/a")), plan(sink_salt="/b"))
    assert told["3"] == "the output folder changed"


def test_what_is_never_reused(after: After) -> None:
    now = plan(fingerprints={"1": math.nan})
    told = reasons(after(plan()), now)
    assert {*told.values()} == {"never reused: something it depends on changes each time or has no lasting name"}


def test_an_output_node_in_a_new_process_says_that_it_writes_anew(tmp_path: Path) -> None:
    Lineage(tmp_path).store(plan())
    assert reasons(Lineage(tmp_path), plan())["3"] == "an output node writes anew in each process"


def test_the_latest_run_is_what_counts(after: After) -> None:
    lineage = after(plan())
    lineage.remember(plan({"1": api("Number", value=2)}))
    assert reasons(lineage, plan())["1"] == "changed: 'value'"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"1": 5}', '{"1": {"node_type": "Number"}}', "[" * 5000,
     '{"1": {"node_type": "Number", "code": "1 1", "key": null, "inputs": [1]}}'],
)  # fmt: skip
def test_a_torn_file_tells_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    lineage = Lineage(tmp_path)
    assert reasons(lineage, plan())["1"] == "first run"
    lineage.store(plan())
    assert reasons(Lineage(tmp_path), plan())["1"] == "its value is no longer kept"


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    Lineage(tmp_path / "file").store(plan())
    assert not [*tmp_path.glob(".*")]


def test_the_latest_steps_are_stored_and_older_ones_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage_module, "MAX_STORED", 4)
    lineage = Lineage(tmp_path)
    lineage.store(plan({"a": api("Show", value=1)}))
    Lineage(tmp_path).store(plan())
    stored = json.loads((tmp_path / FILE_NAME).read_bytes())
    assert [*stored] == ["a", "1", "2", "3"]
    Lineage(tmp_path).store(plan({"b": api("Show", value=1)}))
    assert sorted(json.loads((tmp_path / FILE_NAME).read_bytes())) == ["1", "2", "3", "b"]


def test_memory_holds_a_bounded_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage_module, "MAX_REMEMBERED", 3)
    lineage = Lineage()
    for index in range(5):
        lineage.remember(plan({f"s{index}": api("Show", value=index)}))
    assert len(lineage._plans) == 4
    assert reasons(lineage, plan())["1"] == "its value is no longer kept"


def test_a_small_run_after_a_large_one_forgets_it_in_linear_time() -> None:
    class Large(Plan):
        def __init__(self, name: str, count: int) -> None:
            self.steps = dict.fromkeys(f"{name}{index}" for index in range(count))  # type: ignore[arg-type]

    lineage = Lineage()
    lineage.remember(Large("a", 2 * lineage_module.MAX_REMEMBERED))
    began = time.process_time()
    lineage.remember(Large("b", 1))
    assert time.process_time() - began < 0.5  # one by one from the front of a dict: seconds
    assert len(lineage._plans) == lineage_module.MAX_REMEMBERED
