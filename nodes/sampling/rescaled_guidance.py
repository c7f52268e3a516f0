"""Guidance that keeps the contrast of the prediction for the positive prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mezzotint import Model, Widget, node
from mezzotint.engine.value_type import value_type

from .guidance import with_adjustment

if TYPE_CHECKING:
    from torch import Tensor

    from .guidance import Guided


@value_type("mezzotint.RescaledGuidance")
@dataclass(frozen=True, slots=True)
class RescaledGuidance:
    """An `Adjustment`: the guided prediction, as v, gets the deviation that the conditional one has, to a share.

    Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed", equations 14 to 16.
    """

    share: float
    needs_negative = False

    def __call__(self, guided: Guided) -> Tensor:
        if guided.unconditional is None:
            return guided.prediction
        variance = guided.sigma**2 + 1
        kept, factor = guided.x / variance, variance**0.5 / guided.sigma
        conditional, prediction = ((kept - x0) * factor for x0 in (guided.conditional, guided.prediction))
        axes = tuple(range(1, prediction.ndim))
        deviation = conditional.std(axes, keepdim=True) / prediction.std(axes, keepdim=True)
        result: Tensor = kept - prediction * (1 + (deviation - 1) * self.share) / factor
        return result


@node("RescaleCFG", category="advanced/model")
def rescale_cfg(
    model: Model,
    multiplier: Annotated[float, Field(ge=0, le=1, description="How much of it: 0 is none."), Widget(step=0.01)] = 0.7,
) -> Model:
    """Keep the contrast of high guidance scales as the model has it without, mostly for v-prediction."""
    return with_adjustment(model, RescaledGuidance(multiplier))
