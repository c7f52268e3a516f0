"""What travels on GUIDER links: a model, what it shall draw, and how its predictions are combined."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from mezzotint.engine.request import Requests
from mezzotint.engine.value_type import value_type

from ..models.recipe import GUIDANCE
from .denoise import Denoise
from .network_call import CONCAT_LATENT, CONCAT_MASK, GLIGEN, NOISE_SEED, UNCLIP, ConditioningError
from .network_change import with_change
from .prompts import Prompts

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.recipe import Recipe
    from ..ports import Conditioning, Latent
    from .network_change import NetworkChange


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


@runtime_checkable
class PairGuider(Protocol):
    """A guider that can also say what it goes away from, as samplers of `sampler_names.SEES_UNCONDITIONAL` want."""

    def predict_pair(self, x: Tensor, sigma: float) -> Requests[tuple[Tensor, Tensor]]:
        """What `predict` gives, and the prediction for the negative conditioning."""


class Guided(NamedTuple):
    """A prediction of x0 at a noise level, and what it was made of; tensors [B, C, h, w] on the model's device.

    Attributes:
        unconditional: for the negative conditioning; None where it was not asked for. scale: of the guidance.
        positive, negative: the conditionings themselves. model: what predicted. kept: prompts that are made ready.
    """

    prediction: Tensor
    conditional: Tensor
    unconditional: Tensor | None
    x: Tensor
    sigma: float
    scale: float
    positive: Conditioning
    negative: Conditioning
    model: Recipe
    kept: dict[tuple[bool, Recipe], Prompts]

    def again(self, change: NetworkChange | None, x: Tensor, is_negative: bool = False) -> Requests[Tensor]:
        """A further prediction at this noise level, for the positive conditioning or the negative one.

        Args:
            change: of the model's network, if any.
        """
        model = self.model if change is None else with_change(self.model, change)
        prompts = self.kept.get((is_negative, model))
        if prompts is None:
            given = self.negative if is_negative else self.positive
            prompts = self.kept[is_negative, model] = Prompts((given,))
        (prediction,) = yield Denoise(model, x, self.sigma, prompts)
        result: Tensor = prediction
        return result


class Adjustment(Protocol):
    """Changes guided predictions: an item of a model's option `recipe.GUIDANCE`."""

    @property
    def needs_negative(self) -> bool:
        """Whether it wants the prediction for the negative conditioning even where the scale is 1."""

    def __call__(self, guided: Guided) -> Tensor | Requests[Tensor]:
        """The prediction in its place; a new tensor. A generator may ask for further ones, with `guided.again`."""


def adjustments_of(model: Recipe) -> tuple[Adjustment, ...]:
    """What changes the guided predictions of a model, in order."""
    found: tuple[Adjustment, ...] = dict(model.options).get(GUIDANCE, ())
    return found


def with_adjustment(model: Recipe, adjustment: Adjustment, is_first: bool = False) -> Recipe:
    """The model with one more change of its guided predictions.

    Args:
        is_first: whether it comes before the others, as what takes the place of the usual formula must.
    """
    others = adjustments_of(model)
    return model.with_option(GUIDANCE, (adjustment, *others) if is_first else (*others, adjustment))


def adjusted(guided: Guided, adjustments: Sequence[Adjustment]) -> Requests[Tensor]:
    """A guided prediction with all changes."""
    for adjust in adjustments:
        made = adjust(guided)
        prediction = (yield from made) if isinstance(made, Generator) else made
        guided = guided._replace(prediction=prediction)
    return guided.prediction


@value_type("mezzotint.CFGGuider")
@dataclass(frozen=True, eq=False)
class CFGGuider:
    """Classifier-free guidance: away from the negative prediction, past the positive one. Ho and Salimans 2022.

    Attributes:
        cfg: the guidance scale. At 1 the negative is not evaluated, since nothing would come of it.
    """

    conditionings = ("positive", "negative")

    model: Recipe
    positive: Conditioning
    negative: Conditioning
    cfg: float

    @cached_property
    def is_guided(self) -> bool:
        """Whether the negative conditioning makes a difference."""
        return not math.isclose(self.cfg, 1.0) or any(adjust.needs_negative for adjust in self.adjustments)

    @cached_property
    def adjustments(self) -> tuple[Adjustment, ...]:
        """What changes the predictions once they are guided."""
        return adjustments_of(self.model)

    @cached_property
    def prompts(self) -> Prompts:
        """What is predicted for at each step."""
        return Prompts((self.positive, self.negative) if self.is_guided else (self.positive,))

    @property
    def evaluations(self) -> int:
        return self.prompts.evaluations

    def predict(self, x: Tensor, sigma: float) -> Requests[Tensor]:
        conditional, *others = yield Denoise(self.model, x, sigma, self.prompts)
        return (yield from self._combined(conditional, others[0] if others else None, x, sigma))

    @cached_property
    def _pair(self) -> Prompts:
        return Prompts((self.positive, self.negative))

    def predict_pair(self, x: Tensor, sigma: float) -> Requests[tuple[Tensor, Tensor]]:
        conditional, negative = yield Denoise(self.model, x, sigma, self._pair)
        return (yield from self._combined(conditional, negative, x, sigma)), negative

    @cached_property
    def _kept(self) -> dict[tuple[bool, Recipe], Prompts]:
        return {}

    def _combined(self, conditional: Tensor, negative: Tensor | None, x: Tensor, sigma: float) -> Requests[Tensor]:
        prediction = conditional if negative is None else guided(conditional, negative, self.cfg)
        if not self.adjustments:
            return prediction
        found = Guided(
            prediction, conditional, negative, x, sigma, self.cfg, self.positive, self.negative, self.model, self._kept
        )
        return (yield from adjusted(found, self.adjustments))


@value_type("mezzotint.BasicGuider")
@dataclass(frozen=True, eq=False)
class BasicGuider:
    """The model's prediction as it is, for models that need no guidance or have it built in."""

    conditionings = ("conditioning",)

    model: Recipe
    conditioning: Conditioning

    @cached_property
    def prompts(self) -> Prompts:
        """What is predicted for at each step."""
        return Prompts((self.conditioning,))

    @cached_property
    def _kept(self) -> dict[tuple[bool, Recipe], Prompts]:
        return {}

    @property
    def evaluations(self) -> int:
        return self.prompts.evaluations

    def predict(self, x: Tensor, sigma: float) -> Requests[Tensor]:
        (prediction,) = yield Denoise(self.model, x, sigma, self.prompts)
        result: Tensor = prediction
        if adjustments := adjustments_of(self.model):
            found = Guided(result, result, None, x, sigma, 1.0, self.conditioning, [], self.model, self._kept)
            return (yield from adjusted(found, adjustments))
        return result

    def predict_pair(self, x: Tensor, sigma: float) -> Requests[tuple[Tensor, Tensor]]:
        prediction = yield from self.predict(x, sigma)
        return prediction, prediction


def showing(guider: GuiderValue, latent: Latent) -> GuiderValue:
    """The guider with conditionings that show the latent and its mask, where they show nothing else.

    For models for inpainting, which see what they paint over.
    """
    return _saying(guider, {CONCAT_LATENT: latent["samples"], CONCAT_MASK: latent["noise_mask"]})


def seeded(guider: GuiderValue, seed: int) -> GuiderValue:
    """The guider with conditionings that say the seed of the run, if one of them shows a picture to an unCLIP model.

    The picture gets noise of its own, which is drawn from that seed.
    """
    names = getattr(guider, "conditionings", ())
    shows_picture = any(UNCLIP in options for name in names for _, options in getattr(guider, name))
    return _saying(guider, {NOISE_SEED: seed}) if shows_picture else guider


def grounded(guider: GuiderValue) -> GuiderValue:
    """The guider whose model has the layers of GLIGEN, if one of its conditionings has boxes.

    Raises:
        ConditioningError: they have boxes of different files.
    """
    names = getattr(guider, "conditionings", ())
    items = (options for name in names for _, options in getattr(guider, name) if GLIGEN in options)
    patches = [*dict.fromkeys(options[GLIGEN][1] for options in items)]
    if not patches:
        return guider
    if len(patches) > 1:
        raise ConditioningError(
            f"conditionings have boxes of the GLIGEN files '{patches[0].source.name}' and '{patches[1].source.name}'; "
            f"use one file for all boxes"
        )
    made: GuiderValue = replace(guider, model=guider.model.with_patch(patches[0]))  # type: ignore[type-var]
    return made


def _saying(guider: GuiderValue, said: Mapping[str, Any]) -> GuiderValue:
    """The guider whose conditionings have these options, too, where they do not have others in their place.

    Guiders that are no dataclass with an attribute `conditionings`, the names of those fields, stay as they are.
    """
    changed: Any = {
        name: [[tokens, {**said, **given}] for tokens, given in getattr(guider, name)]
        for name in getattr(guider, "conditionings", ())
    }
    made: GuiderValue = replace(guider, **changed) if changed else guider  # type: ignore[type-var]
    return made


def positive_guider(model: Recipe, positive: Conditioning, negative: Conditioning, cfg: float) -> BasicGuider:
    """A `BasicGuider`, made as guiders are that have a name: negative and scale play no part."""
    return BasicGuider(model, positive)


def guided(conditional: Tensor, unconditional: Tensor, cfg: float) -> Tensor:
    """unconditional + (conditional - unconditional) * cfg."""
    # Not torch.lerp: its code is not in the processor's cache after a forward, that of these two is.
    return unconditional.add(conditional - unconditional, alpha=cfg)
