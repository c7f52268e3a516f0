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


def is_painted(picture: Tensor) -> Tensor:
    """Where [H, W, 3] is not white."""
    return picture.min(-1).values < 0.5


def overlap(first: Tensor, second: Tensor) -> float:
    """What two shapes share of all that either covers."""
    return float((first & second).sum() / (first | second).sum())


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
    assert overlap(is_painted(red), is_painted(green)) > 0.8


def test_inpainting_changes_what_the_mask_selects_and_nothing_else(pictures: Callable[[Graph], list[Tensor]]) -> None:
    before, after = (picture[0] for picture in pictures(graph_of("inpaint")))
    assert [int(part.mean((0, 1)).argmax()) for part in (after[20:28, 16:48], after[40:52, 16:48])] == [0, 1]
    kept = (after - before)[:24].abs()  # the VAE sees a little beyond the mask's edge at 32
    assert float(kept.mean()) < 0.03
    assert float((after - before)[40:52, 16:48].abs().mean()) > 0.2


def test_the_hires_fix_draws_the_small_picture_large(pictures: Callable[[Graph], list[Tensor]]) -> None:
    small, large = (picture[0] for picture in pictures(graph_of("hires_fix")))
    assert (small.shape, large.shape) == ((64, 64, 3), (128, 128, 3))
    reduced = torch.nn.functional.interpolate(large.movedim(-1, 0)[None], (64, 64), mode="area")[0].movedim(0, -1)
    assert overlap(is_painted(small), is_painted(reduced)) > 0.9
    assert int(large[48:96, 32:96].mean((0, 1)).argmax()) == 0


def test_prompts_are_drawn_where_their_areas_are(pictures: Callable[[Graph], list[Tensor]]) -> None:
    (picture,) = (picture[0] for picture in pictures(graph_of("area_composition")))
    assert picture.shape == (64, 128, 3)
    left, right = picture[:, :64], picture[:, 64:]
    colours = [half[is_painted(half)].mean(0) for half in (left, right)]
    assert [int(colour.argmax()) for colour in colours] == [0, 2]
