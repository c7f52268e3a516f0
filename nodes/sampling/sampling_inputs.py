"""Inputs that several of the sampling nodes have, as annotations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mezzotint.engine.widget import Choices, Widget

from ..samplers.sampler_names import GUIDERS, SAMPLERS, SCHEDULES

MAX_SEED = 2**64 - 1
MAX_STEPS = 10_000

Seed = Annotated[
    int,
    Field(ge=0, le=MAX_SEED, description="The noise is drawn from it: an equal seed makes an equal picture."),
    Widget(control_after_generate=True),
]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS, description="How many noise levels are visited.")]
StepIndex = Annotated[int, Field(ge=0, le=MAX_STEPS, description="Counted from 0.")]
GuidanceScale = Annotated[
    float,
    Field(ge=0, le=100, description="How strongly the prompt is followed; at 1 the negative one plays no part."),
    Widget(step=0.1, round=0.01),
]
DenoiseShare = Annotated[
    float,
    Field(ge=0, le=1, description="How much of the latent is made anew: 1 all of it, 0 nothing."),
    Widget(step=0.01),
]
SamplerName = Annotated[str, Choices(lambda: SAMPLERS.names, version=SAMPLERS.version_of)]
ScheduleName = Annotated[str, Choices(lambda: SCHEDULES.names, version=SCHEDULES.version_of)]
GuiderName = Annotated[str, Choices(lambda: GUIDERS.names, version=GUIDERS.version_of)]
