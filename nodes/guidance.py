"""What travels on GUIDER links: a model, what it shall draw, and how its predictions are combined."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from mezzotint.engine.request import Requests
from mezzotint.engine.value_type import value_type

from .denoise import Denoise

if TYPE_CHECKING:
    import torch
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

    def on(self, device: torch.device) -> GuiderValue:
        """The same with its tensors on a device, so that they are moved once and not at each step."""

    def predict(self, x: Tensor, sigma: float) -> Requests[Tensor]:
        """The prediction of x0 for x [B, C, h, w] at a noise level; a new tensor, like x."""


@value_type("mezzotint.CFGGuider")
@dataclass(frozen=True, eq=False, slots=True)
class CFGGuider:
    """Classifier-free guidance: away from the negative prediction, past the positive one. Ho and Salimans 2022.

    Attributes:
        cfg: the guidance scale. At 1 the negative is not evaluated, since nothing would come of it.
    """

    model: Recipe
    positive: Conditioning
    negative: Conditioning
    cfg: float

    @property
    def evaluations(self) -> int:
        negative = 0 if self.is_unguided else len(self.negative)
        return len(self.positive) + negative

    @property
    def is_unguided(self) -> bool:
        return math.isclose(self.cfg, 1.0)

    def on(self, device: torch.device) -> CFGGuider:
        return replace(self, positive=_moved(self.positive, device), negative=_moved(self.negative, device))

    def predict(self, x: Tensor, sigma: float) -> Requests[Tensor]:
        if self.is_unguided:
            (conditional,) = yield Denoise(self.model, x, sigma, (self.positive,))
        else:
            conditional, unconditional = yield Denoise(self.model, x, sigma, (self.positive, self.negative))
            conditional = guided(conditional, unconditional, self.cfg)
        prediction: Tensor = conditional
        return prediction


@value_type("mezzotint.BasicGuider")
@dataclass(frozen=True, eq=False, slots=True)
class BasicGuider:
    """The model's prediction as it is, for models that need no guidance or have it built in."""

    model: Recipe
    conditioning: Conditioning

    @property
    def evaluations(self) -> int:
        return len(self.conditioning)

    def on(self, device: torch.device) -> BasicGuider:
        return replace(self, conditioning=_moved(self.conditioning, device))

    def predict(self, x: Tensor, sigma: float) -> Requests[Tensor]:
        (prediction,) = yield Denoise(self.model, x, sigma, (self.conditioning,))
        result: Tensor = prediction
        return result


def guided(conditional: Tensor, unconditional: Tensor, cfg: float) -> Tensor:
    """unconditional + (conditional - unconditional) * cfg."""
    return unconditional + (conditional - unconditional) * cfg


def _moved(conditioning: Conditioning, device: torch.device) -> Conditioning:
    return [[tokens.to(device), options] for tokens, options in conditioning]
