"""Subgraphs and group nodes of an editor's document."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import pytest

from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.ui_format import convert_ui

Definitions = dict[str, dict[str, Any]]
SUB, OUTER = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-2222-3333-4444-555555555555"


def inputs_of(canvas: Any, definitions: Definitions) -> dict[str, dict[str, Any]]:
    workflow = convert_ui(canvas.raw, definitions)
    assert workflow.problems == []
    return {node_id: node.inputs for node_id, node in workflow.nodes.items()}


def sampler_subgraph(ui: ModuleType, canvas: Any, definition_id: str = SUB) -> Any:
    """A subgraph of a sampler (1) and a decoder (2): inputs model, seed, steps, vae; outputs IMAGE, LATENT."""
    kinds = [("model", "MODEL"), ("seed", "INT"), ("steps", "INT"), ("vae", "VAE")]
    inner = canvas.subgraph(definition_id, kinds, ["IMAGE", "LATENT"])
    inner.add("KSampler", 5, "randomize", 20, 8, "euler", "normal", 1)
    inner.add("VAEDecode")
    for slot, (target, name) in enumerate(((1, "model"), (1, "seed"), (1, "steps"), (2, "vae"))):
        inner.wire(-10, slot, target, name)
    inner.wire(1, 0, 2, "samples")
    inner.wire(2, 0, -20, "0")
    inner.wire(1, 0, -20, "1")
    return inner


def instance(canvas: Any, definition_id: str = SUB, *values: Any, **fields: Any) -> Any:
    sockets = [("model", "MODEL"), ("vae", "VAE")]
    return canvas.add(definition_id, *values, sockets=sockets, outputs=["IMAGE", "LATENT"], **fields)


def drawing(ui: ModuleType, *values: Any, **fields: Any) -> Any:
    """A checkpoint (1), an instance (10) of the sampler subgraph with these values, and a save node (3)."""
    canvas = ui.Canvas()
    sampler_subgraph(ui, canvas)
    canvas.add("CheckpointLoaderSimple", id=1)
    instance(canvas, SUB, *values, id=10, **fields)
    canvas.add("SaveImage", "a", id=3)
    canvas.wire(1, 0, 10, "model")
    canvas.wire(1, 2, 10, "vae")
    canvas.wire(10, 0, 3, "images")
    return canvas


def test_an_instance_is_replaced_by_its_inside(ui: ModuleType, definitions: Definitions) -> None:
    converted = inputs_of(drawing(ui, 7, 30), definitions)
    assert list(converted) == ["1", "3", "10:1", "10:2"]
    assert converted["10:1"]["model"] == ["1", 0]
    assert converted["10:2"] == {"samples": ["10:1", 0], "vae": ["1", 2]}
    assert converted["3"]["images"] == ["10:2", 0]


def test_promoted_values_are_the_instances_in_the_order_of_the_definition(
    ui: ModuleType, definitions: Definitions
) -> None:
    sampler = inputs_of(drawing(ui, 7, 30), definitions)["10:1"]
    assert (sampler["seed"], sampler["steps"], sampler["cfg"]) == (7, 30, 8)


def test_inputs_of_an_instance_are_matched_by_name(ui: ModuleType, definitions: Definitions) -> None:
    canvas = drawing(ui, 7, 30)
    canvas.nodes[10]["inputs"].reverse()
    assert inputs_of(canvas, definitions) == inputs_of(drawing(ui, 7, 30), definitions)


def test_without_stored_values_the_inner_ones_hold(ui: ModuleType, definitions: Definitions) -> None:
    sampler = inputs_of(drawing(ui, widgets_values=None), definitions)["10:1"]
    assert (sampler["seed"], sampler["steps"]) == (5, 20)
    sampler = inputs_of(drawing(ui, 7), definitions)["10:1"]
    assert (sampler["seed"], sampler["steps"]) == (7, 20)


def test_promoted_values_may_be_stored_by_name(ui: ModuleType, definitions: Definitions) -> None:
    named = {"steps": 31, "seed": 8}
    for fields in ({"widgets_values": named}, {"widgets_values": [], "widgets_values_named": named}):
        sampler = inputs_of(drawing(ui, **fields), definitions)["10:1"]
        assert (sampler["seed"], sampler["steps"]) == (8, 31)


def test_a_linked_promoted_input_takes_the_link_and_uses_up_its_value(ui: ModuleType, definitions: Definitions) -> None:
    canvas = drawing(ui, 7, 30)
    canvas.wire(canvas.add("PrimitiveInt", 99, "fixed", id=4), 0, 10, "seed")
    sampler = inputs_of(canvas, definitions)["10:1"]
    assert (sampler["seed"], sampler["steps"]) == (["4", 0], 30)


def test_a_promoted_input_linked_to_a_muted_node_takes_the_instances_value(
    ui: ModuleType, definitions: Definitions
) -> None:
    canvas = drawing(ui, 7, 30)
    canvas.wire(canvas.add("PrimitiveInt", 99, "fixed", id=4, mode=2), 0, 10, "seed")
    assert inputs_of(canvas, definitions)["10:1"]["seed"] == 7


def test_a_primitive_wired_to_a_promoted_input_keeps_its_value(ui: ModuleType, definitions: Definitions) -> None:
    canvas = drawing(ui, 7, 30)
    canvas.wire(canvas.add("PrimitiveNode", 99, "fixed", id=4, outputs=["INT"]), 0, 10, "seed")
    assert inputs_of(canvas, definitions)["10:1"]["seed"] == 99


def test_one_definition_may_have_many_instances(ui: ModuleType, definitions: Definitions) -> None:
    canvas = drawing(ui, 7, 30)
    instance(canvas, SUB, 8, 40, id=11)
    canvas.wire(1, 0, 11, "model")
    canvas.wire(11, 1, 10, "seed")
    converted = inputs_of(canvas, definitions)
    assert converted["11:1"]["seed"] == 8
    assert converted["11:1"]["model"] == ["1", 0]
    assert converted["10:1"]["seed"] == ["11:1", 0]
    assert "vae" not in converted["11:2"]


def nested(ui: ModuleType, *values: Any) -> Any:
    """An outer subgraph (instance 20) around an instance (4) of the sampler subgraph; its seed is promoted twice."""
    canvas = ui.Canvas()
    sampler_subgraph(ui, canvas)
    outer = canvas.subgraph(OUTER, [("model", "MODEL"), ("seed", "INT")], ["IMAGE"])
    instance(outer, SUB, 7, 30, id=4)
    outer.wire(-10, 0, 4, "model")
    outer.wire(-10, 1, 4, "seed")
    outer.wire(4, 0, -20, "0")
    canvas.add("CheckpointLoaderSimple", id=1)
    canvas.add(OUTER, *values, id=20, sockets=[("model", "MODEL")], outputs=["IMAGE"])
    canvas.add("SaveImage", "a", id=3)
    canvas.wire(1, 0, 20, "model")
    canvas.wire(20, 0, 3, "images")
    return canvas


def test_subgraphs_nest_and_so_do_their_ids(ui: ModuleType, definitions: Definitions) -> None:
    converted = inputs_of(nested(ui, 9), definitions)
    assert list(converted) == ["1", "3", "20:4:1", "20:4:2"]
    assert converted["20:4:1"]["model"] == ["1", 0]
    assert converted["3"]["images"] == ["20:4:2", 0]


@pytest.mark.parametrize(("values", "seed"), [([9], 9), ([], 7)])
def test_the_outermost_stored_value_wins(
    ui: ModuleType, definitions: Definitions, values: list[int], seed: int
) -> None:
    sampler = inputs_of(nested(ui, *values), definitions)["20:4:1"]
    assert (sampler["seed"], sampler["steps"]) == (seed, 30)


def test_definitions_may_hold_definitions(ui: ModuleType, definitions: Definitions) -> None:
    canvas = nested(ui, 9)
    subgraphs = canvas.raw["definitions"]["subgraphs"]
    inner = subgraphs.pop(0)
    subgraphs[0]["definitions"] = {"subgraphs": [inner]}
    assert "20:4:1" in inputs_of(canvas, definitions)


def test_a_muted_instance_drops_its_inside(ui: ModuleType, definitions: Definitions) -> None:
    converted = inputs_of(drawing(ui, 7, 30, mode=2), definitions)
    assert list(converted) == ["1", "3"]
    assert "images" not in converted["3"]


def test_a_bypassed_instance_passes_on_its_own_sockets(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.Canvas()
    inner = canvas.subgraph(SUB, [("mask", "MASK"), ("image", "IMAGE")], ["IMAGE"])
    inner.add("MaskAndImage")
    inner.wire(-10, 0, 1, "mask")
    inner.wire(-10, 1, 1, "image")
    inner.wire(1, 0, -20, "0")
    canvas.add("LoadImage", "a.png", id=1)
    canvas.add(SUB, id=10, mode=4, sockets=[("mask", "MASK"), ("image", "IMAGE")], outputs=["IMAGE"])
    canvas.add("SaveImage", "a", id=3)
    canvas.wire(1, 1, 10, "mask")
    canvas.wire(1, 0, 10, "image")
    canvas.wire(10, 0, 3, "images")
    converted = inputs_of(canvas, definitions)
    assert list(converted) == ["1", "3"]
    assert converted["3"]["images"] == ["1", 0]


def test_muted_and_bypassed_nodes_inside_behave_as_outside(ui: ModuleType, definitions: Definitions) -> None:
    canvas = drawing(ui, 7, 30)
    inner = canvas.raw["definitions"]["subgraphs"][0]
    inner["nodes"][0]["mode"] = 2
    converted = inputs_of(canvas, definitions)
    assert "10:1" not in converted
    assert converted["10:2"] == {"vae": ["1", 2]}
    inner["nodes"][1]["mode"] = 2
    assert inputs_of(canvas, definitions)["3"] == {"filename_prefix": "a"}


def test_an_input_wired_straight_to_an_output_is_passed_through(ui: ModuleType, definitions: Definitions) -> None:
    canvas = drawing(ui, 7, 30)
    links = canvas.raw["definitions"]["subgraphs"][0]["links"]
    links[5] |= {"origin_id": -10, "origin_slot": 3}
    assert inputs_of(canvas, definitions)["3"]["images"] == ["1", 2]


def test_inner_target_slots_are_not_trusted(ui: ModuleType, definitions: Definitions) -> None:
    canvas = drawing(ui, 7, 30)
    for link in canvas.raw["definitions"]["subgraphs"][0]["links"]:
        if link["target_id"] > 0:
            link["target_slot"] = 42
    assert inputs_of(canvas, definitions) == inputs_of(drawing(ui, 7, 30), definitions)


def test_of_several_links_into_an_output_the_listed_one_counts(ui: ModuleType, definitions: Definitions) -> None:
    canvas = drawing(ui, 7, 30)
    links = canvas.raw["definitions"]["subgraphs"][0]["links"]
    links.insert(0, {"id": 90, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "*"})
    assert inputs_of(canvas, definitions)["3"]["images"] == ["10:2", 0]


class TestProxyWidgets:
    """Inner widgets shown on an instance without an input of their own."""

    def values(self, ui: ModuleType, definitions: Definitions, proxies: list[Any], *stored: Any, **fields: Any) -> Any:
        canvas = drawing(ui, *stored, properties={"proxyWidgets": proxies}, **fields)
        sampler = inputs_of(canvas, definitions)["10:1"]
        return sampler["seed"], sampler["steps"], sampler["cfg"]

    def test_their_stored_value_follows_those_of_the_inputs(self, ui: ModuleType, definitions: Definitions) -> None:
        assert self.values(ui, definitions, [["1", "cfg"]], 7, 30, 4.5) == (7, 30, 4.5)

    def test_own_inputs_in_the_list_say_the_order(self, ui: ModuleType, definitions: Definitions) -> None:
        proxies = [["1", "cfg"], ["-1", "steps"], ["-1", "seed"]]
        assert self.values(ui, definitions, proxies, 4.5, 30, 7) == (7, 30, 4.5)

    def test_nothing_stored_means_the_inner_value(self, ui: ModuleType, definitions: Definitions) -> None:
        assert self.values(ui, definitions, [["1", "cfg"]], 7, 30) == (7, 30, 8)

    def test_they_may_be_stored_by_name(self, ui: ModuleType, definitions: Definitions) -> None:
        named = {"seed": 7, "1: cfg": 4.5}
        assert self.values(ui, definitions, [["1", "cfg"]], widgets_values_named=named) == (7, 20, 4.5)

    def test_an_outer_instance_reaches_through(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = nested(ui, 9, 44)
        canvas.nodes[20]["properties"]["proxyWidgets"] = [["4", "steps"]]
        sampler = inputs_of(canvas, definitions)["20:4:1"]
        assert (sampler["seed"], sampler["steps"]) == (9, 44)


def test_a_subgraph_inside_itself_is_reported(ui: ModuleType, definitions: Definitions) -> None:
    canvas = nested(ui, 9)
    inner = canvas.raw["definitions"]["subgraphs"][0]["nodes"]
    inner.append({"id": 6, "type": OUTER, "title": "Again"})
    workflow = convert_ui(canvas.raw, definitions)
    [problem] = workflow.problems
    assert problem.startswith(f"Node 20:4:6 (Again) is inside the subgraph 'sub {OUTER}' and an instance of it")


def test_a_missing_definition_is_reported(ui: ModuleType, definitions: Definitions) -> None:
    canvas = drawing(ui, 7, 30)
    del canvas.raw["definitions"]
    problem = convert_ui(canvas.raw, definitions).problems[0]
    assert problem.startswith("Node 10 (")
    assert "the subgraph that it stands for is not in the file" in problem


def test_subgraphs_that_unfold_without_end_are_refused(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.Canvas()
    for level in range(40):
        inner = canvas.subgraph(f"level {level}", [], [])
        for _ in range(2):
            inner.add(f"level {level + 1}")
    canvas.add("level 0")
    with pytest.raises(WorkflowError, match=r"unfold into more than 250,000 nodes"):
        convert_ui(canvas.raw, definitions)


def test_subgraphs_nested_beyond_reason_are_refused(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.Canvas()
    for level in range(200):
        canvas.subgraph(f"level {level}", [], []).add(f"level {level + 1}")
    canvas.add("level 0")
    with pytest.raises(WorkflowError, match="more than 100 deep"):
        convert_ui(canvas.raw, definitions)


class TestGroupNodes:
    """The forerunners of subgraphs."""

    def drawing(self, ui: ModuleType, node_type: str, *values: Any, **fields: Any) -> Any:
        """A group of a latent (0), a sampler (1) and a decoder (2) as node 10, with a checkpoint (1) and a save (3)."""
        inner = ui.Canvas()
        inner.add("EmptyLatentImage", 64, 48, 2)
        inner.add("KSampler", 5, "randomize", 20, 8, "euler", "normal", 1)
        inner.add("VAEDecode", title="Decode")
        for node in inner.raw["nodes"]:
            for socket in node["inputs"]:
                socket["link"] = 77  # a leftover
        links = [[0, 0, 1, 3, 1, "LATENT"], [1, 0, 2, 0, 2, "LATENT"]]
        canvas = ui.Canvas()
        canvas.raw["extra"]["groupNodes"] = {
            "Draw": {"nodes": inner.raw["nodes"], "links": links, "external": [], "config": fields.pop("config", {})}
        }
        sockets = [(name, "*") for name in ("model", "positive", "negative", "vae")]
        canvas.add("CheckpointLoaderSimple", id=1)
        canvas.add(node_type, *values, id=10, sockets=sockets, outputs=["IMAGE"], **fields)
        canvas.add("SaveImage", "a", id=3)
        canvas.wire(1, 0, 10, "model")
        canvas.wire(1, 2, 10, "vae")
        canvas.wire(10, 0, 3, "images")
        return canvas

    @pytest.mark.parametrize("node_type", ["workflow>Draw", "workflow/Draw"])
    def test_a_group_is_replaced_by_its_inside(self, ui: ModuleType, definitions: Definitions, node_type: str) -> None:
        values = (128, 96, 1, 7, "fixed", 30, 4.5, "heun", "karras", 0.5)
        converted = inputs_of(self.drawing(ui, node_type, *values), definitions)
        assert converted["10:0"] == {"width": 128, "height": 96, "batch_size": 1}
        assert converted["10:1"] == {
            "seed": 7,
            "steps": 30,
            "cfg": 4.5,
            "sampler_name": "heun",
            "scheduler": "karras",
            "denoise": 0.5,
            "model": ["1", 0],
            "latent_image": ["10:0", 0],
        }
        assert converted["10:2"] == {"samples": ["10:1", 0], "vae": ["1", 2]}
        assert converted["3"]["images"] == ["10:2", 0]

    def test_a_hidden_widget_has_no_value_on_the_group(self, ui: ModuleType, definitions: Definitions) -> None:
        config = {"0": {"input": {"height": {"visible": False}}}}
        canvas = self.drawing(ui, "workflow>Draw", 128, 3, 7, config=config)
        assert inputs_of(canvas, definitions)["10:0"] == {"width": 128, "height": 48, "batch_size": 3}

    def test_a_renamed_widget_takes_links_by_its_shown_name(self, ui: ModuleType, definitions: Definitions) -> None:
        config = {"1": {"input": {"steps": {"name": "effort"}}}}
        canvas = self.drawing(ui, "workflow>Draw", 128, 96, 1, 7, "fixed", 30, config=config)
        canvas.wire(canvas.add("PrimitiveInt", 3, "fixed", id=4), 0, 10, "effort")
        assert inputs_of(canvas, definitions)["10:1"]["steps"] == ["4", 0]

    def test_equal_names_are_told_apart_by_the_title(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.Canvas()
        nodes = [
            {"type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE"}], "widgets_values": ["a"]},
            {"type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE"}], "title": "Two"},
            {"type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE"}], "title": "Two"},
        ]
        canvas.raw["extra"]["groupNodes"] = {"Save": {"nodes": nodes, "links": []}}
        names = ["images", "Two images", "Two 2 images"]
        canvas.add("workflow>Save", "p", "q", "r", id=10, sockets=[(name, "IMAGE") for name in names])
        for name in names:
            canvas.wire(canvas.add("LoadImage", "a.png"), 0, 10, name)
        converted = inputs_of(canvas, definitions)
        expected = [{"filename_prefix": text, "images": [image, 0]} for text, image in zip("pqr", "234", strict=True)]
        assert [converted[f"10:{index}"] for index in range(3)] == expected

    def test_a_primitive_inside_shows_its_value(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.Canvas()
        socket = {"name": "width", "type": "INT", "widget": {"name": "width"}}
        nodes = [
            {"type": "PrimitiveNode", "outputs": [{"type": "INT"}], "widgets_values": [64, "fixed"]},
            {"type": "EmptyLatentImage", "inputs": [socket], "outputs": [{"type": "LATENT"}], "widgets_values": [1, 2]},
        ]
        canvas.raw["extra"]["groupNodes"] = {"Size": {"nodes": nodes, "links": [[0, 0, 1, 0, 5, "INT"]]}}
        canvas.add("workflow>Size", 320, "randomize", 240, id=10, outputs=["LATENT"])
        workflow = convert_ui(canvas.raw, definitions)
        assert workflow.nodes["10:1"].inputs == {"width": 320, "height": 240, "batch_size": 1}
        assert workflow.controls["10:1"] == {"width": "randomize"}

    def test_a_missing_definition_is_reported(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = self.drawing(ui, "workflow>Draw", 128)
        canvas.raw["extra"] = {}
        assert "the file has no definition of the group 'Draw'" in convert_ui(canvas.raw, definitions).problems[0]

    def test_reading_a_group_does_not_change_the_document(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = self.drawing(ui, "workflow>Draw", 128)
        before = copy.deepcopy(canvas.raw)
        convert_ui(canvas.raw, definitions)
        assert canvas.raw == before
