"""Batches are spread anew, repeated and cut; latents keep their places, so that noise for them stays theirs."""

from __future__ import annotations

from typing import Any

import torch

from mezzotint.nodes.images.batch import (
    image_from_batch,
    latent_batch_seed_behavior,
    rebatch_images,
    rebatch_latents,
    repeat_image_batch,
)


def latent(*numbers: float, side: int = 2, **more: Any) -> dict[str, Any]:
    """Latent k of the batch is filled with number k."""
    return {"samples": torch.tensor(numbers).reshape(-1, 1, 1, 1).expand(-1, 4, side, side).clone(), **more}


def numbers(given: dict[str, Any]) -> list[float]:
    return given["samples"][:, 0, 0, 0].tolist()  # type: ignore[no-any-return]


def test_latents_are_spread_over_batches_in_their_order() -> None:
    batches = rebatch_latents([latent(1, 2, 3), latent(4, 5)], 2)
    assert [numbers(batch) for batch in batches] == [[1, 2], [3, 4], [5]]
    assert [batch["batch_index"] for batch in batches] == [[0, 1], [2, 3], [4]]


def test_a_place_that_a_latent_has_is_kept() -> None:
    (batch,) = rebatch_latents([latent(1, batch_index=[7]), latent(2)], 8)
    assert batch["batch_index"] == [7, 8]


def test_a_batch_ends_where_the_size_changes() -> None:
    batches = rebatch_latents([latent(1), latent(2, side=3), latent(3, side=3)], 4)
    assert [numbers(batch) for batch in batches] == [[1], [2, 3]]


def test_one_mask_serves_its_whole_batch_and_a_latent_without_one_is_denoised_whole() -> None:
    masked = latent(1, 2, noise_mask=torch.zeros(1, 1, 16, 16))
    (batch,) = rebatch_latents([masked, latent(3)], 4)
    assert batch["noise_mask"][:, 0, 0, 0].tolist() == [0, 0, 1]


def test_masks_of_other_sizes_take_that_of_the_first() -> None:
    first, second = (latent(n, noise_mask=torch.ones(1, 1, size, size)) for n, size in ((1, 16), (2, 24)))
    (batch,) = rebatch_latents([first, second], 2)
    assert batch["noise_mask"].shape == (2, 1, 16, 16)


def test_pictures_are_spread_over_batches() -> None:
    batches = rebatch_images([torch.zeros(3, 2, 2, 3), torch.ones(1, 2, 2, 3), torch.ones(1, 4, 2, 3)], 3)
    assert [tuple(batch.shape) for batch in batches] == [(3, 2, 2, 3), (1, 2, 2, 3), (1, 4, 2, 3)]


def test_a_batch_is_repeated_whole() -> None:
    pair = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    assert repeat_image_batch(pair, 2).flatten().tolist() == [0, 1, 0, 1]


def test_a_part_of_a_batch_stays_inside_it() -> None:
    batch = torch.arange(4.0).reshape(4, 1, 1, 1)
    assert image_from_batch(batch, 1, 2).flatten().tolist() == [1, 2]
    assert image_from_batch(batch, 3, 9).flatten().tolist() == [3]
    assert image_from_batch(batch, 99, 1).flatten().tolist() == [3]


def test_a_batch_can_share_the_noise_of_its_first() -> None:
    given = latent(1, 2, batch_index=[3, 4])
    assert latent_batch_seed_behavior(given, "fixed")["batch_index"] == [3, 3]
    assert "batch_index" not in latent_batch_seed_behavior(given, "random")
