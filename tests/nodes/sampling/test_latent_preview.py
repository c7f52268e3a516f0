"""Previews show the colours of the picture that is being made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from mezzotint import Context
from mezzotint.engine.request import drive
from mezzotint.nodes.autoencoders.vae import vae_decode
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.latents.latent import empty_latent_image
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.models.recipe import Recipe, Source
from mezzotint.nodes.sampling.latent_preview import LatentColours, latent_colours
from mezzotint.nodes.sampling.sampling_nodes import ksampler


@pytest.mark.parametrize("text", ["a blue car", "a sunflower", "a red heart on a pink background"])
def test_the_preview_has_the_colours_of_the_picture(text: str, embedded: Checkpoint, model_context: Context) -> None:
    positive, negative = (encode_text(prompt, embedded.CLIP, ctx=model_context) for prompt in (text, ""))
    body = ksampler(
        embedded.MODEL, 1, 8, 4.0, "dpmpp_2m", "karras", positive=positive, negative=negative,
        latent_image=empty_latent_image(64, 64), ctx=model_context,
    )  # fmt: skip
    latent = drive(body, model_context)
    colours = latent_colours(embedded.MODEL)
    assert colours is not None
    preview = colours.picture(latent["samples"])
    assert (preview.size, preview.mode) == ((64, 64), "RGB")
    picture = vae_decode(latent, embedded.VAE, ctx=model_context)
    shown = torch.from_numpy(np.asarray(preview).copy()).float().div(255)
    cells = [avg_pool2d(image.movedim(-1, 0), 8) for image in (shown, picture[0])]
    assert float((cells[0] - cells[1]).square().mean().sqrt()) < 0.2


GREY = LatentColours(rows=((0.1, 0.1, 0.1),), offset=(0.5, 0.5, 0.5))


def test_small_latents_are_shown_at_the_size_of_the_picture_and_large_ones_smaller() -> None:
    assert GREY.picture(torch.zeros(2, 1, 4, 6)).size == (48, 32)
    assert GREY.picture(torch.zeros(1, 1, 100, 200)).size == (400, 200)
    assert GREY.picture(torch.zeros(1, 1, 600, 200)).size == (200, 600)


def test_values_beyond_the_range_and_no_numbers_are_shown_somehow() -> None:
    picture = GREY.picture(torch.tensor([1e9, -1e9, torch.nan]).view(1, 1, 1, 3))
    assert np.asarray(picture).shape == (8, 24, 3)


def test_a_model_that_was_not_fitted_has_no_preview() -> None:
    assert latent_colours(Recipe("model", Source("checkpoints", "other", "0"))) is None
