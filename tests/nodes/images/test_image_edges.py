"""Canny's edges, against what is worked out by hand for pictures of straight steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mezzotint.nodes.images.image_edges import canny


def step(height: float, at: int = 12, side: int = 24) -> Tensor:
    """Black on the left, grey on the right."""
    image = torch.zeros(1, side, side, 3)
    image[:, :, at:] = height
    return image


def strength(height: float) -> float:
    """Sobel's gradient beside a step that a Gaussian of 5 pixels blurred: four times the difference over two pixels."""
    weights = [math.exp(-(k**2) / 2) for k in range(-2, 3)]
    before, after = (sum(weights[k:]) / sum(weights) for k in (4, 2))  # at one pixel left and right of the left one
    return 4 * height * (after - before)


def test_a_step_is_a_line_a_pixel_wide_along_it() -> None:
    edges = canny(step(1.0))
    assert set(edges.unique().tolist()) == {0.0, 1.0}
    assert edges[0, :, :, 0].sum(1).tolist() == [1.0] * 24
    assert edges.shape == (1, 24, 24, 3)
    assert int(edges[0, 5, :, 0].argmax()) in (11, 12)


def test_the_thresholds_are_of_sobels_gradient() -> None:
    for height in (0.1, 0.2, 0.3):
        found = strength(height)
        assert 0.01 < found < 0.99
        assert canny(step(height), 0.01, found * 0.98).any()
        assert not canny(step(height), 0.01, found * 1.02).any()


@pytest.mark.parametrize("axes", [(1, 2), (2, 1)])
def test_a_picture_on_its_side_has_its_edges_on_their_side(axes: tuple[int, int]) -> None:
    image = torch.rand(1, 20, 20, 3, generator=torch.Generator().manual_seed(1))
    turned = canny(image.transpose(*axes), 0.1, 0.3)
    assert torch.equal(turned, canny(image, 0.1, 0.3).transpose(*axes))


def test_diagonal_steps_are_found_too() -> None:
    rows = torch.arange(32)
    image = ((rows[:, None] + rows[None, :]) > 31).float()[None, :, :, None].expand(-1, -1, -1, 3)
    edges = canny(image)[0, :, :, 0]
    found = edges.nonzero()
    assert len(found) >= 28
    assert set((found.sum(1) - 31).abs().clamp(max=2).tolist()) <= {0, 1}


def test_a_weak_edge_counts_where_it_hangs_together_with_a_strong_one() -> None:
    assert not canny(step(0.15), 0.1, 0.9).any()
    fading = step(1.0) * torch.linspace(1.0, 0.15, 24)[None, :, None, None]
    assert canny(fading, 0.1, 0.9)[0, :, 10:14, 0].any(1).all()
    apart = fading.clone()
    apart[:, 16:18] = 0.0
    assert not canny(apart, 0.1, 0.9)[0, 20:, 10:14, 0].any()


def test_grey_pictures_and_alpha_and_batches_are_taken() -> None:
    grey, alpha = step(1.0)[..., :1], torch.cat([step(1.0), torch.rand(1, 24, 24, 1)], -1)
    assert torch.equal(canny(grey), canny(alpha))
    assert torch.equal(canny(torch.cat([grey, grey * 0])), torch.cat([canny(grey), canny(grey * 0)]))
