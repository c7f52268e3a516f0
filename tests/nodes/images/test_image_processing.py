"""Filters, layouts, masks and alpha, against scipy, closed forms and small cases worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from mezzotint.nodes.images.alpha import join_image_with_alpha, porter_duff_image_composite, split_image_with_alpha
from mezzotint.nodes.images.composite import image_composite_masked
from mezzotint.nodes.images.image_filter import image_blend, image_blur, image_quantize, image_sharpen
from mezzotint.nodes.images.image_layout import (
    image_pad_for_outpaint,
    image_scale_to_max_dimension,
    image_scale_to_total_pixels,
    image_stitch,
)
from mezzotint.nodes.images.mask_edit import (
    crop_mask,
    feather_mask,
    grow_mask,
    image_color_to_mask,
    mask_composite,
    threshold_mask,
)


def picture(height: int = 5, width: int = 7, channels: int = 3, count: int = 1, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(seed))


def plain(*values: float) -> torch.Tensor:
    """A pixel of a colour."""
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


class TestFilters:
    @pytest.mark.parametrize(("radius", "sigma"), [(1, 1.0), (3, 0.7), (9, 4.0)])
    def test_a_blur_is_scipys_gaussian(self, radius: int, sigma: float) -> None:
        image = picture(count=2)
        expected = ndimage.gaussian_filter(
            image.numpy(), (0, sigma, sigma, 0), mode="mirror", radius=(0, radius, radius, 0)
        )
        assert np.allclose(image_blur(image, radius, sigma).numpy(), expected, atol=1e-6)

    def test_sharpening_adds_what_blurring_takes(self) -> None:
        image = picture() * 0.2 + 0.4
        assert torch.allclose(image_sharpen(image, 2, 1.0, 0.5), image + (image - image_blur(image, 2, 1.0)) / 2)
        assert torch.allclose(image_sharpen(image, 2, 1.0, 0.0), image)

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [("normal", 0.5), ("multiply", 0.125), ("screen", 0.625), ("overlay", 0.25), ("soft_light", 0.25),
         ("difference", 0.0)],
    )  # fmt: skip
    def test_blends_of_a_quarter_and_a_half(self, mode: Any, expected: float) -> None:
        blended = image_blend(plain(0.25, 0.25, 0.25), plain(0.5, 0.5, 0.5), 1.0, mode)
        assert blended.flatten().tolist() == pytest.approx([expected] * 3)

    def test_a_share_of_a_blend(self) -> None:
        assert image_blend(plain(0.0, 0.2, 1.0), plain(1.0, 1.0, 1.0), 0.25).flatten().tolist() == pytest.approx(
            [0.25, 0.4, 1.0]
        )

    @pytest.mark.parametrize("dither", ["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"])
    def test_no_more_colours_are_left_than_asked(self, dither: Any) -> None:
        quantized = image_quantize(picture(16, 16, count=2), 4, dither)
        assert quantized.shape == (2, 16, 16, 3)
        assert all(len(image.reshape(-1, 3).unique(dim=0)) <= 4 for image in quantized)

    def test_dithering_keeps_the_mean_of_a_ramp_better(self) -> None:
        ramp = torch.linspace(0, 1, 64).reshape(1, 1, 64, 1).expand(1, 64, 64, 3)

        def error(dither: Any) -> float:
            """Of the means of blocks, where the ramp lies between the two colours that are left."""
            blocks = (image_quantize(ramp, 2, dither) - ramp).reshape(8, 8, 8, 8, 3).mean((1, 3))
            return float(blocks[:, 2:6].abs().mean())

        assert error("bayer-8") < error("none") / 2
        assert error("floyd-steinberg") < error("none") / 2


class TestLayout:
    def test_a_number_of_pixels(self) -> None:
        scaled = image_scale_to_total_pixels(picture(100, 400), "area", 0.01)
        assert scaled.shape[1:3] == (51, 205)

    def test_the_longer_side(self) -> None:
        assert image_scale_to_max_dimension(picture(10, 20), "area", 8).shape[1:3] == (4, 8)
        image = picture()
        assert image_scale_to_max_dimension(image, "area", 0) is image

    def test_room_is_grey_and_to_be_painted(self) -> None:
        image = picture(10, 10)
        padded, mask = image_pad_for_outpaint(image, left=3, top=0, right=0, bottom=2, feathering=4)
        assert padded.shape == (1, 12, 13, 3)
        assert torch.equal(padded[:, :10, 3:], image)
        assert (padded[:, 10:] == 0.5).all()
        assert (mask[:, 10:] == 1).all()
        assert (mask[:, :, :3] == 1).all()

    def test_the_mask_falls_with_the_square_of_the_distance_and_only_where_there_is_room(self) -> None:
        _, mask = image_pad_for_outpaint(picture(10, 10), left=3, feathering=4)
        assert mask[0, 5, 3:].tolist() == pytest.approx([1, 0.5625, 0.25, 0.0625, 0, 0, 0, 0, 0, 0])

    def test_without_room_nothing_is_painted(self) -> None:
        _, mask = image_pad_for_outpaint(picture(10, 10), feathering=4)
        assert not mask.any()

    @pytest.mark.parametrize(
        ("direction", "expected"), [("right", [0, 1]), ("left", [1, 0]), ("down", [0, 1]), ("up", [1, 0])]
    )
    def test_the_second_is_put_beside_the_first(self, direction: Any, expected: list[float]) -> None:
        stitched = image_stitch(torch.zeros(1, 1, 1, 3), direction, image2=torch.ones(1, 1, 1, 3))
        assert stitched[..., 0].flatten().tolist() == expected
        assert stitched.shape[1:3] == ((1, 2) if direction in ("right", "left") else (2, 1))

    def test_the_second_is_scaled_or_centred(self) -> None:
        first, second = torch.ones(1, 6, 4, 3), torch.ones(2, 2, 2, 3)
        assert image_stitch(first, image2=second).shape == (2, 6, 10, 3)
        centred = image_stitch(first, match_image_size=False, image2=second)
        assert centred[0, :, 4, 0].tolist() == [0, 0, 1, 1, 0, 0]

    def test_space_between_has_a_colour(self) -> None:
        stitched = image_stitch(torch.zeros(1, 1, 1, 3), "right", True, 2, "red", torch.zeros(1, 1, 1, 3))
        assert stitched[0, 0].tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]

    def test_alone_the_first_stays(self) -> None:
        image = picture()
        assert image_stitch(image) is image

    def test_a_picture_is_laid_over_another_through_a_mask(self) -> None:
        mask = torch.tensor([[1.0, 0.5]])
        laid = image_composite_masked(torch.zeros(1, 2, 3, 3), torch.ones(1, 1, 2, 3), x=1, y=1, mask=mask)
        assert laid[0, ..., 0].tolist() == [[0, 0, 0], [0, 1, 0.5]]


class TestMasks:
    def test_a_colour_is_matched_exactly(self) -> None:
        pixels = torch.tensor([[255, 128, 0], [255, 128, 1]]).reshape(1, 1, 2, 3) / 255
        assert image_color_to_mask(pixels, 0xFF8000).tolist() == [[[1, 0]]]

    def test_a_cut_stays_inside(self) -> None:
        mask = torch.arange(12.0).reshape(1, 3, 4)
        assert torch.equal(crop_mask(mask, 1, 1, 2, 2), mask[:, 1:3, 1:3])
        assert crop_mask(mask, 99, 99).tolist() == [[[11]]]

    @pytest.mark.parametrize(
        ("operation", "expected"),
        [("multiply", [0, 0, 0.7]), ("add", [0.7, 0.3, 1]), ("subtract", [0, 0.3, 0.3]), ("and", [0, 0, 1]),
         ("or", [1, 0, 1]), ("xor", [1, 0, 0])],
    )  # fmt: skip
    def test_masks_are_combined(self, operation: Any, expected: list[float]) -> None:
        under = torch.tensor([[[0.0, 0.3, 1.0]]])
        over = torch.tensor([[[0.7, 0.0, 0.7]]])
        assert mask_composite(under, over, operation=operation).flatten().tolist() == pytest.approx(expected)

    def test_a_mask_lies_where_it_is_put(self) -> None:
        assert mask_composite(torch.zeros(1, 2, 2), torch.ones(1, 5, 5), 1, 1, "add").tolist() == [[[0, 0], [0, 1]]]

    def test_a_mask_fades_towards_its_edges(self) -> None:
        assert feather_mask(torch.ones(1, 1, 5), left=2, right=4).flatten().tolist() == [0.5, 1, 0.75, 0.5, 0.25]

    @pytest.mark.parametrize("is_tapered", [True, False])
    @pytest.mark.parametrize("expand", [3, -2, 0])
    def test_growing_and_shrinking_are_scipys_morphology(self, expand: int, is_tapered: bool) -> None:
        mask = (picture(20, 20, 1, seed=3)[..., 0] > 0.5).float()
        shape = ndimage.generate_binary_structure(2, 1 if is_tapered else 2)
        change = ndimage.grey_dilation if expand > 0 else ndimage.grey_erosion
        expected = mask[0].numpy()
        for _ in range(abs(expand)):
            expected = change(expected, footprint=shape, mode="nearest")
        assert np.array_equal(grow_mask(mask, expand, is_tapered)[0].numpy(), expected)

    def test_growing_very_far_ends(self) -> None:
        mask = torch.zeros(1, 8, 8)
        mask[0, 0, 0] = 1
        assert grow_mask(mask, 16384, True).min() == 1

    def test_a_threshold_is_not_reached_by_its_own_value(self) -> None:
        assert threshold_mask(torch.tensor([[[0.4, 0.5, 0.6]]]), 0.5).tolist() == [[[0, 0, 1]]]


class TestAlpha:
    def test_a_mask_makes_transparent_and_comes_back(self) -> None:
        image, mask = picture(4, 4), torch.rand(2, 4, 4)
        joined = join_image_with_alpha(image, mask)
        assert joined.shape == (2, 4, 4, 4)
        colours, again = split_image_with_alpha(joined)
        assert torch.equal(colours[1], image[0])
        assert torch.allclose(again, mask)

    def test_a_picture_without_alpha_is_nowhere_transparent(self) -> None:
        assert not split_image_with_alpha(picture()).MASK.any()

    @pytest.mark.parametrize(
        ("mode", "colour", "alpha"),
        # Of white at half and black at a quarter, worked out by hand from the paper's table.
        [("CLEAR", 0, 0), ("SRC", 1, 0.5), ("DST", 0, 0.25), ("SRC_OVER", 0.8, 0.625), ("DST_OVER", 0.6, 0.625),
         ("SRC_IN", 1, 0.125), ("DST_IN", 0, 0.125), ("SRC_OUT", 1, 0.375), ("DST_OUT", 0, 0.125),
         ("SRC_ATOP", 0.5, 0.25), ("DST_ATOP", 0.75, 0.5), ("XOR", 0.75, 0.5), ("ADD", 2 / 3, 0.75),
         ("MULTIPLY", 0, 0.125), ("SCREEN", 0.8, 0.625), ("DARKEN", 0.6, 0.625), ("LIGHTEN", 0.8, 0.625),
         ("OVERLAY", 0.6, 0.625)],
    )  # fmt: skip
    def test_operators(self, mode: Any, colour: float, alpha: float) -> None:
        result = porter_duff_image_composite(
            plain(1, 1, 1), torch.full((1, 1, 1), 0.5), plain(0, 0, 0), torch.full((1, 1, 1), 0.25), mode
        )
        assert result.MASK.item() == pytest.approx(alpha)
        assert result.IMAGE.flatten().tolist() == pytest.approx([colour] * 3)
