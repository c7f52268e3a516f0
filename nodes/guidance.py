"""What travels on GUIDER links: a model, what it shall draw, and how its predictions are combined."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from mezzotint.engine.request import Requests
from mezzotint.engine.value_type import value_type

from .denoise import Denoise
from .prompts import Prompts

if TYPE_CHECKING:
    from torch import Tensor

    from .ports import Conditioning
    from .recipe import Recipe


class GuiderValue(Protocol):
    """What the driver wants of a value on a GUIDER link."""

    @property
    def model(self) -> Recipe:
        """The recipe of the denoiser."""

    @property
    def evaluations(self) -> int:
        """How many evaluations of the network one prediction takes, for the estimate of memory."""

    def predict(self, x: Tensor, sigma: float) -> Requests[Tensor]:
        """The prediction of x0 for x [B, C, h, w] at a noise level; a new tensor, like x."""


@value_type("mezzotint.CFGGuider")
@dataclass(frozen=True, eq=False)
class CFGGuider:
    """Classifier-free guidance: away from the negative prediction, past the positive one. Ho and Salimans 2022.

    Attributes:
        cfg: the guidance scale. At 1 the negative is not evaluated, since nothing would come of it.
    """

    model: Recipe
    positive: Conditioning
    negative: Conditioning
    cfg: float

    @cached_property
    def is_guided(self) -> bool:
        """Whether the negative conditioning makes a difference."""
        return not math.isclose(self.cfg, 1.0)

    @cached_property
    def prompts(self) -> Prompts:
        """What is predicted for at each step."""
        return Prompts((self.positive, self.negative) if self.is_guided else (self.positive,))

    @property
    def evaluations(self) -> int:
        return self.prompts.evaluations

    def predict(self, x: Tensor, sigma: float) -> Requests[Tensor]:
        conditional, *others = yield Denoise(self.model, x, sigma, self.prompts)
        prediction: Tensor = guided(conditional, others[0], self.cfg) if others else conditional
        return prediction


@value_type("mezzotint.BasicGuider")
@dataclass(frozen=True, eq=False)
class BasicGuider:
    """The model's prediction as it is, for models that need no guidance or have it built in."""

    model: Recipe
    conditioning: Conditioning

    @cached_property
    def prompts(self) -> Prompts:
        """What is predicted for at each step."""
        return Prompts((self.conditioning,))

    @property
    def evaluations(self) -> int:
        return self.prompts.evaluations

    def predict(self, x: Tensor, sigma: float) -> Requests[Tensor]:
        (prediction,) = yield Denoise(self.model, x, sigma, self.prompts)
        result: Tensor = prediction
        return result


def positive_guider(model: Recipe, positive: Conditioning, negative: Conditioning, cfg: float) -> BasicGuider:
    """A `BasicGuider`, made as guiders are that have a name: negative and scale play no part."""
    return BasicGuider(model, positive)


def guided(conditional: Tensor, unconditional: Tensor, cfg: float) -> Tensor:
    """unconditional + (conditional - unconditional) * cfg."""
    import torch

    # Not torch.lerp: its code is not in the processor's cache after a forward, that of these two is.
    return torch.add(unconditional, conditional - unconditional, alpha=cfg)
