"""Guidance by two prompts. Brooks et al. 2023, "InstructPix2Pix", arXiv 2211.09800, equation 3."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mezzotint import Conditioning, Guider, Model, Widget, node
from mezzotint.engine.request import Requests
from mezzotint.engine.value_type import value_type

from .denoise import Denoise
from .guidance import Guided, adjusted, adjustments_of, guided
from .prompts import Prompts
from .sampling_inputs import GuidanceScale

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.recipe import Recipe

Style = Literal["regular", "nested"]


@value_type("mezzotint.DualCFGGuider")
@dataclass(frozen=True, eq=False)
class DualCFGGuider:
    """Away from the negative prediction, past the second, past the first.

    Attributes:
        positive, middle: the two conditionings. scale: from the second to the first. middle_scale: from the negative.
        style: regular: equation 3, negative + middle_scale (middle - negative) + scale (positive - middle). nested: the
            guidance from the second to the first is guided from the negative in turn.
    """

    conditionings = ("positive", "middle", "negative")

    model: Recipe
    positive: Conditioning
    middle: Conditioning
    negative: Conditioning
    scale: float
    middle_scale: float
    style: Style = "regular"

    @cached_property
    def prompts(self) -> Prompts:
        """What is predicted for at each step."""
        return Prompts((self.positive, self.middle, self.negative))

    @cached_property
    def _kept(self) -> dict[tuple[bool, Recipe], Prompts]:
        return {}

    @property
    def evaluations(self) -> int:
        return self.prompts.evaluations

    def predict(self, x: Tensor, sigma: float) -> Requests[Tensor]:
        prediction, _ = yield from self.predict_pair(x, sigma)
        return prediction

    def predict_pair(self, x: Tensor, sigma: float) -> Requests[tuple[Tensor, Tensor]]:
        positive, middle, negative = yield Denoise(self.model, x, sigma, self.prompts)
        found = Guided(
            self._combined(positive, middle, negative), positive, negative, x, sigma, self.scale, self.positive,
            self.negative, self.model, self._kept,
        )  # fmt: skip
        return (yield from adjusted(found, adjustments_of(self.model))), negative

    def _combined(self, positive: Tensor, middle: Tensor, negative: Tensor) -> Tensor:
        if self.style == "nested":
            return guided(guided(positive, middle, self.scale), negative, self.middle_scale)
        return guided(middle, negative, self.middle_scale) + (positive - middle) * self.scale


@node("DualCFGGuider", category="sampling/custom_sampling/guiders")
def dual_cfg_guider(
    model: Model,
    cond1: Conditioning,
    cond2: Conditioning,
    negative: Conditioning,
    cfg_conds: Annotated[float, Field(ge=0, le=100), Widget(step=0.1, round=0.01)] = 8.0,
    cfg_cond2_negative: GuidanceScale = 8.0,
    style: Style = "regular",
) -> Guider:
    """Two prompts and a negative one: how strongly from the second to the first, and from the negative to both."""
    return DualCFGGuider(model, cond1, cond2, negative, cfg_conds, cfg_cond2_negative, style)
