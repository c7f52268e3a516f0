"""The workflow document, and changed copies of it."""

from __future__ import annotations

import copy
import time
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.ui_format import convert_ui
from mezzotint.engine.workflow import Link, Workflow, WorkflowNode, as_link, unwrap_value, wrap_value
from mezzotint.engine.workflow_edit import with_inputs, with_values

Definitions = dict[str, dict[str, Any]]

names = st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
api_nodes = st.fixed_dictionaries(
    {"class_type": names, "inputs": st.dictionaries(names, values, max_size=4)},
    optional={"_meta": st.dictionaries(names, values, min_size=1, max_size=2)},
)


@settings(max_examples=40)
@given(st.dictionaries(names, api_nodes, max_size=5))
def test_a_graph_in_api_format_round_trips(document: dict[str, Any]) -> None:
    assert Workflow.from_api(document).to_api() == document


def test_the_order_of_the_document_is_kept() -> None:
    document = {node_id: {"class_type": "A", "inputs": {"z": 1, "a": 2}} for node_id in ("9", "3", "10:4")}
    workflow = Workflow.from_api(document)
    assert list(workflow.nodes) == ["9", "3", "10:4"]
    assert list(workflow.nodes["3"].inputs) == ["z", "a"]


def test_a_change_to_the_workflow_leaves_the_document_alone() -> None:
    document = {"1": {"class_type": "A", "inputs": {"a": 1}}}
    workflow = Workflow.from_api(document)
    workflow.nodes["1"].inputs["a"] = 2
    workflow.to_api()["1"]["inputs"]["a"] = 3
    assert document["1"]["inputs"] == {"a": 1}
    assert workflow.nodes["1"].inputs == {"a": 2}


def test_the_title_is_that_of_the_editor_or_else_the_type() -> None:
    document = {
        "1": {"class_type": "A", "inputs": {}, "_meta": {"title": "Mine"}},
        "2": {"class_type": "A", "inputs": {}, "_meta": {"title": ""}},
        "3": {"class_type": "A", "_meta": None, "is_changed": [float("nan")]},
    }
    assert [node.title for node in Workflow.from_api(document).nodes.values()] == ["Mine", "A", "A"]


def test_keys_that_nobody_knows_are_left_out() -> None:
    document = {"1": {"class_type": "A", "inputs": {}, "is_changed": [1]}}
    assert Workflow.from_api(document).to_api() == {"1": {"class_type": "A", "inputs": {}}}


@pytest.mark.parametrize(
    ("value", "link"),
    [
        (["4", 0], Link("4", 0)),
        (("10:4", 2), Link("10:4", 2)),
        (Link("1", 1), Link("1", 1)),
        ([4, 0], None),
        (["4", True], None),
        (["4", 0.0], None),
        (["4", "0"], None),
        (["4"], None),
        (["4", 0, 1], None),
        ("40", None),
        (None, None),
        ({"__value__": ["4", 0]}, None),
    ],
)
def test_a_link_is_a_string_and_an_integer(value: object, link: Link | None) -> None:
    assert as_link(value) == link


@given(values)
def test_wrapped_values_come_back_and_are_no_links(value: Any) -> None:
    assert as_link(wrap_value(value)) is None
    if not (isinstance(value, dict) and "__value__" in value):
        assert unwrap_value(wrap_value(value)) == value


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], "A workflow is an object of nodes by id, and this is a list."),
        (None, "A workflow is an object of nodes by id, and this is null."),
        ({"1": 3}, "Node 1 is a number; a node is an object with class_type and inputs."),
        ({"1": {"inputs": {}}}, "Node 1 has no class_type, which names the type of a node."),
        ({"1": {"class_type": 3}}, "Node 1: class_type is a number; give the node type as a string."),
        ({"1": {"class_type": "A", "inputs": []}}, "Node 1: inputs is a list; give an object of values by name."),
        ({"1": {"class_type": "A", "inputs": {2: 3}}}, "Node 1: the input name 2 is a number; names are strings."),
        ({1: {"class_type": "A"}}, 'The node id 1 is a number; ids are strings, as in "3".'),
    ],
)
def test_what_is_no_graph_is_refused_in_a_sentence(document: Any, sentence: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        Workflow.from_api(document)
    assert str(caught.value) == sentence


def test_every_faulty_node_is_named_up_to_ten() -> None:
    with pytest.raises(WorkflowError) as caught:
        Workflow.from_api({str(index): index for index in range(30)})
    lines = str(caught.value).splitlines()
    assert [line.split()[1] for line in lines[:10]] == [str(index) for index in range(10)]
    assert lines[10] == "And 20 more like these."


def test_a_value_nested_beyond_reason_is_refused() -> None:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    with pytest.raises(WorkflowError, match="Node 1 \\(A\\), input 'a': the value is nested more than 64 levels deep"):
        Workflow.from_api({"1": {"class_type": "A", "inputs": {"a": value}}})


def test_a_hundred_thousand_nodes_are_read_in_a_second() -> None:
    inputs = {"seed": 5, "steps": 20, "cfg": 8.0, "sampler_name": "euler"}
    document = {
        str(index): {"class_type": "KSampler", "inputs": {**inputs, "model": [str(index - 1), 0]}, "_meta": {}}
        for index in range(100_000)
    }
    started = time.process_time()
    workflow = Workflow.from_api(document)
    assert time.process_time() - started < 2.0  # 0.4 s when nothing else runs
    assert as_link(workflow.nodes["99999"].inputs["model"]) == Link("99998", 0)


def test_the_metadata_of_pictures_holds_the_document_and_the_rest() -> None:
    assert Workflow().extra_pnginfo == {}
    workflow = Workflow(nodes={"1": WorkflowNode(class_type="A")}, ui={"nodes": []}, extra={"pack": 1})
    assert workflow.extra_pnginfo == {"workflow": {"nodes": []}, "pack": 1}


class TestChanges:
    """`with_inputs` and `with_values`."""

    def changed(self, canvas: Any, definitions: Definitions, changes: dict[tuple[str, str], Any]) -> Workflow:
        """A changed workflow, whose document was found to give the same graph when it has one."""
        before = copy.deepcopy(canvas.raw)
        changed = with_values(convert_ui(canvas.raw, definitions), changes)
        assert canvas.raw == before
        if changed.ui is not None:
            assert convert_ui(changed.ui, definitions).to_api() == changed.to_api()
        return changed

    def test_the_document_is_changed_alike(self, ui: ModuleType, definitions: Definitions) -> None:
        changes: dict[tuple[str, str], Any] = {("5", "seed"): 6, ("5", "cfg"): 2.5, ("2", "text"): "a green pear"}
        changed = self.changed(ui.text_to_image(), definitions, changes)
        assert changed.nodes["5"].inputs["seed"] == 6
        assert changed.ui is not None
        assert changed.ui["nodes"][4]["widgets_values"][:4] == [6, "randomize", 20, 2.5]

    def test_the_original_is_not_changed(self, ui: ModuleType, definitions: Definitions) -> None:
        workflow = convert_ui(ui.text_to_image().raw, definitions)
        before = workflow.to_api()
        with_values(workflow, {("5", "seed"): 6})
        assert workflow.to_api() == before

    def test_values_by_name_are_changed_too(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.Canvas()
        canvas.add("EmptyLatentImage", widgets_values={"width": 1, "height": 2})
        named = {"width": 1, "height": 2, "batch_size": 3}
        canvas.add("EmptyLatentImage", 1, 2, 3, widgets_values_named=named)
        canvas.add("EmptyLatentImage", "old", 1, 2, 3, widgets_values_named=named)
        changed = self.changed(canvas, definitions, {(node_id, "height"): 7 for node_id in "123"})
        assert changed.ui is not None
        assert changed.ui["nodes"][1]["widgets_values_named"]["height"] == 7

    def test_a_list_is_wrapped_in_the_graph_only(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.Canvas()
        canvas.add("MultiPick", ["a"])
        changed = self.changed(canvas, definitions, {("1", "names"): ["b"]})
        assert changed.nodes["1"].inputs == {"names": {"__value__": ["b"]}}
        assert changed.ui is not None
        assert changed.ui["nodes"][0]["widgets_values"] == [["b"]]

    def test_a_primitive_is_changed_where_it_stands(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.text_to_image()
        canvas.wire(canvas.add("PrimitiveNode", 77, "fixed", outputs=["INT"]), 0, 5, "seed")
        changed = self.changed(canvas, definitions, {("5", "seed"): 6})
        assert changed.ui is not None
        assert changed.ui["nodes"][7]["widgets_values"] == [6, "fixed"]

    def test_a_value_that_is_shared_changes_in_the_document_only_for_all(
        self, ui: ModuleType, definitions: Definitions
    ) -> None:
        canvas = ui.text_to_image()
        primitive = canvas.add("PrimitiveNode", 77, "fixed", outputs=["INT"])
        canvas.wire(primitive, 0, 5, "seed")
        canvas.wire(primitive, 0, 5, "steps")
        assert self.changed(canvas, definitions, {("5", "seed"): 6}).ui is None
        assert self.changed(canvas, definitions, {("5", "seed"): 6, ("5", "steps"): 7}).ui is None
        assert self.changed(canvas, definitions, {("5", "seed"): 6, ("5", "steps"): 6}).ui is not None

    def test_a_link_or_a_default_that_becomes_a_value_leaves_no_document(
        self, ui: ModuleType, definitions: Definitions
    ) -> None:
        canvas = ui.text_to_image()
        assert self.changed(canvas, definitions, {("5", "model"): 1}).ui is None
        canvas.nodes[4]["widgets_values"] = [64]
        assert self.changed(canvas, definitions, {("4", "height"): 1}).ui is None

    def test_values_inside_a_subgraph_change_unless_instances_disagree(
        self, ui: ModuleType, definitions: Definitions
    ) -> None:
        canvas = ui.Canvas()
        inner = canvas.subgraph("sub", [("seed", "INT")], ["LATENT"])
        inner.add("KSampler", 5, "randomize", 20, 8, "euler", "normal", 1)
        inner.wire(-10, 0, 1, "seed")
        canvas.add("sub", 7, id=10)
        assert self.changed(canvas, definitions, {("10:1", "seed"): 6, ("10:1", "steps"): 9}).ui is not None
        canvas.add("sub", 8, id=11)
        assert self.changed(canvas, definitions, {("10:1", "seed"): 6}).ui is not None
        assert self.changed(canvas, definitions, {("10:1", "steps"): 6}).ui is None

    def test_a_graph_without_a_document_is_changed_all_the_same(self) -> None:
        workflow = Workflow.from_api({"1": {"class_type": "A", "inputs": {"a": ["2", 0]}}})
        assert with_values(workflow, {("1", "a"): 3}).to_api() == {"1": {"class_type": "A", "inputs": {"a": 3}}}
        assert with_inputs(workflow, {}).to_api() == workflow.to_api()

    def test_an_unknown_node_is_refused_in_a_sentence(self) -> None:
        with pytest.raises(WorkflowError, match="There is no node 9 in the workflow, so its input 'a' cannot be set"):
            with_values(Workflow(), {("9", "a"): 1})
