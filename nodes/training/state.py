"""What a training is: all that its steps change. It imports no torch; `begin.py` makes one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mezzotint.engine.consumed_state import consumed
from mezzotint.engine.errors import MezzotintError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn, optim

    from ..text.text_encoder import TextEncoder
    from .network_plan import NetworkPlan, Part
    from .noise_process import NoiseProcess
    from .optimiser_plan import OptimiserPlan
    from .picture_set import DataOrder

Precision = Literal["float32", "bfloat16", "float16"]


class TrainingError(MezzotintError):
    """A training cannot begin, or cannot go on."""


@consumed
@dataclass(slots=True, eq=False, repr=False)
class TrainingState:
    """Networks in training. Consumed: a step changes it in place and gives it on.

    Attributes:
        plan, optimiser_plan, seed, precision: what it was made from. device: where the networks are.
        networks: by part, all that the model has, those that are not trained too. process: None for an autoencoder.
        encoder: the text encoder with its tokeniser, if there is one; its network is that of `networks`.
        class_names: of a U-Net conditioned by class, by number.
        scheduler_config: of diffusers, for saving.
        average: the EMA of what is trained, if it is kept (`diffusers.training_utils.EMAModel`).
        generator: on the CPU; all that is drawn by chance comes from it. order: of the data; None before a first batch.
        step: optimiser steps done. pending: batches of the current one. losses, rates: of each optimiser step.
        skipped: batches left out because their loss was no number.
    """

    plan: NetworkPlan
    optimiser_plan: OptimiserPlan
    seed: int
    precision: Precision
    device: torch.device
    networks: dict[Part, nn.Module]
    scheduler_config: dict[str, Any]
    process: NoiseProcess | None
    optimiser: optim.Optimizer
    rates: optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    average: Any
    generator: torch.Generator
    encoder: TextEncoder | None = None
    class_names: tuple[str, ...] = ()
    order: DataOrder | None = None
    step: int = 0
    pending: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    skipped: int = 0

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained, always in the same order."""
        for part in self.plan.trained:
            yield from (each for each in self.networks[part].parameters() if each.requires_grad)

    def __repr__(self) -> str:
        return f"TrainingState({', '.join(self.plan.trained)}; {self.step} steps)"


@consumed
@dataclass(slots=True, eq=False, repr=False)
class Output:
    """What a network said in training: [B, C, h, w], with the graph of its gradients."""

    value: Tensor


@consumed
@dataclass(slots=True, eq=False, repr=False)
class Posterior:
    """What an encoder says of latents in training, with the graph of its gradients: N(mean, exp(logvar))."""

    mean: Tensor
    logvar: Tensor


@consumed
@dataclass(slots=True, eq=False, repr=False)
class Loss:
    """What is to become less: a number, with the graph of its gradients."""

    value: Tensor
