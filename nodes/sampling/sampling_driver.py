"""The driver: runs a sampler with a model, and does all that no sampler knows about.

Noise and latents in and out, guidance, masks, progress, previews, cancellation. A sampler is a generator of
`samplers.sampler`; the driver is one, too, which yields `Denoise` requests to the lane that runs it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from mezzotint.engine.context import Context
from mezzotint.engine.errors import MezzotintError, OutOfMemoryError
from mezzotint.engine.request import Requests

from ..models.recipe import DIFFERENTIAL
from ..samplers.sampler import Denoising
from ..samplers.sampler_names import SAMPLERS, SEES_UNCONDITIONAL
from .denoise import what_is_sampled
from .guidance import PairGuider, grounded, seeded, showing
from .latent_preview import LatentColours, latent_colours
from .noise import DifferentialMasking, Masking, SeededStepNoise, fit_mask, mask_noise
from .prompts import NEGLIGIBLE_NBYTES
from .sample_result import SampleResult

if TYPE_CHECKING:
    from ..models.recipe import Recipe
    from ..ports import Latent
    from ..samplers.schedules import ModelSigmas
    from .guidance import GuiderValue
    from .model_sampling import ModelSampling
    from .noise_value import NoiseValue
    from .sampler_value import SamplerValue

PREVIEW_SECONDS = 0.1
"""Previews are made no more often, but for that of the last step: nobody can look faster."""


class SamplingError(MezzotintError):
    """A latent cannot be sampled as asked, or nothing came of it."""


def sample(
    ctx: Context,
    guider: GuiderValue,
    sampler: SamplerValue,
    sigmas: Tensor,
    noise: NoiseValue,
    latent: Latent,
) -> Requests[SampleResult]:
    """Sample a latent.

    Args:
        sigmas: float32 [n + 1], the noise levels to visit. With fewer than two the latent comes back as it is.
        noise: what is added to the latent at the first level, and the seed of noise between steps.
        latent: unscaled, on the CPU. All zeros may have any number of channels. Where its `noise_mask` is 0 it stays;
            its `batch_index` says which noise is whose.

    Returns:
        both results as `latent`, with other samples: float32 on the CPU, unscaled.

    Raises:
        SamplingError: the latent is of another model; the result is not a number.
        SamplerError: the sampler is not for this model. ConditioningError: see `Denoise`.
        OutOfMemoryError: the model does not fit beside it. Cancelled: the job was asked to stop.
    """
    if len(sigmas) < 2:
        return SampleResult(latent, latent)
    guider = grounded(seeded(guider, noise.seed))
    sampling, device, room = prepare_model(ctx, guider, latent["samples"].shape)
    levels = sigmas.tolist()
    start = noised_latent(latent, noise, levels[0], sampling, device)
    masking = None
    if "noise_mask" in latent:
        guider = _showing(guider, latent, ctx)
        fitted = fit_mask(latent["noise_mask"], start.clean.shape).to(start.clean.device)
        kept_noise = mask_noise(sampler.name, start.noise, noise.seed)
        masking = Masking(fitted, start.clean, kept_noise, sampling.sigmas)
        masking = _masking(masking, guider.model, levels, sampling.sigmas)
    steps = sampler.begin(start.x, sigmas, SeededStepNoise(start.x, sigmas, noise.seed), sampling)
    progress = _Progress(ctx, levels, latent_colours(guider.model), sampling)
    with room:
        if SAMPLERS.has_trait(sampler.name, SEES_UNCONDITIONAL):
            x, denoised = yield from _drive_by_pairs(steps, _pair_guider(guider, sampler), masking, progress)
        else:
            x, denoised = yield from _drive(steps, guider, masking, progress)
    return SampleResult(
        {**latent, "samples": finished(x, levels[-1], sampling)},
        {**latent, "samples": finished(denoised, 0.0, sampling)},
    )


def _showing(guider: GuiderValue, latent: Latent, ctx: Context) -> GuiderValue:
    """The guider, by which a model for inpainting sees what it paints over."""
    with ctx.models.borrow(guider.model) as denoiser:
        sees_mask = getattr(getattr(denoiser, "call", None), "sees_mask", False)
    return showing(guider, latent) if sees_mask else guider


def _drive(
    steps: Denoising, guider: GuiderValue, masking: Masking | None, progress: _Progress
) -> Requests[tuple[Tensor, Tensor]]:
    """Run a sampler to its end: its result and the last prediction that it was sent."""
    denoised: Any = None
    try:
        x, sigma = _first(steps)
        while True:
            if masking is None:
                denoised = yield from guider.predict(x, sigma)
            else:
                shown = masking.before(_unresized(x, masking), sigma)
                denoised = masking.after((yield from guider.predict(shown, sigma)), sigma)
            progress.predicted(sigma, denoised)
            x, sigma = steps.send(denoised)
    except StopIteration as end:
        progress.finish()
        return end.value, end.value if denoised is None else denoised


def _pair_guider(guider: GuiderValue, sampler: SamplerValue) -> PairGuider:
    if isinstance(guider, PairGuider):
        return guider
    raise SamplingError(
        f"the sampler '{sampler.name}' needs the prediction for the negative prompt, which this guider does not give; "
        f"use a CFGGuider, or a sampler whose name does not end in _cfg_pp"
    )


def _drive_by_pairs(
    steps: Any, guider: PairGuider, masking: Masking | None, progress: _Progress
) -> Requests[tuple[Tensor, Tensor]]:
    """`_drive` for samplers that are sent two predictions."""
    denoised: Any = None
    try:
        x, sigma = next(steps)
        while True:
            if masking is None:
                denoised, unconditional = yield from guider.predict_pair(x, sigma)
            else:
                pair = yield from guider.predict_pair(masking.before(_unresized(x, masking), sigma), sigma)
                denoised, unconditional = (masking.after(one, sigma) for one in pair)
            progress.predicted(sigma, denoised)
            x, sigma = steps.send((denoised, unconditional))
    except StopIteration as end:
        progress.finish()
        return end.value, end.value if denoised is None else denoised


def _unresized(x: Tensor, masking: Masking) -> Tensor:
    """x, of the size that its mask has."""
    if x.shape != masking.latent.shape:
        raise SamplingError(
            "this sampler changes the size of the latent, and the latent has a noise mask, which keeps parts of it as "
            "they are; remove the mask, or use a sampler that keeps the size and enlarge the latent afterwards"
        )
    return x


def _first(steps: Denoising) -> tuple[Tensor, float]:
    """What a sampler asks for first. It refuses there what it cannot do, such as another family of models."""
    try:
        return next(steps)
    except ValueError as error:
        raise SamplingError(str(error)) from error


# what the nodes for single steps share with the driver, so that their results are the same to the last bit


class NoisedLatent(NamedTuple):
    """What sampling begins with, float32 [B, C, h, w] each, on the model's device.

    Attributes:
        x: the latent with noise. clean: the latent as the model sees it. noise: as it was drawn.
    """

    x: Tensor
    clean: Tensor
    noise: Tensor


def noised_latent(
    latent: Latent, noise: NoiseValue, sigma: float, sampling: ModelSampling, device: torch.device | str
) -> NoisedLatent:
    """A latent noised to the first level of a run.

    Raises:
        SamplingError: it has other channels than the model; its `batch_index` does not fit its batch.
    """
    samples = _fitted(latent["samples"], sampling.latent_channels)
    try:
        drawn = noise.draw(samples.shape, latent.get("batch_index")).to(device)
    except ValueError as error:
        raise SamplingError(f"the noise of this latent cannot be drawn: {error}") from error
    clean = sampling.to_model(samples.to(device))
    return NoisedLatent(sampling.sigmas.start(drawn, clean, sigma), clean, drawn)


def _fitted(samples: Tensor, channels: int) -> Tensor:
    """A latent with a model's channels, float32: one that is all zeros has none of its own."""
    if samples.ndim == 4 and samples.shape[1] == channels:
        return samples.float()
    if samples.ndim != 4 or samples.any():
        raise SamplingError(
            f"the latent has the shape {list(samples.shape)}, and the model wants [batch, {channels}, height, width]; "
            f"encode the picture with the VAE that belongs to the model"
        )
    return torch.zeros(samples.shape[0], channels, *samples.shape[2:])


class PreparedModel(NamedTuple):
    """A model to sample. device: where it computes. room: while entered, memory is kept free for its forwards."""

    sampling: ModelSampling
    device: torch.device
    room: AbstractContextManager[None]


def prepare_model(ctx: Context, guider: GuiderValue, shape: Sequence[int]) -> PreparedModel:
    """Have the model of a guider, see that it can predict for a latent of this shape, and say where it is.

    Where memory is too short for all evaluations of a prediction at once, they are made one by one; where it is too
    short for one beside all weights, some of these wait in main memory, if the device has another.

    Raises:
        OutOfMemoryError: it does not fit.
    """
    with ctx.models.borrow(guider.model) as borrowed:
        denoiser: Any = borrowed
        sampling: ModelSampling = denoiser.sampling
        nbytes = denoiser.estimate_nbytes((shape[0], sampling.latent_channels, *shape[-2:]))
        if nbytes * guider.evaluations <= NEGLIGIBLE_NBYTES:
            return PreparedModel(sampling, denoiser.device, nullcontext())
        what = what_is_sampled(shape, sampling.downscale)
        for evaluations in (guider.evaluations, 1):
            with suppress(OutOfMemoryError):
                room = ctx.models.reserve(nbytes * evaluations, what)
                return PreparedModel(sampling, denoiser.device, room)
        if not ctx.models.host_nbytes:
            ctx.models.reserve(nbytes, what)  # says what is wrong
    # Nobody uses the model now, so it can make way, and is loaded again into what is left.
    return PreparedModel(sampling, denoiser.device, ctx.models.reserve(nbytes, what))


def finished(x: Tensor, sigma: float, sampling: ModelSampling) -> Tensor:
    """The latent that x at the last noise level is: float32 on the CPU, unscaled.

    Raises:
        SamplingError: it holds NaN or infinity.
    """
    samples = sampling.to_latent(sampling.sigmas.finish(x, sigma)).cpu()
    if not math.isfinite(samples.sum(dtype=torch.float64).item()):  # no sum of finite float32 overflows there
        raise SamplingError(
            "sampling gave values that are no numbers (NaN or infinity); usual causes are a guidance scale (cfg) or "
            "model strength that is too high, a damaged model file, or a model that needs more precision than float16: "
            "try bfloat16 or float32"
        )
    return samples


def _masking(masking: Masking, model: Recipe, levels: Sequence[float], sigmas: ModelSigmas) -> Masking:
    """As the model's options have it."""
    strength = dict(model.options).get(DIFFERENTIAL)
    if strength is None:
        return masking
    first, last = (sigmas.sigma_to_t(level) for level in (levels[0], max(levels[-1], sigmas.sigma_min)))
    kept = masking.mask, masking.latent, masking.noise, masking.scaling
    return DifferentialMasking(*kept, sigmas.sigma_to_t, first, last, strength)


class _Progress:
    """Tells how far a sampling is. Which step it is in is seen from the noise level that is asked for."""

    def __init__(
        self, ctx: Context, levels: Sequence[float], colours: LatentColours | None, sampling: ModelSampling
    ) -> None:
        self.ctx, self.levels, self.colours, self.sampling = ctx, levels, colours, sampling
        self.total = len(levels) - 1
        self.done = 0
        self._next_preview = float("-inf")
        self.is_upwards = levels[0] < levels[-1]  # a latent is turned into noise

    def predicted(self, sigma: float, denoised: Tensor) -> None:
        """A prediction was made: the step that it belongs to is as good as done. Raises Cancelled."""
        done = self._step_of(sigma) + 1
        if done <= self.done:
            self.ctx.check()
            return
        self.done = done
        self.ctx.progress(done, self.total, self._preview(denoised))

    def _preview(self, denoised: Tensor) -> Any:
        """A picture of the prediction; None when nobody would see it, or one was made a moment ago."""
        if self.colours is None:
            return None
        now = time.monotonic()
        if now < self._next_preview and self.done < self.total:
            return None
        self._next_preview = now + PREVIEW_SECONDS  # also before anybody is asked: that takes long after a forward
        return self.colours.picture(self.sampling.to_latent(denoised[:1])) if self.ctx.wants_previews else None

    def finish(self) -> None:
        """The sampler is at its end, maybe by fewer predictions than steps."""
        if self.done < self.total:
            self.ctx.progress(self.total, self.total)

    def _step_of(self, sigma: float) -> int:
        """The step, from 0, that begins at this level or before it."""
        if self.done < self.total and self.levels[self.done] == sigma:  # the next, as nearly always
            return self.done
        step = max(self.done - 1, 0)
        while step + 1 < self.total and self._is_reached(self.levels[step + 1], sigma):
            step += 1
        return step

    def _is_reached(self, level: float, sigma: float) -> bool:
        return level <= sigma if self.is_upwards else level >= sigma
