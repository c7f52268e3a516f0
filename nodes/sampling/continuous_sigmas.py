"""Noise levels of models that were trained on levels of any size, and not on timesteps."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from ..samplers.schedules import DiscreteSigmas, Preconditioning
from .model_sampling import ModelSampling

Kind = Literal["eps", "v_prediction", "edm", "cosmos_rflow"]
TABLE_SIZE = 1000
EDM_DEVIATION = 0.5
"""sigma_data: the deviation of the latents that EDM models were trained on; for the other kinds 1."""
PLAYGROUND_MEAN = -1.6574, 1.886, -1.383, 2.5155
PLAYGROUND_DEVIATION = 8.4927, 5.9022, 6.5498, 5.2299
PLAYGROUND_SCALE = 0.5
"""Of the latents of Playground v2.5, by channel: its VAE's published configuration."""


@dataclass(frozen=True, eq=False)
class ContinuousSigmas(DiscreteSigmas):
    """Levels even in their logarithm. `kind`: what the network predicts, and what it is told of the level.

    eps, v_prediction, edm: it is told ln(sigma) / 4 (Karras et al. 2022, table 1, the last column). cosmos_rflow: it
    is a flow model at t = sigma / (1 + sigma), whose latent x / (1 + sigma) is.
    """

    kind: Kind = "eps"

    @classmethod
    def between(cls, low: float, high: float, kind: Kind) -> ContinuousSigmas:
        """From the least level to the greatest."""
        return cls(torch.linspace(math.log(low), math.log(high), TABLE_SIZE).exp(), kind=kind)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        t = t.to("cpu", torch.float32)
        if self.kind == "cosmos_rflow":
            return (t / (1 - t)).clamp(max=self.sigma_max)
        return (t * 4).exp()

    def sigma_to_t(self, sigma: float) -> float:
        if self.kind == "cosmos_rflow":
            return sigma / (1 + sigma)
        return math.log(sigma) / 4

    def percent_to_sigma(self, percent: float) -> float:
        if not 0 < percent < 1:
            return super().percent_to_sigma(percent)
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return math.exp(low + (high - low) * (1 - percent))

    def preconditioning(self, sigma: float) -> Preconditioning:
        """Karras et al. 2022, table 1; for flow models x0 = x_t - t v."""
        timestep = self.sigma_to_t(sigma)
        if self.kind == "cosmos_rflow":
            share = 1 / (1 + sigma)
            return Preconditioning(share, share, -sigma * share, timestep)
        deviation = EDM_DEVIATION if self.kind == "edm" else 1.0
        variance = sigma**2 + deviation**2
        c_in = 1 / math.sqrt(variance)
        if self.kind == "eps":
            return Preconditioning(c_in, 1.0, -sigma, timestep)
        c_out = sigma * deviation * c_in
        return Preconditioning(c_in, deviation**2 / variance, c_out if self.kind == "edm" else -c_out, timestep)


@dataclass(frozen=True, eq=False)
class PlaygroundSampling(ModelSampling):
    """Of a model whose latents have a mean and deviation for each channel."""

    def to_model(self, latent: Tensor) -> Tensor:
        mean, deviation = _by_channel(latent)
        return (latent - mean) * (PLAYGROUND_SCALE / deviation) if latent.any() else latent

    def to_latent(self, x: Tensor) -> Tensor:
        mean, deviation = _by_channel(x)
        return x * (deviation / PLAYGROUND_SCALE) + mean


def with_playground_latents(sampling: ModelSampling) -> PlaygroundSampling:
    """The same with the latents of Playground v2.5."""
    return PlaygroundSampling(**{field.name: getattr(sampling, field.name) for field in fields(ModelSampling)})


def _by_channel(latent: Tensor) -> tuple[Tensor, Tensor]:
    mean, deviation = (latent.new_tensor(values).view(-1, 1, 1) for values in (PLAYGROUND_MEAN, PLAYGROUND_DEVIATION))
    return mean, deviation
