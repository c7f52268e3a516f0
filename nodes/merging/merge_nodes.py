"""Nodes that merge models: the result has weights of its own, made when it is first used."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mezzotint import Clip, Model, Widget, node

from .merge import Factors, merge

CATEGORY = "advanced/model_merging"
Ratio = Annotated[
    float, Field(ge=0, le=1, description="1 is the first one alone, 0 the second one."), Widget(step=0.01)
]
Multiplier = Annotated[float, Field(ge=-10, le=10, description="Of the difference."), Widget(step=0.01)]


def _mixed(ratio: float, prefix: str = "") -> Factors:
    return Factors(prefix, ratio, 1 - ratio)


@node("ModelMergeSimple", category=CATEGORY)
def merge_models(model1: Model, model2: Model, ratio: Ratio = 1.0) -> Model:
    """Mix the weights of two models of a family: `ratio` times the first one's and 1 - `ratio` times the second one's.

    LoRAs of both go into the mixture. How it is sampled, and what else was added to it, is the first one's.
    """
    return merge(model1, model2, _mixed(ratio))


@node("ModelMergeBlocks", category=CATEGORY)
def merge_blocks(model1: Model, model2: Model, input: Ratio = 1.0, middle: Ratio = 1.0, out: Ratio = 1.0) -> Model:
    """Mix the weights of two models, with a ratio for each half of the U-Net and for its middle.

    Args:
        input: of the half that grows coarser, and of what belongs to no block, such as the embedding of time.
        out: of the half that grows finer, and of the last layers.
    """
    # `input` stands for whatever no other prefix fits, so a model without such blocks is mixed by it alone.
    return merge(model1, model2, _mixed(input), _mixed(middle, "middle"), _mixed(out, "out"))


@node("ModelMergeAdd", category=CATEGORY)
def add_models(model1: Model, model2: Model) -> Model:
    """Add the weights of the second model to those of the first: the second is a difference by ModelMergeSubtract."""
    return merge(model1, model2, Factors("", 1, 1))


@node("ModelMergeSubtract", category=CATEGORY)
def subtract_models(model1: Model, model2: Model, multiplier: Multiplier = 1.0) -> Model:
    """The difference of two models, first - second, times `multiplier`; for ModelMergeAdd."""
    return merge(model1, model2, Factors("", multiplier, -multiplier))


@node("CLIPMergeSimple", category=CATEGORY)
def merge_clips(clip1: Clip, clip2: Clip, ratio: Ratio = 1.0) -> Clip:
    """Mix the weights of two text encoders as ModelMergeSimple does those of models."""
    return merge(clip1, clip2, _mixed(ratio))


@node("CLIPMergeAdd", category=CATEGORY)
def add_clips(clip1: Clip, clip2: Clip) -> Clip:
    """Add the weights of the second text encoder to those of the first."""
    return merge(clip1, clip2, Factors("", 1, 1))


@node("CLIPMergeSubtract", category=CATEGORY)
def subtract_clips(clip1: Clip, clip2: Clip, multiplier: Multiplier = 1.0) -> Clip:
    """The difference of two text encoders, first - second, times `multiplier`; for CLIPMergeAdd."""
    return merge(clip1, clip2, Factors("", multiplier, -multiplier))
