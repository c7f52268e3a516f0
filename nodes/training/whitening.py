"""Latents of mean 0 and deviation 1 in each channel, at no cost: folded into the convolutions next to the latents.

With m and s the mean and deviation of a channel, the latent z becomes (z - m) / s. The last convolution of the encoder
gives that in place of z, and the first one of the decoder takes it: the pictures stay what they were.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .networks import part_of
from .picture_set import PictureSet
from .samples import drawing
from .state import TrainingError, TrainingState

AT_ONCE = 16
SMALLEST_DEVIATION = 1e-6


def whiten_latents(state: TrainingState, data: PictureSet, count: int) -> None:
    """Change the autoencoder of a training so that the latents of the first `count` pictures are white.

    Its averaged weights, where they are kept, become its weights.

    Raises:
        TrainingError: the autoencoder has no 1×1 convolutions next to its latents.
    """
    network = part_of(state.networks, "vae", "whitening latents")
    if getattr(network, "quant_conv", None) is None or getattr(network, "post_quant_conv", None) is None:
        raise TrainingError("this autoencoder has no convolutions next to its latents to whiten them; leave that out")
    parameters = list(state.parameters())
    if state.average is not None:
        state.average.copy_to(parameters)
    means = _means(state, network, data, min(count, len(data)))
    deviation, mean = torch.std_mean(means.movedim(1, 0).flatten(1).double(), 1, correction=0)
    _fold(network, mean.float(), deviation.clamp(min=SMALLEST_DEVIATION).float())
    if state.average is not None:
        for kept, parameter in zip(state.average.shadow_params, parameters, strict=True):
            kept.copy_(parameter.detach())


def _means(state: TrainingState, network: Any, data: PictureSet, count: int) -> Tensor:
    """What the encoder gives for the first pictures: [count, C, h, w]."""
    generator = torch.Generator().manual_seed(0)
    found = []
    with drawing(state):
        for start in range(0, count, AT_ONCE):
            indices = range(start, min(start + AT_ONCE, count))
            pictures = torch.stack([data.picture(index, generator) for index in indices])
            pixels = pictures.to(state.device).float() / 127.5 - 1
            found.append(network.encode(pixels).latent_dist.mean)
    return torch.cat(found)


def _fold(network: Any, mean: Tensor, deviation: Tensor) -> None:
    channels = len(mean)
    last, first = network.quant_conv, network.post_quant_conv
    with torch.no_grad():
        last.weight[:channels] /= deviation[:, None, None, None]
        last.bias[:channels] = (last.bias[:channels] - mean) / deviation
        last.bias[channels:] -= 2 * deviation.log()  # it gives the logarithm of the variance
        first.bias += (first.weight * mean[None, :, None, None]).sum((1, 2, 3))
        first.weight *= deviation[None, :, None, None]
