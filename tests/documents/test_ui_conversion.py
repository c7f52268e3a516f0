"""Nodes and links of an editor's document: what is written, what is followed, what is left out."""

from __future__ import annotations

import copy
import time
from types import ModuleType
from typing import Any

import pytest

from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.ui_format import convert_ui, is_ui_document

Definitions = dict[str, dict[str, Any]]


def inputs_of(canvas: Any, definitions: Definitions) -> dict[str, dict[str, Any]]:
    """Convert a drawing that has no problems; the inputs by node id."""
    workflow = convert_ui(canvas.raw, definitions)
    assert workflow.problems == []
    return {node_id: node.inputs for node_id, node in workflow.nodes.items()}


@pytest.mark.parametrize(("version", "as_objects"), [(0.4, False), (1, True), (0.4, True), (1, False)])
def test_both_versions_and_both_shapes_of_links_give_the_same_graph(
    ui: ModuleType, definitions: Definitions, version: float, as_objects: bool
) -> None:
    canvas = ui.text_to_image(version, as_objects)
    workflow = convert_ui(canvas.raw, definitions)
    assert workflow.to_api() == ui.TEXT_TO_IMAGE_API
    assert workflow.problems == []
    assert workflow.warnings == []


def test_the_document_is_kept_and_not_changed(ui: ModuleType, definitions: Definitions) -> None:
    document = ui.text_to_image().raw
    before = copy.deepcopy(document)
    workflow = convert_ui(document, definitions)
    assert document == before
    assert workflow.ui == before
    assert workflow.extra_pnginfo == {"workflow": before}


def test_nodes_are_written_in_their_order(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.Canvas()
    for order in (2, 0, 1):
        canvas.add("EmptyLatentImage", order=order)
    assert list(convert_ui(canvas.raw, definitions).nodes) == ["2", "3", "1"]


def test_ids_may_be_strings(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.Canvas()
    canvas.add("VAEDecode", id="decode")
    canvas.add("SaveImage", "a", id="save")
    canvas.wire("decode", 0, "save", "images")
    assert inputs_of(canvas, definitions)["save"]["images"] == ["decode", 0]


def test_the_number_of_the_target_slot_is_not_trusted(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    for link in canvas.links:
        link[4] = 99
    assert inputs_of(canvas, definitions)["5"] == ui.TEXT_TO_IMAGE_API["5"]["inputs"]


def test_a_link_is_real_only_if_the_target_names_it(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    canvas.links.append([99, 4, 0, 5, 0, "LATENT"])
    canvas.nodes[5]["inputs"][0]["link"] = None
    assert "model" not in inputs_of(canvas, definitions)["5"]


def test_of_two_links_with_one_id_each_target_gets_its_own(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.Canvas()
    first, second = canvas.add("VAEDecode"), canvas.add("VAEDecode")
    saves = [canvas.add("SaveImage", "a"), canvas.add("SaveImage", "b")]
    for save in saves:
        canvas.nodes[save]["inputs"][0]["link"] = 7
    canvas.links.extend([[7, first, 0, saves[0], 0, "IMAGE"], [7, second, 0, saves[1], 0, "IMAGE"]])
    converted = inputs_of(canvas, definitions)
    assert converted["3"]["images"] == ["1", 0]
    assert converted["4"]["images"] == ["2", 0]


def test_a_dangling_link_leaves_a_socket_absent_and_a_widget_its_value(
    ui: ModuleType, definitions: Definitions
) -> None:
    canvas = ui.text_to_image()
    canvas.nodes[5]["inputs"][0]["link"] = 1234
    canvas.nodes[5]["inputs"].append({"name": "steps", "type": "INT", "link": 1235, "widget": {"name": "steps"}})
    sampler = inputs_of(canvas, definitions)["5"]
    assert "model" not in sampler
    assert sampler["steps"] == 20


def test_useless_entries_are_left_out(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    canvas.raw["nodes"].extend([None, {"type": "VAEDecode"}, {"id": 50}, {"id": 5, "type": "VAEDecode", "order": 99}])
    canvas.links.extend([None, [], {"id": 3}, [1, 2], "x"])
    workflow = convert_ui(canvas.raw, definitions)
    assert workflow.to_api() == ui.TEXT_TO_IMAGE_API
    assert len(workflow.warnings) == 4
    assert "Two nodes have the id 5" in workflow.warnings[3]


def test_notes_are_dropped(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    canvas.add("Note", "remember")
    canvas.add("MarkdownNote", "# remember")
    assert list(inputs_of(canvas, definitions)) == list("1234567")


def test_a_muted_node_is_omitted_and_so_are_links_from_it(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    canvas.nodes[2]["mode"] = 2
    converted = inputs_of(canvas, definitions)
    assert "2" not in converted
    assert "positive" not in converted["5"]


def test_a_widget_linked_to_a_muted_node_keeps_its_own_value(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    number = canvas.add("PrimitiveInt", 33, "fixed", mode=2)
    canvas.wire(number, 0, 5, "steps")
    assert inputs_of(canvas, definitions)["5"]["steps"] == 20


@pytest.mark.parametrize("mode", [1, 3, 0, 17])
def test_other_modes_run(ui: ModuleType, definitions: Definitions, mode: int) -> None:
    canvas = ui.text_to_image()
    canvas.nodes[2]["mode"] = mode
    assert inputs_of(canvas, definitions)["5"]["positive"] == ["2", 0]


def test_a_converted_widget_that_is_linked_takes_the_link_and_still_uses_up_its_value(
    ui: ModuleType, definitions: Definitions
) -> None:
    canvas = ui.text_to_image()
    number = canvas.add("PrimitiveInt", 33, "fixed")
    canvas.wire(number, 0, 5, "steps")
    sampler = inputs_of(canvas, definitions)["5"]
    assert sampler["steps"] == ["8", 0]
    assert sampler["cfg"] == 8


def test_reroutes_are_followed_whatever_their_number_and_bypass(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.Canvas()
    canvas.add("VAEDecode")
    last = 1
    for mode in (0, 4, 0):
        reroute = canvas.add("Reroute", sockets=[("", "*")], outputs=["IMAGE"], mode=mode)
        canvas.wire(last, 0, reroute, "")
        last = reroute
    canvas.wire(last, 0, canvas.add("SaveImage", "a"), "images")
    converted = inputs_of(canvas, definitions)
    assert converted["5"]["images"] == ["1", 0]
    assert list(converted) == ["1", "5"]


@pytest.mark.parametrize("fault", ["muted", "unconnected", "circular"])
def test_a_reroute_that_leads_nowhere_leaves_the_input_absent(
    ui: ModuleType, definitions: Definitions, fault: str
) -> None:
    canvas = ui.Canvas()
    canvas.add("VAEDecode")
    canvas.add("Reroute", sockets=[("", "*")], outputs=["IMAGE"], mode=2 if fault == "muted" else 0)
    canvas.wire(2, 0, canvas.add("SaveImage", "a"), "images")
    if fault != "unconnected":
        canvas.wire(1 if fault == "muted" else 2, 0, 2, "")
    assert inputs_of(canvas, definitions)["3"] == {"filename_prefix": "a"}


@pytest.mark.parametrize("mode", [0, 2, 4])
def test_a_primitive_is_written_into_what_it_feeds_whatever_its_mode(
    ui: ModuleType, definitions: Definitions, mode: int
) -> None:
    canvas = ui.text_to_image()
    primitive = canvas.add("PrimitiveNode", 77, "increment", outputs=["INT"], mode=mode)
    reroute = canvas.add("Reroute", sockets=[("", "*")], outputs=["*"])
    canvas.wire(primitive, 0, 5, "seed")
    canvas.wire(primitive, 0, reroute, "")
    canvas.wire(reroute, 0, 5, "steps")
    workflow = convert_ui(canvas.raw, definitions)
    assert workflow.nodes["5"].inputs["seed"] == 77
    assert workflow.nodes["5"].inputs["steps"] == 77
    assert "8" not in workflow.nodes
    assert workflow.controls["5"] == {"seed": "increment", "steps": "increment"}


def test_a_primitive_without_a_value_leaves_the_widget_its_own(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    canvas.wire(canvas.add("PrimitiveNode", outputs=["INT"]), 0, 5, "steps")
    assert inputs_of(canvas, definitions)["5"]["steps"] == 20


class TestBypass:
    """Which input a bypassed node passes on."""

    def passed(self, canvas: Any, definitions: Definitions, node: Any, slot: int) -> Any:
        target = canvas.add("Anything", "l", id=99)
        canvas.wire(node, slot, target, "value")
        return inputs_of(canvas, definitions)["99"].get("value")

    def test_the_input_beside_the_output_when_its_type_fits(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.Canvas()
        first, second = canvas.add("CLIPTextEncode", "a"), canvas.add("CLIPTextEncode", "b")
        join = canvas.add("JoinConditioning", mode=4)
        canvas.wire(first, 0, join, "one")
        canvas.wire(second, 0, join, "two")
        assert self.passed(canvas, definitions, join, 0) == ["1", 0]

    def test_that_input_even_when_it_has_no_link(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.Canvas()
        canvas.add("CLIPTextEncode", "a")
        join = canvas.add("JoinConditioning", mode=4)
        canvas.wire(1, 0, join, "two")
        assert self.passed(canvas, definitions, join, 0) is None

    def test_else_the_first_of_the_same_type(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.Canvas()
        image = canvas.add("LoadImage", "a.png")
        node = canvas.add("MaskAndImage", mode=4)
        canvas.wire(image, 1, node, "mask")
        canvas.wire(image, 0, node, "image")
        assert self.passed(canvas, definitions, node, 0) == ["1", 0]

    def test_an_equal_type_wins_over_an_earlier_compatible_one(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.Canvas()
        image = canvas.add("LoadImage", "a.png")
        sockets = [("first", "MASK"), ("union", "IMAGE,MASK"), ("exact", "IMAGE")]
        node = canvas.add("Switch", mode=4, sockets=sockets, outputs=["IMAGE"])
        canvas.wire(image, 1, node, "union")
        canvas.wire(image, 0, node, "exact")
        assert self.passed(canvas, definitions, node, 0) == ["1", 0]

    def test_else_the_first_compatible(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.Canvas()
        image = canvas.add("LoadImage", "a.png")
        sockets = [("first", "MASK"), ("union", "LATENT,IMAGE"), ("any", "*")]
        node = canvas.add("Switch", mode=4, sockets=sockets, outputs=["IMAGE"])
        canvas.wire(image, 1, node, "union")
        canvas.wire(image, 0, node, "any")
        assert self.passed(canvas, definitions, node, 0) == ["1", 1]

    def test_nothing_when_no_type_fits(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.Canvas()
        image = canvas.add("LoadImage", "a.png")
        node = canvas.add("MaskAndImage", mode=4)
        canvas.wire(image, 1, node, "mask")
        canvas.wire(image, 0, node, "image")
        assert self.passed(canvas, definitions, node, 2) is None

    def test_an_output_of_any_type_takes_the_input_beside_it_or_the_first(
        self, ui: ModuleType, definitions: Definitions
    ) -> None:
        for slot, expected in ((1, ["1", 1]), (2, ["1", 0])):
            canvas = ui.Canvas()
            image = canvas.add("LoadImage", "a.png")
            sockets = [("one", "IMAGE"), ("two", "MASK")]
            node = canvas.add("Switch", mode=4, sockets=sockets, outputs=["*", "*", "*"])
            canvas.wire(image, 0, node, "one")
            canvas.wire(image, 1, node, "two")
            assert self.passed(canvas, definitions, node, slot) == expected

    def test_a_chain_of_bypassed_nodes_is_passed_through(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.Canvas()
        canvas.add("CLIPTextEncode", "a")
        last = 1
        for _ in range(5):
            node = canvas.add("JoinConditioning", mode=4)
            canvas.wire(last, 0, node, "one")
            last = node
        assert self.passed(canvas, definitions, last, 0) == ["1", 0]


def test_a_link_type_may_be_a_number_or_a_list(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    for link, kind in zip(canvas.links, (-1, 0, "*", ["a"], None), strict=False):
        link[5] = kind
    assert inputs_of(canvas, definitions)["5"] == ui.TEXT_TO_IMAGE_API["5"]["inputs"]


def test_an_unknown_type_is_reported_and_kept(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    canvas.nodes[6] |= {"type": "VAEDecodeTurbo", "title": "My decoder", "properties": {"cnr_id": "turbo", "ver": "1"}}
    canvas.nodes[2]["type"] = "Encode"
    workflow = convert_ui(canvas.raw, definitions)
    assert len(workflow.problems) == 2
    assert workflow.problems[1].startswith("Node 6 (VAEDecodeTurbo “My decoder”): there is no node type")
    assert "(turbo)" in workflow.problems[1]
    assert workflow.nodes["6"].class_type == "VAEDecodeTurbo"
    assert workflow.nodes["6"].meta == {"title": "My decoder", "cnr_id": "turbo", "ver": "1"}
    assert workflow.nodes["7"].inputs["images"] == ["6", 0]


def test_an_unknown_type_that_is_linked_to_nothing_is_decoration(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    canvas.add("Label (pack)", title="Step 1")
    workflow = convert_ui(canvas.raw, definitions)
    assert workflow.problems == []
    assert workflow.warnings == [
        "Node 8 (Label (pack) “Step 1”) is of an unknown type and linked to nothing; it was left out."
    ]
    assert "8" not in workflow.nodes


@pytest.mark.parametrize("mode", [2, 4])
def test_an_unknown_type_that_takes_no_part_is_no_problem(ui: ModuleType, definitions: Definitions, mode: int) -> None:
    canvas = ui.text_to_image()
    canvas.nodes[6] |= {"type": "VAEDecodeTurbo", "mode": mode}
    assert "images" not in inputs_of(canvas, definitions)["7"]


def test_values_stored_by_name_are_kept_for_an_unknown_type(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    canvas.nodes[6] |= {"type": "VAEDecodeTurbo", "widgets_values": {"speed": [1, 2]}}
    workflow = convert_ui(canvas.raw, definitions)
    assert workflow.nodes["6"].inputs["speed"] == {"__value__": [1, 2]}


def test_a_document_is_told_by_its_list_of_nodes() -> None:
    assert is_ui_document({"nodes": []})
    assert not is_ui_document({"nodes": {"class_type": "a", "inputs": {}}})
    with pytest.raises(WorkflowError, match="no list of nodes"):
        convert_ui({"nodes": 3}, {})


def test_an_empty_canvas_is_an_empty_workflow() -> None:
    assert convert_ui({"nodes": []}, {}).nodes == {}


def test_a_document_nested_beyond_reason_is_refused(ui: ModuleType, definitions: Definitions) -> None:
    value: list[Any] = []
    for _ in range(900):
        value = [value]
    canvas = ui.text_to_image()
    canvas.nodes[2]["widgets_values"] = [value]
    with pytest.raises(WorkflowError, match="nested more than 100 levels"):
        convert_ui(canvas.raw, definitions)


def test_the_cost_of_conversion_is_linear(ui: ModuleType, definitions: Definitions) -> None:
    def seconds(length: int) -> float:
        canvas = ui.Canvas()
        canvas.add("CLIPTextEncode", "a")
        for index in range(1, length):  # every second node is bypassed, each feeds the next
            canvas.add("JoinConditioning", mode=4 * (index % 2))
            canvas.wire(index, 0, index + 1, "one")
        return min(measured(canvas, length) for _ in range(3))

    def measured(canvas: Any, length: int) -> float:
        started = time.process_time()
        converted = inputs_of(canvas, definitions)
        assert len(converted) == (length + 1) // 2
        return time.process_time() - started

    assert seconds(4000) < 40 * seconds(400)


def test_a_long_chain_of_bypassed_nodes_needs_no_recursion(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.Canvas()
    canvas.add("CLIPTextEncode", "a")
    for index in range(1, 5000):
        canvas.add("JoinConditioning", mode=4, id=index + 1)
        canvas.wire(index, 0, index + 1, "one")
        canvas.wire(index + 1, 0, canvas.add("JoinConditioning", id=-100 - index), "one")
    converted = inputs_of(canvas, definitions)
    assert len(converted) == 5000
    assert all(inputs == {"one": ["1", 0]} for node_id, inputs in converted.items() if node_id != "1")
