"""What is drawn now and then while training. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mezzotint.engine.value_type import value_type


@value_type("mezzotint.SamplePlan")
@dataclass(frozen=True, slots=True)
class SamplePlan:
    """What is drawn, and how often.

    Attributes:
        prompts: a picture of each. seed: of the first one's noise, the next ones count on. every: optimiser steps.
        steps, cfg: of the sampling, Euler's method over evenly spaced timesteps.
        labels: of a network conditioned by class, one for each prompt; empty for any.
    """

    prompts: tuple[str, ...]
    seed: int = 0
    steps: int = 20
    cfg: float = 4.0
    every: int = 500
    labels: tuple[int, ...] = ()
