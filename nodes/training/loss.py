"""Losses: one number for each sample of a batch, float32 [B], for weights and means to be taken of.

Huber(d) = sqrt(d^2 + c^2) - c, scaled by 2 c     (pseudo-Huber, as diffusers' training scripts have it)
KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1 - log s^2) / 2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .step_settings import LossKind


def pointwise_loss(output: Tensor, target: Tensor, kind: LossKind, huber_c: float = 0.1) -> Tensor:
    """The mean over each sample of its elements' losses: [B, ...] and [B, ...] → float32 [B]."""
    difference = output.float() - target.float()
    if kind == "mse":
        elements = difference.square()
    elif kind == "l1":
        elements = difference.abs()
    else:
        elements = 2 * huber_c * ((difference.square() + huber_c**2).sqrt() - huber_c)
    return elements.flatten(1).mean(1)


def kl_loss(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL of a diagonal Gaussian from the standard one, mean over its elements: [B, ...] → float32 [B]."""
    mean, logvar = mean.float(), logvar.float()
    return (0.5 * (mean.square() + logvar.exp() - 1 - logvar)).flatten(1).mean(1)


def gradient_loss(picture: Tensor, target: Tensor) -> Tensor:
    """L1 of the differences between neighbouring pixels: [B, C, H, W] → float32 [B]. Sharp edges count."""
    across = (picture.diff(dim=-1) - target.diff(dim=-1)).abs().flatten(1).mean(1)
    down = (picture.diff(dim=-2) - target.diff(dim=-2)).abs().flatten(1).mean(1)
    return 0.5 * (across + down).float()


def low_pass_loss(picture: Tensor, target: Tensor, size: int = 4) -> Tensor:
    """L1 of averages over `size`×`size` pixels: [B, C, H, W] → float32 [B]. Colours of areas count."""
    return functional.avg_pool2d((picture - target).float(), size).abs().flatten(1).mean(1)


def feature_loss(
    features: Sequence[Tensor], targets: Sequence[Tensor], heads: Sequence[Tensor] | None = None
) -> Tensor:
    """A perceptual distance: squared differences of features of unit length at each place, averaged over places and
    summed over layers. Zhang et al. 2018 (LPIPS), equation 1. Float32 [B].

    Args:
        features, targets: of each layer [B, C, h, w]. heads: of each layer its channels' weights [C]; None: all are 1.
    """
    distances = []
    for index, (one, other) in enumerate(zip(features, targets, strict=True)):
        squares = (functional.normalize(one.float(), dim=1) - functional.normalize(other.float(), dim=1)).square()
        weighed = squares if heads is None else squares * heads[index][:, None, None]
        distances.append(weighed.sum(1).flatten(1).mean(1))
    return torch.stack(distances).sum(0)


def encoder_features(network: Any, pixels: Tensor) -> list[Tensor]:
    """What the encoder of a diffusers autoencoder makes of pictures [B, 3, H, W] in -1..1, after each of its levels."""
    encoder = network.encoder
    hidden = encoder.conv_in(pixels)
    features = []
    for block in encoder.down_blocks:
        hidden = block(hidden)
        features.append(hidden)
    return features
