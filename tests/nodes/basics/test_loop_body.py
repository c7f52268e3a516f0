"""What a loop repeats, as pure functions of graphs."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from mezzotint.engine.errors import GraphError
from mezzotint.nodes.basics.loop_body import begin_of, body_of, unroll

Graph = dict[str, dict[str, Any]]


class CountedGraph(Graph):
    """Counts how often a node is looked up."""

    lookups = 0

    def __getitem__(self, node_id: str) -> dict[str, Any]:
        self.lookups += 1
        return super().__getitem__(node_id)


def graph(**nodes: tuple[str, dict[str, Any]]) -> Graph:
    return {node_id: {"class_type": kind, "inputs": inputs} for node_id, (kind, inputs) in nodes.items()}


def simple() -> Graph:
    """start → begin → a → b → end; b also takes what lies outside; shown hangs on a."""
    return graph(
        start=("PrimitiveInt", {"value": 5}),
        outside=("PrimitiveInt", {"value": 7}),
        begin=("RepeatBegin", {"count": 3, "value_1": ["start", 0]}),
        a=("MathInt", {"a": ["begin", 2], "b": 1, "operation": "add"}),
        b=("MathInt", {"a": ["a", 0], "b": ["outside", 0]}),
        shown=("PreviewAny", {"source": ["a", 0]}),
        end=("RepeatEnd", {"flow": ["begin", 0], "value_1": ["b", 0]}),
        after=("PreviewAny", {"source": ["end", 0]}),
    )


def nested() -> Graph:
    """outer → grow → inner(step) → outer's end. The inner loop begins with what the outer turn made."""
    return graph(
        outer=("RepeatBegin", {"count": 2, "value_1": 0}),
        grow=("MathInt", {"a": ["outer", 2], "b": 1}),
        inner=("RepeatBegin", {"count": 3, "value_1": ["grow", 0]}),
        step=("MathInt", {"a": ["inner", 2], "b": 10}),
        inner_end=("RepeatEnd", {"flow": ["inner", 0], "value_1": ["step", 0]}),
        outer_end=("RepeatEnd", {"flow": ["outer", 0], "value_1": ["inner_end", 0]}),
    )


class TestBody:
    def test_it_is_what_lies_between(self) -> None:
        assert body_of(simple(), "end") == ["a", "b"]

    def test_a_value_passed_straight_on_has_no_body(self) -> None:
        given = simple()
        given["end"]["inputs"]["value_1"] = ["begin", 2]
        assert body_of(given, "end") == []

    def test_a_node_that_only_uses_the_index_belongs_to_it(self) -> None:
        given = simple()
        given["outside"]["inputs"]["value"] = ["begin", 1]
        assert set(body_of(given, "end")) == {"a", "b", "outside"}

    def test_an_inner_loop_belongs_to_it_whole(self) -> None:
        assert set(body_of(nested(), "outer_end")) == {"grow", "inner", "step", "inner_end"}
        assert body_of(nested(), "inner_end") == ["step"]

    def test_an_inner_loop_belongs_to_it_even_if_it_begins_with_what_the_outer_one_does_not_change(self) -> None:
        given = nested()
        given["inner"]["inputs"]["value_1"] = 0
        given["step"]["inputs"]["b"] = ["grow", 0]
        assert set(body_of(given, "outer_end")) == {"grow", "inner", "step", "inner_end"}

    def test_an_inner_loop_that_uses_nothing_of_the_outer_one_is_run_once(self) -> None:
        given = nested()
        given["inner"]["inputs"]["value_1"] = 0
        given["use"] = {"class_type": "MathInt", "inputs": {"a": ["grow", 0], "b": ["inner_end", 0]}}
        given["outer_end"]["inputs"]["value_1"] = ["use", 0]
        assert set(body_of(given, "outer_end")) == {"grow", "use"}

    def test_the_flow_may_pass_reroutes(self) -> None:
        given = simple()
        given["r"] = {"class_type": "Reroute", "inputs": {"value": ["begin", 0]}}
        given["end"]["inputs"]["flow"] = ["r", 0]
        assert begin_of(given, "end") == "begin"

    @pytest.mark.parametrize(
        ("flow", "source"),
        [
            (["a", 0], r"node a \(MathInt\)"),
            (["begin", 1], r"node begin"),
            (["nosuch", 0], r"node nosuch \(missing\)"),
            (3, "no node"),
        ],
    )
    def test_a_flow_from_elsewhere_is_a_sentence(self, flow: Any, source: str) -> None:
        given = simple()
        given["end"]["inputs"]["flow"] = flow
        with pytest.raises(
            GraphError, match=rf"node end \(RepeatEnd\): its flow comes from {source}.* link the flow of a"
        ):
            begin_of(given, "end")

    def test_two_ends_one_after_the_other_cannot_share_a_begin(self) -> None:
        given = simple()
        given["more"] = {"class_type": "MathInt", "inputs": {"a": ["end", 0], "b": ["begin", 1]}}
        given["end_2"] = {"class_type": "RepeatEnd", "inputs": {"flow": ["begin", 0], "value_1": ["more", 0]}}
        with pytest.raises(GraphError, match=r"nodes end and end_2 .* share node begin .* a RepeatBegin of its own"):
            body_of(given, "end_2")

    def test_two_ends_side_by_side_can(self) -> None:
        given = simple()
        given["end_2"] = {"class_type": "RepeatEnd", "inputs": {"flow": ["begin", 0], "value_1": ["a", 0]}}
        assert body_of(given, "end_2") == ["a"]


class TestUnrolling:
    def test_no_turn_leaves_the_initial_values(self) -> None:
        unrolled = unroll(simple(), "end", 0, "p.")
        assert unrolled.nodes == {}
        assert unrolled.values == (["begin", 2], ["begin", 3], ["begin", 4], ["begin", 5])

    def test_one_turn_is_the_graph_as_it_stands(self) -> None:
        unrolled = unroll(simple(), "end", 1, "p.")
        assert unrolled.nodes == {}
        assert unrolled.values[0] == ["b", 0]

    def test_further_turns_are_fed_by_the_one_before(self) -> None:
        unrolled = unroll(simple(), "end", 3, "p.")
        assert {node_id: node["inputs"] for node_id, node in unrolled.nodes.items()} == {
            "p.1.a": {"a": ["b", 0], "b": 1, "operation": "add"},
            "p.1.b": {"a": ["p.1.a", 0], "b": ["outside", 0]},
            "p.2.a": {"a": ["p.1.b", 0], "b": 1, "operation": "add"},
            "p.2.b": {"a": ["p.2.a", 0], "b": ["outside", 0]},
        }
        assert unrolled.values[0] == ["p.2.b", 0]

    def test_copies_are_shown_where_their_originals_are(self) -> None:
        given = simple()
        given["a"]["_meta"] = {"title": "Add"}
        given["b"]["override_display_id"] = "elsewhere"
        nodes = unroll(given, "end", 2, "p.").nodes
        assert nodes["p.1.a"]["override_display_id"] == "a"
        assert nodes["p.1.a"]["_meta"] == {"title": "Add"}
        assert nodes["p.1.b"]["override_display_id"] == "elsewhere"

    def test_the_index_is_a_node_so_that_limits_are_not_held_against_it(self) -> None:
        given = simple()
        given["a"]["inputs"]["b"] = ["begin", 1]
        nodes = unroll(given, "end", 3, "p.").nodes
        assert nodes["p.1.a"]["inputs"]["b"] == ["p.1", 0]
        assert [nodes[f"p.{turn}"] for turn in (1, 2)] == [
            {"class_type": "PrimitiveInt", "inputs": {"value": turn}} for turn in (1, 2)
        ]

    def test_values_may_change_places(self) -> None:
        given = simple()
        given["begin"]["inputs"]["value_2"] = 9
        given["end"]["inputs"] = {"flow": ["begin", 0], "value_1": ["begin", 3], "value_2": ["begin", 2]}
        assert unroll(given, "end", 1, "p.").values[:2] == (["begin", 3], ["begin", 2])
        assert unroll(given, "end", 2, "p.").values[:2] == (["begin", 2], ["begin", 3])
        assert unroll(given, "end", 3, "p.").values[:2] == (["begin", 3], ["begin", 2])

    def test_a_value_that_is_not_given_back_stays(self) -> None:
        given = simple()
        given["b"]["inputs"]["b"] = ["begin", 3]
        unrolled = unroll(given, "end", 3, "p.")
        assert unrolled.nodes["p.2.b"]["inputs"]["b"] == ["begin", 3]
        assert unrolled.values[1] == ["begin", 3]

    def test_a_literal_is_the_value_from_the_second_turn_on(self) -> None:
        given = simple()
        given["end"]["inputs"]["value_2"] = {"__value__": ["x", 1]}
        given["b"]["inputs"]["b"] = ["begin", 3]
        unrolled = unroll(given, "end", 2, "p.")
        assert unrolled.nodes["p.value_2"] == {"class_type": "Reroute", "inputs": {"value": {"__value__": ["x", 1]}}}
        assert unrolled.nodes["p.1.b"]["inputs"]["b"] == ["p.value_2", 0]
        assert unrolled.values[1] == ["p.value_2", 0]

    def test_an_inner_loop_is_copied_with_its_own_flow(self) -> None:
        nodes = unroll(nested(), "outer_end", 2, "p.").nodes
        assert nodes["p.1.grow"]["inputs"]["a"] == ["inner_end", 0]
        assert nodes["p.1.inner_end"]["inputs"] == {"flow": ["p.1.inner", 0], "value_1": ["p.1.step", 0]}

    def test_the_body_of_a_copied_inner_loop_is_the_copy(self) -> None:
        given = nested()
        given["inner"]["inputs"]["value_1"] = 0
        given["step"]["inputs"]["b"] = ["grow", 0]
        whole = {**given, **unroll(given, "outer_end", 3, "p.").nodes}
        assert body_of(whole, "p.2.inner_end") == ["p.2.step"]

    def test_the_graph_is_not_changed_and_the_copies_are_the_same_each_time(self) -> None:
        given = nested()
        before = copy.deepcopy(given)
        first, second = (unroll(given, "outer_end", 4, "p.") for _ in range(2))
        assert json.dumps(first.nodes) == json.dumps(second.nodes)
        assert given == before

    def test_too_many_copies_are_a_sentence(self) -> None:
        with pytest.raises(GraphError, match=r"node begin .* 600000 turns of 2 nodes are 1199998 steps; .* lower"):
            unroll(simple(), "end", 600_000, "p.")

    def test_work_grows_with_turns_and_body_only(self) -> None:
        given = CountedGraph(simple())
        for index in range(1000):
            given[f"c{index}"] = {"class_type": "Reroute", "inputs": {"value": [f"c{index - 1}" if index else "b", 0]}}
            given[f"apart{index}"] = {"class_type": "PrimitiveInt", "inputs": {"value": 1}}
        given["end"]["inputs"]["value_1"] = ["c999", 0]
        looked_up = {count: self.looked_up(given, count) for count in (1, 11, 21)}
        assert looked_up[21] - looked_up[11] == looked_up[11] - looked_up[1] < 10 * 3 * 1002

    def looked_up(self, given: CountedGraph, count: int) -> int:
        given.lookups = 0
        assert len(unroll(given, "end", count, "p.").nodes) == (count - 1) * 1002
        return given.lookups
