from __future__ import annotations

from typing import Any

import torch

from mezzotint.nodes.conditioning.conditioning_scope import (
    set_area,
    set_area_percentage,
    set_area_strength,
    set_mask,
    set_timestep_range,
)
from mezzotint.nodes.latents.box import Box
from mezzotint.nodes.sampling.region import box_of, weight_map

SHAPE = (1, 4, 64, 96)
TOKENS = torch.ones(1, 2, 3)


def given() -> list[Any]:
    return [[TOKENS, {"pooled_output": 1, "strength": 0.5}], [TOKENS * 2, {}]]


def options(conditioning: list[Any]) -> list[dict[str, Any]]:
    assert [float(tokens[0, 0, 0]) for tokens, _ in conditioning] == [1, 2]
    return [item for _, item in conditioning]


def test_an_area_in_pixels_is_told_in_cells_of_eight() -> None:
    first, second = options(set_area(given(), 264, 128, 60, 32, 2.0))
    assert box_of(first, SHAPE) == Box(top=4, left=7, height=16, width=33)
    assert (first["strength"], first["pooled_output"]) == (2.0, 1)
    assert second == {"area": (16, 33, 4, 7), "strength": 2.0, "set_area_to_bounds": False}


def test_an_area_in_shares_is_of_the_latent_that_is_sampled() -> None:
    (first, _) = options(set_area_percentage(given(), 0.5, 0.25, 0.25, 0.75))
    assert box_of(first, SHAPE) == Box(top=48, left=24, height=16, width=48)
    assert box_of(first, (1, 4, 32, 32)) == Box(top=24, left=8, height=8, width=16)


def test_a_strength_replaces_the_one_before() -> None:
    assert [item["strength"] for item in options(set_area_strength(given(), 3.0))] == [3.0, 3.0]


def test_a_mask_weighs_and_may_bound_the_area() -> None:
    mask = torch.zeros(512, 768)
    mask[:, 400:] = 1
    for bounds, box in (("default", None), ("mask bounds", Box(0, 50, 64, 46))):
        first, _ = options(set_mask(given(), mask, 0.5, bounds))  # type: ignore[arg-type]
        assert box_of(first, SHAPE) == box
        weights = weight_map(first, box, SHAPE)
        assert weights is not None
        assert float(weights.max()) == 0.5
        assert first["strength"] == 0.5


def test_an_area_after_a_mask_s_bounds_replaces_them() -> None:
    masked = set_mask(given(), torch.ones(512, 768), 1.0, "mask bounds")
    first, _ = options(set_area(masked, 64, 64))
    assert box_of(first, SHAPE) == Box(0, 0, 8, 8)


def test_a_range_of_timesteps_is_noted() -> None:
    noted = [(item["start_percent"], item["end_percent"]) for item in options(set_timestep_range(given(), 0.2, 0.8))]
    assert noted == [(0.2, 0.8)] * len(given())


def test_no_node_changes_what_it_is_given() -> None:
    conditioning = given()
    set_area(set_mask(set_timestep_range(conditioning, 0.1, 0.2), torch.ones(8, 8)))
    assert [item for _, item in conditioning] == [item for _, item in given()]
