"""Any scheduler of diffusers as a sampler: one generator of the shape that `sampler` describes.

The scheduler keeps its own list of timesteps and its own arithmetic; what it would show the network is turned into x at
a noise level, and the predicted x0 into the kind of prediction that it was configured for. So guidance, masks and
previews work with it as with any sampler, and its result is that of diffusers' own loop.

A network's timestep is found from the noise level by the driver, to the nearest whole one. Where a scheduler uses
fractions (Euler, Heun and LMS with `use_karras_sigmas`, or "linspace" spacing of a count that does not divide), the
result differs slightly from diffusers'.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .sampler import Denoising, StepNoise
from .sampler_names import DIFFUSERS_SCHEDULER_NAMES as SCHEDULER_NAMES
from .schedules import SMALLEST_ALPHA_CUMPROD, ModelSigmas

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

#: Noise levels closer than this, relatively, are the same one.
SAME_LEVEL = 1e-3


def make_scheduler(name: str, config: Mapping[str, Any]) -> SchedulerMixin:
    """A scheduler by class name, with what it understands of a model's scheduler configuration.

    Unless the configuration asks for it, predictions are not clipped (latents go beyond -1..1), the last steps are of
    lower order, and PNDM takes no Runge-Kutta steps. Raises ValueError for a
    name that is not in `SCHEDULER_NAMES`.
    """
    import diffusers

    if name not in SCHEDULER_NAMES:
        raise ValueError(f"scheduler {name!r} is not known; there are {', '.join(SCHEDULER_NAMES)}.")
    scheduler_class = getattr(diffusers, name)
    accepted = inspect.signature(scheduler_class.__init__).parameters
    options = {"clip_sample": False, "lower_order_final": True, "skip_prk_steps": True, **config}
    made: SchedulerMixin = scheduler_class.from_config({key: options[key] for key in options if key in accepted})
    return made


def scheduler_sigmas(scheduler: SchedulerMixin, steps: int, denoise: float = 1.0) -> Tensor:
    """The noise levels that a scheduler would visit in `steps` steps, then 0: float32 [n + 1] on the CPU.

    `denoise` < 1 divides the whole range into int(steps / denoise) and keeps the last `steps`.
    """
    scheduler = _fresh(scheduler)
    scheduler.set_timesteps(steps if denoise > 0.9999 else int(steps / denoise))
    levels = torch.tensor([*dict.fromkeys(_levels(scheduler)), 0.0])
    return levels if denoise > 0.9999 else levels[-(steps + 1) :]


def diffusers_sampler(
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    scaling: ModelSigmas,
    *,
    scheduler: SchedulerMixin,
    total_steps: int | None = None,
    **step_options: Any,
) -> Denoising:
    """Sample with a diffusers scheduler, which is used as a description only and not changed.

    Of `sigmas` the first, the last and the count matter. A first level at or above the scheduler's own first starts
    from pure noise, as wide as the scheduler wants it; a lower one starts at the nearest of its own levels.
    `total_steps` is how many steps its whole range is divided into, guessed from the first level where it is None.
    `step_options` (such as `eta`) go to `scheduler.step`, as does the generator of `step_noise` where it takes one.
    Raises ValueError when a flow scheduler meets a model that is none, or the other way round.
    """
    if len(sigmas) < 2:
        return x
    scheduler = _fresh(scheduler)
    _check_family(scheduler, scaling)
    sigma, sigma_last = float(sigmas[0]), float(sigmas[-1])
    scheduler.set_timesteps(total_steps or _total_steps(scheduler, sigma, len(sigmas) - 1, scaling), device=x.device)
    timesteps, levels = scheduler.timesteps, _levels(scheduler)
    calls, stop = _calls(scheduler, levels, sigma, sigma_last)
    _begin_at(scheduler, calls[0])
    sample = _first_sample(scheduler, x, sigma, levels, calls[0], scaling)
    if "generator" in inspect.signature(scheduler.step).parameters:
        step_options = {"generator": step_noise.generator, **step_options}
    for i in calls:
        x = _x_of_sample(scheduler, sample, timesteps[i], levels[i])
        denoised = yield x, levels[i]
        output = _prediction(scheduler, x, denoised, levels[i])
        sample = scheduler.step(output, timesteps[i], sample, return_dict=False, **step_options)[0]
    return sample if stop == len(levels) else _x_of_sample(scheduler, sample, timesteps[stop], levels[stop])


def _fresh(scheduler: SchedulerMixin) -> Any:
    """The same scheduler with no history. Any, since diffusers' mixin promises none of what schedulers share."""
    return type(scheduler).from_config(scheduler.config)


def _prediction_type(scheduler: Any) -> str:
    if type(scheduler).__name__.startswith("FlowMatch"):
        return "flow_prediction"
    return str(scheduler.config.get("prediction_type", "epsilon"))


def _is_flow(scheduler: Any) -> bool:
    return _prediction_type(scheduler) == "flow_prediction"


def _check_family(scheduler: Any, scaling: ModelSigmas) -> None:
    families = ("models trained on discrete timesteps", "flow models")
    theirs, ours = families[_is_flow(scheduler)], families[scaling.is_flow]
    if theirs != ours:
        raise ValueError(f"{type(scheduler).__name__} is for {theirs}; this model is one of the {ours}.")


def _levels(scheduler: Any) -> list[float]:
    """The noise level of every timestep that the scheduler asks a prediction for."""
    count = len(scheduler.timesteps)
    if hasattr(scheduler, "sigmas"):
        return [float(sigma) for sigma in scheduler.sigmas[:count]]
    alphas = scheduler.alphas_cumprod[scheduler.timesteps.long().cpu()].double().clamp(min=SMALLEST_ALPHA_CUMPROD)
    return [float(sigma) for sigma in ((1 - alphas) / alphas).sqrt()]


def _total_steps(scheduler: Any, sigma: float, steps: int, scaling: ModelSigmas) -> int:
    """How many steps the whole range has when `steps` of them lie below `sigma`, evenly in trained levels."""
    trained = len(scaling.table)
    below = int((scaling.table <= sigma * (1 + SAME_LEVEL)).sum())
    most = int(scheduler.config.get("original_inference_steps", trained))  # those that LCM and TCD choose among
    return max(min(round(steps * trained / max(below, 1)), most), steps)


def _calls(scheduler: Any, levels: Sequence[float], sigma: float, sigma_last: float) -> tuple[list[int], int]:
    """The indices of the timesteps to predict at, and the index of the level that is then reached."""
    starts = range(0, len(levels), scheduler.order)
    start = min(starts, key=lambda i: abs(math.log(levels[i] / sigma)))
    reached = (i for i in starts if i > start and levels[i] <= sigma_last * (1 + SAME_LEVEL))
    stop = next(reached, len(levels))
    calls = list(range(start, stop))
    if start > 0 and _is_linear_multistep(scheduler):
        calls = [i for i in calls if i == start or levels[i] != levels[i - 1]]
        calls[1:1] = calls[1:2]
    return calls, stop


def _is_linear_multistep(scheduler: Any) -> bool:
    """PNDM without Runge-Kutta steps: its second call repeats its first step, so a later start must repeat one too."""
    return type(scheduler).__name__ == "PNDMScheduler" and bool(scheduler.config.skip_prk_steps)


def _begin_at(scheduler: Any, index: int) -> None:
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(index)


def _x_of_sample(scheduler: Any, sample: Tensor, timestep: Tensor, sigma: float) -> Tensor:
    """x at `sigma`, from the scheduler's own form of it: what it would show the network, unscaled."""
    seen: Tensor = scheduler.scale_model_input(sample, timestep) if hasattr(scheduler, "scale_model_input") else sample
    return seen if _is_flow(scheduler) else seen * math.sqrt(sigma**2 + 1)


def _first_sample(
    scheduler: Any, x: Tensor, sigma: float, levels: Sequence[float], start: int, scaling: ModelSigmas
) -> Tensor:
    """The scheduler's own form of the x that a run begins with."""
    one = torch.ones((), device=x.device)
    if start == 0 and sigma >= levels[0] * (1 - SAME_LEVEL):
        width = float(scaling.start(one, torch.zeros_like(one), sigma))
        return x * (float(getattr(scheduler, "init_noise_sigma", 1.0)) / width)
    return x / float(_x_of_sample(scheduler, one, scheduler.timesteps[start], levels[start]))


def _prediction(scheduler: Any, x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """What the network would have said for this x0, in the scheduler's kind of prediction."""
    kind = _prediction_type(scheduler)
    if kind in ("epsilon", "flow_prediction"):
        return (x - denoised) / sigma
    if kind == "v_prediction":
        width = math.sqrt(sigma**2 + 1)
        return x * (1 / (width * sigma)) - denoised * (width / sigma)
    if kind in ("sample", "original_sample"):
        return denoised
    raise ValueError(f"{type(scheduler).__name__} is configured for {kind!r} predictions, which are not known.")
