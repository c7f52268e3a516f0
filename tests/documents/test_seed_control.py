"""What the control behind a widget does to it between two runs."""

from __future__ import annotations

from random import Random
from types import ModuleType
from typing import Any

import pytest

from mezzotint.engine.seed_control import MAX_RANDOM, advance_controls, next_value
from mezzotint.engine.ui_format import convert_ui

Definitions = dict[str, dict[str, Any]]
SEED = ["INT", {"min": 0, "max": 2**64 - 1}]
COMBO = ["COMBO", {"options": ["x", "y", "z"]}]


@pytest.mark.parametrize(
    ("value", "mode", "spec", "expected"),
    [
        (5, "fixed", SEED, 5),
        (5, "increment", SEED, 6),
        (5, "decrement", SEED, 4),
        (0, "decrement", SEED, 0),
        (2**64 - 1, "increment", SEED, 2**64 - 1),
        (5, "increment", ["INT", {"step": 10}], 15),
        (0.5, "increment", ["FLOAT", {"step": 0.25, "max": 1.0}], 0.75),
        (5, "increment", None, 6),
        ("x", "increment", COMBO, "y"),
        ("z", "increment", COMBO, "z"),
        ("z", "increment-wrap", COMBO, "x"),
        ("x", "decrement", COMBO, "x"),
        ("gone", "increment", COMBO, "y"),
        ("y", "fixed", [["x", "y"]], "y"),
        ("text", "increment", ["STRING"], "text"),
        (True, "increment", ["BOOLEAN"], True),
        (5, "unheard of", SEED, 5),
    ],
)
def test_a_value_moves_by_its_mode(value: Any, mode: str, spec: Any, expected: Any) -> None:
    moved = next_value(value, mode, spec, Random(0))
    assert moved == expected
    assert type(moved) is type(expected)


def test_random_seeds_are_exact_in_every_editor() -> None:
    rng = Random(0)
    seeds = [next_value(5, "randomize", SEED, rng) for _ in range(200)]
    assert len(set(seeds)) == 200
    assert all(0 <= seed <= MAX_RANDOM for seed in seeds)


def test_random_values_stay_within_their_limits() -> None:
    rng = Random(0)
    assert {next_value(5, "randomize", ["INT", {"min": 3, "max": 5}], rng) for _ in range(50)} == {3, 4, 5}
    assert {next_value("x", "randomize", COMBO, rng) for _ in range(50)} == {"x", "y", "z"}
    assert {next_value(5, "randomize", ["INT", {"min": 2, "max": 8, "step": 3}], rng) for _ in range(50)} == {2, 5, 8}


def test_the_next_run_is_told_in_the_graph_and_in_the_document(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    canvas.nodes[5]["widgets_values"][1] = "increment"
    workflow = convert_ui(canvas.raw, definitions)
    twice = advance_controls(advance_controls(workflow, definitions, Random(0)), definitions, Random(0))
    assert twice.nodes["5"].inputs["seed"] == 7
    assert twice.ui is not None
    assert convert_ui(twice.ui, definitions).to_api() == twice.to_api()
    assert workflow.nodes["5"].inputs["seed"] == 5


def test_what_is_fixed_stays(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    canvas.nodes[5]["widgets_values"][1] = "fixed"
    workflow = convert_ui(canvas.raw, definitions)
    assert advance_controls(workflow, definitions, Random(0)).to_api() == workflow.to_api()


def test_a_primitive_moves_once_for_all_that_it_feeds(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    primitive = canvas.add("PrimitiveNode", 77, "randomize", outputs=["INT"])
    canvas.wire(primitive, 0, 5, "seed")
    canvas.wire(primitive, 0, 5, "steps")
    advanced = advance_controls(convert_ui(canvas.raw, definitions), definitions, Random(0))
    inputs = advanced.nodes["5"].inputs
    assert inputs["seed"] == inputs["steps"] != 77
    assert advanced.ui is not None


def test_a_primitive_without_a_control_keeps_a_seed_as_it_is(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.text_to_image()
    canvas.wire(canvas.add("PrimitiveNode", 77, outputs=["INT"]), 0, 5, "seed")
    assert advance_controls(convert_ui(canvas.raw, definitions), definitions, Random(0)).nodes["5"].inputs["seed"] == 77


def test_a_promoted_seed_moves_by_the_control_inside(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.Canvas()
    inner = canvas.subgraph("sub", [("seed", "INT")], ["LATENT"])
    inner.add("KSampler", 5, "increment", 20, 8, "euler", "normal", 1)
    inner.wire(-10, 0, 1, "seed")
    canvas.add("sub", 7, id=10)
    advanced = advance_controls(convert_ui(canvas.raw, definitions), definitions, Random(0))
    assert advanced.nodes["10:1"].inputs["seed"] == 8
    assert advanced.ui is not None
    assert advanced.ui["nodes"][0]["widgets_values"] == [8]
