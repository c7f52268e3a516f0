"""Samples with models at once, as packs do: the driver of our own sampling nodes, with what packs hand it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mezzotint.nodes.samplers.schedules import schedule_sigmas, slice_sigmas
from mezzotint.nodes.sampling.guidance import CFGGuider, GuiderValue
from mezzotint.nodes.sampling.noise_value import NoiseValue, NoNoise, SeededNoise
from mezzotint.nodes.sampling.sampler_value import SamplerValue
from mezzotint.nodes.sampling.sampling_driver import sample

from . import surroundings
from .model_value import ModelValue
from .native_call import run_requests

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.nodes.samplers.sampler import Denoising, StepNoise
    from mezzotint.nodes.sampling.model_sampling import ModelSampling

Callback = Callable[[int, Any, Any, int], None]
"""Told after each prediction: the step from 0, the predicted latent as the model sees it, x, and how many steps."""


@dataclass(frozen=True, eq=False)
class GivenNoise:
    """Noise that a pack drew itself. `seed`: of noise between steps."""

    noise: Tensor
    seed: int = 0

    def draw(self, shape: Sequence[int], batch_index: Sequence[int] | None) -> Tensor:
        import torch

        if tuple(self.noise.shape) != tuple(shape):
            raise ValueError(f"it has the shape {[*self.noise.shape]}, and the latent {[*shape]}")
        return self.noise.to("cpu", torch.float32)


@dataclass(frozen=True)
class ToldSampler:
    """A sampler that tells after each prediction."""

    sampler: SamplerValue
    callback: Callback

    @property
    def name(self) -> str:
        return self.sampler.name

    def begin(self, x: Tensor, sigmas: Tensor, step_noise: StepNoise, sampling: ModelSampling) -> Denoising:
        steps = self.sampler.begin(x, sigmas, step_noise, sampling)
        levels, total = sigmas.tolist(), len(sigmas) - 1
        try:
            x, sigma = next(steps)
            while True:
                denoised = yield x, sigma
                shown = denoised[0] if isinstance(denoised, tuple) else denoised  # a pair, for samplers by CFG++
                self.callback(_step_of(levels, sigma), shown, x, total)
                x, sigma = steps.send(denoised)
        except StopIteration as end:
            result: Tensor = end.value
            return result


def _step_of(levels: Sequence[float], sigma: float) -> int:
    """The last step that begins at this level or before it."""
    return max(sum(level >= sigma for level in levels[:-1]) - 1, 0)


def sampled(
    guider: GuiderValue,
    sampler: SamplerValue,
    sigmas: Tensor,
    noise: NoiseValue,
    latent: dict[str, Any],
    callback: Callback | None = None,
) -> dict[str, Any]:
    """A latent, sampled now. See `nodes.sampling.sampling_driver.sample`."""
    ctx = surroundings.context() or surroundings.context_outside_a_call()
    told = sampler if callback is None else ToldSampler(sampler, callback)
    result: Any = run_requests(sample(ctx, guider, told, sigmas.cpu(), noise, latent))
    output: dict[str, Any] = result.output
    return output


def steps_of(
    model: ModelValue,
    sampler_name: str,
    scheduler: str,
    steps: int,
    denoise: float | None = 1.0,
    start_step: int | None = None,
    last_step: int | None = None,
    *,
    force_full_denoise: bool = False,
) -> Tensor:
    """The noise levels of a run, or of a part of it; fewer than two leave the latent as it is."""
    share = 1.0 if denoise is None else denoise
    sigmas = schedule_sigmas(model.sampling.sigmas, scheduler, steps, share, sampler_name)
    if start_step is None and last_step is None:
        return sigmas
    end = len(sigmas) if last_step is None else last_step
    return slice_sigmas(sigmas, start_step or 0, end, keep_leftover_noise=not force_full_denoise)


def guided_by(model: ModelValue, positive: Any, negative: Any, cfg: float) -> CFGGuider:
    """The usual guidance."""
    return CFGGuider(model.plain, positive, negative, cfg)


def noise_of(noise: Tensor | None, seed: int | None, *, is_disabled: bool = False) -> NoiseValue:
    """Noise that was drawn, or that of a seed."""
    if is_disabled:
        return NoNoise(seed or 0)
    return SeededNoise(seed or 0) if noise is None else GivenNoise(noise, seed or 0)


def latent_of(samples: Tensor, mask: Tensor | None = None) -> dict[str, Any]:
    """A latent of its samples, and what of it may change."""
    return {"samples": samples} if mask is None else {"samples": samples, "noise_mask": mask}
