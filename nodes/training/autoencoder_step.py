"""One whole training step of an autoencoder: encode, draw a latent, decode, compare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mezzotint.engine.context import Context

from .loss import feature_loss, gradient_loss, kl_loss, low_pass_loss, pointwise_loss
from .networks import part_of
from .perceptual_network import FeatureNetwork, borrowed_features
from .picture_set import PictureSet
from .samples import drawing
from .state import TrainingError, TrainingState
from .step import computing, draw_pictures, optimise
from .step_settings import AutoencoderSettings

SHOWN = 8
"""Pictures whose reconstructions are shown."""


class Reconstruction(NamedTuple):
    """What an autoencoder makes of pictures: [B, 3, H, W] by a latent drawn from N(mean, exp(logvar)), [B, C, h, w]."""

    pictures: Tensor
    mean: Tensor
    logvar: Tensor


def autoencoder_step(
    state: TrainingState, data: PictureSet, settings: AutoencoderSettings, features: FeatureNetwork | None = None
) -> float:
    """Train with one batch. Draws and computes what the nodes of its loop do, in their order. Gives the loss.

    Args:
        features: what compares pictures for the perceptual loss.
    """
    pictures = draw_pictures(state, data, settings.batch_size)
    made = reconstruct(state, pictures)
    loss = reconstruction_loss(made.pictures, pictures, settings, features)
    if settings.kl:
        loss = loss + settings.kl * kl_loss(made.mean, made.logvar).mean()
    return optimise(state, loss, settings.on_nan)


def reconstruct(state: TrainingState, pictures: Tensor) -> Reconstruction:
    """Encode pictures [B, 3, H, W] in -1..1, draw a latent for each, decode; with gradients."""
    network = part_of(state.networks, "vae", "training an autoencoder")
    with computing(state):
        posterior = network.encode(pictures).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=state.generator).to(state.device)
        decoded = network.decode(posterior.mean + posterior.std * noise, return_dict=False)[0]
    return Reconstruction(decoded.float(), posterior.mean, posterior.logvar)


def reconstruction_loss(
    decoded: Tensor, pictures: Tensor, settings: AutoencoderSettings, features: FeatureNetwork | None = None
) -> Tensor:
    """The weighted losses between pictures [B, 3, H, W] and what was made of them: a number."""
    losses = settings.l1 * pointwise_loss(decoded, pictures, "l1")
    losses = losses + settings.mse * pointwise_loss(decoded, pictures, "mse")
    if settings.gradient:
        losses = losses + settings.gradient * gradient_loss(decoded, pictures)
    if settings.low_pass:
        losses = losses + settings.low_pass * low_pass_loss(decoded, pictures)
    if settings.perceptual and features is not None:
        with torch.no_grad():
            wanted = features.features(pictures)
        losses = losses + settings.perceptual * feature_loss(features.features(decoded), wanted, features.heads)
    return losses.mean()


@contextmanager
def feature_network(recipe: Any | None, weight: float, ctx: Context) -> Iterator[FeatureNetwork | None]:
    """What compares pictures; None where its loss weighs nothing.

    Raises:
        TrainingError: it weighs something, and there is no recipe.
    """
    if weight and recipe is None:
        raise TrainingError(
            "perceptual is above 0, and nothing is connected to features; connect a VAE, or set it to 0"
        )
    with borrowed_features(recipe if weight else None, ctx) as network:
        yield network


def reconstructions(state: TrainingState, data: PictureSet) -> Tensor:
    """The first pictures of a set, each above what the autoencoder makes of it: [2 * N, H, W, 3], 0..1, on the CPU."""
    network = part_of(state.networks, "vae", "decoding")
    generator = torch.Generator().manual_seed(0)
    pictures = torch.stack([data.picture(index, generator) for index in range(min(SHOWN, len(data)))])
    pixels = pictures.to(state.device).float() / 127.5 - 1
    with drawing(state):
        decoded = network.decode(network.encode(pixels).latent_dist.mean, return_dict=False)[0]
    both = torch.cat([pixels, decoded.float()])
    return ((both + 1) / 2).clamp(0, 1).movedim(1, -1).cpu()
