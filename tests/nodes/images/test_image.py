"""Pictures and masks: sizes, colours, channels."""

from __future__ import annotations

import pytest
import torch

from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.nodes import resize
from mezzotint.nodes.images.image import (
    empty_image,
    get_image_size,
    image_batch,
    image_crop,
    image_invert,
    image_scale,
    image_scale_by,
)
from mezzotint.nodes.images.mask import MaskError, image_to_mask, invert_mask, mask_to_image, solid_mask


def picture(width: int = 6, height: int = 4, channels: int = 3, count: int = 1) -> torch.Tensor:
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(1))


class TestImages:
    def test_an_empty_image_has_the_colour_that_its_number_spells(self) -> None:
        image = empty_image(5, 3, 2, 0xFF8000)
        assert image.shape == (2, 3, 5, 3)
        assert image[1, 2, 4].tolist() == pytest.approx([1, 128 / 255, 0])

    def test_one_that_does_not_fit_is_refused_before_it_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resize, "free_nbytes", lambda device: 2**34)
        with pytest.raises(OutOfMemoryError, match="a picture of 16384x16384, 4096 times, takes 12288"):
            empty_image(16384, 16384, 4096)

    def test_inverting_twice_gives_the_picture(self) -> None:
        image = picture()
        assert torch.allclose(image_invert(image), 1 - image)
        assert torch.allclose(image_invert(image_invert(image)), image)

    @pytest.mark.parametrize(
        ("width", "height", "expected"),
        [(12, 12, (12, 12)), (3, 0, (3, 2)), (0, 8, (12, 8)), (0, 0, (6, 4)), (0, 1, (2, 1))],
    )
    def test_a_side_of_0_keeps_the_proportions(self, width: int, height: int, expected: tuple[int, int]) -> None:
        assert get_image_size(image_scale(picture(), "bilinear", width, height))[:2] == expected

    def test_no_side_vanishes(self) -> None:
        assert get_image_size(image_scale(picture(100, 1), "area", 1, 0))[:2] == (1, 1)
        assert get_image_size(image_scale_by(picture(), "area", 0.01))[:2] == (1, 1)

    def test_a_factor_is_rounded_to_whole_pixels(self) -> None:
        assert get_image_size(image_scale_by(picture(7, 5), "lanczos", 1.5))[:2] == (10, 8)

    def test_channels_stay_last_in_every_method(self) -> None:
        colours = torch.tensor([0.0, 0.2, 1.0]).expand(1, 4, 4, 3)
        scaled = image_scale(colours, "lanczos", 7, 3, "center")
        assert scaled.is_contiguous()
        assert torch.allclose(scaled, torch.tensor([0.0, 0.2, 1.0]).expand(1, 3, 7, 3), atol=1e-6)

    def test_a_batch_takes_the_size_of_the_first(self) -> None:
        first, second = picture(6, 4), picture(9, 9, count=2)
        joined = image_batch(first, second)
        assert joined.shape == (3, 4, 6, 3)
        assert torch.equal(joined[:1], first)

    def test_a_picture_without_alpha_is_opaque_beside_one_that_has_it(self) -> None:
        joined = image_batch(picture(), picture(channels=4))
        assert joined.shape[-1] == 4
        assert joined[0, ..., 3].min() == 1

    def test_a_crop_stays_inside(self) -> None:
        image = picture(6, 4)
        assert torch.equal(image_crop(image, 3, 2, 1, 1), image[:, 1:3, 1:4])
        assert torch.equal(image_crop(image, 512, 512, 4, 1), image[:, 1:, 4:])
        assert torch.equal(image_crop(image, 512, 512, 99, 99), image[:, 3:, 5:])

    def test_a_size_is_width_height_and_count(self) -> None:
        assert get_image_size(picture(6, 4, count=3)) == (6, 4, 3)


class TestMasks:
    @pytest.mark.parametrize(("channel", "index"), [("red", 0), ("green", 1), ("blue", 2), ("alpha", 3)])
    def test_a_channel_becomes_a_mask_as_it_is(self, channel: str, index: int) -> None:
        image = picture(channels=4, count=2)
        assert torch.equal(image_to_mask(image, channel), image[..., index])  # type: ignore[arg-type]

    def test_a_missing_channel_is_a_sentence_with_those_there_are(self) -> None:
        with pytest.raises(MaskError, match="3 channels and no alpha one; choose red or green or blue"):
            image_to_mask(picture(), "alpha")

    @pytest.mark.parametrize("shape", [(2, 4, 6), (4, 6)])
    def test_a_mask_becomes_grey(self, shape: tuple[int, ...]) -> None:
        mask = torch.rand(shape)
        image = mask_to_image(mask)
        assert image.shape == (2 if len(shape) == 3 else 1, 4, 6, 3)
        assert torch.equal(image_to_mask(image, "blue").squeeze(), mask.squeeze())

    def test_inverting_selects_the_rest(self) -> None:
        assert torch.equal(invert_mask(torch.tensor([[[0.0, 0.25, 1.0]]])), torch.tensor([[[1.0, 0.75, 0.0]]]))

    def test_a_solid_mask_has_one_value(self) -> None:
        mask = solid_mask(0.25, 3, 2)
        assert mask.shape == (1, 2, 3)
        assert torch.equal(mask, torch.tensor(0.25).expand(1, 2, 3))
