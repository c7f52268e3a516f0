"""Graphs written in Python, and the requests of generator bodies run without an engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from mezzotint.engine.context import Context, Prompt
from mezzotint.engine.errors import Cancelled, GraphError
from mezzotint.engine.expansion import Expand, GraphBuilder
from mezzotint.engine.node import node
from mezzotint.engine.port import Lazy
from mezzotint.engine.request import Need, Request, Requests, drive
from mezzotint.engine.workflow import Workflow, as_link


@node("Add")
def add(a: int = 0, b: int = 0) -> int:
    return a + b


class TestGraphBuilder:
    def test_a_graph_is_in_api_format(self) -> None:
        g = GraphBuilder()
        first = g.node("Add", a=1)
        g.node(add, b=first.out(1), a=first)
        assert g.finalize() == {
            "1": {"class_type": "Add", "inputs": {"a": 1}},
            "2": {"class_type": "Add", "inputs": {"b": ["1", 1], "a": ["1", 0]}},
        }
        assert Workflow.from_api(json.loads(json.dumps(g.finalize()))).nodes["2"].class_type == "Add"

    def test_ids_count_up_behind_the_prefix_and_may_be_given(self) -> None:
        g = GraphBuilder("7.0.0.")
        built = [g.node("Add"), g.node("Add", id="sum"), g.node("Add")]
        assert [one.id for one in built] == ["7.0.0.1", "7.0.0.sum", "7.0.0.2"]
        assert built[1].out(0) == ["7.0.0.sum", 0]

    def test_an_id_that_is_counted_to_but_given_already_is_passed_over(self) -> None:
        g = GraphBuilder()
        assert [g.node("Add", id="2").id, g.node("Add").id, g.node("Add").id] == ["2", "1", "3"]

    def test_an_id_given_twice_is_refused(self) -> None:
        g = GraphBuilder()
        g.node("Add", id="x")
        with pytest.raises(GraphError, match="has a node 'x' already; give each node an id of its own"):
            g.node("Add", id="x")

    def test_a_function_that_is_no_node_is_refused(self) -> None:
        with pytest.raises(GraphError, match="is no node; give the name of a node type"):
            GraphBuilder().node(len)

    @pytest.mark.parametrize("value", [[1, 2], [], ["a", "b"], [["1", 0]], ["1", True]])
    def test_lists_that_are_values_are_not_taken_for_links(self, value: list[Any]) -> None:
        g = GraphBuilder()
        built = g.node("Add", a=value)
        built.set_input("b", value)
        assert g.finalize()["1"]["inputs"] == {"a": {"__value__": value}, "b": {"__value__": value}}

    def test_links_to_nodes_elsewhere_are_lists(self) -> None:
        g = GraphBuilder()
        g.node("Add", a=["4", 0])
        assert g.finalize()["1"]["inputs"] == {"a": ["4", 0]}

    def test_inputs_may_be_named_id_of_the_editor_or_like_the_parameters(self) -> None:
        g = GraphBuilder()
        g.node("Add", node_type=1, self=2)
        assert g.finalize()["1"]["inputs"] == {"node_type": 1, "self": 2}

    def test_python_objects_are_passed_on_as_they_are(self) -> None:
        g, picture = GraphBuilder(), object()
        g.node("Add", a=picture)
        assert g.finalize()["1"]["inputs"]["a"] is picture

    def test_what_was_finalized_stays_as_it_is(self) -> None:
        g = GraphBuilder()
        built = g.node("Add", a=1)
        graph = g.finalize()
        built.set_input("a", 2)
        g.node("Add")
        assert graph == {"1": {"class_type": "Add", "inputs": {"a": 1}}}

    def test_another_node_may_show_what_happens(self) -> None:
        g = GraphBuilder()
        g.node("Add").set_override_display_id("9")
        assert g.finalize()["1"]["override_display_id"] == "9"


class TestExpand:
    def test_a_builder_and_its_nodes_may_be_given(self) -> None:
        g = GraphBuilder()
        built = g.node("Add")
        request = Expand(g, built, built.out(1), 5, "text", None)
        assert request.graph == g.finalize()
        assert [as_link(value) for value in request.result] == [("1", 0), ("1", 1), None, None, None]

    def test_a_graph_in_api_format_may_be_given(self) -> None:
        graph = {"1": {"class_type": "Add", "inputs": {}}}
        assert Expand(graph, ["1", 0]).graph == graph


class TestContext:
    def test_sub_graphs_have_the_same_ids_on_every_run(self) -> None:
        for _ in range(2):
            context = Context("5", call_index=2)
            assert [context.graph().node("Add").id for _ in range(2)] == ["5.2.0.1", "5.2.1.1"]

    def test_what_is_shown_is_collected_by_name(self) -> None:
        context = Context()
        context.show(images=[1], text=["a"])
        context.show(images=[2])
        assert context.shown == {"images": [1, 2], "text": ["a"]}

    def test_without_an_engine_nobody_listens(self) -> None:
        context = Context()
        context.check()
        context.progress(1, 2, preview=object())
        assert (context.prompt, context.extra_pnginfo, context.original_prompt, context.wants_previews) == (
            {},
            {},
            {},
            False,
        )

    def test_a_cancelled_job_stops_at_the_next_progress_call(self) -> None:
        class Stopped:
            is_cancelled, wants_previews = True, True

            def progressed(self, *_: Any) -> None:
                raise AssertionError("not told")

        context = Context("1", listener=Stopped())
        assert context.wants_previews
        with pytest.raises(Cancelled):
            context.check()
        with pytest.raises(Cancelled):
            context.progress(1, 2)

    def test_the_prompt_grows_by_expansions_and_the_original_does_not(self) -> None:
        document = {"1": {"class_type": "Add", "inputs": {}}}
        prompt = Prompt(Workflow.from_api(document))
        context = Context("1", prompt=prompt)
        assert dict(context.prompt) == document
        prompt.add({"1.0.0.1": {"class_type": "Add", "inputs": {"a": 1}}})
        assert sorted(context.prompt) == ["1", "1.0.0.1"]
        assert context.original_prompt == document


class Ask(Request):
    def __init__(self, value: int) -> None:
        self.value = value

    @classmethod
    def answer(cls, requests: Sequence[Any], context: Context) -> list[Any]:
        if requests[0].value < 0:
            raise ValueError("negative")
        return [request.value * 10 for request in requests]


class TestDrive:
    def test_requests_are_answered_until_the_body_ends(self) -> None:
        def body() -> Requests[int]:
            first = yield Ask(1)
            second = yield Ask(first)
            return first + second

        assert drive(body()) == 110

    def test_a_body_that_asks_for_nothing_ends_at_once(self) -> None:
        def body() -> Requests[str]:
            return "done"
            yield

        assert drive(body()) == "done"

    def test_what_an_answer_raises_is_raised_in_the_body(self) -> None:
        def body() -> Requests[str]:
            try:
                yield Ask(-1)
            except ValueError as error:
                return str(error)
            return "not raised"

        assert drive(body()) == "negative"

    def test_the_context_is_passed_to_answers(self) -> None:
        class Where(Request):
            @classmethod
            def answer(cls, requests: Sequence[Any], context: Context) -> list[Any]:
                return [context.node_id]

        def body() -> Requests[str]:
            return (yield Where())

        assert drive(body(), Context("7")) == "7"

    @pytest.mark.parametrize("request_", [Need("a"), Expand({})])
    def test_what_needs_an_engine_is_refused(self, request_: Request) -> None:
        def body() -> Requests[None]:
            yield request_

        with pytest.raises(TypeError, match="needs an engine; call the node through one"):
            drive(body())

    def test_a_yield_of_something_else_is_refused(self) -> None:
        def body() -> Requests[None]:
            yield 5  # type: ignore[misc]

        with pytest.raises(TypeError, match="yields a value of int; yield a Request"):
            drive(body())

    def test_a_request_that_does_not_say_its_answer(self) -> None:
        class Mute(Request):
            pass

        def body() -> Requests[None]:
            yield Mute()

        with pytest.raises(TypeError, match="Mute does not say how it is answered"):
            drive(body())


class TestNeed:
    def test_inputs_are_named_or_given(self) -> None:
        assert Need("a", Lazy("b", None)).names == ("a", "b")

    def test_a_value_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"not a value of int; annotate the parameter with Lazy\[...\]"):
            Need(5)  # type: ignore[arg-type]
