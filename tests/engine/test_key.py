"""Keys of steps: what they depend on, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import Field

from mezzotint.engine.key import step_key
from mezzotint.engine.node import NodeSpec, node
from mezzotint.engine.plan import Plan
from mezzotint.engine.registry import Registry
from mezzotint.engine.signature import read_node
from mezzotint.engine.validation import validate
from mezzotint.engine.workflow import Link, Workflow


@node("Add")
def add(a: Annotated[float, Field(ge=0)] = 1, b: int = 2, c: Any = None) -> float: ...


@node("Halves", output_names=("half",))
def halves(a: float = 1) -> int: ...


@node("Show", sink=True)
def show(value: Any) -> None: ...


ADD = read_node(add, "pack", "1")


def key(spec: NodeSpec = ADD, literals: dict[str, Any] | None = None, **given: Any) -> str | None:
    links = given.pop("links", {})
    parents = given.pop("parents", {"p": "parent-key"})
    return step_key(spec, {"a": 1.0} if literals is None else literals, links, parents.get, **given)


def keys_of(graph: dict[str, Any], *functions: Callable[..., Any], **options: Any) -> dict[str, str | None]:
    registry = Registry()
    for function in functions or (add, halves, show):
        registry.register(function, "pack", "1")
    plan = Plan(validate(Workflow.from_api(graph), registry), **options)
    return {step.id: step.key for step in plan.steps.values()}


def api(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def test_keys_last() -> None:
    """What a key is made of must not change by accident: every cache on disk would be stale."""
    spec = NodeSpec("Add", print, {}, (), code_version="1")
    found = step_key(spec, {"a": 1.0, "b": "é"}, {"c": Link("p", 1)}, {"p": "k"}.get, fingerprint=[1])
    assert found == "0812fbd4c13caa6f544b96a17b58bdc20c567768ee97acad155ea4b731768055"


@pytest.mark.parametrize(
    "changed",
    [
        {"literals": {"a": 1}},
        {"literals": {"a": True}},
        {"literals": {"a": "1.0"}},
        {"literals": {"b": 1.0}},
        {"literals": {"a": 1.0, "b": None}},
        {"literals": {}},
        {"literals": {"a": 1.0, "a=": 1.0}},
        {"spec": ADD.replace(name="Sub")},
        {"spec": ADD.replace(version=2)},
        {"spec": ADD.replace(code_version="2")},
        {"spec": ADD.replace(uses_id=True), "node_id": "5"},
        {"salt": "/elsewhere"},
        {"fingerprint": "a"},
        {"fingerprint": 0},
        {"links": {"b": Link("p", 0)}},
        {"links": {"b": Link("p", 1)}},
        {"links": {"c": Link("p", 0)}},
        {"links": {"b": Link("p", 0)}, "parents": {"p": "other-key"}},
    ],
)
def test_whatever_makes_a_difference_changes_the_key(changed: dict[str, Any]) -> None:
    assert key(**changed) not in (None, key())


def test_all_of_these_differ_from_each_other() -> None:
    links = [{"b": Link("p", 0)}, {"b": Link("p", 1)}, {"b": Link("q", 0)}, {"b": Link("p", 10)}, {"bb": Link("p", 0)}]
    parents = {"p": "k", "q": "k1"}
    found = {key(links=link, parents=parents) for link in links}
    found |= {key(fingerprint=value) for value in (None, 0, False, "", (), "0")}
    found |= {key(ADD.replace(uses_id=True), node_id=node_id) for node_id in ("1", "2", "")}
    assert len(found) == len(links) + 6 + 3


@pytest.mark.parametrize(
    "changed",
    [
        {"node_id": "7"},
        {"spec": ADD.replace(title="Sum", category="x", description="y", lane="device", plugin="other", module="m")},
        {"literals": {"a": 1.0}, "fingerprint": None},
        {"parents": {"p": "unused"}},
    ],
)
def test_whatever_makes_no_difference_does_not(changed: dict[str, Any]) -> None:
    assert key(**changed) == key()


def test_the_order_of_inputs_makes_no_difference() -> None:
    assert key(literals={"a": 1.0, "b": 2}) == key(literals={"b": 2, "a": 1.0})
    pair = {"a": Link("p", 0), "b": Link("p", 1)}
    assert key(literals={}, links=pair) == key(literals={}, links=dict(reversed(pair.items())))


@pytest.mark.parametrize(
    "unnameable",
    [
        {"literals": {"a": object()}},
        {"literals": {"a": math.nan}},
        {"fingerprint": math.nan},
        {"fingerprint": [math.nan]},
        {"fingerprint": object()},
        {"links": {"b": Link("p", 0)}, "parents": {"p": None}},
        {"links": {"b": Link("gone", 0)}},
    ],
)
def test_what_depends_on_something_without_a_name_has_no_key(unnameable: dict[str, Any]) -> None:
    assert key(**unnameable) is None


def test_broken_text_in_names_is_no_crash() -> None:
    assert key(ADD.replace(uses_id=True), node_id="\ud800") is not None
    assert key(literals={"\ud800": 1}) is not None


def test_names_and_values_do_not_run_into_each_other() -> None:
    assert key(literals={"a": "", "b": "x"}) != key(literals={"a": "b", "x": ""})
    assert key(ADD.replace(name="Add1", version=2)) != key(ADD.replace(name="Add", version=12))
    assert key(ADD.replace(name="A\0001")) != key(ADD.replace(name="A", code_version="\0001"))


class TestInAGraph:
    GRAPH = {"1": api("Add", a=3), "2": api("Halves", a=["1", 0]), "3": api("Show", value=["2", 0])}  # noqa: RUF012

    def test_renumbered_and_retitled_graphs_have_the_same_keys(self) -> None:
        other = {
            "x": {**api("Show", value=["y:7", 0]), "_meta": {"title": "shown"}},
            "y:7": api("Halves", a=["z", 0]),
            "z": {**api("Add", a=3), "_meta": {"title": "the sum"}},
        }
        assert [*keys_of(self.GRAPH).values()] == [*keys_of(other).values()]

    def test_two_equal_nodes_have_one_key(self) -> None:
        keys = keys_of({**self.GRAPH, "4": api("Add", a=3), "5": api("Show", value=["4", 0])})
        assert keys["1"] == keys["4"]
        assert keys["3"] != keys["5"]

    @pytest.mark.parametrize("inputs", [{"a": 1}, {"a": 1.0}, {"a": "1"}, {"a": 1, "b": 2}, {"c": None}, {"other": 9}])
    def test_a_default_is_the_same_left_out_or_given(self, inputs: dict[str, Any]) -> None:
        plain = keys_of({"1": api("Add"), "3": api("Show", value=["1", 0])})
        assert keys_of({"1": api("Add", **inputs), "3": api("Show", value=["1", 0])}) == plain

    def test_a_change_goes_down_the_links_and_nowhere_else(self) -> None:
        graph = {**self.GRAPH, "4": api("Add", a=9), "5": api("Show", value=["4", 0])}
        before = keys_of(graph)
        after = keys_of({**graph, "1": api("Add", a=4)})
        assert {node_id for node_id in before if before[node_id] != after[node_id]} == {"1", "2", "3"}

    def test_what_a_fingerprint_says_goes_down_the_links(self) -> None:
        before = keys_of(self.GRAPH, fingerprints={"1": "monday"})
        after = keys_of(self.GRAPH, fingerprints={"1": "tuesday"})
        assert not {*before.values()} & {*after.values()}
        assert {*keys_of(self.GRAPH, fingerprints={"1": math.nan}).values()} == {None}

    def test_only_output_nodes_depend_on_the_folder_they_write_to(self) -> None:
        before, after = keys_of(self.GRAPH, sink_salt="/a"), keys_of(self.GRAPH, sink_salt="/b")
        assert [node_id for node_id in before if before[node_id] != after[node_id]] == ["3"]

    def test_a_node_that_asks_for_its_id_has_a_key_of_its_own(self) -> None:
        @node("Own", uses_id=True)
        def own() -> int: ...

        graph = {name: api("Own") for name in "ab"} | {f"s{name}": api("Show", value=[name, 0]) for name in "ab"}
        keys = keys_of(graph, own, show)
        assert keys["a"] != keys["b"]
