"""Branches are chosen, stopped and repeated; loops are held to the same loops written in Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from typing import Any

import pytest

from mezzotint.engine.blocked import Blocked
from mezzotint.engine.context import Context, Prompt
from mezzotint.engine.errors import GraphError
from mezzotint.engine.expansion import Expand
from mezzotint.engine.node import NodeSpec, nodes_in
from mezzotint.engine.registry import Registry
from mezzotint.engine.request import Need
from mezzotint.engine.value_type import canonical, pack, unpack
from mezzotint.engine.workflow import Workflow, as_link, unwrap_value
from mezzotint.nodes.basics import logic, maths, primitive
from mezzotint.nodes.basics.logic import BranchError, Loop, gate, repeat_begin, repeat_end, switch

Graph = dict[str, dict[str, Any]]


class Interpreter:
    """Runs a graph of the plain nodes, recursively and without cache. `ran` counts the calls of each node type."""

    def __init__(self, graph: Mapping[str, Any]) -> None:
        self.registry = Registry()
        for function in nodes_in(logic, maths, primitive):
            self.registry.register(function)
        self.prompt = Prompt(Workflow.from_api(graph))
        self.outputs: dict[str, tuple[Any, ...]] = {}
        self.ran: Counter[str] = Counter()

    def value(self, node_id: str, slot: int = 0) -> Any:
        if node_id not in self.outputs:
            self.outputs[node_id] = self._run(node_id)
        return self.outputs[node_id][slot]

    def _run(self, node_id: str) -> tuple[Any, ...]:
        node = self.prompt.nodes[node_id]
        spec = self.registry[node["class_type"]]
        self.ran[spec.name] += 1
        arguments = {n: self._argument(spec, n, raw) for n, raw in node["inputs"].items() if not spec.inputs[n].is_lazy}
        if spec.context_parameter:
            arguments[spec.context_parameter] = Context(node_id, prompt=self.prompt)
        result = spec.body(**arguments)
        if spec.kind == "generator":
            result = self._drive(result, node["inputs"])
        if isinstance(result, Expand):
            assert set(result.graph).isdisjoint(self.prompt.nodes)
            assert Workflow.from_api(result.graph)
            self.prompt.add(result.graph)
            return tuple(self._read(value) for value in result.result)
        return tuple(result) if len(spec.outputs) > 1 else (result,)

    def _argument(self, spec: NodeSpec, name: str, raw: Any) -> Any:
        value = self._read(raw)
        return [value] if spec.inputs[name].is_list else value

    def _read(self, raw: Any) -> Any:
        link = as_link(raw)
        return unwrap_value(raw) if link is None else self.value(*link)

    def _drive(self, body: Generator[Any, Any, Any], inputs: Mapping[str, Any]) -> Any:
        answer = None
        while True:
            try:
                request = body.send(answer)
            except StopIteration as end:
                return end.value
            assert isinstance(request, Need)
            (name,) = request.names
            answer = self._read(inputs.get(name))


def graph(**nodes: tuple[str, dict[str, Any]]) -> Graph:
    return {node_id: {"class_type": kind, "inputs": inputs} for node_id, (kind, inputs) in nodes.items()}


def add(a: Any, b: Any) -> tuple[str, dict[str, Any]]:
    return "MathInt", {"a": a, "b": b, "operation": "add"}


def times(a: Any, b: Any) -> tuple[str, dict[str, Any]]:
    return "MathInt", {"a": a, "b": b, "operation": "multiply"}


class TestSwitch:
    @pytest.mark.parametrize(("value", "name"), [(True, "on_true"), (False, "on_false")])
    def test_only_the_chosen_branch_is_asked_for(self, value: bool, name: str) -> None:
        body = switch(value)
        assert next(body).names == (name,)  # type: ignore[attr-defined]
        with pytest.raises(StopIteration) as end:
            body.send("chosen")
        assert end.value.value == "chosen"

    def test_the_other_branch_is_not_computed(self) -> None:
        run = Interpreter(
            graph(
                failing=("MathInt", {"a": 1, "b": 0, "operation": "modulo"}),
                fine=add(1, 2),
                switch=("Switch", {"switch": True, "on_false": ["failing", 0], "on_true": ["fine", 0]}),
            )
        )
        assert run.value("switch") == 3
        assert run.ran["MathInt"] == 1

    def test_a_branch_may_be_a_literal(self) -> None:
        assert Interpreter(graph(switch=("Switch", {"on_false": 0}))).value("switch") == 0

    def test_a_branch_without_connection_is_a_sentence(self) -> None:
        with pytest.raises(BranchError, match="'on_true' is chosen, and nothing is connected to it"):
            Interpreter(graph(switch=("Switch", {"switch": True, "on_false": 1}))).value("switch")


class TestGate:
    def test_an_open_gate_lets_the_very_value_pass(self) -> None:
        value = object()
        assert gate(value, True, "never told") is value

    def test_a_closed_gate_blocks_with_its_message(self) -> None:
        assert gate(1, False, "no face found") == Blocked("no face found")

    def test_without_a_message_it_blocks_in_silence(self) -> None:
        assert gate(1, False) == Blocked(None)


def sum_loop(count: Any, start: Any = 0) -> Graph:
    """total = start; for index in range(count): total = total * 2 + index."""
    return graph(
        begin=("RepeatBegin", {"count": count, "value_1": start}),
        double=times(["begin", 2], 2),
        add=add(["double", 0], ["begin", 1]),
        end=("RepeatEnd", {"flow": ["begin", 0], "value_1": ["add", 0]}),
    )


def expected_sum(count: int, start: int = 0) -> int:
    for index in range(count):
        start = start * 2 + index
    return start


class TestRepeat:
    def test_a_turn_begins_with_index_0_and_the_given_values(self) -> None:
        assert repeat_begin(3, "a", value_4="d") == (Loop(3), 0, "a", None, None, "d")

    @pytest.mark.parametrize("count", [0, 1, 2, 7])
    def test_a_loop_is_the_same_loop_in_python(self, count: int) -> None:
        run = Interpreter(sum_loop(count, 3))
        assert run.value("end") == expected_sum(count, 3)
        assert run.ran["MathInt"] == 2 * count

    def test_the_count_may_be_linked(self) -> None:
        given = {**sum_loop(["n", 0]), **graph(n=add(2, 3))}
        assert Interpreter(given).value("end") == expected_sum(5)

    def test_several_values_go_round_together(self) -> None:
        fibonacci = graph(
            begin=("RepeatBegin", {"count": 10, "value_1": 0, "value_2": 1}),
            next=add(["begin", 2], ["begin", 3]),
            end=("RepeatEnd", {"flow": ["begin", 0], "value_1": ["begin", 3], "value_2": ["next", 0]}),
        )
        run = Interpreter(fibonacci)
        assert (run.value("end", 0), run.value("end", 1)) == (55, 89)

    def test_values_that_are_not_given_back_stay(self) -> None:
        given = sum_loop(4)
        given["begin"]["inputs"]["value_3"] = "kept"
        assert Interpreter(given).value("end", 2) == "kept"
        assert Interpreter(given).value("end", 3) is None

    @pytest.mark.parametrize(("outer", "inner"), [(3, 2), (1, 3), (3, 0), (0, 3), (4, 1)])
    def test_loops_nest(self, outer: int, inner: int) -> None:
        given = graph(
            outer=("RepeatBegin", {"count": outer, "value_1": 1}),
            inner=("RepeatBegin", {"count": inner, "value_1": ["outer", 2]}),
            scaled=times(["inner", 2], 2),
            added=add(["scaled", 0], ["inner", 1]),
            inner_end=("RepeatEnd", {"flow": ["inner", 0], "value_1": ["added", 0]}),
            joined=add(["inner_end", 0], ["outer", 1]),
            outer_end=("RepeatEnd", {"flow": ["outer", 0], "value_1": ["joined", 0]}),
        )
        total = 1
        for i in range(outer):
            total = expected_sum(inner, total) + i
        assert Interpreter(given).value("outer_end") == total

    def test_an_inner_loop_that_begins_anew_in_each_turn(self) -> None:
        given = graph(
            outer=("RepeatBegin", {"count": 3, "value_1": 1}),
            inner=("RepeatBegin", {"count": 2, "value_1": 0}),
            added=add(["inner", 2], ["outer", 2]),
            inner_end=("RepeatEnd", {"flow": ["inner", 0], "value_1": ["added", 0]}),
            outer_end=("RepeatEnd", {"flow": ["outer", 0], "value_1": ["inner_end", 0]}),
        )
        assert Interpreter(given).value("outer_end") == 2**3

    def test_loops_three_deep(self) -> None:
        given: Graph = {}
        for level in range(3):
            outside: Any = [f"begin{level - 1}", 2] if level else 0
            inside = [f"end{level + 1}", 0] if level < 2 else ["step", 0]
            given |= graph(
                **{
                    f"begin{level}": ("RepeatBegin", {"count": 3, "value_1": outside}),
                    f"end{level}": ("RepeatEnd", {"flow": [f"begin{level}", 0], "value_1": inside}),
                }
            )
        given |= graph(step=add(["begin2", 2], 1))
        run = Interpreter(given)
        assert run.value("end0") == 27
        assert run.ran["MathInt"] == 27

    def test_a_loop_may_follow_a_loop(self) -> None:
        second = graph(
            begin_2=("RepeatBegin", {"count": 2, "value_1": ["end", 0]}),
            more=add(["begin_2", 2], 100),
            end_2=("RepeatEnd", {"flow": ["begin_2", 0], "value_1": ["more", 0]}),
        )
        assert Interpreter({**sum_loop(3), **second}).value("end_2") == expected_sum(3) + 200

    def test_a_switch_inside_a_loop_chooses_in_each_turn(self) -> None:
        given = graph(
            begin=("RepeatBegin", {"count": 4, "value_1": 1}),
            is_late=("Compare", {"a": ["begin", 1], "b": 2, "operation": ">="}),
            double=times(["begin", 2], 2),
            more=add(["begin", 2], 100),
            switch=("Switch", {"switch": ["is_late", 0], "on_false": ["double", 0], "on_true": ["more", 0]}),
            end=("RepeatEnd", {"flow": ["begin", 0], "value_1": ["switch", 0]}),
        )
        run = Interpreter(given)
        assert run.value("end") == 204
        assert run.ran["MathInt"] == 4

    def test_nothing_of_the_body_is_computed_to_expand(self) -> None:
        prompt = Prompt(Workflow.from_api(sum_loop(3)))
        body = repeat_end([Loop(3)], ctx=Context("end", prompt=prompt))
        with pytest.raises(StopIteration) as end:
            next(body)
        assert isinstance(end.value.value, Expand)
        assert end.value.value.result[0] == ["end.0.0.2.add", 0]

    def test_a_list_of_equal_counts_is_one_loop(self) -> None:
        prompt = Prompt(Workflow.from_api(sum_loop(3)))
        with pytest.raises(StopIteration):
            next(repeat_end([Loop(3), Loop(3)], ctx=Context("end", prompt=prompt)))

    def test_a_list_of_counts_is_a_sentence(self) -> None:
        with pytest.raises(GraphError, match=r"the counts \[2, 3\]; one loop takes one count"):
            next(repeat_end([Loop(3), Loop(2)], ctx=Context("end", prompt=Prompt(Workflow.from_api(sum_loop(3))))))

    def test_outside_a_workflow_there_is_nothing_to_repeat(self) -> None:
        with pytest.raises(GraphError, match="its flow comes from no node"):
            next(repeat_end([Loop(2)], ctx=Context("end")))

    def test_a_flow_can_be_stored_and_named(self) -> None:
        assert unpack(pack(Loop(3))) == Loop(3)
        assert b"".join(canonical(Loop(3))) != b"".join(canonical(Loop(4)))
