"""Noise levels: what sigma means to a model (`DiscreteSigmas`, `FlowSigmas`) and the lists of sigmas to sample at.

A schedule is a function `schedule(model_sigmas, steps) -> Tensor`: float32 [n + 1] on the CPU, decreasing, the last 0.
n is `steps` but for ddim_uniform (may be more) and beta (may be less). Arithmetic is in float32 tensors where the
published values were made so, since they are checked to five digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from .sampler import NoiseScaling
from .sampler_names import SCHEDULES, discards_penultimate

Prediction = Literal["epsilon", "v_prediction", "sample", "direct"]
"""What a network gives; `"direct"` is x0 from x as it is, `"sample"` x0 from x scaled to unit variance."""

#: The smallest alphas_cumprod that is used: a schedule of zero terminal SNR would have an infinite sigma.
SMALLEST_ALPHA_CUMPROD = 2.0**-24


class Preconditioning(NamedTuple):
    """How a network's input and output relate to x and the denoised latent at one noise level.

    The network sees `c_in * x` and `timestep`; denoised = `c_skip * x + c_out * output` (Karras et al.
    2022, equation 7). They are floats, so that a driver can merge requests of several levels into one batch.
    """

    c_in: float
    c_skip: float
    c_out: float
    timestep: float

    def model_input(self, x: Tensor) -> Tensor:
        """What the network is given in place of x."""
        return x if self.c_in == 1 else x * self.c_in

    def denoised(self, x: Tensor, output: Tensor) -> Tensor:
        """The predicted x0, from the network's output."""
        kept = x if self.c_skip == 1 else x * self.c_skip
        return kept + output * self.c_out


class ModelSigmas(NoiseScaling, Protocol):
    """The noise levels of a model."""

    @property
    def table(self) -> Tensor:
        """The trained noise levels: float32 [n] on the CPU, ascending."""

    @property
    def sigma_min(self) -> float:
        """The least trained noise level."""

    @property
    def sigma_max(self) -> float:
        """The greatest trained noise level."""

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """Noise levels at timesteps, fractional ones too; float32, same shape."""

    def sigma_to_t(self, sigma: float) -> float:
        """The timestep that the network is given at a noise level."""

    def percent_to_sigma(self, percent: float) -> float:
        """The noise level after a share (0..1) of the sampling range; above all levels at 0, zero at 1."""

    def preconditioning(self, sigma: float) -> Preconditioning:
        """The network's scalings at a noise level."""

    def start(self, noise: Tensor, latent: Tensor, sigma: float) -> Tensor:
        """The x to begin sampling with at the first noise level."""

    def finish(self, x: Tensor, sigma: float) -> Tensor:
        """The latent to hand on when sampling ended at the last noise level."""


def betas_from_config(config: Mapping[str, Any]) -> Tensor:
    """The betas of a diffusers scheduler configuration, float64 [num_train_timesteps].

    Raises ValueError for a `beta_schedule` other than linear, scaled_linear and squaredcos_cap_v2.
    """
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float64)
    schedule, n = config.get("beta_schedule", "scaled_linear"), config.get("num_train_timesteps", 1000)
    start, end = config.get("beta_start", 0.00085), config.get("beta_end", 0.012)
    if schedule == "linear":
        return torch.linspace(start, end, n, dtype=torch.float64)
    if schedule == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, n, dtype=torch.float64) ** 2
    if schedule == "squaredcos_cap_v2":  # Nichol and Dhariwal 2021, equation 17
        alpha_bar = torch.cos((torch.linspace(0, 1, n + 1, dtype=torch.float64) + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)
    raise ValueError(f"beta_schedule {schedule!r} is not known: linear, scaled_linear and squaredcos_cap_v2 are.")


def rescale_to_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and scale sqrt(alphas_cumprod) to end in 0 and keep its start. Lin et al. 2024, algorithm 1."""
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


@dataclass(frozen=True, eq=False)
class DiscreteSigmas:
    """Noise levels of a model trained on discrete timesteps: x = x0 + sigma * noise.

    `table`: float32 [n] ascending, sigma of timestep 0..n-1. `prediction`: what the network's output is.
    """

    table: Tensor
    prediction: Prediction = "epsilon"

    is_flow = False

    def __post_init__(self) -> None:
        if self.prediction not in get_args(Prediction):
            raise ValueError(f"prediction {self.prediction!r} is not known: {', '.join(get_args(Prediction))} are.")

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Tensor, prediction: Prediction = "epsilon") -> DiscreteSigmas:
        """From the cumulative products of 1 - beta, [n] descending; those that are zero become 2**-24."""
        alphas = alphas_cumprod.to("cpu", torch.float64).clamp(min=SMALLEST_ALPHA_CUMPROD)
        return cls(((1 - alphas) / alphas).sqrt().float(), prediction)

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None = None) -> DiscreteSigmas:
        """From a diffusers scheduler configuration; without one, that of Stable Diffusion 1.5."""
        config = config or {}
        alphas_cumprod = (1 - betas_from_config(config)).cumprod(0)
        if config.get("rescale_betas_zero_snr"):
            alphas_cumprod = rescale_to_zero_terminal_snr(alphas_cumprod)
        return cls.from_alphas_cumprod(alphas_cumprod, config.get("prediction_type", "epsilon"))

    @cached_property
    def _log_table(self) -> Tensor:
        return self.table.log()

    @cached_property
    def _middles(self) -> Tensor:
        return (self._log_table[1:] + self._log_table[:-1]) / 2

    @cached_property
    def sigma_min(self) -> float:
        return float(self.table[0])

    @cached_property
    def sigma_max(self) -> float:
        return float(self.table[-1])

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """Log-linear between the trained timesteps; beyond them, the nearest."""
        t = t.to("cpu", torch.float32).clamp(0, len(self.table) - 1)
        low = t.floor().long()
        high = t.ceil().long()
        share = t - low
        return ((1 - share) * self._log_table[low] + share * self._log_table[high]).exp()

    def sigma_to_t(self, sigma: float) -> float:
        """The timestep (a whole number) whose log sigma is nearest."""
        if sigma <= 0:
            return 0.0
        return float(torch.searchsorted(self._middles, math.log(sigma)))

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0:
            return 999999999.9
        if percent >= 1:
            return 0.0
        return float(self.t_to_sigma(torch.tensor((1 - percent) * (len(self.table) - 1))))

    def alpha(self, sigma: float) -> float:
        return 1.0

    def half_log_snr(self, sigma: float) -> float:
        return -math.log(sigma)

    def noised(self, latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
        return latent + noise * sigma

    def start(self, noise: Tensor, latent: Tensor, sigma: float) -> Tensor:
        """Latent plus noise; at sigma_max and above the noise stands for the noised training data and is as wide."""
        is_all_noise = sigma >= self.sigma_max or math.isclose(sigma, self.sigma_max, rel_tol=1e-5)
        return latent + noise * (math.sqrt(1 + sigma**2) if is_all_noise else sigma)

    def finish(self, x: Tensor, sigma: float) -> Tensor:
        return x

    def preconditioning(self, sigma: float) -> Preconditioning:
        variance, timestep = sigma**2 + 1, self.sigma_to_t(sigma)
        c_in = 1 / math.sqrt(variance)
        if self.prediction == "epsilon":
            return Preconditioning(c_in, 1.0, -sigma, timestep)
        if self.prediction == "v_prediction":
            return Preconditioning(c_in, 1 / variance, -sigma * c_in, timestep)
        return Preconditioning(1.0 if self.prediction == "direct" else c_in, 0.0, 1.0, timestep)


@dataclass(frozen=True)
class FlowSigmas:
    """Noise levels of a rectified-flow model: x = (1 - sigma) * x0 + sigma * noise, the network predicts noise - x0.

    sigma(t) = shift * u / (1 + (shift - 1) * u), u = t / multiplier in 0..1 (Esser et al. 2024). SD3: shift 3,
    multiplier 1000. AuraFlow: 1.73 and 1. Flux: exp(mu) with mu 1.15, multiplier 1, table_size 10000.
    """

    shift: float = 3.0
    multiplier: float = 1000.0
    table_size: int = 1000

    is_flow = True

    @cached_property
    def table(self) -> Tensor:
        return self._sigma(torch.arange(1, self.table_size + 1, dtype=torch.float32) / self.table_size)

    @cached_property
    def sigma_min(self) -> float:
        return float(self.table[0])

    @cached_property
    def sigma_max(self) -> float:
        return float(self.table[-1])

    def _sigma(self, u: Tensor) -> Tensor:
        return self.shift * u / (1 + (self.shift - 1) * u)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        return self._sigma(t.to("cpu", torch.float32) / self.multiplier)

    def sigma_to_t(self, sigma: float) -> float:
        """What the network is told, sigma * multiplier: not the inverse of t_to_sigma, for the shift stays."""
        return sigma * self.multiplier

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0:
            return 1.0
        if percent >= 1:
            return 0.0
        return float(self._sigma(torch.tensor(1 - percent)))

    def alpha(self, sigma: float) -> float:
        return 1 - sigma

    def half_log_snr(self, sigma: float) -> float:
        """ln((1 - sigma) / sigma); at sigma 1, where it is infinite, that of 0.01% of the way on."""
        sigma = min(sigma, self.percent_to_sigma(1e-4))
        return math.log((1 - sigma) / sigma)

    def noised(self, latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
        return noise * sigma + latent * (1 - sigma)

    def start(self, noise: Tensor, latent: Tensor, sigma: float) -> Tensor:
        return self.noised(latent, noise, sigma)

    def finish(self, x: Tensor, sigma: float) -> Tensor:
        """The latent, were it alone in x; undone by `start` with no noise when sampling goes on elsewhere."""
        return x if sigma == 0 else x / (1 - sigma)

    def preconditioning(self, sigma: float) -> Preconditioning:
        return Preconditioning(1.0, 1.0, -sigma, self.sigma_to_t(sigma))


ScheduleFunction = Callable[[ModelSigmas, int], Tensor]


def _ending_in_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def _timesteps(model: ModelSigmas, count: int) -> Tensor:
    """Timesteps evenly spaced from the greatest noise level's to the least's, float32 [count]."""
    return torch.linspace(model.sigma_to_t(model.sigma_max), model.sigma_to_t(model.sigma_min), count)


def simple(model: ModelSigmas, steps: int) -> Tensor:
    """Every (n / steps)-th trained level from the top."""
    stride = len(model.table) / steps
    indices = [-(1 + int(i * stride)) for i in range(steps)]
    return _ending_in_zero(model.table[indices])


def sgm_uniform(model: ModelSigmas, steps: int) -> Tensor:
    """Even in timesteps, as one more step would be, without its last."""
    return _ending_in_zero(model.t_to_sigma(_timesteps(model, steps + 1)[:-1]))


def normal(model: ModelSigmas, steps: int) -> Tensor:
    """Even in timesteps, from the greatest trained level to the least; where that is 0 already, it is the last."""
    sigmas = model.t_to_sigma(_timesteps(model, steps))
    if steps > 1 and sigmas[-1] < 1e-5:
        return sgm_uniform(model, steps)
    return _ending_in_zero(sigmas)


def karras(model: ModelSigmas, steps: int, rho: float = 7.0) -> Tensor:
    """Even in sigma ** (1 / rho). Karras et al. 2022, equation 5."""
    longest, shortest = model.sigma_max ** (1 / rho), model.sigma_min ** (1 / rho)
    return _ending_in_zero((longest + torch.linspace(0, 1, steps) * (shortest - longest)) ** rho)


def exponential(model: ModelSigmas, steps: int) -> Tensor:
    """Even in log sigma."""
    return _ending_in_zero(torch.linspace(math.log(model.sigma_max), math.log(model.sigma_min), steps).exp())


def ddim_uniform(model: ModelSigmas, steps: int) -> Tensor:
    """Every (n // steps)-th trained level from the second up, as in Song et al. 2021: never the greatest."""
    stride = max(len(model.table) // steps, 1)
    return _ending_in_zero(model.table[1::stride].flip(0))


def beta(model: ModelSigmas, steps: int, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Levels at quantiles of a beta distribution, denser at both ends. Lee et al. 2024."""
    from scipy.special import betaincinv

    quantiles = [1 - i / steps for i in range(steps)]
    indices = [round(float(betaincinv(alpha, beta, q)) * (len(model.table) - 1)) for q in quantiles]
    return _ending_in_zero(model.table[list(dict.fromkeys(indices))])


def linear_quadratic(model: ModelSigmas, steps: int, threshold: float = 0.025) -> Tensor:
    """Half the steps even up to a small share of the way, then on with growing ones. Polyak et al. 2024 (Movie Gen)."""
    linear = steps // 2
    slope = threshold / linear if linear else 0.0
    quadratic = steps - linear
    reached = threshold if linear else 0.0
    curvature = (1 - reached - slope * quadratic) / quadratic**2
    ways = [slope * i for i in range(linear)] + [reached + slope * j + curvature * j**2 for j in range(quadratic)]
    return _ending_in_zero((1 - torch.tensor(ways)) * model.sigma_max)


def kl_optimal(model: ModelSigmas, steps: int) -> Tensor:
    """Even in the arc tangent of sigma. Sabour et al. 2024 (Align Your Steps)."""
    low, high = torch.tensor([model.sigma_min, model.sigma_max]).atan()
    way = torch.linspace(0, 1, steps)
    return _ending_in_zero((way * low + (1 - way) * high).tan())


def schedule_sigmas(
    model: ModelSigmas, scheduler: str, steps: int, denoise: float = 1.0, sampler_name: str | None = None
) -> Tensor:
    """The noise levels for `steps` steps of a run: float32 [steps + 1] on the CPU.

    `denoise` < 1 makes int(steps / denoise) steps and keeps the last `steps`; 0 or less gives an empty tensor: nothing
    is to be sampled. `sampler_name` matters only for those that discard a level; give none where it is not yet known.
    Raises ValueError for an unknown scheduler and for fewer than one step.
    """
    if scheduler not in SCHEDULES:
        raise ValueError(f"scheduler {scheduler!r} is not known; there are {', '.join(SCHEDULES)}.")
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least 1 is needed.")
    if denoise <= 0:
        return torch.zeros(0)
    is_whole = denoise > 0.9999
    total = steps if is_whole else int(steps / denoise)
    if discards_penultimate(sampler_name):
        sigmas: Tensor = SCHEDULES[scheduler](model, total + 1)
        sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
    else:
        sigmas = SCHEDULES[scheduler](model, total)
    return sigmas if is_whole else sigmas[-(steps + 1) :]


def slice_sigmas(sigmas: Tensor, start_at_step: int, end_at_step: int, *, keep_leftover_noise: bool = False) -> Tensor:
    """The part of a schedule between two steps, as KSamplerAdvanced takes it; a new tensor.

    Where it ends early, the last level is set to 0 unless the noise left over is kept. Empty when the start lies beyond
    the end: nothing is to be sampled.
    """
    sigmas = sigmas.clone()
    if end_at_step < len(sigmas) - 1:
        sigmas = sigmas[: end_at_step + 1]
        if not keep_leftover_noise:
            sigmas[-1] = 0
    return sigmas[start_at_step:] if start_at_step < len(sigmas) - 1 else sigmas[:0]
