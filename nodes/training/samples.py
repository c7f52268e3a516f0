"""Pictures drawn with networks in training, from fixed prompts and seeds, so that one sees what they have learnt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mezzotint.engine.context import Context

from ..images.image_layout import GREY
from .networks import part_of
from .sample_plan import SamplePlan
from .state import TrainingState
from .step import class_inputs, encode_captions, process_of

if TYPE_CHECKING:
    from ..autoencoders.autoencoder import Autoencoder
    from ..samplers.schedules import DiscreteSigmas
    from .noise_process import NoiseProcess

GAP = 2
"""Pixels between the pictures of a sheet."""


def draw_samples(state: TrainingState, plan: SamplePlan, side: int, ctx: Context) -> Tensor:
    """A picture of each prompt: float32 [prompts, H, W, 3] on the CPU, 0..1. Changes nothing of the training.

    Args:
        side: of the pictures, in pixels.

    Raises:
        TrainingError: the plan names a class that the network has not.
    """
    from ..samplers.basic_samplers import euler_step
    from ..samplers.schedules import DiscreteSigmas, schedule_sigmas

    sigmas = DiscreteSigmas.from_config(state.scheduler_config)
    unet, vae = part_of(state.networks, "unet", "drawing"), autoencoder_of(state)
    process, count = process_of(state), len(plan.prompts)
    with drawing(state):
        context = encode_captions(state, [*plan.prompts, *[""] * count]).float()
        noise = _noise(plan, vae.latent_channels, side // vae.downscale).to(state.device)
        given = {"encoder_hidden_states": context.to(unet.dtype), **class_inputs(unet, _labels(plan), 2 * count)}
        further = _nothing_shown(unet, vae, process, noise, side)
        levels = schedule_sigmas(sigmas, "normal", plan.steps).tolist()
        x = sigmas.start(noise, torch.zeros_like(noise), levels[0])
        for level, following in pairwise(levels):
            ctx.check()
            x = euler_step(x, _denoised(unet, sigmas, x, level, further, given, plan.cfg), level, following)
        latents = x / process.scaling_factor + process.shift_factor
        return torch.cat([vae.decode(latent[None]) for latent in latents])


def _noise(plan: SamplePlan, channels: int, cells: int) -> Tensor:
    seeds = range(plan.seed, plan.seed + len(plan.prompts))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.randn(channels, cells, cells, generator=generator) for generator in generators])


def _labels(plan: SamplePlan) -> Tensor:
    """The classes of the prompts, then those of the empty ones: none."""
    count = len(plan.prompts)
    return torch.tensor([*(plan.labels or [-1] * count), *[-1] * count])


def _nothing_shown(unet: Any, vae: Autoencoder, process: NoiseProcess, noise: Tensor, side: int) -> Tensor | None:
    """The further channels of a network for inpainting, where the mask selects all; None where it has none."""
    count = unet.config.in_channels - vae.latent_channels
    if not count:
        return None
    grey = process.to_model(vae.encode(torch.full((1, side, side, 3), GREY))).to(noise.device)
    shown = torch.cat([torch.ones_like(grey[:, :1]), grey], 1)[:, -count:]
    return shown.expand(2 * len(noise), -1, -1, -1)


def _denoised(
    unet: Any,
    sigmas: DiscreteSigmas,
    x: Tensor,
    sigma: float,
    further: Tensor | None,
    given: dict[str, Tensor],
    cfg: float,
) -> Tensor:
    scaling = sigmas.preconditioning(sigma)
    doubled = torch.cat([x, x]) * scaling.c_in
    doubled = doubled if further is None else torch.cat([doubled, further], 1)
    timesteps = torch.full((len(doubled),), scaling.timestep, device=x.device)
    output = unet(doubled.to(unet.dtype), timesteps, return_dict=False, **given)[0].float()
    positive, negative = scaling.denoised(torch.cat([x, x]), output).chunk(2)
    return negative + cfg * (positive - negative)


@contextmanager
def drawing(state: TrainingState) -> Iterator[None]:
    """Networks for use: with their averaged weights where those are kept, without dropout and gradients."""
    was_training = {part: network.training for part, network in state.networks.items()}
    for network in state.networks.values():
        network.eval()
    try:
        with torch.no_grad(), weights_for_use(state):
            yield
    finally:
        for part, network in state.networks.items():
            network.train(was_training[part])


@contextmanager
def weights_for_use(state: TrainingState, averaged: bool = True) -> Iterator[None]:
    """The averaged weights in place of the latest ones, where an average is kept and wanted."""
    if state.average is None or not averaged:
        yield
        return
    parameters = list(state.parameters())
    state.average.store(parameters)
    state.average.copy_to(parameters)
    try:
        yield
    finally:
        state.average.restore(parameters)


def autoencoder_of(state: TrainingState) -> Autoencoder:
    """The VAE of a training, to encode and decode with."""
    from ..autoencoders.autoencoder import Autoencoder

    network = part_of(state.networks, "vae", "making pictures")
    widths = network.config.block_out_channels
    return Autoencoder(
        network,
        state.device,
        network.dtype,
        latent_channels=network.config.latent_channels,
        downscale=2 ** (len(widths) - 1),
        encoder_width=widths[0],
        decoder_width=max(widths[:2]),
    )


def sheet(pictures: Tensor, columns: int = 8) -> Tensor:
    """Pictures [N, H, W, 3] side by side in rows, on white: [rows * (H + gap) - gap, ..., 3]."""
    count, height, width, _ = pictures.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    laid = pictures.new_ones(rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        laid[top : top + height, left : left + width] = picture
    return laid
