"""Tiles of `comfy.utils.tiled_scale`: what they become is put together without seams."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.plugins.compat.tiles import tile_count, tile_starts, tiled

sides, small = st.integers(1, 40), st.integers(1, 12)


@settings(deadline=None)
@given(size=sides, tile=sides, overlap=st.integers(0, 39))
def test_tiles_cover_a_side_and_overlap_as_asked(size: int, tile: int, overlap: int) -> None:
    overlap = min(overlap, tile - 1)
    starts = tile_starts(size, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] + tile >= size
    assert all(0 < after - before <= tile - overlap for before, after in itertools.pairwise(starts))
    assert all(start + min(tile, size) <= size for start in starts)


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(small, small), tile=st.tuples(small, small), overlap=st.integers(0, 5), batch=st.integers(1, 2),
    scale=st.sampled_from([1, 2]),
)  # fmt: skip
def test_what_does_not_depend_on_its_neighbours_comes_back_as_it_is(
    size: tuple[int, int], tile: tuple[int, int], overlap: int, batch: int, scale: int
) -> None:
    overlap = min(overlap, *(side - 1 for side in tile))
    samples = torch.rand(batch, 2, *size)
    told: list[None] = []

    def larger(part: torch.Tensor) -> torch.Tensor:
        return part.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    done = tiled(samples, larger, tile[1], tile[0], overlap, scale, 2, on_tile=lambda: told.append(None))
    assert done == pytest.approx(larger(samples), abs=1e-5)
    assert len(told) == batch * tile_count(size[1], size[0], tile[1], tile[0], overlap)


def test_results_may_be_smaller() -> None:
    samples = torch.rand(1, 3, 32, 48)
    done = tiled(samples, lambda part: part[:, :1, ::8, ::8], 16, 16, 8, 1 / 8, 1)
    assert torch.allclose(done, samples[:, :1, ::8, ::8])
