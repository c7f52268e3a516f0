"""Where the items of a conditioning count: boxes, masks, fading edges, against a calculation cell by cell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mezzotint.nodes.latents.box import Box
from mezzotint.nodes.sampling.network_call import ConditioningError
from mezzotint.nodes.sampling.region import box_of, weight_map

SHAPE = (2, 4, 24, 40)


@pytest.mark.parametrize(
    ("area", "expected"),
    [
        ((8, 16, 4, 2), Box(4, 2, 8, 16)),
        ((100, 100, 20, 30), Box(20, 30, 4, 10)),
        (("percentage", 0.5, 0.25, 0.5, 0.75), Box(12, 30, 12, 10)),
        (("percentage", 0.0, 0.0, 0.1, 0.1), Box(2, 4, 1, 1)),
        (("percentage", 0.6, 0.6, 0.6, 0.6), Box(14, 24, 10, 16)),
        ((24, 40, 0, 0), None),
        (("percentage", 1.0, 1.0, 0.0, 0.0), None),
    ],
)
def test_an_area_is_a_box_of_cells_within_the_latent(area: tuple[Any, ...], expected: Box | None) -> None:
    assert box_of({"area": area}, SHAPE) == expected


def test_no_area_is_the_whole_latent() -> None:
    assert box_of({"mask": torch.ones(24, 40)}, SHAPE) is None
    assert box_of({"area": None, "strength": 2.0}, SHAPE) is None


def test_an_area_outside_the_picture_is_refused() -> None:
    with pytest.raises(ConditioningError, match=r"begins at \(40, 0\) in the latent, which has 40×24 cells"):
        box_of({"area": (8, 8, 0, 40)}, SHAPE)


def mask_of(*boxes: Box) -> Tensor:
    mask = torch.zeros(len(boxes), 24, 40)
    for one, box in zip(mask, boxes, strict=True):
        box.of(one).fill_(0.5)
    return mask


def test_the_bounds_of_a_mask_hold_all_of_it_for_every_latent() -> None:
    mask = mask_of(Box(3, 5, 10, 9), Box(6, 4, 9, 12))
    assert box_of({"mask": mask, "set_area_to_bounds": True, "area": (8, 8, 0, 0)}, SHAPE) == Box(3, 4, 12, 12)
    assert box_of({"mask": mask, "set_area_to_bounds": False}, SHAPE) is None


def test_the_bounds_of_a_small_mask_are_eight_cells_or_what_is_left_of_the_latent() -> None:
    for mask, expected in ((Box(3, 5, 1, 2), Box(3, 5, 8, 8)), (Box(20, 38, 2, 1), Box(20, 38, 4, 2))):
        assert box_of({"mask": mask_of(mask), "set_area_to_bounds": True}, SHAPE) == expected
    assert box_of({"mask": torch.zeros(1, 24, 40), "set_area_to_bounds": True}, SHAPE) == Box(0, 0, 8, 8)


def faded(position: int, start: int, size: int, whole: int) -> float:
    """The weight of one cell along one side: it fades over min(8, size // 4) cells where the picture goes on."""
    ramp, weight = min(8, size // 4), 1.0
    if start > 0 and position < ramp:
        weight *= (position + 1) / ramp
    if start + size < whole and size - 1 - position < ramp:
        weight *= (size - position) / ramp
    return weight


@settings(deadline=None)  # the first call may have to import
@given(st.integers(0, 23), st.integers(0, 39), st.integers(1, 24), st.integers(1, 40))
def test_an_area_fades_towards_edges_inside_the_picture(top: int, left: int, height: int, width: int) -> None:
    box = box_of({"area": (height, width, top, left)}, SHAPE)
    if box is None:
        return
    weights = weight_map({}, box, SHAPE)
    assert weights is not None
    assert weights.shape == (1, 1, box.height, box.width)
    expected = [
        [faded(y, box.top, box.height, 24) * faded(x, box.left, box.width, 40) for x in range(box.width)]
        for y in range(box.height)
    ]
    torch.testing.assert_close(weights[0, 0], torch.tensor(expected))
    assert weights.min() > 0


def test_with_a_mask_nothing_fades() -> None:
    mask = torch.rand(2, 24, 40, generator=torch.Generator().manual_seed(1))
    box = Box(4, 8, 10, 10)
    weights = weight_map({"mask": mask, "mask_strength": 0.5, "strength": 3.0}, box, SHAPE)
    assert weights is not None
    assert torch.equal(weights, mask[:, None, 4:14, 8:18] * 0.5)


def test_a_mask_is_fitted_to_the_latent_and_repeated_for_the_batch() -> None:
    mask = torch.rand(1, 192, 320, generator=torch.Generator().manual_seed(1))
    weights = weight_map({"mask": mask}, None, SHAPE)
    expected = torch.nn.functional.interpolate(mask[None], size=(24, 40), mode="bilinear")
    assert weights is not None
    torch.testing.assert_close(weights, expected.expand(2, 1, 24, 40))
    assert weight_map({"strength": 0.5}, None, SHAPE) is None
