"""What can be chosen for a training step. Imports no torch, so that nodes can name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LossKind = Literal["mse", "l1", "huber"]
TimestepChoice = Literal["uniform", "logit_normal"]
OnNan = Literal["stop", "skip"]


@dataclass(frozen=True, slots=True)
class DiffusionSettings:
    """Of a step of a diffusion model; see the inputs of `TrainSteps`."""

    batch_size: int = 8
    loss: LossKind = "mse"
    snr_gamma: float = 0.0
    huber_c: float = 0.1
    timesteps: TimestepChoice = "uniform"
    noise_offset: float = 0.0
    perceptual: float = 0.0
    on_nan: OnNan = "stop"


@dataclass(frozen=True, slots=True)
class AutoencoderSettings:
    """Of a step of an autoencoder: the weights of its losses; see the inputs of `TrainAutoencoderSteps`."""

    batch_size: int = 16
    l1: float = 1.0
    mse: float = 0.5
    gradient: float = 0.5
    low_pass: float = 0.5
    perceptual: float = 0.0
    kl: float = 1e-6
    on_nan: OnNan = "stop"
