"""A merge of two models as an entry of a recipe: each weight is a sum of theirs, with factors that differ by block."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from mezzotint import value_type
from mezzotint.engine.errors import MezzotintError

from ..adapters.lora_patch import LoraPatch
from ..models.recipe import Recipe

if TYPE_CHECKING:
    from mezzotint.engine.residency import Loaded, Residency

KEPT, TAKEN = (1.0, 0.0), (0.0, 1.0)
"""Factors of weights that are one model's own, and are shared with it and not copied."""


class MergeError(MezzotintError):
    """Two models cannot be merged."""


class Factors(NamedTuple):
    """Of the weights whose published names begin with `prefix`: first * the base's + second * the other's."""

    prefix: str
    first: float
    second: float

    @property
    def pair(self) -> tuple[float, float]:
        return self.first, self.second


@value_type("mezzotint.Merge")
@dataclass(frozen=True, slots=True)
class Merge:
    """What a model or text encoder is merged with, as a `Patch`; it comes after what changes its base's weights.

    Attributes:
        other: what its weights are added to. factors: one of them has the prefix `""`; of several that fit a name, the
            one with the longest prefix counts.
    """

    other: Recipe
    factors: tuple[tuple[str, float, float], ...]

    def replaced(self, base: Recipe) -> MergedWeights:
        """What stands in place of the base."""
        return MergedWeights(base, self.other, tuple(Factors(*each) for each in self.factors))


WEIGHT_PATCHES = (LoraPatch, Merge)
"""Patches that change nothing but weights, and so go into a merge."""


def merge(first: Recipe, second: Recipe, *factors: Factors) -> Recipe:
    """The first with the second merged into it; nothing is loaded.

    The second gives its weights, with its LoRAs and merges. Options, and what else was added, are those of the first.
    """
    pairs = {each.pair for each in factors}
    if pairs == {KEPT}:
        return first
    patch = Merge(weights_alone(second), tuple((each.prefix, *each.pair) for each in factors))
    others = tuple(each for each in first.patches if not isinstance(each, WEIGHT_PATCHES))
    return replace(first, patches=(*weights_alone(first).patches, patch, *others))


def weights_alone(recipe: Recipe) -> Recipe:
    """The recipe without what changes no weights."""
    patches = tuple(each for each in recipe.patches if isinstance(each, WEIGHT_PATCHES))
    return replace(recipe, options=(), patches=patches)


@dataclass(frozen=True, slots=True)
class MergedWeights:
    """The networks of a merge. They stand on those whose weights they share, if any."""

    first: Recipe
    second: Recipe
    factors: tuple[Factors, ...]
    kind: ClassVar[str] = "merged"

    @property
    def weights(self) -> MergedWeights:
        return self

    @property
    def parts(self) -> tuple[Any, ...]:
        """The recipes that it shares weights with."""
        pairs = {each.pair for each in self.factors}
        shared = (recipe for recipe, pair in ((self.first, KEPT), (self.second, TAKEN)) if pair in pairs)
        return tuple(recipe.weights for recipe in shared)

    def configure(self, loaded: Any) -> Any:
        return loaded

    def load(self, residency: Residency) -> Loaded:
        """What the first becomes, with other weights.

        Raises:
            MergeError: the two are of different families or sizes. OutOfMemoryError: it does not fit. What loading
            either raises.
        """
        from .network_merge import merge_loaded

        with ExitStack() as loans:
            first, second = (loans.enter_context(residency.borrow(recipe)) for recipe in (self.first, self.second))
            names = self.first.source.name, self.second.source.name
            return merge_loaded(first, second, self.factors, names, residency)
