from __future__ import annotations

from pathlib import Path

import mezzotint_vignette
import pytest
import torch

import mezzotint
from mezzotint import GraphBuilder


def test_the_centre_stays_and_the_corners_lose_that_share_of_their_light(tmp_path: Path) -> None:
    graph = GraphBuilder()
    white = graph.node("EmptyImage", width=65, height=33, color=0xFFFFFF)
    dark = graph.node("ExampleVignette", image=white, strength=0.75)
    result = mezzotint.run(graph, plugins=[mezzotint_vignette], targets=[white.id, dark.id], home=tmp_path)
    image = result.value(dark.id)
    assert image.shape == (1, 33, 65, 3)
    assert image[0, 16, 32, 0] == pytest.approx(1.0, abs=0.02)
    for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert image[0, y, x, 0] == pytest.approx(0.25, abs=0.1)
    assert torch.all(result.value(white.id) == 1)


def test_alpha_is_left_alone() -> None:
    image = mezzotint_vignette.vignette(torch.ones(1, 8, 8, 4), 1.0)
    assert torch.all(image[..., 3] == 1)
    assert image[0, 0, 0, 0] < 0.4


def test_a_strength_beyond_1_is_refused_before_anything_runs(tmp_path: Path) -> None:
    graph = GraphBuilder()
    dark = graph.node("ExampleVignette", image=graph.node("EmptyImage").out(0), strength=1.5)
    with pytest.raises(mezzotint.MezzotintError, match="'strength'"):
        mezzotint.run(graph, plugins=[mezzotint_vignette], targets=[dark.id], home=tmp_path)
