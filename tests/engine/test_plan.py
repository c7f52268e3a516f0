"""Plans: the steps in order, with keys, and the graphs that steps expand into."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from mezzotint.engine.errors import GraphError
from mezzotint.engine.expansion import Expand, GraphBuilder
from mezzotint.engine.node import node
from mezzotint.engine.plan import Plan, Step
from mezzotint.engine.port import Lazy
from mezzotint.engine.registry import Registry
from mezzotint.engine.request import Need, Requests
from mezzotint.engine.validation import validate
from mezzotint.engine.workflow import Workflow


@node("Add")
def add(a: float = 0, b: float = 0, extra: Any = None) -> float: ...


@node("Pick")
def pick(first: float, later: Lazy[float] | None = None) -> Requests[float]:
    yield Need("later")
    return first


@node("Dated", fingerprint=lambda: "today")
def dated() -> float: ...


@node("Looked", fingerprint=lambda: "today", quick_fingerprint=True)
def looked() -> float: ...


@node("Show", sink=True)
def show(value: Any = None) -> None: ...


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    for function in (add, pick, dated, looked, show):
        registry.register(function, "pack", "1")
    return registry


def api(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


GRAPH = {
    "show": api("Show", value=["sum", 0]),
    "sum": api("Add", a=["one", 0], b=["one", 0]),
    "one": api("Add", a=1),
    "unneeded": api("Add", a=5),
}


def made(registry: Registry, graph: Mapping[str, Any] = GRAPH, **options: Any) -> Plan:
    found = validate(Workflow.from_api(graph), registry)
    assert not found.problems
    return Plan(found, **options)


@pytest.fixture
def plan(registry: Registry) -> Plan:
    return made(registry)


class TestSteps:
    def test_needed_steps_only_parents_before_children(self, plan: Plan) -> None:
        assert [*plan.steps] == ["one", "sum", "show"]
        assert plan.targets == ["show"]
        assert plan.wanted == {"show"}

    def test_a_parent_is_named_once_however_many_links_lead_to_it(self, plan: Plan) -> None:
        assert plan.parents("sum") == ("one",)
        assert plan.parents("one") == ()

    def test_a_step_of_the_workflow_stands_for_itself(self, plan: Plan) -> None:
        step = plan.steps["sum"]
        assert (step.display_id, step.real_id, step.parent_id) == ("sum", "sum", None)

    def test_links_to_lazy_inputs_are_no_parents_but_enter_the_key(self, registry: Registry) -> None:
        graph = {
            "a": api("Add"), "b": api("Add", a=1), "p": api("Pick", first=["a", 0], later=["b", 0]),
            "s": api("Show", value=["p", 0]),
        }  # fmt: skip
        plan = made(registry, graph)
        assert plan.parents("p") == ("a",)
        assert "b" in plan.steps
        changed = made(registry, {**graph, "b": api("Add", a=2)})
        assert plan.steps["p"].key != changed.steps["p"].key

    def test_only_output_nodes_are_salted(self, registry: Registry) -> None:
        one, other = made(registry, sink_salt="/a"), made(registry, sink_salt="/b")
        assert [step_id for step_id in one.steps if one.steps[step_id].key != other.steps[step_id].key] == ["show"]

    def test_a_fingerprint_that_is_never_equal_leaves_what_follows_without_a_key(self, registry: Registry) -> None:
        plan = made(registry, fingerprints={"one": math.nan})
        assert [step.key for step in plan.steps.values()] == [None] * 3

    def test_a_long_chain_needs_no_deep_stack(self, registry: Registry) -> None:
        graph = {str(i): api("Add", a=[str(i - 1), 0] if i else 1) for i in range(5000)}
        plan = made(registry, {**graph, "s": api("Show", value=["4999", 0])})
        assert len({step.key for step in plan.steps.values()}) == 5001


class TestExpanding:
    @pytest.fixture
    def graph(self) -> GraphBuilder:
        return GraphBuilder("sum.0.0.")

    def expand(self, plan: Plan, registry: Registry, graph: Any, *result: Any, parent: str = "sum") -> list[Step]:
        return plan.expand(plan.steps[parent], Expand(graph, *result), registry)

    def test_new_steps_come_in_the_order_of_the_graph_and_stem_from_their_parent(
        self, plan: Plan, registry: Registry, graph: GraphBuilder
    ) -> None:
        last = graph.node("Add", id="last")
        first = graph.node("Add", a=["one", 0])
        last.set_input("a", first)
        steps = self.expand(plan, registry, graph, last)
        assert [step.id for step in steps] == ["sum.0.0.last", "sum.0.0.1"]
        assert [(step.display_id, step.real_id, step.parent_id) for step in steps] == [("sum", "sum", "sum")] * 2
        assert plan.parents("sum.0.0.last") == ("sum.0.0.1",)
        assert plan.parents("sum.0.0.1") == ("one",)
        assert plan.targets == ["show"]

    def test_new_steps_have_the_keys_of_any_equal_step(
        self, plan: Plan, registry: Registry, graph: GraphBuilder
    ) -> None:
        twin = graph.node("Add", a=1.0)
        follower = graph.node("Add", a=twin, b=twin)
        keys = [step.key for step in self.expand(plan, registry, graph, follower)]
        assert keys == [plan.steps["one"].key, plan.steps["sum"].key]

    def test_expansions_nest(self, plan: Plan, registry: Registry, graph: GraphBuilder) -> None:
        inner = graph.node("Add", a=1)
        self.expand(plan, registry, graph, inner)
        deeper = GraphBuilder(f"{inner.id}.0.0.")
        built = deeper.node("Add", a=["one", 0])
        (step,) = self.expand(plan, registry, deeper, built, parent=inner.id)
        assert (step.id, step.parent_id, step.real_id, step.display_id) == (
            "sum.0.0.1.0.0.1", "sum.0.0.1", "sum", "sum",
        )  # fmt: skip

    @pytest.mark.parametrize(("shown_by", "display_id"), [("one", "one"), ("elsewhere", "elsewhere"), ("sum", "sum")])
    def test_another_node_may_show_a_new_step(
        self, plan: Plan, registry: Registry, graph: GraphBuilder, shown_by: str, display_id: str
    ) -> None:
        graph.node("Add").set_override_display_id(shown_by)
        (step,) = self.expand(plan, registry, graph)
        assert step.display_id == display_id
        assert step.real_id == "sum"

    def test_output_nodes_in_it_are_salted_too(self, registry: Registry) -> None:
        def key(salt: str) -> str | None:
            graph = GraphBuilder("x.")
            graph.node("Show", value=1)
            return self.expand(made(registry, sink_salt=salt), registry, graph)[0].key

        assert key("/a") != key("/b")

    def test_what_has_a_fingerprint_is_not_reused_in_it(
        self, plan: Plan, registry: Registry, graph: GraphBuilder
    ) -> None:
        built = graph.node("Dated")
        after = graph.node("Add", a=built)
        assert [step.key for step in self.expand(plan, registry, graph, after)] == [None, None]

    def test_a_quick_fingerprint_is_asked_for_in_it(self, registry: Registry) -> None:
        def keys(answer: Any) -> list[str | None]:
            graph = GraphBuilder("x.")
            graph.node("Add", a=graph.node("Looked"))
            plan = made(registry, quick_fingerprint=lambda node: answer)
            return [step.key for step in self.expand(plan, registry, graph)]

        assert None not in keys("monday")
        assert keys("monday") == keys("monday") != keys("tuesday")
        assert keys(math.nan) == [None, None]

    def test_a_second_graph_of_the_same_ids_is_refused_unless_it_is_the_same(
        self, plan: Plan, registry: Registry, graph: GraphBuilder
    ) -> None:
        built = graph.node("Add", a=7)
        graph.node("Add", a=built)
        first = self.expand(plan, registry, graph, built)
        again = self.expand(plan, registry, graph, built)
        assert [step.id for step in again] == [step.id for step in first]
        built.set_input("a", 8)
        with pytest.raises(GraphError, match=r"uses the id 'sum\.0\.0\.1', which is taken; use ctx\.graph\(\)"):
            self.expand(plan, registry, graph, built)

    @pytest.mark.parametrize("node_id", ["one", "sum", "show"])
    def test_an_id_of_the_workflow_is_taken(self, plan: Plan, registry: Registry, node_id: str) -> None:
        before = dict(plan.steps)
        with pytest.raises(GraphError, match=f"uses the id '{node_id}', which is taken"):
            self.expand(plan, registry, {node_id: api("Add", a=1)})
        assert plan.steps == before

    def test_the_graph_of_another_step_is_taken(self, plan: Plan, registry: Registry, graph: GraphBuilder) -> None:
        graph.node("Add", a=7)
        self.expand(plan, registry, graph)
        with pytest.raises(GraphError, match="is taken"):
            self.expand(plan, registry, graph, parent="one")

    @pytest.mark.parametrize(
        ("graph", "told"),
        [
            ({"x": api("Nope")}, "there is no node type 'Nope'"),
            ({"x": api("Add", a="many")}, "'many' is not allowed"),
            ({"x": api("Add", a=["gone", 0])}, "linked to node 'gone', which is not there"),
            ({"x": api("Add", a=["one", 1])}, "linked to output 1 of node one (Add)"),
            ({"x": api("Pick")}, "it is missing; needed is a number"),
            ({"x": {}}, "Node x has no class_type"),
            ({"x": 5}, "Node x is a number"),
            ({5: api("Add")}, "ids are strings"),
            ([], "this is a list"),
            ({"x": api("Add", a=["y", 0]), "y": api("Add", a=["x", 0])}, "forms a circle: x → y → x"),
            ({"x": api("Add", a=["x", 0])}, "forms a circle: x → x"),
            ({"x": api("Add", a=["sum", 0])}, "closed a circle: it links to node 'sum', which it stands for"),
        ],
    )
    def test_a_wrong_graph_is_refused_and_changes_nothing(
        self, plan: Plan, registry: Registry, graph: Any, told: str
    ) -> None:
        before = dict(plan.steps)
        with pytest.raises(GraphError) as caught:
            self.expand(plan, registry, graph)
        assert "the graph of the expansion" in str(caught.value)
        assert told in str(caught.value)
        assert plan.steps == before

    @pytest.mark.parametrize(
        ("result", "told"),
        [
            (["gone", 0], "links to node 'gone', which is not there"),
            (["x", 1], "links to output 1 of node 'x' (Add), which has 1 outputs"),
            (["one", -1], "links to output -1 of node 'one' (Add)"),
            (["show", 0], "links to output 0 of node 'show' (Show), which has 0 outputs"),
            (["sum", 0], "closed a circle"),
        ],
    )
    def test_a_result_that_leads_nowhere_is_refused(
        self, plan: Plan, registry: Registry, result: Any, told: str
    ) -> None:
        before = dict(plan.steps)
        with pytest.raises(GraphError) as caught:
            self.expand(plan, registry, {"x": api("Add")}, 5, result)
        assert told in str(caught.value)
        assert plan.steps == before

    def test_the_work_of_an_expansion_does_not_grow_with_the_plan(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Loops expand many times: what each time looks at all steps would be quadratic."""
        plan = made(registry, {str(i): api("Show", value=i) for i in range(300)})

        class Counting(dict[str, Step]):
            walks = 0

            def __iter__(self) -> Any:
                Counting.walks += 1
                return super().__iter__()

            def values(self) -> Any:
                Counting.walks += 1
                return super().values()

            def items(self) -> Any:
                Counting.walks += 1
                return super().items()

        plan.steps = Counting(plan.steps)
        for turn in range(20):
            graph = GraphBuilder(f"5.{turn}.")
            self.expand(plan, registry, graph, graph.node("Add", a=turn), parent="5")
        assert Counting.walks == 0
        assert len(plan.steps) == 320
