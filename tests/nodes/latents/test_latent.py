"""Latents keep their noise masks and their places in the batch through all that is done to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.nodes import resize
from mezzotint.nodes.latents.latent import (
    LatentError,
    empty_latent_image,
    latent_batch,
    latent_from_batch,
    latent_upscale,
    latent_upscale_by,
    repeat_latent_batch,
    set_latent_noise_mask,
)


def latent(count: int = 1, height: int = 8, width: int = 8, **more: Any) -> dict[str, Any]:
    """Latent k of the batch is filled with k."""
    samples = torch.arange(float(count)).reshape(-1, 1, 1, 1).expand(count, 4, height, width).clone()
    return {"samples": samples, **more}


def numbers(given: dict[str, Any], name: str = "samples") -> list[float]:
    return given[name][:, 0, 0, 0].tolist()  # type: ignore[no-any-return]


def size(given: dict[str, Any]) -> tuple[int, int]:
    """Width and height."""
    height, width = given["samples"].shape[-2:]
    return width, height


class TestEmpty:
    def test_it_has_an_eighth_of_the_pixels_and_is_zero(self) -> None:
        samples = empty_latent_image(520, 264, 3)["samples"]
        assert samples.shape == (3, 4, 33, 65)
        assert samples.dtype == torch.float32
        assert not samples.any()

    def test_one_that_does_not_fit_is_refused_before_it_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resize, "free_nbytes", lambda device: 2**34)
        with pytest.raises(OutOfMemoryError, match="a latent of 16384x16384 pixels, 4096 times, takes 256"):
            empty_latent_image(16384, 16384, 4096)


class TestUpscale:
    def test_sides_are_given_in_pixels(self) -> None:
        assert size(latent_upscale(latent(), "bilinear", 640, 72)) == (80, 9)

    def test_two_zeros_change_nothing(self) -> None:
        given = latent()
        assert latent_upscale(given, width=0, height=0) is given

    @pytest.mark.parametrize(("width", "height", "expected"), [(0, 256, (16, 32)), (256, 0, (32, 64))])
    def test_one_zero_keeps_the_proportions(self, width: int, height: int, expected: tuple[int, int]) -> None:
        assert size(latent_upscale(latent(1, 16, 8), "area", width, height)) == expected

    def test_no_side_gets_smaller_than_64_pixels(self) -> None:
        assert size(latent_upscale(latent(), width=8, height=16)) == (8, 8)
        assert size(latent_upscale(latent(1, 64, 8), width=0, height=8)) == (8, 8)

    def test_the_noise_mask_stays(self) -> None:
        mask = torch.ones(1, 1, 64, 64)
        assert latent_upscale(latent(noise_mask=mask))["noise_mask"] is mask

    def test_a_factor_is_rounded_to_whole_elements(self) -> None:
        assert size(latent_upscale_by(latent(1, 5, 7), "bislerp", 1.5)) == (10, 8)

    def test_a_tiny_factor_leaves_one(self) -> None:
        assert size(latent_upscale_by(latent(), "nearest-exact", 0.01)) == (1, 1)

    def test_other_keys_travel_along_and_the_given_one_is_not_changed(self) -> None:
        given = latent(batch_index=[7])
        assert latent_upscale_by(given, scale_by=2)["batch_index"] == [7]
        assert size(given) == (8, 8)


class TestFromBatch:
    def test_it_takes_a_run_and_remembers_the_places(self) -> None:
        taken = latent_from_batch(latent(5), 1, 3)
        assert numbers(taken) == [1, 2, 3]
        assert taken["batch_index"] == [1, 2, 3]

    def test_places_survive_a_second_time(self) -> None:
        assert latent_from_batch(latent_from_batch(latent(5), 1, 3), 1, 2)["batch_index"] == [2, 3]

    def test_beyond_the_end_the_last_one_is_taken(self) -> None:
        taken = latent_from_batch(latent(3), 60, 64)
        assert numbers(taken) == [2]
        assert taken["batch_index"] == [2]

    def test_masks_are_taken_with_them(self) -> None:
        masks = torch.arange(4.0).reshape(4, 1, 1, 1)
        assert numbers(latent_from_batch(latent(4, noise_mask=masks), 2, 2), "noise_mask") == [2, 3]

    def test_fewer_masks_than_latents_go_round(self) -> None:
        masks = torch.arange(2.0).reshape(2, 1, 1, 1)
        assert numbers(latent_from_batch(latent(5, noise_mask=masks), 1, 4), "noise_mask") == [1, 0, 1, 0]

    def test_one_mask_is_for_all(self) -> None:
        mask = torch.ones(1, 1, 8, 8)
        assert latent_from_batch(latent(4, noise_mask=mask), 2, 2)["noise_mask"] is mask

    def test_the_result_shares_no_memory_with_the_batch(self) -> None:
        given = latent(2)
        latent_from_batch(given, 0, 1)["samples"].fill_(9)
        assert numbers(given) == [0, 1]


class TestRepeat:
    def test_the_batch_is_repeated_whole(self) -> None:
        assert numbers(repeat_latent_batch(latent(2), 3)) == [0, 1, 0, 1, 0, 1]

    def test_places_go_on_counting_so_that_noise_differs(self) -> None:
        repeated = repeat_latent_batch(latent(2, batch_index=[3, 5]), 3)
        assert repeated["batch_index"] == [3, 5, 6, 8, 9, 11]

    def test_without_places_none_are_made_up(self) -> None:
        assert "batch_index" not in repeat_latent_batch(latent(2), 2)

    def test_masks_are_repeated_with_it(self) -> None:
        masks = torch.arange(2.0).reshape(2, 1, 1, 1)
        assert numbers(repeat_latent_batch(latent(3, noise_mask=masks), 2), "noise_mask") == [0, 1, 0, 0, 1, 0]


class TestBatch:
    def test_the_second_follows_the_first_in_its_size(self) -> None:
        joined = latent_batch(latent(2, 8, 8), latent(1, 4, 16))
        assert joined["samples"].shape == (3, 4, 8, 8)
        assert joined["batch_index"] == [0, 1, 0]

    def test_places_are_kept(self) -> None:
        assert latent_batch(latent(1, batch_index=[4]), latent(2))["batch_index"] == [4, 0, 1]

    def test_a_latent_without_mask_is_denoised_whole(self) -> None:
        joined = latent_batch(latent(2), latent(1, noise_mask=torch.zeros(1, 1, 4, 4)))
        assert joined["noise_mask"].shape == (3, 1, 4, 4)
        assert numbers(joined, "noise_mask") == [1, 1, 0]

    def test_without_masks_there_is_none(self) -> None:
        assert "noise_mask" not in latent_batch(latent(), latent())

    def test_latents_of_different_models_are_refused_in_a_sentence(self) -> None:
        with pytest.raises(LatentError, match="samples1 has 4 channels and samples2 has 16"):
            latent_batch(latent(), {"samples": torch.zeros(1, 16, 8, 8)})


@pytest.mark.parametrize("shape", [(2, 24, 16), (24, 16)])
def test_a_noise_mask_gets_a_channel(shape: tuple[int, ...]) -> None:
    given = latent()
    masked = set_latent_noise_mask(given, torch.ones(shape))
    assert masked["noise_mask"].shape == (2 if len(shape) == 3 else 1, 1, 24, 16)
    assert "noise_mask" not in given
