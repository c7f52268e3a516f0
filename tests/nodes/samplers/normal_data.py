"""Data that is normally distributed, and samplers run on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint.nodes.samplers.sampler import Denoising
from mezzotint.nodes.samplers.sampler_names import SAMPLERS, SEES_UNCONDITIONAL
from mezzotint.nodes.samplers.schedules import DiscreteSigmas, FlowSigmas, ModelSigmas
from mezzotint.nodes.sampling.noise import SeededStepNoise

SD15 = DiscreteSigmas.from_config()
SD3 = FlowSigmas()
FAMILIES = pytest.mark.parametrize("model", [SD15, SD3], ids=["discrete", "flow"])

Denoiser = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Gaussian:
    """Data that is normal with this mean and deviation: its best prediction and its flow are known exactly."""

    model: ModelSigmas
    mean: float = 0.7
    deviation: float = 0.6

    def spread(self, sigma: float) -> float:
        return math.hypot(self.model.alpha(sigma) * self.deviation, sigma)

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        alpha = self.model.alpha(sigma)
        return self.mean + (x - alpha * self.mean) * (alpha * self.deviation**2 / self.spread(sigma) ** 2)

    def x_at(self, z: Tensor, sigma: float) -> Tensor:
        return self.model.alpha(sigma) * self.mean + z * self.spread(sigma)


def drive(steps: Denoising, denoiser: Denoiser) -> Tensor:
    try:
        asked = next(steps)
        while True:
            asked = steps.send(denoiser(*asked))
    except StopIteration as finished:
        result: Tensor = finished.value
        return result


def never_asked(x: Tensor, sigma: float) -> Tensor:
    pytest.fail(f"a prediction was asked for at {sigma}")


def sample(
    name: str, model: ModelSigmas, sigmas: Tensor, x: Tensor, denoiser: Denoiser, seed: int = 0, **options: Any
) -> Tensor:
    """Samplers that see the unconditional prediction, too, are sent the same for it."""

    def pair(x: Tensor, sigma: float) -> Any:
        denoised = denoiser(x, sigma)
        return denoised, denoised

    steps = SAMPLERS[name](x, sigmas, SeededStepNoise(x, sigmas, seed), model, **options)
    return drive(steps, pair if SAMPLERS.has_trait(name, SEES_UNCONDITIONAL) else denoiser)


def geometric(first: float, last: float, steps: int) -> Tensor:
    return torch.linspace(math.log(first), math.log(last), steps + 1, dtype=torch.float64).exp()


def flow_error(name: str, steps: int, **options: Any) -> float:
    data, z = Gaussian(SD15), torch.linspace(-2, 2, 9, dtype=torch.float64)
    sigmas = geometric(10.0, 0.1, steps)
    x = sample(name, SD15, sigmas, data.x_at(z, float(sigmas[0])), data.denoised, **options)
    return float((x - data.x_at(z, float(sigmas[-1]))).abs().max())
