"""What holds for the conversion of any document of an editor."""

from __future__ import annotations

import contextlib
import copy
import json
from types import ModuleType
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.ui_format import convert_ui
from mezzotint.engine.workflow import Workflow, as_link

Definitions = dict[str, dict[str, Any]]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

junk = st.sampled_from(
    [None, True, -1, 0, 3, 10**20, 0.5, 4.0, float("nan"), "", "-10", "5", "x", [], {}, [[]], [None], {"a": 1}]
)
# What a node of a random document is: its type, its mode, and from how far back each of its inputs comes.
drawn_nodes = st.lists(
    st.tuples(
        st.sampled_from(["JoinConditioning", "Reroute", "MaskAndImage", "PrimitiveNode", "KSampler", "Unknown"]),
        st.sampled_from([0, 0, 0, 2, 4]),
        st.lists(st.integers(1, 6), max_size=3),
    ),
    max_size=14,
)


def drawn(ui: ModuleType, nodes: list[tuple[str, int, list[int]]]) -> Any:
    """A canvas of the nodes, ids from 1, each linked to nodes before it."""
    canvas = ui.Canvas()
    for node_type, mode, backwards in nodes:
        sockets = [("value", "*"), ("other", "IMAGE")] if node_type in ("Reroute", "Unknown") else None
        outputs = ["IMAGE"] if node_type in ("Reroute", "PrimitiveNode", "Unknown") else None
        node_id = canvas.add(node_type, 5, "fixed", 20, mode=mode, sockets=sockets, outputs=outputs)
        for slot, back in enumerate(backwards):
            if back < node_id and slot < len(canvas.nodes[node_id]["inputs"]):
                canvas.wire(node_id - back, 0, node_id, canvas.nodes[node_id]["inputs"][slot]["name"])
    return canvas


def everything(ui: ModuleType) -> dict[str, Any]:
    """A document with one of each: subgraphs, a group, a reroute, a primitive."""
    canvas = ui.text_to_image()
    inner = canvas.subgraph("sub", [("model", "MODEL"), ("seed", "INT")], ["LATENT"])
    inner.add("KSampler", 5, "randomize", 20, 8, "euler", "normal", 1)
    inner.wire(-10, 0, 1, "model")
    inner.wire(-10, 1, 1, "seed")
    inner.wire(1, 0, -20, "0")
    canvas.raw["extra"]["groupNodes"] = {
        "G": {
            "nodes": [{"type": "VAEDecode"}, {"type": "SaveImage"}],
            "links": [[0, 0, 1, 0, 1, "IMAGE"]],
            "config": {},
        }
    }
    canvas.add("sub", 7, sockets=[("model", "MODEL")], outputs=["LATENT"], properties={"proxyWidgets": [["1", "cfg"]]})
    canvas.wire(1, 0, 8, "model")
    canvas.add("workflow>G", "a", sockets=[("samples", "LATENT")], outputs=["IMAGE"])
    canvas.wire(8, 0, 9, "samples")
    canvas.wire(canvas.add("PrimitiveNode", 3, "fixed", outputs=["INT"]), 0, 5, "steps")
    canvas.wire(5, 0, canvas.add("Reroute", sockets=[("", "*")], outputs=["LATENT"]), "")
    return dict(canvas.raw)


def edges(workflow: Workflow) -> set[tuple[str, str, str, int]]:
    links = (
        (node_id, name, as_link(value))
        for node_id, node in workflow.nodes.items()
        for name, value in node.inputs.items()
    )
    return {(node_id, name, link.node_id, link.slot) for node_id, name, link in links if link is not None}


@quick
@given(nodes=drawn_nodes)
def test_every_link_of_the_result_is_to_a_node_of_the_result(
    ui: ModuleType, definitions: Definitions, nodes: list[tuple[str, int, list[int]]]
) -> None:
    workflow = convert_ui(drawn(ui, nodes).raw, definitions)
    assert all(origin in workflow.nodes for _, _, origin, _ in edges(workflow))
    assert Workflow.from_api(workflow.to_api()).to_api() == workflow.to_api()


@quick
@given(nodes=drawn_nodes)
def test_conversion_is_deterministic(
    ui: ModuleType, definitions: Definitions, nodes: list[tuple[str, int, list[int]]]
) -> None:
    document = drawn(ui, nodes).raw
    once, again = convert_ui(document, definitions), convert_ui(copy.deepcopy(document), definitions)
    assert json.dumps(once.to_api()) == json.dumps(again.to_api())
    assert once == again


@quick
@given(nodes=drawn_nodes, order=st.randoms(use_true_random=False))
def test_renumbered_ids_keep_the_connections(
    ui: ModuleType, definitions: Definitions, nodes: list[tuple[str, int, list[int]]], order: Any
) -> None:
    document = drawn(ui, nodes).raw
    ids = [node["id"] for node in document["nodes"]]
    renamed = dict(zip(ids, order.sample(range(100, 1000), len(ids)), strict=True))
    other = copy.deepcopy(document)
    for node in other["nodes"]:
        node["id"] = renamed[node["id"]]
        for socket in node["inputs"]:
            socket["link"] = None if socket["link"] is None else f"link {socket['link']}"
    for link in other["links"]:
        link[:] = [f"link {link[0]}", renamed[link[1]], link[2], renamed[link[3]], *link[4:]]
    order.shuffle(other["links"])

    expected = {
        (str(renamed[int(a)]), name, str(renamed[int(b)]), slot)
        for a, name, b, slot in edges(convert_ui(document, definitions))
    }
    assert edges(convert_ui(other, definitions)) == expected


@quick
@given(data=st.data())
def test_a_damaged_document_converts_or_is_refused_in_a_sentence(
    ui: ModuleType, definitions: Definitions, data: st.DataObject
) -> None:
    document = everything(ui)
    for _ in range(data.draw(st.integers(1, 4))):
        holder: Any = document
        while True:
            key = data.draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
            inside = holder[key]
            if not isinstance(inside, (dict, list)) or not inside or data.draw(st.integers(0, 4)) == 0:
                break
            holder = inside
        holder[key] = copy.deepcopy(data.draw(junk))
    with contextlib.suppress(WorkflowError):
        workflow = convert_ui(document, definitions)
        assert all(origin in workflow.nodes for _, _, origin, _ in edges(workflow))
        json.dumps(workflow.to_api())
