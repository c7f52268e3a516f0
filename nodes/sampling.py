"""The nodes that sample: a latent in, noise in between, a latent out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from mezzotint import Conditioning, Context, Guider, Latent, Model, Noise, Requests, Sampler, Sigmas, Widget, node
from mezzotint.engine.widget import Choices

from .guidance import CFGGuider
from .noise_value import NoiseValue, NoNoise, SeededNoise
from .sampler_value import NamedSampler, sampler_names
from .schedule_names import schedule_names

if TYPE_CHECKING:
    from .sampling_driver import SampleResult

MAX_SEED = 2**64 - 1
MAX_STEPS = 10_000

Seed = Annotated[
    int,
    Field(ge=0, le=MAX_SEED, description="The noise is drawn from it: an equal seed makes an equal picture."),
    Widget(control_after_generate=True),
]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS, description="How many noise levels are visited.")]
GuidanceScale = Annotated[
    float,
    Field(ge=0, le=100, description="How strongly the prompt is followed; 1 leaves the negative prompt out."),
    Widget(step=0.1, round=0.01),
]
Denoise = Annotated[
    float,
    Field(ge=0, le=1, description="How much of the latent is made anew: 1 everything, 0 nothing."),
    Widget(step=0.01),
]
SamplerName = Annotated[str, Choices(sampler_names)]
ScheduleName = Annotated[str, Choices(schedule_names)]


class Sampled(NamedTuple):
    """The latent at the last noise level, and the last prediction of the clean latent."""

    output: Latent
    denoised_output: Latent


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
    denoise: Denoise = 1.0,
    ctx: Context,
) -> Requests[Latent]:
    """Denoise a latent, guided by a positive and a negative prompt.

    Raises:
        SamplingError, SamplerError, OutOfMemoryError: see `sampling_driver.sample`.
    """
    from .model_sampling import model_sampling
    from .sampling_driver import sample
    from .schedules import schedule_sigmas

    levels = model_sampling(model, ctx).sigmas
    sigmas = schedule_sigmas(levels, scheduler, steps, denoise, sampler_name)
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
    start_at_step: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 0,
    end_at_step: Annotated[int, Field(ge=0, le=MAX_STEPS)] = MAX_STEPS,
    return_with_leftover_noise: Literal["disable", "enable"] = "disable",
    ctx: Context,
) -> Requests[Latent]:
    """Denoise a latent between two steps of a run. What is not done here can be done by another one.

    A run is cut in two when the first one returns with its leftover noise and the second adds none.
    """
    from .model_sampling import model_sampling
    from .sampling_driver import sample
    from .schedules import schedule_sigmas, slice_sigmas

    levels = model_sampling(model, ctx).sigmas
    whole = schedule_sigmas(levels, scheduler, steps, sampler_name=sampler_name)
    is_left = return_with_leftover_noise == "enable"
    sigmas = slice_sigmas(whole, start_at_step, end_at_step, keep_leftover_noise=is_left)
    guider = CFGGuider(model, positive, negative, cfg)
    noise = _noise(add_noise == "enable", noise_seed)
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
) -> Requests[Sampled]:
    """Denoise a latent with a sampler and noise levels made by other nodes."""
    guider = CFGGuider(model, positive, negative, cfg)
    return (yield from _sample(ctx, guider, sampler, sigmas, _noise(add_noise, noise_seed), latent_image))


@node("SamplerCustomAdvanced", category="sampling/custom_sampling", lane="device")
def sampler_custom_advanced(
    noise: Noise, guider: Guider, sampler: Sampler, sigmas: Sigmas, latent_image: Latent, *, ctx: Context
) -> Requests[Sampled]:
    """Denoise a latent with noise, guidance, sampler and noise levels made by other nodes."""
    return (yield from _sample(ctx, guider, sampler, sigmas, noise, latent_image))


def _noise(is_added: bool, seed: int) -> NoiseValue:
    return SeededNoise(seed) if is_added else NoNoise(seed)
