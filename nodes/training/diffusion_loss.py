"""One whole training step of a diffusion model, and its loss."""

from __future__ import annotations

from torch import Tensor

from .loss import pointwise_loss
from .noise_process import NoiseProcess
from .picture_set import LatentSet
from .state import TrainingState
from .step import draw_latents, draw_noise, draw_timesteps, optimise, predict, process_of
from .step_settings import DiffusionSettings, LossKind


def weighted_loss(
    output: Tensor,
    target: Tensor,
    timesteps: Tensor,
    process: NoiseProcess,
    kind: LossKind,
    snr_gamma: float = 0.0,
    huber_c: float = 0.1,
) -> Tensor:
    """The mean over a batch of its samples' losses, each by its min-SNR weight if gamma is above 0: a number."""
    losses = pointwise_loss(output, target, kind, huber_c)
    return (losses * process.snr_weights(timesteps, snr_gamma) if snr_gamma else losses).mean()


def diffusion_step(state: TrainingState, data: LatentSet, settings: DiffusionSettings) -> float:
    """Train with one batch. Draws and computes what the nodes of the loop do, in their order. Gives the loss."""
    process = process_of(state)
    latents, captions, labels, concatenated = draw_latents(state, data, settings.batch_size)
    timesteps = draw_timesteps(state, process.steps, len(latents), settings.timesteps)
    noise = draw_noise(state, latents, settings.noise_offset)
    x0 = process.to_model(latents)
    output = predict(state, process.add_noise(x0, noise, timesteps), timesteps, captions, concatenated, labels)
    target = process.target(x0, noise, timesteps)
    loss = weighted_loss(output, target, timesteps, process, settings.loss, settings.snr_gamma, settings.huber_c)
    return optimise(state, loss, settings.on_nan)
