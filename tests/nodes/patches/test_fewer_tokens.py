"""HyperTile and token merging: attention over fewer tokens, against attention written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mezzotint import Context
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.patches.hyper_tile import HyperTile, tile_counts
from mezzotint.nodes.patches.token_merging import Matching, destinations, tome_patch_model
from mezzotint.nodes.patches.unet_blocks import attention_grid
from mezzotint.nodes.sampling.network_change import Forward

FORWARD: Any = Forward((8, 12), 2.0, None)  # type: ignore[arg-type]


def attention(x: Tensor) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(x, x, x)


def test_each_tile_attends_to_itself() -> None:
    x = torch.randn(2, 96, 5)
    tiled = HyperTile(4, 1, 0, is_scaled=False)._tiled("name", FORWARD, attention, x)
    picture, found = x.reshape(2, 8, 12, 5), tiled.reshape(2, 8, 12, 5)
    for top in (0, 4):
        for left in (0, 4, 8):
            rows, columns = slice(top, top + 4), slice(left, left + 4)
            expected = attention(picture[:, rows, columns].reshape(2, 16, 5)).reshape(2, 4, 4, 5)
            torch.testing.assert_close(found[:, rows, columns], expected)


def test_tiles_are_for_some_levels_only() -> None:
    x = torch.randn(1, 24, 5)  # 4 × 6: once halved
    assert torch.equal(HyperTile(2, 1, 0, is_scaled=False)._tiled("name", FORWARD, attention, x), attention(x))
    assert not torch.allclose(HyperTile(2, 1, 1, is_scaled=False)._tiled("name", FORWARD, attention, x), attention(x))
    assert torch.equal(HyperTile(8, 1, 1, is_scaled=True)._tiled("name", FORWARD, attention, x), attention(x))


@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 8))
def test_a_side_is_cut_evenly(side: int, least: int, choices: int) -> None:
    counts = tile_counts(side, least, choices)
    assert 1 <= len(counts) <= choices
    assert all(side % count == 0 and side // count >= min(least, side) for count in counts)


@pytest.mark.parametrize(
    ("size", "tokens", "expected"),
    [((64, 96), 6144, (64, 96, 0)), ((64, 96), 1536, (32, 48, 1)), ((13, 19), 70, (7, 10, 1)), ((8, 8), 7, None)],
)
def test_the_grid_of_tokens(size: tuple[int, int], tokens: int, expected: Any) -> None:
    assert attention_grid(size, tokens) == expected


@given(st.integers(2, 9), st.integers(2, 9), st.floats(0, 1), st.integers(0, 99))
def test_merged_tokens_come_back_in_their_places(height: int, width: int, ratio: float, seed: int) -> None:
    x = torch.randn(2, height * width, 4, generator=torch.Generator().manual_seed(seed))
    chosen = destinations((height, width), str(seed))
    assert int(chosen.sum()) == (height // 2) * (width // 2)
    matching = Matching.of(x, chosen, int(height * width * ratio))
    merged = matching.merged(x)
    back = matching.unmerged(merged)
    gone = height * width - merged.shape[1]
    assert gone == min(int(height * width * ratio), int((~chosen).sum()))
    kept = matching.kept[..., 0]
    for row in range(2):
        torch.testing.assert_close(back[row, kept[row]], x[row, kept[row]])
        for source, target in zip(matching.sources[row, :, 0], matching.targets[row, :, 0], strict=True):
            place = matching.destinations[row, target, 0]
            assert torch.equal(back[row, source], back[row, place])


def test_a_merged_token_is_the_mean_of_what_was_merged() -> None:
    x = torch.eye(4)[[0, 0, 1, 0]][None] * torch.tensor([1.0, 3.0, 1.0, 5.0])[:, None]
    matching = Matching.of(x, torch.tensor([True, False, False, False]), 2)
    torch.testing.assert_close(matching.merged(x)[0], torch.stack([x[0, 2], (x[0, 0] + x[0, 1] + x[0, 3]) / 3]))


def test_equal_tokens_lose_nothing() -> None:
    x = torch.randn(1, 1, 6).expand(2, 96, 6)
    matching = Matching.of(x, destinations((8, 12), "seed"), 60)
    torch.testing.assert_close(matching.unmerged(attention(matching.merged(x))), attention(x))


def test_a_ratio_of_zero_is_no_change(embedded: Checkpoint, model_context: Context) -> None:
    assert tome_patch_model(embedded.MODEL, 0.0) is embedded.MODEL
