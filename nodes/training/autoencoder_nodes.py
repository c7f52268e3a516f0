"""The training loop of an autoencoder as nodes; what a step of Train Autoencoder Steps is made of."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field

from mezzotint import Context, Widget, node

from .loop_nodes import BatchSize, Drawn
from .perceptual_nodes import Features
from .ports import Pictures, PredictionOutput, Tensor, Training, TrainingLatent, TrainingLoss
from .state import Loss, Output, Posterior
from .step_settings import AutoencoderSettings

Weight = Annotated[float, Field(ge=0, le=1000), Widget(step=0.01, round=0.0000001)]
Gradient = Annotated[Weight, Field(description="Of differences between neighbouring pixels.")]
LowPass = Annotated[Weight, Field(description="Of averages over 4×4 pixels.")]
Perceptual = Annotated[Weight, Field(description="Of how alike the network of `features` finds pictures.")]


class Reconstructed(NamedTuple):
    """What the autoencoder made of the pictures, and the distribution that their latents were drawn from."""

    training: Training
    output: PredictionOutput
    posterior: TrainingLatent


@node("DrawTrainingPictures", title="Draw Training Pictures", category="training/step", lane="device", autograd=True)
def draw_training_pictures(training: Training, pictures: Pictures, batch_size: BatchSize = 16) -> Drawn:
    """Take the next pictures, as the autoencoder sees them: −1..1."""
    from . import step

    return Drawn(training, step.draw_pictures(training, pictures, batch_size))


@node("ReconstructInTraining", title="Reconstruct in Training", category="training/step", lane="device", autograd=True)
def reconstruct_in_training(training: Training, pictures: Tensor) -> Reconstructed:
    """Encode pictures, draw a latent of each, and decode it, recording gradients."""
    from .autoencoder_step import reconstruct

    made = reconstruct(training, pictures)
    return Reconstructed(training, Output(made.pictures), Posterior(made.mean, made.logvar))


@node("ReconstructionLoss", title="Reconstruction Loss", category="training/loss", lane="device", autograd=True)
def reconstruction_loss(
    output: PredictionOutput,
    pictures: Tensor,
    l1: Weight = 1.0,
    mse: Weight = 0.5,
    gradient: Gradient = 0.5,
    low_pass: LowPass = 0.5,
    perceptual: Perceptual = 0.0,
    features: Features | None = None,
    *,
    ctx: Context,
) -> TrainingLoss:
    """How far pictures are from what was made of them, by several measures, each with its weight.

    Raises:
        TrainingError: `perceptual` is above 0 and `features` is not connected.
    """
    from . import autoencoder_step

    settings = AutoencoderSettings(1, l1, mse, gradient, low_pass, perceptual)
    with autoencoder_step.feature_network(features, perceptual, ctx) as network:
        return Loss(autoencoder_step.reconstruction_loss(output.value, pictures, settings, network))


@node("KLLoss", title="KL Loss", category="training/loss", lane="device", autograd=True)
def kl_loss(posterior: TrainingLatent) -> TrainingLoss:
    """How far the latents' distribution is from a standard normal one. Add it with a small weight, such as 0.000002."""
    from .loss import kl_loss

    return Loss(kl_loss(posterior.mean, posterior.logvar).mean())


@node("WhitenLatents", title="Whiten Latents", category="training", lane="device", autograd=True)
def whiten_latents(
    training: Training,
    pictures: Pictures,
    count: Annotated[int, Field(ge=1, le=1_000_000, description="Pictures to measure.")] = 512,
) -> Training:
    """Give an autoencoder latents of mean 0 and deviation 1 in each channel; its pictures stay the same. At the end.

    Raises:
        TrainingError: it has no convolutions that this can be folded into.
    """
    from . import whitening

    whitening.whiten_latents(training, pictures, count)
    return training
