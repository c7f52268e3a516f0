"""One whole training step of a diffusion model, and its loss."""

from __future__ import annotations

import torch
from torch import Tensor

from .loss import feature_loss, pointwise_loss
from .networks import part_of
from .noise_process import NoiseProcess
from .perceptual_network import AutoencoderFeatures, FeatureNetwork
from .picture_set import LatentSet
from .state import TrainingState
from .step import computing, draw_latents, draw_noise, draw_timesteps, optimise, predict, process_of
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


def perceptual_loss(
    state: TrainingState, output: Tensor, noisy: Tensor, x0: Tensor, timesteps: Tensor, network: FeatureNetwork | None
) -> Tensor:
    """How far the picture that an output stands for looks from the real one: the mean over a batch, each by alpha_t^2.

    Args:
        output, noisy, x0: [B, C, h, w], as the model sees them. network: what compares; the VAE's own encoder if None.

    Raises:
        TrainingError: the training has no VAE. NoiseProcessError: the output says nothing of the picture.
    """
    process, vae = process_of(state), part_of(state.networks, "vae", "a perceptual loss")
    compared = AutoencoderFeatures(vae) if network is None else network
    alpha, _ = process.alpha_sigma(timesteps)

    def seen(latents: Tensor) -> list[Tensor]:
        decoded = vae.decode((latents / process.scaling_factor + process.shift_factor).to(vae.dtype), return_dict=False)
        return compared.features(decoded[0])

    with computing(state):
        with torch.no_grad():
            wanted = seen(x0)
        losses = feature_loss(seen(process.recover(noisy, output.float(), timesteps)), wanted, compared.heads)
    return (losses * alpha.flatten().square()).mean()


def diffusion_step(
    state: TrainingState, data: LatentSet, settings: DiffusionSettings, features: FeatureNetwork | None = None
) -> float:
    """Train with one batch. Draws and computes what the nodes of the loop do, in their order. Gives the loss.

    Args:
        features: what compares pictures where the settings want that; the VAE's own encoder if None.
    """
    process = process_of(state)
    latents, captions, labels, concatenated = draw_latents(state, data, settings.batch_size)
    timesteps = draw_timesteps(state, process.steps, len(latents), settings.timesteps)
    noise = draw_noise(state, latents, settings.noise_offset)
    x0 = process.to_model(latents)
    noisy = process.add_noise(x0, noise, timesteps)
    output = predict(state, noisy, timesteps, captions, concatenated, labels)
    target = process.target(x0, noise, timesteps)
    loss = weighted_loss(output, target, timesteps, process, settings.loss, settings.snr_gamma, settings.huber_c)
    if settings.perceptual:
        loss = loss + settings.perceptual * perceptual_loss(state, output, noisy, x0, timesteps, features)
    return optimise(state, loss, settings.on_nan)
