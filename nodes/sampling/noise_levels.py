"""The nodes that make and cut lists of noise levels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from mezzotint import Context, Model, Sigmas, Widget, node
from mezzotint.engine.errors import MezzotintError

from .sampling_inputs import DenoiseShare, ScheduleName, StepIndex, Steps

if TYPE_CHECKING:
    from ..samplers.schedules import DiscreteSigmas

SD_SIGMA_MAX, SD_SIGMA_MIN = 14.614642, 0.0291675
"""The range of Stable Diffusion, which saved workflows expect as defaults."""
LEAST_FLIPPED_SIGMA = 1e-4
"""What a 0 becomes that is to be sampled from: at a level of 0 there is no direction to go."""

LEAST_TAIL = 1e-5
"""Of a Laplace distribution, what lies beyond its quantiles 0 and 1, which are infinitely far out."""
TURBO_STEPS = 10
ALL_OF_IT = 0.9999
"""A share of the steps above this is all of them."""
ALIGNED_LEVELS = {
    "SD1": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "SDXL": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "SVD": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}
"""The published levels. The last of each stands for the 0 that it becomes, since 0 has no logarithm."""

NoiseLevel = Annotated[float, Field(ge=0, le=5000), Widget(step=0.01, round=False)]


class NoiseLevelError(MezzotintError):
    """Noise levels cannot be made as asked."""


class SplitLevels(NamedTuple):
    """Noise levels in two parts, which share the level where they were split."""

    high_sigmas: Sigmas
    low_sigmas: Sigmas


@node("BasicScheduler", category="sampling/custom_sampling/schedulers")
def basic_scheduler(
    model: Model, scheduler: ScheduleName = "simple", steps: Steps = 20, denoise: DenoiseShare = 1.0, *, ctx: Context
) -> Sigmas:
    """The noise levels of a model, spread by a named rule; with `denoise` below 1, the last ones of a longer run."""
    from ..samplers.schedules import schedule_sigmas
    from .model_sampling import model_sampling

    return schedule_sigmas(model_sampling(model, ctx).sigmas, scheduler, steps, denoise)


@node("KarrasScheduler", category="sampling/custom_sampling/schedulers")
def karras_scheduler(
    steps: Steps = 20,
    sigma_max: NoiseLevel = SD_SIGMA_MAX,
    sigma_min: NoiseLevel = SD_SIGMA_MIN,
    rho: Annotated[float, Field(ge=0, le=100), Widget(step=0.01, round=False)] = 7.0,
) -> Sigmas:
    """Noise levels that are even in their root of degree `rho`. Karras et al. 2022, equation 5.

    Raises:
        NoiseLevelError: rho is 0.
    """
    from ..samplers.schedules import karras

    if rho == 0:
        raise NoiseLevelError("KarrasScheduler: rho is 0, and there is no root of that degree; 7 is usual")
    return karras(_range(sigma_min, sigma_max), steps, rho)


@node("ExponentialScheduler", category="sampling/custom_sampling/schedulers")
def exponential_scheduler(
    steps: Steps = 20, sigma_max: NoiseLevel = SD_SIGMA_MAX, sigma_min: NoiseLevel = SD_SIGMA_MIN
) -> Sigmas:
    """Noise levels that are even in their logarithm.

    Raises:
        NoiseLevelError: one of the limits is 0.
    """
    from ..samplers.schedules import exponential

    _require_logarithm("ExponentialScheduler", sigma_min, sigma_max)
    return exponential(_range(sigma_min, sigma_max), steps)


@node("BetaSamplingScheduler", category="sampling/custom_sampling/schedulers")
def beta_sampling_scheduler(
    model: Model,
    steps: Steps = 20,
    alpha: Annotated[float, Field(ge=0, le=50), Widget(step=0.01, round=False)] = 0.6,
    beta: Annotated[float, Field(ge=0, le=50), Widget(step=0.01, round=False)] = 0.6,
    *,
    ctx: Context,
) -> Sigmas:
    """The noise levels of a model at quantiles of a beta distribution. Lee et al. 2024.

    Raises:
        NoiseLevelError: alpha or beta is 0.
    """
    from ..samplers import schedules
    from .model_sampling import model_sampling

    if min(alpha, beta) <= 0:
        raise NoiseLevelError("BetaSamplingScheduler: alpha and beta must be above 0; 0.6 is usual")
    return schedules.beta(model_sampling(model, ctx).sigmas, steps, alpha, beta)


@node("PolyexponentialScheduler", category="sampling/custom_sampling/schedulers")
def polyexponential_scheduler(
    steps: Steps = 20,
    sigma_max: NoiseLevel = SD_SIGMA_MAX,
    sigma_min: NoiseLevel = SD_SIGMA_MIN,
    rho: Annotated[float, Field(ge=0, le=100), Widget(step=0.01, round=False)] = 1.0,
) -> Sigmas:
    """Noise levels whose logarithm falls with the power `rho` of what is left of the run; 1 is exponential.

    Raises:
        NoiseLevelError: one of the limits is 0.
    """
    import torch

    _require_logarithm("PolyexponentialScheduler", sigma_min, sigma_max)
    left = torch.linspace(1, 0, steps) ** rho
    levels = torch.exp(left * math.log(sigma_max / sigma_min) + math.log(sigma_min))
    return torch.cat([levels, torch.zeros(1)])


@node("VPScheduler", category="sampling/custom_sampling/schedulers")
def vp_scheduler(
    steps: Steps = 20,
    beta_d: Annotated[float, Field(ge=0, le=5000), Widget(step=0.01, round=False)] = 19.9,
    beta_min: Annotated[float, Field(ge=0, le=5000), Widget(step=0.01, round=False)] = 0.1,
    eps_s: Annotated[float, Field(ge=0, le=1), Widget(step=0.0001, round=False)] = 0.001,
) -> Sigmas:
    """The noise levels of the variance preserving process, at even times. Song et al. 2021; Karras et al. 2022."""
    import torch

    t = torch.linspace(1, eps_s, steps, dtype=torch.float64)
    levels = torch.expm1(beta_d * t**2 / 2 + beta_min * t).sqrt()
    return torch.cat([levels, torch.zeros(1)]).float()


@node("LaplaceScheduler", category="sampling/custom_sampling/schedulers")
def laplace_scheduler(
    steps: Steps = 20,
    sigma_max: NoiseLevel = SD_SIGMA_MAX,
    sigma_min: NoiseLevel = SD_SIGMA_MIN,
    mu: Annotated[float, Field(ge=-10, le=10), Widget(step=0.1, round=False)] = 0.0,
    beta: Annotated[float, Field(ge=0, le=10), Widget(step=0.1, round=False)] = 0.5,
) -> Sigmas:
    """Noise levels whose logarithm is spread as a Laplace distribution is: dense at `mu`, over a width of `beta`.

    Hang and Gu 2024, "Improved Noise Schedule for Diffusion Training".
    """
    import torch

    t = torch.linspace(0, 1, steps, dtype=torch.float64) - 0.5
    tail = (1 - 2 * t.abs()).clamp(min=LEAST_TAIL).log()
    levels = (mu + beta * t.sign() * tail).exp().clamp(max=sigma_max).clamp(min=sigma_min)
    return torch.cat([levels, torch.zeros(1)]).float()


@node("SDTurboScheduler", category="sampling/custom_sampling/schedulers")
def sd_turbo_scheduler(
    model: Model,
    steps: Annotated[int, Field(ge=1, le=10)] = 1,
    denoise: DenoiseShare = 1.0,
    *,
    ctx: Context,
) -> Sigmas:
    """The noise levels that models distilled to a few steps were trained at: timesteps 999, 899, ..., 99."""
    import torch

    from .model_sampling import model_sampling

    start = TURBO_STEPS - int(TURBO_STEPS * denoise)
    timesteps = torch.arange(999.0, 0, -100)[start : start + steps]
    return torch.cat([model_sampling(model, ctx).sigmas.t_to_sigma(timesteps), torch.zeros(1)])


@node("AlignYourStepsScheduler", category="sampling/custom_sampling/schedulers")
def align_your_steps_scheduler(
    model_type: Literal["SD1", "SDXL", "SVD"] = "SD1", steps: Steps = 10, denoise: DenoiseShare = 1.0
) -> Sigmas:
    """Noise levels optimised for a family of models at 10 steps, interpolated in their logarithm for other counts.

    Sabour et al. 2024, "Align Your Steps".
    """
    import numpy as np
    import torch

    levels = ALIGNED_LEVELS[model_type]
    places = np.linspace(0, len(levels) - 1, steps + 1)
    aligned = np.exp(np.interp(places, np.arange(len(levels)), np.log(levels)))
    aligned[-1] = 0
    kept = steps if denoise > ALL_OF_IT else round(steps * denoise)
    return torch.tensor(aligned[steps - kept :] if kept else [], dtype=torch.float32)


@node("SplitSigmas", category="sampling/custom_sampling/sigmas")
def split_sigmas(sigmas: Sigmas, step: StepIndex = 0) -> SplitLevels:
    """Cut a run in two after so many steps."""
    return SplitLevels(sigmas[: step + 1], sigmas[step:])


@node("SplitSigmasDenoise", category="sampling/custom_sampling/sigmas")
def split_sigmas_denoise(sigmas: Sigmas, denoise: DenoiseShare = 1.0) -> SplitLevels:
    """Cut a run in two, so that the second part has this share of the steps.

    With a share of no step the first part is empty, as saved workflows expect.
    """
    count = round(max(len(sigmas) - 1, 0) * denoise)
    return SplitLevels(sigmas[: -count or 0], sigmas[-(count + 1) :])


@node("FlipSigmas", category="sampling/custom_sampling/sigmas")
def flip_sigmas(sigmas: Sigmas) -> Sigmas:
    """Turn a run around, from a picture to noise; a 0 that it then begins with becomes 0.0001."""
    flipped = sigmas.flip(0)
    if len(flipped) and flipped[0] == 0:
        flipped[0] = LEAST_FLIPPED_SIGMA
    return flipped


@node("SetFirstSigma", category="sampling/custom_sampling/sigmas")
def set_first_sigma(
    sigmas: Sigmas, sigma: Annotated[float, Field(ge=0, le=20_000), Widget(step=0.001, round=False)] = 136.0
) -> Sigmas:
    """Replace the first noise level."""
    changed = sigmas.clone()
    changed[:1] = sigma
    return changed


def _require_logarithm(name: str, sigma_min: float, sigma_max: float) -> None:
    if min(sigma_max, sigma_min) <= 0:
        raise NoiseLevelError(f"{name}: a limit of 0 has no logarithm; give a sigma_min above 0")


def _range(sigma_min: float, sigma_max: float) -> DiscreteSigmas:
    """A model of two noise levels, for schedules that look at the least and the greatest only."""
    import torch

    from ..samplers.schedules import DiscreteSigmas

    return DiscreteSigmas(torch.tensor([sigma_min, sigma_max]))
