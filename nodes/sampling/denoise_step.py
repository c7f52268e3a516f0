"""The sampling loop as nodes: noise, one prediction, one step. A Repeat: Begin and a Repeat: End make the loop of them.

Between these nodes a latent is what the model sees: `samples` is x at the noise level `sigma`, on the CPU, and `seed`
is what noise between steps is drawn from. The step to level 0 gives an ordinary latent, which a VAE decodes. They call
what the sampling nodes call, so the loop's result is theirs, to the last bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from mezzotint import Conditioning, Context, Latent, Model, Requests, Sigmas, node
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.widget import Choices

from ..samplers.sampler_names import SAMPLERS, single_step_names
from .guidance import CFGGuider, grounded, seeded
from .noise_value import SeededNoise
from .sampling_inputs import GuidanceScale, Seed, StepIndex

if TYPE_CHECKING:
    from torch import Tensor


class StepError(MezzotintError):
    """A step cannot be taken with what is linked to it."""


@node("LatentNoise", title="Latent Noise", category="sampling/steps", lane="device", aliases=("noise", "loop"))
def latent_noise(model: Model, seed: Seed = 0, *, sigmas: Sigmas, latent: Latent, ctx: Context) -> Latent:
    """Add noise of the first noise level to a latent: the beginning of a sampling loop.

    Raises:
        StepError: there are no noise levels, or the latent has a noise mask. SamplingError: it is of another model.
    """
    from .model_sampling import model_sampling
    from .sampling_driver import noised_latent

    if len(sigmas) < 2:
        raise StepError(f"LatentNoise: sigmas holds {len(sigmas)} noise levels; a step needs two at least")
    if "noise_mask" in latent:
        raise StepError(
            "LatentNoise: the latent has a noise mask, which single steps do not keep; use a KSampler for it"
        )
    sigma = float(sigmas[0])
    start = noised_latent(latent, SeededNoise(seed), sigma, model_sampling(model, ctx), ctx.device)
    return {**latent, "samples": start.x.cpu(), "sigma": sigma, "seed": seed}


@node("UNetDenoise", title="U-Net Denoise", category="sampling/steps", lane="device", aliases=("predict", "loop"))
def unet_denoise(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    cfg: GuidanceScale = 8.0,
    *,
    latent: Latent,
    ctx: Context,
) -> Requests[Latent]:
    """Predict the clean latent behind a noisy one, once, guided by a positive and a negative prompt.

    Raises:
        StepError: the latent does not come from LatentNoise or SchedulerStep. OutOfMemoryError: there is too little.
    """
    from .sampling_driver import prepare_model

    sigma = _sigma_of(latent, "UNetDenoise", "latent")
    guider = grounded(seeded(CFGGuider(model, positive, negative, cfg), latent["seed"]))
    device = prepare_model(ctx, guider, latent["samples"].shape).device
    denoised = yield from guider.predict(latent["samples"].to(device), sigma)
    return {**latent, "samples": denoised.cpu()}


@node("SchedulerStep", title="Scheduler Step", category="sampling/steps", lane="device", aliases=("sampler", "loop"))
def scheduler_step(
    model: Model,
    latent: Latent,
    denoised: Latent,
    sigmas: Sigmas,
    index: StepIndex = 0,
    sampler_name: Annotated[str, Choices(single_step_names, version=SAMPLERS.version_of)] = "euler",
    *,
    ctx: Context,
) -> Latent:
    """Take step number `index` of a run: from one noise level to the next, by the prediction for the first.

    The last step gives an ordinary latent. Samplers that remember earlier steps, or need two predictions for one,
    cannot be used.

    Raises:
        StepError: there is no such step; the latent or the prediction is at another noise level.
    """
    from ..samplers.sampler import single_step
    from .model_sampling import model_sampling
    from .noise import SeededStepNoise
    from .sampling_driver import finished

    sigma, sigma_next = _levels(sigmas, index)
    for name, given in (("latent", latent), ("denoised", denoised)):
        if _sigma_of(given, "SchedulerStep", name) != sigma:
            raise StepError(
                f"SchedulerStep: '{name}' is at the noise level {given['sigma']:.6g}, and step {index} begins at "
                f"{sigma:.6g}; link the index of the loop, and the noise levels that LatentNoise has"
            )
    sampling = model_sampling(model, ctx)
    x: Tensor = latent["samples"].to(ctx.device)
    noise = SeededStepNoise(x, sigmas, latent["seed"], skip=index)
    sampler = SAMPLERS[sampler_name]
    x = single_step(sampler, x, denoised["samples"].to(ctx.device), sigma, sigma_next, noise, sampling.sigmas)
    if sigma_next > 0:
        return {**latent, "samples": x.cpu(), "sigma": sigma_next}
    plain = {key: value for key, value in latent.items() if key not in ("sigma", "seed")}
    return {**plain, "samples": finished(x, sigma_next, sampling)}


def _levels(sigmas: Tensor, index: int) -> tuple[float, float]:
    """The noise levels that a step begins and ends at."""
    levels: list[float] = sigmas.tolist()
    if index + 1 >= len(levels):
        raise StepError(
            f"SchedulerStep: there is no step {index}; sigmas holds {len(levels)} noise levels, so the last step is "
            f"{len(levels) - 2}; let the loop make {max(len(levels) - 1, 0)} turns"
        )
    return levels[index], levels[index + 1]


def _sigma_of(latent: dict[str, Any], node_name: str, name: str) -> float:
    if "sigma" not in latent:
        raise StepError(
            f"{node_name}: '{name}' is not at a noise level; it must come from LatentNoise or SchedulerStep, before "
            f"the step to level 0"
        )
    return float(latent["sigma"])
