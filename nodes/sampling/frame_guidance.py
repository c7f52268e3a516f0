"""Guidance that differs along a batch, for models whose batch is the frames of a film.

Blattmann et al. 2023, "Stable Video Diffusion", arXiv 2311.15127, appendix D: the scale grows from frame to frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mezzotint import Model, Widget, node, value_type

from .guidance import with_adjustment

if TYPE_CHECKING:
    from torch import Tensor

    from .guidance import Guided

MinCfg = Annotated[
    float,
    Field(ge=0, le=100, description="The least scale; the greatest is the sampler's."),
    Widget(step=0.5, round=0.01),
]


@value_type("mezzotint.FrameGuidance")
@dataclass(frozen=True, slots=True)
class FrameGuidance:
    """An `Adjustment` in the place of the usual guidance.

    Attributes:
        least: the scale at the first frame; the guider's own is at the last (linear), or in the middle (triangle).
    """

    least: float
    shape: Literal["linear", "triangle"]

    @property
    def needs_negative(self) -> bool:
        return not math.isclose(self.least, 1.0)

    def __call__(self, guided: Guided) -> Tensor:
        import torch

        if guided.unconditional is None:
            return guided.prediction
        share = torch.linspace(0, 1, len(guided.x), device=guided.x.device)
        if self.shape == "triangle":
            share = 1 - (2 * share - 1).abs()
        scale = (self.least + (guided.scale - self.least) * share).view(-1, *[1] * (guided.x.ndim - 1))
        return guided.unconditional + (guided.conditional - guided.unconditional) * scale


@node("VideoLinearCFGGuidance", category="sampling/video_models")
def video_linear_cfg_guidance(model: Model, min_cfg: MinCfg = 1.0) -> Model:
    """Let the guidance scale grow along a batch, from `min_cfg` to the sampler's."""
    return with_adjustment(model, FrameGuidance(min_cfg, "linear"), is_first=True)


@node("VideoTriangleCFGGuidance", category="sampling/video_models")
def video_triangle_cfg_guidance(model: Model, min_cfg: MinCfg = 1.0) -> Model:
    """Let the guidance scale grow towards the middle of a batch and fall again, from and to `min_cfg`."""
    return with_adjustment(model, FrameGuidance(min_cfg, "triangle"), is_first=True)
