"""The nodes that sample: a latent in, a latent out, noise and a model in between."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from mezzotint import Conditioning, Context, Guider, Latent, Model, Noise, Requests, Sampler, Sigmas, node

from .guidance import CFGGuider
from .noise_value import NoNoise, SeededNoise
from .sample_result import SampleResult
from .sampler_value import NamedSampler
from .sampling_inputs import MAX_STEPS, DenoiseShare, GuidanceScale, SamplerName, ScheduleName, Seed, StepIndex, Steps

if TYPE_CHECKING:
    from torch import Tensor

    from ..samplers.schedules import ModelSigmas


@node("KSampler", category="sampling", lane="device")
def ksampler(
    model: Model,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: GuidanceScale = 8.0,
    sampler_name: SamplerName = "euler",
    scheduler: ScheduleName = "simple",
    *,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: DenoiseShare = 1.0,
    ctx: Context,
) -> Requests[Latent]:
    """Denoise a latent, guided by a positive and a negative prompt.

    Raises: see `sampling_driver.sample`.
    """
    from .sampling_driver import sample

    sigmas = _sigmas(model, ctx, scheduler, steps, denoise, sampler_name)
    guider = CFGGuider(model, positive, negative, cfg)
    result = yield from sample(ctx, guider, NamedSampler(sampler_name), sigmas, SeededNoise(seed), latent_image)
    return result.output


@node("KSamplerAdvanced", title="KSampler (Advanced)", category="sampling", lane="device")
def ksampler_advanced(
    model: Model,
    add_noise: Literal["enable", "disable"] = "enable",
    noise_seed: Seed = 0,
    steps: Steps = 20,
    cfg: GuidanceScale = 8.0,
    sampler_name: SamplerName = "euler",
    scheduler: ScheduleName = "simple",
    *,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: StepIndex = 0,
    end_at_step: StepIndex = MAX_STEPS,
    return_with_leftover_noise: Literal["disable", "enable"] = "disable",
    ctx: Context,
) -> Requests[Latent]:
    """Denoise a latent between two steps of a run. Another one can do the others.

    A run is cut in two when the first part returns with its leftover noise and the second adds none.

    Raises: see `sampling_driver.sample`.
    """
    from ..samplers.schedules import slice_sigmas
    from .sampling_driver import sample

    whole = _sigmas(model, ctx, scheduler, steps, 1.0, sampler_name)
    is_left_noisy = return_with_leftover_noise == "enable"
    sigmas = slice_sigmas(whole, start_at_step, end_at_step, keep_leftover_noise=is_left_noisy)
    guider = CFGGuider(model, positive, negative, cfg)
    noise = SeededNoise(noise_seed) if add_noise == "enable" else NoNoise(noise_seed)
    result = yield from sample(ctx, guider, NamedSampler(sampler_name), sigmas, noise, latent_image)
    return result.output


@node("SamplerCustom", category="sampling/custom_sampling", lane="device")
def sampler_custom(
    model: Model,
    add_noise: bool = True,
    noise_seed: Seed = 0,
    cfg: GuidanceScale = 8.0,
    *,
    positive: Conditioning,
    negative: Conditioning,
    sampler: Sampler,
    sigmas: Sigmas,
    latent_image: Latent,
    ctx: Context,
) -> Requests[SampleResult]:
    """Denoise a latent with a sampler and noise levels that other nodes make.

    Raises: see `sampling_driver.sample`.
    """
    from .sampling_driver import sample

    guider = CFGGuider(model, positive, negative, cfg)
    noise = SeededNoise(noise_seed) if add_noise else NoNoise(noise_seed)
    return (yield from sample(ctx, guider, sampler, sigmas, noise, latent_image))


@node("SamplerCustomAdvanced", category="sampling/custom_sampling", lane="device")
def sampler_custom_advanced(
    noise: Noise, guider: Guider, sampler: Sampler, sigmas: Sigmas, latent_image: Latent, *, ctx: Context
) -> Requests[SampleResult]:
    """Denoise a latent with noise, guidance, sampler and noise levels that other nodes make.

    Raises: see `sampling_driver.sample`.
    """
    from .sampling_driver import sample

    return (yield from sample(ctx, guider, sampler, sigmas, noise, latent_image))


def _sigmas(model: Model, ctx: Context, scheduler: str, steps: int, denoise: float, sampler_name: str) -> Tensor:
    with ctx.models.borrow(model) as denoiser:  # which is needed next; to look at its files would take longer
        levels: Any = denoiser.sampling.sigmas
    return _remembered_sigmas(levels, scheduler, steps, denoise, sampler_name).clone()


@lru_cache(maxsize=64)
def _remembered_sigmas(levels: ModelSigmas, scheduler: str, steps: int, denoise: float, sampler_name: str) -> Tensor:
    from ..samplers.schedules import schedule_sigmas

    return schedule_sigmas(levels, scheduler, steps, denoise, sampler_name)
