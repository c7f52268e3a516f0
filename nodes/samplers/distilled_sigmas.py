"""Noise levels of models that were distilled for few steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .schedules import DiscreteSigmas, Preconditioning, Prediction


@dataclass(frozen=True, eq=False)
class DistilledSigmas(DiscreteSigmas):
    """Of a latent consistency model: 50 of the trained timesteps, and x as it is near the least of them.

    Luo et al. 2023, equation 9 and appendix C, with sigma_data 0.5 and timesteps ten times as large.
    """

    stride: int = 20
    """From one timestep to the next."""

    @classmethod
    def of(cls, table: Tensor, prediction: Prediction = "epsilon") -> DistilledSigmas:
        """From all trained noise levels."""
        stride = max(len(table) // 50, 1)
        return cls(table[stride - 1 :: stride], prediction, stride)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        return super().t_to_sigma((t - (self.stride - 1)) / self.stride)

    def sigma_to_t(self, sigma: float) -> float:
        return super().sigma_to_t(sigma) * self.stride + self.stride - 1

    def percent_to_sigma(self, percent: float) -> float:
        if 0 < percent < 1:
            return float(self.t_to_sigma(torch.tensor((1 - percent) * (len(self.table) * self.stride - 1))))
        return super().percent_to_sigma(percent)

    def preconditioning(self, sigma: float) -> Preconditioning:
        c_in, c_skip, c_out, timestep = super().preconditioning(sigma)
        scaled = 10 * timestep
        kept, share = 0.25 / (scaled**2 + 0.25), scaled / math.sqrt(scaled**2 + 0.25)
        return Preconditioning(c_in, kept + share * c_skip, share * c_out, timestep)
