"""How weights are changed: the optimiser, its learning rate over time, averages, accumulation and clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mezzotint.engine.value_type import value_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn, optim

OptimiserName = Literal["adamw", "adam", "sgd", "adafactor"]
RateSchedule = Literal["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"]


@value_type("mezzotint.OptimiserPlan")
@dataclass(frozen=True, slots=True)
class OptimiserPlan:
    """An optimiser of torch or transformers, with a learning rate schedule of diffusers.

    Attributes:
        steps: after how many optimiser steps the schedule has come to its end. warmup_steps: of rising from 0.
        ema_decay: of the average of the weights, 0 for none. accumulate: batches to one optimiser step.
        clip_norm: the greatest norm of all gradients together, 0 for any. momentum: of SGD.
    """

    name: OptimiserName = "adamw"
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    beta_1: float = 0.9
    beta_2: float = 0.999
    momentum: float = 0.9
    rate_schedule: RateSchedule = "constant"
    warmup_steps: int = 0
    steps: int = 1000
    ema_decay: float = 0.0
    accumulate: int = 1
    clip_norm: float = 1.0

    def optimiser(self, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
        """The optimiser over parameters."""
        import torch

        given: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        if self.name == "sgd":
            return torch.optim.SGD(parameters, momentum=self.momentum, **given)
        if self.name == "adafactor":
            from transformers.optimization import Adafactor

            made: optim.Optimizer = Adafactor(parameters, relative_step=False, scale_parameter=False, **given)
            return made
        kind = torch.optim.AdamW if self.name == "adamw" else torch.optim.Adam
        return kind(parameters, betas=(self.beta_1, self.beta_2), fused=True, **given)

    def rates(self, optimiser: optim.Optimizer) -> optim.lr_scheduler.LRScheduler:
        """What sets the learning rate of each optimiser step."""
        from diffusers.optimization import get_scheduler

        schedule: optim.lr_scheduler.LRScheduler = get_scheduler(
            self.rate_schedule, optimiser, num_warmup_steps=self.warmup_steps, num_training_steps=self.steps
        )
        return schedule
