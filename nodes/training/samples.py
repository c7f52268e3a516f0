"""Pictures drawn with networks in training, from fixed prompts and seeds, so that one sees what they have learnt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mezzotint.engine.context import Context

from .networks import part_of
from .sample_plan import SamplePlan
from .state import TrainingState
from .step import encode_captions, process_of

if TYPE_CHECKING:
    from ..autoencoders.autoencoder import Autoencoder
    from ..samplers.schedules import DiscreteSigmas

GAP = 2
"""Pixels between the pictures of a sheet."""


def draw_samples(state: TrainingState, plan: SamplePlan, side: int, ctx: Context) -> Tensor:
    """A picture of each prompt: float32 [prompts, H, W, 3] on the CPU, 0..1. Changes nothing of the training.

    Args:
        side: of the pictures, in pixels.
    """
    from ..samplers.basic_samplers import euler_step

    sigmas = _sigmas(state)
    unet, vae = part_of(state.networks, "unet", "drawing"), autoencoder_of(state)
    cells = side // vae.downscale
    process = process_of(state)
    with drawing(state):
        context = encode_captions(state, [*plan.prompts, *[""] * len(plan.prompts)]).float()
        noise = torch.stack(
            [
                torch.randn(vae.latent_channels, cells, cells, generator=torch.Generator().manual_seed(plan.seed + i))
                for i in range(len(plan.prompts))
            ]
        ).to(state.device)
        levels = _levels(sigmas, plan.steps)
        x = sigmas.start(noise, torch.zeros_like(noise), levels[0])
        for level, following in pairwise(levels):
            ctx.check()
            denoised = _denoised(unet, sigmas, x, level, context, plan.cfg)
            x = euler_step(x, denoised, level, following)
        latents = x / process.scaling_factor + process.shift_factor
        return torch.cat([vae.decode(latent[None]) for latent in latents])


def _levels(sigmas: DiscreteSigmas, steps: int) -> list[float]:
    from ..samplers.schedules import schedule_sigmas

    levels: list[float] = schedule_sigmas(sigmas, "normal", steps).tolist()
    return levels


def _sigmas(state: TrainingState) -> DiscreteSigmas:
    from ..samplers.schedules import DiscreteSigmas

    return DiscreteSigmas.from_config(state.scheduler_config)


def _denoised(unet: Any, sigmas: DiscreteSigmas, x: Tensor, sigma: float, context: Tensor, cfg: float) -> Tensor:
    scaling = sigmas.preconditioning(sigma)
    doubled = torch.cat([x, x]) * scaling.c_in
    timesteps = torch.full((len(doubled),), scaling.timestep, device=x.device)
    output = unet(doubled.to(unet.dtype), timesteps, context.to(unet.dtype), return_dict=False)[0].float()
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
