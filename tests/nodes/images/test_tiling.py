"""Pictures in tiles: against a convolution, whose reach is known, and against the embedded VAE whole."""

from __future__ import annotations

import weakref
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.engine.residency import Loaded, Residency
from mezzotint.nodes.autoencoders import vae as vae_nodes
from mezzotint.nodes.autoencoders.autoencoder import Autoencoder
from mezzotint.nodes.autoencoders.vae import vae_decode, vae_decode_tiled, vae_encode, vae_encode_tiled
from mezzotint.nodes.images.tiling import Tiling, blended
from mezzotint.nodes.latents.box import Box
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.models.recipe import Recipe, Source

VAE = Recipe("vae", Source("vae", "toy", "0"))
REACH = 2
"""How many cells away a convolution of 5 sees."""


@settings(deadline=None)  # the first call may have to import
@given(st.integers(1, 60), st.integers(1, 60), st.integers(2, 24), st.data())
def test_tiles_cover_everything_and_overlap(height: int, width: int, size: int, data: st.DataObject) -> None:
    tiling = Tiling(size, data.draw(st.integers(0, size - 1)))
    boxes = tiling.boxes(height, width)
    assert {(box.height, box.width) for box in boxes} == {(min(size, height), min(size, width))}
    for starts, side, length in (
        (sorted({box.top for box in boxes}), boxes[0].height, height),
        (sorted({box.left for box in boxes}), boxes[0].width, width),
    ):
        assert starts[0] == 0
        assert starts[-1] + side == length
        assert all(first + side - second >= tiling.overlap for first, second in pairwise(starts))


@settings(deadline=None)  # the first call may have to import
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 16), st.integers(1, 3), st.data())
def test_what_needs_no_neighbours_is_put_together_as_it_was(
    height: int, width: int, size: int, scale: int, data: st.DataObject
) -> None:
    tiling = Tiling(size, data.draw(st.integers(0, size - 1)))
    picture = torch.rand(2, 3, height * scale, width * scale, generator=torch.Generator().manual_seed(1))
    together = blended(height, width, tiling, scale, lambda box: Box(*(scale * side for side in box)).of(picture))
    torch.testing.assert_close(together, picture)


def test_what_neighbours_share_goes_over_from_one_to_the_other_in_a_line() -> None:
    values = iter([0.0, 1.0])
    row = blended(1, 12, Tiling(8, 4), 1, lambda box: torch.full((1, 1, 1, box.width), next(values)))
    assert row.flatten().tolist() == pytest.approx([0] * 4 + [1 / 8, 3 / 8, 5 / 8, 7 / 8] + [1] * 4)


class Toy:
    """A VAE of one convolution each way, with cells of 4 pixels; one channel of a latent."""

    downscale = 4
    latent_channels = 1
    cropped = Autoencoder.cropped

    def __init__(self) -> None:
        self.kernel = torch.rand(1, 1, 2 * REACH + 1, 2 * REACH + 1, generator=torch.Generator().manual_seed(2)) / 25
        self.largest = 0

    def _convolved(self, latent: Tensor) -> Tensor:
        self.largest = max(self.largest, *latent.shape[-2:])
        return torch.nn.functional.conv2d(latent, self.kernel, padding=REACH)

    def decode(self, samples: Tensor) -> Tensor:
        pixels = self._convolved(samples).repeat_interleave(4, -1).repeat_interleave(4, -2)
        return pixels.movedim(1, -1).expand(-1, -1, -1, 3).contiguous()

    def encode(self, image: Tensor) -> Tensor:
        return self._convolved(torch.nn.functional.avg_pool2d(image.movedim(-1, 1)[:, :1], 4))

    def estimate_decode_nbytes(self, shape: tuple[int, ...]) -> int:
        return shape[0] * shape[2] * shape[3]

    def estimate_encode_nbytes(self, shape: tuple[int, ...]) -> int:
        return shape[0] * shape[1] * shape[2]


@pytest.fixture
def toy() -> Toy:
    return Toy()


def context(toy: Toy, budget_nbytes: int = 10**9) -> Context:
    models = Residency("cpu", budget_nbytes)
    models.register("vae", lambda recipe, residency: Loaded(toy, 0))
    return Context(models=models)


def far_from_seams(height: int, width: int, tiling: Tiling) -> Tensor:
    """The cells of a latent that no tile's inner edge lies in the reach of."""
    far = torch.ones(height, width, dtype=torch.bool)
    for box in tiling.boxes(height, width):
        for edge in {box.top, box.top + box.height} - {0, height}:
            far[max(edge - REACH, 0) : edge + REACH] = False
        for edge in {box.left, box.left + box.width} - {0, width}:
            far[:, max(edge - REACH, 0) : edge + REACH] = False
    return far


LATENT = torch.rand(2, 1, 40, 56, generator=torch.Generator().manual_seed(3))
TILING = Tiling(16, 8)  # 64 pixels and 32, in cells of 4


def test_decoding_in_tiles_is_decoding_but_near_the_tiles_edges(toy: Toy) -> None:
    whole = vae_decode({"samples": LATENT}, VAE, ctx=context(toy))
    toy.largest = 0
    tiled = vae_decode_tiled({"samples": LATENT}, VAE, 64, 32, ctx=context(toy))
    assert toy.largest == 16
    assert tiled.shape == whole.shape
    far = far_from_seams(40, 56, Tiling(16, 4)).repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert 0.2 < far.float().mean() < 1
    torch.testing.assert_close(tiled[:, far], whole[:, far])
    assert (tiled - whole).abs().max() < 0.25 * whole.max()


def test_an_overlap_beyond_a_quarter_of_the_tile_is_a_quarter(toy: Toy) -> None:
    latent = {"samples": LATENT}
    wide, quarter = (vae_decode_tiled(latent, VAE, 64, overlap, ctx=context(toy)) for overlap in (4096, 16))
    assert torch.equal(wide, quarter)
    assert not torch.equal(quarter, vae_decode_tiled(latent, VAE, 64, 0, ctx=context(toy)))


def test_encoding_in_tiles_is_encoding_but_near_the_tiles_edges(toy: Toy) -> None:
    image = torch.rand(2, 162, 227, 4, generator=torch.Generator().manual_seed(3))
    whole = vae_encode(image, VAE, ctx=context(toy))["samples"]
    tiled = vae_encode_tiled(image, VAE, 64, 16, ctx=context(toy))["samples"]
    far = far_from_seams(40, 56, Tiling(16, 4))
    torch.testing.assert_close(tiled[..., far], whole[..., far])
    assert (tiled - whole).abs().max() < 0.25 * whole.max()


def test_a_picture_that_is_no_larger_than_a_tile_is_done_whole(toy: Toy) -> None:
    latent = {"samples": LATENT[..., :16, :9]}
    tiled = vae_decode_tiled(latent, VAE, 64, 16, ctx=context(toy))
    assert torch.equal(tiled, vae_decode(latent, VAE, ctx=context(toy)))


@pytest.mark.parametrize(("budget", "side"), [(10**6, 160), (128 * 128, 128), (70 * 64, 64), (32 * 33, 32)])
def test_tiles_are_taken_where_a_whole_picture_does_not_fit(toy: Toy, budget: int, side: int) -> None:
    latent = {"samples": torch.rand(1, 1, 160, 130)}
    image = vae_decode(latent, VAE, ctx=context(toy, budget))
    assert toy.largest == side  # of 512, 256 and 128 pixels, in cells of 4
    assert image.shape == (1, 640, 520, 3)
    toy.largest = 0
    assert vae_encode(image, VAE, ctx=context(toy, budget * 16))["samples"].shape == (1, 1, 160, 130)
    assert toy.largest == side


@pytest.mark.parametrize(("budget_side", "tile"), [(70, 256), (33, 128)])
def test_what_memory_forces_into_tiles_is_what_the_tiled_nodes_give(
    embedded: Checkpoint, model_context: Context, budget_side: int, tile: int
) -> None:
    pixels = torch.rand(1, 320, 288, 3, generator=torch.Generator().manual_seed(4))
    with model_context.models.borrow(embedded.VAE) as autoencoder:
        weights = sum(each.nbytes for each in autoencoder.network.parameters())
        side, channels = budget_side * 4, autoencoder.latent_channels
        decoding = autoencoder.estimate_decode_nbytes((1, channels, side // 8, side // 8))
        encoding = autoencoder.estimate_encode_nbytes((1, side, side, 3))
    short = [
        Context(folders=model_context.folders, models=Residency("cpu", weights + nbytes, model_context.folders))
        for nbytes in (encoding, decoding)
    ]
    latent: dict[str, Any] = vae_encode(pixels, embedded.VAE, ctx=short[0])
    assert torch.equal(
        latent["samples"], vae_encode_tiled(pixels, embedded.VAE, tile, 64, ctx=model_context)["samples"]
    )
    image = vae_decode(latent, embedded.VAE, ctx=short[1])
    assert torch.equal(image, vae_decode_tiled(latent, embedded.VAE, tile, 64, ctx=model_context))
    assert not torch.equal(image, vae_decode(latent, embedded.VAE, ctx=model_context))
    assert all(each.models.total_nbytes <= each.models.budget_nbytes for each in short)


def test_a_batch_goes_through_one_by_one_before_tiles_are_taken(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []
    decode = toy.decode
    monkeypatch.setattr(toy, "decode", lambda samples: (sizes.append(tuple(samples.shape)), decode(samples))[1])
    vae_decode({"samples": torch.rand(3, 1, 160, 130)}, VAE, ctx=context(toy, 160 * 130 + 1))
    assert sizes == [(1, 1, 160, 130)] * 3


def test_what_filled_the_memory_is_let_go_of_before_tiles_are_tried(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, held = toy.decode, []

    def limited(samples: Tensor) -> Tensor:
        activation = torch.zeros(1)
        assert all(reference() is None for reference in held)
        if samples.shape[-1] > 70:
            held.append(weakref.ref(activation))
            raise torch.OutOfMemoryError
        return decode(samples)

    monkeypatch.setattr(toy, "decode", limited)
    vae_decode({"samples": torch.rand(1, 1, 20, 130)}, VAE, ctx=context(toy))
    assert len(held) == 2


def test_where_not_even_tiles_fit_the_message_tells_of_the_whole(toy: Toy) -> None:
    with pytest.raises(OutOfMemoryError, match="decoding a 520×640 picture needs about"):
        vae_decode({"samples": torch.rand(1, 1, 160, 130)}, VAE, ctx=context(toy, 1000))


def test_tiles_are_taken_where_the_device_runs_out(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = toy.decode

    def limited(samples: Tensor) -> Tensor:
        if samples.shape[-1] > 70:
            raise torch.OutOfMemoryError
        return decode(samples)

    monkeypatch.setattr(toy, "decode", limited)
    assert vae_decode({"samples": torch.rand(1, 1, 20, 130)}, VAE, ctx=context(toy)).shape == (1, 80, 520, 3)
    with pytest.raises(OutOfMemoryError, match="the memory of cpu was used up in decoding a 520×80 picture"):
        vae_decode_tiled({"samples": torch.rand(1, 1, 20, 130)}, VAE, 512, ctx=context(toy))


def test_a_batch_goes_through_in_parts_of_tiles(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    decode = toy.decode
    monkeypatch.setattr(toy, "decode", lambda samples: (sizes.append(len(samples)), decode(samples))[1])
    monkeypatch.setattr(vae_nodes, "PART_NBYTES", 2 * 16 * 16)
    latent = torch.rand(3, 1, 16, 28)
    tiled = vae_decode_tiled({"samples": latent}, VAE, 64, 16, ctx=context(toy))
    assert sizes == [2, 2, 1, 1]
    for k in range(3):
        alone = vae_decode_tiled({"samples": latent[k : k + 1]}, VAE, 64, 16, ctx=context(toy))
        torch.testing.assert_close(tiled[k : k + 1], alone)


def test_blending_hides_the_seams_of_the_embedded_vae(embedded: Checkpoint, model_context: Context) -> None:
    across, down = torch.linspace(0, 1, 192), torch.linspace(0, 1, 128)[:, None]
    picture = torch.stack([across + 0 * down, 0 * across + down, (across + down) / 2], -1)[None]
    latent: dict[str, Any] = vae_encode(picture, embedded.VAE, ctx=model_context)
    whole = vae_decode(latent, embedded.VAE, ctx=model_context)
    hard, soft = (vae_decode_tiled(latent, embedded.VAE, 96, o, ctx=model_context) for o in (0, 24))
    # A tile differs in tone, since a VAE normalises over all it sees; it is no worse a picture.
    assert (soft - picture).abs().mean() < 1.2 * (whole - picture).abs().mean()
    jumps = [float((tiled - whole).diff(dim=2).abs().max()) for tiled in (hard, soft)]
    assert jumps[1] < 0.4 * jumps[0]
