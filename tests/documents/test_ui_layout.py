"""A graph laid out as an editor's document is read as the same graph, and can be looked at."""

from __future__ import annotations

from itertools import combinations
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mezzotint.engine.ui_format import convert_ui
from mezzotint.engine.ui_layout import lay_out
from mezzotint.engine.workflow import Workflow
from mezzotint.plugins.host import Host, Settings
from mezzotint.workflows import bundled_workflows

Definitions = dict[str, dict[str, Any]]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def graph(**nodes: dict[str, Any]) -> Workflow:
    """Nodes by their ids, `n5` for `"5"`."""
    return Workflow.from_api({name.removeprefix("n"): node for name, node in nodes.items()})


@pytest.mark.parametrize("name", sorted(bundled_workflows()))
def test_every_bundled_workflow_comes_back_as_it_was(name: str) -> None:
    with Host(Settings()) as host:
        workflow = host.load(bundled_workflows()[name])
        back = host.load(lay_out(workflow, host.definitions))
    assert back.to_api() == workflow.to_api()
    assert back.problems == back.warnings == []


@quick
@given(
    seed=st.integers(0, 2**53),
    steps=st.integers(1, 10_000),
    text=st.text(),
    links=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_any_values_and_links_come_back(
    ui: ModuleType, definitions: Definitions, seed: int, steps: int, text: str, links: list[bool]
) -> None:
    sampler = {**ui.TEXT_TO_IMAGE_API}
    node_id = next(name for name, node in sampler.items() if node["class_type"] == "KSampler")
    inputs = {**sampler[node_id]["inputs"], "seed": seed, "steps": steps}
    names = [name for name, value in inputs.items() if isinstance(value, list)]
    for name, is_kept in zip(names, links, strict=False):
        if not is_kept:
            del inputs[name]
    workflow = Workflow.from_api({**sampler, node_id: {**sampler[node_id], "inputs": inputs}})
    assert convert_ui(lay_out(workflow, definitions), definitions).to_api() == workflow.to_api()


def test_a_widget_may_be_linked_and_keeps_its_place(definitions: Definitions) -> None:
    workflow = graph(
        n1={"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a"}},
        n2={"class_type": "EmptyLatentImage", "inputs": {"width": ["9", 0], "height": 64, "batch_size": 2}},
        n9={"class_type": "Unknown", "inputs": {}},
    )
    document = lay_out(workflow, definitions)
    node = next(node for node in document["nodes"] if node["id"] == 2)
    assert [socket["name"] for socket in node["inputs"]] == ["width"]
    assert node["inputs"][0]["widget"] == {"name": "width"}
    assert node["widgets_values"][1:] == [64, 2]


def test_ids_that_are_no_whole_numbers_get_new_ones(definitions: Definitions) -> None:
    workflow = Workflow.from_api(
        {
            "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
            "a:b": {"class_type": "VAEDecode", "inputs": {"samples": ["1", 0]}},
            "01": {"class_type": "VAEDecode", "inputs": {"samples": ["1", 0]}},
        }
    )
    document = lay_out(workflow, definitions)
    assert sorted(node["id"] for node in document["nodes"]) == [1, 2, 3]
    back = convert_ui(document, definitions)
    assert [list(back.nodes[name].inputs["samples"]) for name in ("2", "3")] == [["1", 0]] * 2


@pytest.mark.parametrize("name", sorted(bundled_workflows()))
def test_no_node_covers_another_and_links_lead_to_the_right(name: str) -> None:
    with Host(Settings()) as host:
        document = lay_out(host.load(bundled_workflows()[name]), host.definitions)
    nodes = {node["id"]: node for node in document["nodes"]}
    assert nodes.keys() and document["links"]  # noqa: PT018
    for one, other in combinations(nodes.values(), 2):
        assert is_beside(one, other, 0) or is_beside(one, other, 1)
    for _, origin, _, target, _, _ in document["links"]:
        assert nodes[origin]["pos"][0] + nodes[origin]["size"][0] < nodes[target]["pos"][0]


def is_beside(one: dict[str, Any], other: dict[str, Any], axis: int) -> bool:
    first, second = sorted((one, other), key=lambda node: node["pos"][axis])
    return bool(first["pos"][axis] + first["size"][axis] <= second["pos"][axis])
