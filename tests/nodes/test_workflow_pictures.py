"""The workflows that come with the package draw what their README says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.engine import Engine
from mezzotint.engine.run_result import RunResult
from mezzotint.nodes import register_nodes
from mezzotint.nodes.inference import inference_scope

WORKFLOWS = Path(__file__).parents[2] / "workflows"
Graph = dict[str, dict[str, Any]]


def graph_of(name: str) -> Graph:
    graph: Graph = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    return graph


def nodes_of(graph: Graph, class_type: str) -> Iterator[str]:
    return (node_id for node_id, node in graph.items() if node["class_type"] == class_type)


@pytest.fixture
def pictures(
    make_engine: Callable[..., Engine], run: Callable[..., RunResult], model_context: Context
) -> Callable[[Graph], list[Tensor]]:
    """What the VAEDecode nodes of a graph give."""
    functions: list[Any] = []
    register_nodes(functions.append)
    engine = make_engine(*functions, models=model_context.models, scope=inference_scope)

    def decoded(graph: Graph) -> list[Tensor]:
        targets = list(nodes_of(graph, "VAEDecode"))
        result = run(engine, graph, targets=targets).raise_for_status()
        return [result.values[target].outputs[0][0] for target in targets]

    return decoded


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.json")), ids=lambda path: str(path.name))
def test_a_workflow_is_in_the_readme(path: Path) -> None:
    assert f"`{path.name}`" in (WORKFLOWS / "README.md").read_text(encoding="utf-8")


def test_custom_sampling_draws_the_picture_of_text_to_image(pictures: Callable[[Graph], list[Tensor]]) -> None:
    (custom,), (expected,) = pictures(graph_of("custom_sampling")), pictures(graph_of("text_to_image"))
    assert torch.equal(custom, expected)


def test_image_to_image_keeps_the_form_and_changes_the_colour(pictures: Callable[[Graph], list[Tensor]]) -> None:
    red, green = (picture[0] for picture in pictures(graph_of("image_to_image")))
    middles = [picture[24:48, 16:48].mean((0, 1)) for picture in (red, green)]
    assert [int(middle.argmax()) for middle in middles] == [0, 1]
    apples = [picture.min(-1).values < 0.5 for picture in (red, green)]
    shared = (apples[0] & apples[1]).sum() / (apples[0] | apples[1]).sum()
    assert float(shared) > 0.8
