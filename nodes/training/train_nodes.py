"""Nodes that train for many steps at once, watch over it, and draw with what is in training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import AfterValidator, Field

from mezzotint import Context, Image, Widget, node
from mezzotint.engine.errors import OutputError
from mezzotint.engine.output_file import require_below
from mezzotint.engine.port import Port

from .autoencoder_nodes import Gradient, LowPass, Perceptual, Weight
from .loop_nodes import BatchSize, Gamma, HuberC, NoiseOffset, OnNanChoice, Seed
from .perceptual_nodes import Features
from .ports import Latents, Pictures, Training
from .sample_plan import SamplePlan
from .state import TrainingError, TrainingState
from .step_settings import AutoencoderSettings, DiffusionSettings, LossKind, TimestepChoice

if TYPE_CHECKING:
    from .long_run import LongRun

FOLDER = "training"


def below_the_folder(name: str) -> str:
    """Refuses before anything runs a name that would leave its folder."""
    try:
        return require_below(name) if name else name
    except OutputError as error:
        raise ValueError(str(error)) from None


Name = Annotated[
    str,
    AfterValidator(below_the_folder),
    Field(description="Of the folder in output/training for checkpoints, samples and the curve; none when empty."),
]
Steps = Annotated[int, Field(ge=0, le=100_000_000, description="Optimiser steps at which the training ends.")]
Every = Annotated[int, Field(ge=0, le=1_000_000, description="Optimiser steps between checkpoints; 0: at the end.")]
Resume = Annotated[bool, Field(description="Go on from the last checkpoint in the folder, if there is one.")]
Samples = Annotated[SamplePlan, Port("TRAINING_SAMPLES")]


class Trained(NamedTuple):
    """The training, its curve as a picture, and the loss at the end (a running mean)."""

    training: Training
    curve: Image
    loss: float


class WithPictures(NamedTuple):
    training: Training
    images: Image


class WithCurve(NamedTuple):
    training: Training
    curve: Image


@node("TrainingSamples", title="Training Samples", category="training")
def training_samples(
    prompts: Annotated[str, Widget(multiline=True, placeholder="one prompt a line")],
    seed: Seed = 0,
    steps: Annotated[int, Field(ge=1, le=1000)] = 20,
    cfg: Annotated[float, Field(ge=0, le=100), Widget(step=0.1)] = 4.0,
    every: Annotated[int, Field(ge=1, le=1_000_000, description="Optimiser steps between two sheets.")] = 500,
    class_labels: Annotated[
        str,
        Field(
            pattern=r"^\s*(\d{1,6}(\s*,\s*\d{1,6})*)?\s*$",
            description="Of a model conditioned by class: a class for each prompt, by commas; or one for all.",
        ),
    ] = "",
) -> Samples:
    """Say what is drawn now and then while training, always from the same noise: a picture of each line.

    Raises:
        TrainingError: there are not as many classes as prompts.
    """
    lines = tuple(line.strip() for line in prompts.splitlines() if line.strip()) or ("",)
    labels = [int(label) for label in class_labels.split(",") if label.strip()]
    labels = labels * len(lines) if len(labels) == 1 else labels
    if labels and len(labels) != len(lines):
        raise TrainingError(f"there are {len(lines)} prompts and {len(labels)} class_labels; give one for each")
    return SamplePlan(lines, seed, steps, cfg, every, tuple(labels))


@node("TrainSteps", title="Train Steps", category="training", lane="device", autograd=True)
def train_steps(
    training: Training,
    latents: Latents,
    steps: Steps = 1000,
    batch_size: BatchSize = 8,
    loss: LossKind = "mse",
    snr_gamma: Gamma = 0.0,
    huber_c: HuberC = 0.1,
    timesteps: TimestepChoice = "uniform",
    noise_offset: NoiseOffset = 0.0,
    on_nan: OnNanChoice = "stop",
    name: Name = "",
    checkpoint_every: Every = 500,
    resume: Resume = True,
    samples: Samples | None = None,
    perceptual: Annotated[
        Weight, Field(description="Of how alike predicted and real pictures look, when decoded; slow.")
    ] = 0.0,
    features: Features | None = None,
    *,
    ctx: Context,
) -> Trained:
    """Train a diffusion model on stored latents: the same numbers as the nodes of a step, repeated.

    Where `perceptual` is above 0 and nothing is connected to `features`, the encoder of the training's VAE compares.
    With a name, checkpoints are kept in output/training, also when the run is cancelled or the process is asked to end,
    and a later run goes on from the last one, to the same weights.

    Raises:
        TrainingError: the checkpoint is of another training, or the data of another model. NotANumberError: a loss is
            no number. OutOfMemoryError: a batch does not fit. OutputError: a checkpoint cannot be written.
    """
    from .diffusion_loss import diffusion_step
    from .perceptual_network import borrowed_features

    settings = DiffusionSettings(batch_size, loss, snr_gamma, huber_c, timesteps, noise_offset, perceptual, on_nan)
    watch = _long_run(ctx, steps, batch_size, name, checkpoint_every)
    if samples is not None:
        from .samples import draw_samples, sheet

        watch.samples_every = samples.every
        watch.samples = lambda: sheet(draw_samples(training, samples, latents.size, ctx))
    with borrowed_features(features if perceptual else None, ctx) as network:
        watch.run(training, lambda: diffusion_step(training, latents, settings, network), resume)
    return _trained(training)


@node("TrainAutoencoderSteps", title="Train Autoencoder Steps", category="training", lane="device", autograd=True)
def train_autoencoder_steps(
    training: Training,
    pictures: Pictures,
    steps: Steps = 1000,
    batch_size: BatchSize = 16,
    l1: Weight = 1.0,
    mse: Weight = 0.5,
    gradient: Gradient = 0.5,
    low_pass: LowPass = 0.5,
    perceptual: Perceptual = 0.0,
    kl: Annotated[Weight, Field(description="Of the latents' distance from a standard normal distribution.")] = 1e-6,
    on_nan: OnNanChoice = "stop",
    name: Name = "",
    checkpoint_every: Every = 500,
    resume: Resume = True,
    features: Features | None = None,
    samples_every: Annotated[int, Field(ge=0, le=1_000_000, description="Between sheets of pictures decoded.")] = 0,
    *,
    ctx: Context,
) -> Trained:
    """Train an autoencoder on pictures: reconstruction losses and KL, and a perceptual one over another network.

    Checkpoints and going on are those of Train Steps.

    Raises:
        TrainingError: `perceptual` is above 0 and `features` is not connected; and what Train Steps raises.
    """
    from .autoencoder_step import autoencoder_step, feature_network, reconstructions
    from .samples import sheet

    settings = AutoencoderSettings(batch_size, l1, mse, gradient, low_pass, perceptual, kl, on_nan)
    watch = _long_run(ctx, steps, batch_size, name, checkpoint_every)
    watch.samples_every = samples_every
    watch.samples = lambda: sheet(reconstructions(training, pictures))
    with feature_network(features, perceptual, ctx) as network:
        watch.run(training, lambda: autoencoder_step(training, pictures, settings, network), resume)
    return _trained(training)


@node("DrawInTraining", title="Draw in Training", category="training", lane="device", autograd=True)
def draw_in_training(
    training: Training,
    samples: Samples,
    size: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] = 64,
    *,
    ctx: Context,
) -> WithPictures:
    """Draw a picture of each prompt with the networks as they are, by their averaged weights where those are kept."""
    from .samples import draw_samples

    return WithPictures(training, draw_samples(training, samples, size, ctx))


@node("TrainingCurve", title="Training Curve", category="training", lane="device", autograd=True)
def training_curve(training: Training) -> WithCurve:
    """The losses of all steps so far, as a picture."""
    from .long_run import curve_image

    return WithCurve(training, curve_image(training))


@node("SaveTrainingState", title="Save Training State", category="training", lane="device", autograd=True)
def save_training_state(training: Training, name: Annotated[Name, Field(min_length=1)], *, ctx: Context) -> Training:
    """Write a checkpoint of a training, to go on from: weights, optimiser, averages, random numbers, place in the data.

    Raises:
        OutputError: it cannot be written.
    """
    from .checkpoint import save_checkpoint

    save_checkpoint(training, _folder(ctx, name))
    return training


@node("ContinueTraining", title="Continue Training", category="training", lane="device", autograd=True)
def continue_training(training: Training, name: Annotated[Name, Field(min_length=1)], *, ctx: Context) -> Training:
    """Go on from the last checkpoint of a name; where there is none, the training is as it was.

    Raises:
        TrainingError: the checkpoint is of another training.
    """
    from .checkpoint import load_checkpoint

    load_checkpoint(training, _folder(ctx, name))
    return training


def _folder(ctx: Context, name: str) -> Path:
    return ctx.folders.output / FOLDER / name


def _long_run(ctx: Context, steps: int, batch_size: int, name: str, checkpoint_every: int) -> LongRun:
    from .long_run import LongRun

    return LongRun(ctx, steps, batch_size, _folder(ctx, name) if name else None, checkpoint_every)


def _trained(training: TrainingState) -> Trained:
    from .long_run import curve_image, latest_loss

    return Trained(training, curve_image(training), latest_loss(training))
