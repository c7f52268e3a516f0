"""Latents turned, mirrored, cut, mixed and laid over one another, against small cases worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mezzotint.nodes.images.composite import latent_composite, latent_composite_masked
from mezzotint.nodes.latents.latent import LatentError
from mezzotint.nodes.latents.latent_arithmetic import (
    latent_add,
    latent_blend,
    latent_interpolate,
    latent_multiply,
    latent_subtract,
)
from mezzotint.nodes.latents.latent_transform import latent_crop, latent_flip, latent_rotate


def rows(*values: list[float], **more: Any) -> dict[str, Any]:
    """A latent of one channel with these rows."""
    return {"samples": torch.tensor(values, dtype=torch.float32)[None, None], **more}


def counted(height: int, width: int, channels: int = 2) -> dict[str, Any]:
    """Every element has a value of its own."""
    return {"samples": torch.arange(float(channels * height * width)).reshape(1, channels, height, width)}


class TestTransform:
    def test_turning_goes_clockwise(self) -> None:
        turned = latent_rotate(rows([1, 2], [3, 4]), "90 degrees")
        assert turned["samples"][0, 0].tolist() == [[3, 1], [4, 2]]

    def test_four_quarters_give_the_latent(self) -> None:
        given = counted(2, 3)
        result = given
        for rotation in ("90 degrees", "180 degrees", "270 degrees", "none"):
            result = latent_rotate(result, rotation)  # type: ignore[arg-type]
        assert torch.equal(latent_rotate(result, "180 degrees")["samples"], given["samples"])

    @pytest.mark.parametrize(
        ("method", "expected"),
        [("x-axis: vertically", [[3, 4], [1, 2]]), ("y-axis: horizontally", [[2, 1], [4, 3]])],
    )
    def test_mirroring(self, method: Any, expected: list[list[float]]) -> None:
        assert latent_flip(rows([1, 2], [3, 4]), method)["samples"][0, 0].tolist() == expected

    def test_the_noise_mask_goes_along(self) -> None:
        mask = torch.zeros(1, 1, 16, 16)
        mask[..., :8, :] = 1
        flipped = latent_flip({**counted(2, 2), "noise_mask": mask, "batch_index": [5]}, "x-axis: vertically")
        assert torch.equal(flipped["noise_mask"], mask.flip(-2))
        assert flipped["batch_index"] == [5]

    def test_a_cut_is_given_in_pixels(self) -> None:
        given = counted(16, 24)
        cut = latent_crop(given, width=64, height=80, x=40, y=16)
        assert torch.equal(cut["samples"], given["samples"][..., 2:12, 5:13])

    def test_a_cut_beyond_the_edge_keeps_64_pixels(self) -> None:
        given = counted(16, 24)
        assert torch.equal(latent_crop(given, 512, 512, 9999, 9999)["samples"], given["samples"][..., 8:, 16:])
        assert latent_crop(counted(4, 4), 512, 512, 9999, 9999)["samples"].shape[-2:] == (4, 4)

    def test_a_cut_cuts_the_same_part_of_a_mask_in_pixels(self) -> None:
        mask = torch.arange(128.0 * 192).reshape(1, 1, 128, 192)
        cut = latent_crop({**counted(16, 24), "noise_mask": mask}, width=64, height=80, x=40, y=16)
        assert torch.equal(cut["noise_mask"], mask[..., 16:96, 40:104])


class TestArithmetic:
    def test_sum_difference_and_product(self) -> None:
        first, second = rows([1, 2]), rows([10, 20])
        assert latent_add(first, second)["samples"].flatten().tolist() == [11, 22]
        assert latent_subtract(second, first)["samples"].flatten().tolist() == [9, 18]
        assert latent_multiply(first, -2)["samples"].flatten().tolist() == [-2, -4]

    def test_the_second_takes_the_size_and_the_batch_of_the_first(self) -> None:
        first = {"samples": torch.zeros(3, 2, 4, 4)}
        assert torch.equal(latent_add(first, {"samples": torch.ones(2, 2, 2, 2)})["samples"], torch.ones(3, 2, 4, 4))

    def test_a_blend_is_the_weighed_mean(self) -> None:
        mixed = latent_blend(rows([1, 2]), rows([5, 10]), 0.75)
        assert mixed["samples"].flatten().tolist() == [2, 4]

    def test_interpolating_turns_and_keeps_lengths(self) -> None:
        along_x = {"samples": torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)}
        along_y = {"samples": torch.tensor([0.0, 4.0]).reshape(1, 2, 1, 1)}
        middle = latent_interpolate(along_x, along_y, 0.5)["samples"].flatten()
        assert middle.tolist() == pytest.approx([3 / 2**0.5] * 2)  # half way round, of length 3

    @pytest.mark.parametrize(("ratio", "index"), [(1.0, 0), (0.0, 1)])
    def test_interpolating_ends_at_what_is_given(self, ratio: float, index: int) -> None:
        pair = [{"samples": torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(n))} for n in (1, 2)]
        assert torch.allclose(latent_interpolate(*pair, ratio)["samples"], pair[index]["samples"], atol=1e-6)

    def test_a_zero_vector_has_no_direction_and_no_nan_comes_of_it(self) -> None:
        assert not latent_interpolate(rows([0, 0]), rows([0, 0]), 0.5)["samples"].isnan().any()

    def test_latents_of_other_models_are_refused_in_a_sentence(self) -> None:
        with pytest.raises(LatentError, match="samples1 has 4 channels and samples2 has 8; take latents"):
            latent_add({"samples": torch.zeros(1, 4, 1, 1)}, {"samples": torch.zeros(1, 8, 1, 1)})


class TestComposite:
    def test_it_lies_where_it_is_put(self) -> None:
        under, over = {"samples": torch.zeros(1, 1, 4, 4)}, {"samples": torch.ones(1, 1, 2, 2)}
        expected = torch.zeros(4, 4)
        expected[1:3, 2:4] = 1
        assert torch.equal(latent_composite(under, over, x=16, y=8)["samples"][0, 0], expected)
        assert not under["samples"].any()

    def test_what_lies_outside_is_left_out(self) -> None:
        under, over = {"samples": torch.zeros(2, 1, 4, 4)}, {"samples": torch.ones(1, 1, 9, 9)}
        assert latent_composite(under, over, x=24, y=24)["samples"].sum() == 2
        assert latent_composite(under, over, x=320, y=0)["samples"].sum() == 0

    def test_edges_inside_are_soft_and_edges_at_the_border_are_not(self) -> None:
        under, over = {"samples": torch.zeros(1, 1, 1, 6)}, {"samples": torch.ones(1, 1, 1, 4)}
        assert latent_composite(under, over, x=16, feather=16)["samples"].flatten().tolist() == [0, 0, 0.5, 1, 1, 1]
        assert latent_composite(under, over, x=0, feather=16)["samples"].flatten().tolist() == [1, 1, 1, 0.5, 0, 0]

    def test_a_mask_is_fitted_and_selects(self) -> None:
        under, over = {"samples": torch.zeros(1, 1, 2, 2)}, {"samples": torch.full((1, 1, 2, 2), 8.0)}
        mask = torch.tensor([[1.0, 0.0], [0.25, 0.5]])
        result = latent_composite_masked(under, over, mask=mask)
        assert result["samples"][0, 0].tolist() == [[8, 0], [2, 4]]

    def test_the_source_can_be_fitted(self) -> None:
        under, over = {"samples": torch.zeros(1, 1, 4, 4)}, {"samples": torch.ones(1, 1, 2, 2)}
        assert latent_composite_masked(under, over, resize_source=True)["samples"].min() == 1
