"""`--prompt`, `--negative` and `--seed` find the obvious nodes, and say so when nothing is obvious."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mezzotint.cli.places import Graph
from mezzotint.cli.prompt_target import seed_places, with_prompt, with_seed
from mezzotint.cli.usage import UsageError
from mezzotint.engine.registry import Registry
from mezzotint.engine.workflow import Workflow
from mezzotint.plugins.host import Host, Settings

Nodes = dict[str, Any]
WORKFLOWS = Path(__file__).parents[2] / "workflows"


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Host(Settings(plugins=(Path(__file__).with_name("toy_nodes.py"),))) as host:
        yield host.registry


@pytest.fixture
def nodes(sampling: Nodes) -> Nodes:
    return copy.deepcopy(sampling)


def graph(nodes: Nodes, registry: Registry) -> Graph:
    return Graph(Workflow.from_api(nodes), registry)


def targets(nodes: Nodes, registry: Registry, *, is_negative: bool = False) -> list[tuple[str, str]]:
    return [(*place,) for place in with_prompt(graph(nodes, registry), "text", is_negative=is_negative)]  # type: ignore[misc]


def encode(text: str) -> Nodes:
    return {"class_type": "Encode", "inputs": {"text": text}}


def test_each_side_of_a_sampler_has_its_text(nodes: Nodes, registry: Registry) -> None:
    assert targets(nodes, registry) == [("1", "text")]
    assert targets(nodes, registry, is_negative=True) == [("2", "text")]


def test_the_text_is_found_behind_nodes_that_change_both_sides(nodes: Nodes, registry: Registry) -> None:
    nodes["5"] = {"class_type": "Control", "inputs": {"positive": ["1", 0], "negative": ["2", 0]}}
    nodes["3"]["inputs"].update(positive=["5", 0], negative=["5", 1])
    assert targets(nodes, registry) == [("1", "text")]
    assert targets(nodes, registry, is_negative=True) == [("2", "text")]


def test_the_text_is_found_behind_nodes_that_pass_anything_on(nodes: Nodes, registry: Registry) -> None:
    nodes["5"] = {"class_type": "Pass", "inputs": {"value": ["1", 0]}}
    nodes["3"]["inputs"]["positive"] = ["5", 0]
    assert targets(nodes, registry) == [("1", "text")]


def test_the_text_is_found_behind_a_guider(registry: Registry) -> None:
    nodes = {
        "1": encode("a cat"),
        "2": {"class_type": "Guide", "inputs": {"conditioning": ["1", 0]}},
        "3": {"class_type": "Draw", "inputs": {"guider": ["2", 0]}},
        "4": {"class_type": "Write", "inputs": {"text": ["3", 0]}},
    }
    assert targets(nodes, registry) == [("1", "text")]
    with pytest.raises(UsageError, match="no text is encoded for the negative side"):
        targets(nodes, registry, is_negative=True)


def test_a_text_node_that_the_encoder_is_linked_to_is_set(nodes: Nodes, registry: Registry) -> None:
    nodes["1"]["inputs"]["text"] = ["5", 0]
    nodes["5"] = {"class_type": "Line", "inputs": {"value": "a cat"}}
    assert targets(nodes, registry) == [("5", "value")]


def test_all_texts_of_one_encoder_are_set(nodes: Nodes, registry: Registry) -> None:
    nodes["1"] = {"class_type": "EncodeTwo", "inputs": {"text_g": "a cat", "text_l": "photo"}}
    assert targets(nodes, registry) == [("1", "text_g"), ("1", "text_l")]


def test_several_encoders_with_the_same_text_are_one_prompt(nodes: Nodes, registry: Registry) -> None:
    nodes["5"] = encode("a cat")
    nodes["6"] = {"class_type": "Combine", "inputs": {"conditioning_1": ["1", 0], "conditioning_2": ["5", 0]}}
    nodes["3"]["inputs"]["positive"] = ["6", 0]
    assert targets(nodes, registry) == [("1", "text"), ("5", "text")]


def test_several_encoders_with_different_texts_are_no_obvious_prompt(nodes: Nodes, registry: Registry) -> None:
    nodes["5"] = encode("a dog")
    nodes["6"] = {"class_type": "Combine", "inputs": {"conditioning_1": ["1", 0], "conditioning_2": ["5", 0]}}
    nodes["3"]["inputs"]["positive"] = ["6", 0]
    with pytest.raises(UsageError) as error:
        targets(nodes, registry)
    assert "1 (Encode “Wanted”) input 'text', 5 (Encode) input 'text'" in str(error.value)
    assert "--set 1.text=TEXT" in str(error.value)


def test_a_text_put_together_of_several_is_no_obvious_prompt(nodes: Nodes, registry: Registry) -> None:
    nodes["1"]["inputs"]["text"] = ["5", 0]
    nodes["5"] = {"class_type": "Join", "inputs": {"first": "a ", "second": "cat"}}
    with pytest.raises(UsageError, match="it could be any of 5"):
        targets(nodes, registry)


def test_two_samplers_with_the_same_encoder_have_one_prompt(nodes: Nodes, registry: Registry) -> None:
    nodes["5"] = copy.deepcopy(nodes["3"])
    nodes["6"] = {"class_type": "Write", "inputs": {"text": ["5", 0]}}
    assert targets(nodes, registry) == [("1", "text")]


def test_a_negative_side_that_shares_the_prompt_cannot_be_set(nodes: Nodes, registry: Registry) -> None:
    nodes["3"]["inputs"]["negative"] = ["1", 0]
    with pytest.raises(UsageError, match="shares the prompt's"):
        targets(nodes, registry, is_negative=True)


def test_nodes_that_no_output_needs_are_left_alone(nodes: Nodes, registry: Registry) -> None:
    nodes["5"] = encode("a dog")
    nodes["6"] = {"class_type": "Sample", "inputs": {"positive": ["5", 0], "negative": ["2", 0], "seed": 9}}
    assert targets(nodes, registry) == [("1", "text")]
    assert seed_places(graph(nodes, registry)) == [("3", "seed")]


def test_a_workflow_without_text_says_so(registry: Registry) -> None:
    nodes = {"1": {"class_type": "Tell", "inputs": {"value": 1}}}
    with pytest.raises(UsageError, match="--prompt: no text is encoded"):
        targets(nodes, registry)
    with pytest.raises(UsageError, match="--seed: no node"):
        with_seed(graph(nodes, registry), 1)


def test_links_in_a_circle_and_into_nothing_end_the_search(nodes: Nodes, registry: Registry) -> None:
    nodes["5"] = {"class_type": "Pass", "inputs": {"value": ["6", 0]}}
    nodes["6"] = {"class_type": "Pass", "inputs": {"value": ["5", 0]}}
    nodes["3"]["inputs"].update(positive=["5", 0], negative=["77", 0], seed=["5", 0])
    with pytest.raises(UsageError, match="no text is encoded"):
        targets(nodes, registry)
    assert seed_places(graph(nodes, registry)) == []


def test_every_seed_is_set(nodes: Nodes, registry: Registry) -> None:
    nodes["5"] = {"class_type": "Guide", "inputs": {"conditioning": ["1", 0]}}
    nodes["6"] = {"class_type": "Draw", "inputs": {"guider": ["5", 0]}}
    nodes["7"] = {"class_type": "Write", "inputs": {"text": ["6", 0]}}
    assert with_seed(graph(nodes, registry), 8) == {("3", "seed"): 8, ("6", "noise_seed"): 8}


def test_a_number_that_the_seed_is_linked_to_is_set(nodes: Nodes, registry: Registry) -> None:
    nodes["3"]["inputs"]["seed"] = ["5", 0]
    nodes["5"] = {"class_type": "Number", "inputs": {"value": 3}}
    assert with_seed(graph(nodes, registry), 8) == {("5", "value"): 8}


def test_the_default_of_a_seed_that_is_left_out_counts(nodes: Nodes, registry: Registry) -> None:
    del nodes["3"]["inputs"]["seed"]
    made = graph(nodes, registry)
    assert [made.constant(place) for place in seed_places(made)] == [0]


@pytest.mark.parametrize("name", ["text_to_image", "custom_sampling", "denoise_loop"])
def test_bundled_workflows_take_a_seed_and_both_texts(name: str) -> None:
    with Host() as host:
        made = Graph(host.load(WORKFLOWS / f"{name}.json"), host.registry)
        assert with_seed(made, 1)
        assert with_prompt(made, "text") != with_prompt(made, "text", is_negative=True)
