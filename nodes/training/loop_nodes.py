"""The training loop as nodes: beginning, and the parts of one step, to be repeated by Repeat: Begin and Repeat: End."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import Field

from mezzotint import Context, Widget, node
from mezzotint.engine.blocked import Blocked
from mezzotint.engine.port import Port

from .ports import (
    Captions,
    Latents,
    Networks,
    Optimiser,
    PredictionOutput,
    Process,
    Tensor,
    Training,
    TrainingLoss,
)
from .state import Loss, Output, Precision
from .step_settings import LossKind, OnNan, TimestepChoice

BatchSize = Annotated[int, Field(ge=1, le=65_536, description="Pictures to a batch.")]
Seed = Annotated[int, Field(ge=0, le=2**62), Widget(control_after_generate=True)]
Gamma = Annotated[
    float, Field(ge=0, le=1000, description="Weigh by min(SNR, gamma); 5 is usual, 0 leaves all weights at 1.")
]
HuberC = Annotated[float, Field(gt=0, le=10, description="Where huber goes over from squares to amounts.")]
OnNanChoice = Annotated[OnNan, Field(description="What a loss that is no number does: end the run, or be left out.")]
NoiseOffset = Annotated[
    float, Field(ge=0, le=1, description="Noise that is equal all over a channel, for darker and brighter pictures.")
]


class Begun(NamedTuple):
    """A training at its beginning, and its forward process."""

    training: Training
    process: Process


class BatchDrawn(NamedTuple):
    """The next batch: latents as the VAE gives them, their captions, and their classes and further channels, if any."""

    training: Training
    latents: Tensor
    captions: Captions
    labels: Annotated[Tensor | None, Port("TENSOR")]
    concatenated: Annotated[Tensor | None, Port("TENSOR")]


class Drawn(NamedTuple):
    training: Training
    drawn: Tensor


class Predicted(NamedTuple):
    training: Training
    output: PredictionOutput


class Stepped(NamedTuple):
    training: Training
    loss: float


@node("BeginTraining", title="Begin Training", category="training", lane="device", autograd=True)
def begin_training(
    networks: Networks,
    optimiser: Optimiser,
    seed: Seed = 0,
    precision: Annotated[Precision, Field(description="Of the computation; trained weights stay float32.")] = "float32",
    gradient_checkpointing: Annotated[bool, Field(description="Less memory, more time.")] = False,
    *,
    ctx: Context,
) -> Begun:
    """Make networks to train, with their optimiser. What follows changes them in place, one node after another.

    Raises:
        TrainingError: it cannot be, as planned.
    """
    from . import begin

    state = begin.begin_training(networks, optimiser, seed, precision, gradient_checkpointing, ctx)
    no_process: Any = Blocked("a training of an autoencoder has no noise process")
    return Begun(state, state.process or no_process)


@node("DrawTrainingBatch", title="Draw Training Batch", category="training/step", lane="device", autograd=True)
def draw_training_batch(training: Training, latents: Latents, batch_size: BatchSize = 8) -> BatchDrawn:
    """Take the next pictures' latents with their captions, of which some are left out by chance."""
    from . import step

    return BatchDrawn(training, *step.draw_latents(training, latents, batch_size))


@node("DrawTimesteps", title="Draw Timesteps", category="training/step", lane="device", autograd=True)
def draw_timesteps(
    training: Training, latents: Tensor, process: Process, timesteps: TimestepChoice = "uniform"
) -> Drawn:
    """Draw a timestep for each of a batch."""
    from . import step

    return Drawn(training, step.draw_timesteps(training, process.steps, len(latents), timesteps))


@node("DrawTrainingNoise", title="Draw Training Noise", category="training/step", lane="device", autograd=True)
def draw_training_noise(training: Training, latents: Tensor, noise_offset: NoiseOffset = 0.0) -> Drawn:
    """Draw standard normal noise of a batch's shape."""
    from . import step

    return Drawn(training, step.draw_noise(training, latents, noise_offset))


@node("PredictInTraining", title="Predict in Training", category="training/step", lane="device", autograd=True)
def predict_in_training(
    training: Training,
    noisy: Tensor,
    timesteps: Tensor,
    captions: Captions,
    concatenated: Annotated[Tensor | None, Field(description="Further channels, as for inpainting.")] = None,
    labels: Annotated[Tensor | None, Field(description="Classes, for a network conditioned by them.")] = None,
) -> Predicted:
    """Ask the U-Net, conditioned by cross-attention on the captions, by further channels and by class.

    It records gradients.
    """
    from . import step

    return Predicted(training, Output(step.predict(training, noisy, timesteps, captions, concatenated, labels)))


@node("DiffusionLoss", title="Diffusion Loss", category="training/loss", lane="device", autograd=True)
def diffusion_loss(
    output: PredictionOutput,
    target: Tensor,
    timesteps: Tensor,
    process: Process,
    loss: LossKind = "mse",
    snr_gamma: Gamma = 0.0,
    huber_c: HuberC = 0.1,
) -> TrainingLoss:
    """How far the output is from the target: the mean over the batch of squares, amounts, or Huber's losses."""
    from .diffusion_loss import weighted_loss

    return Loss(weighted_loss(output.value, target, timesteps, process, loss, snr_gamma, huber_c))


@node("AddLosses", title="Add Losses", category="training/loss", lane="device", autograd=True)
def add_losses(
    loss_1: TrainingLoss, loss_2: TrainingLoss, weight_1: float = 1.0, weight_2: float = 1.0
) -> TrainingLoss:
    """weight_1 × loss_1 + weight_2 × loss_2."""
    return Loss(weight_1 * loss_1.value + weight_2 * loss_2.value)


@node("OptimiserStep", title="Optimiser Step", category="training/step", lane="device", autograd=True)
def optimiser_step(training: Training, loss: TrainingLoss, on_nan: OnNanChoice = "stop") -> Stepped:
    """Change the weights against the gradients of a loss, or add these up until enough batches have come.

    Raises:
        NotANumberError: the loss is no number, and on_nan says stop.
    """
    from . import step

    return Stepped(training, step.optimise(training, loss.value, on_nan))
