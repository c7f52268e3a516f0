"""Models, text encoders and VAEs as packs hold them: recipes that have the methods that packs call.

The weights are borrowed from the running call whenever a method needs them.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Self

from mezzotint.nodes.models.recipe import Recipe

from .refusal import refusal

_FIELDS = tuple(field.name for field in fields(Recipe))


class PackValue(Recipe):
    """A recipe with methods. It equals the plain recipe of the same content, and unlike that may be changed in place.

    What packs look for and do not find is refused with a sentence.
    """

    CALLED = "value"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and _content(self) == _content(other)

    __hash__ = Recipe.__hash__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(refusal(f"{self.CALLED}.{name}"))

    @property
    def weights(self) -> Any:
        return self.plain.weights

    def clone(self) -> Self:
        """A copy, which may be changed."""
        return replace(self)

    def become(self, recipe: Recipe) -> None:
        """Be another recipe from now on."""
        for name in _FIELDS:
            object.__setattr__(self, name, getattr(recipe, name))

    @property
    def plain(self) -> Recipe:
        """The recipe without methods, as it travels on links."""
        return Recipe(*_content(self))


def as_pack_value(value: Any) -> Any:
    """A recipe as packs hold it; whatever else as it is. Lists item by item."""
    if isinstance(value, list):
        return [as_pack_value(item) for item in value]
    if type(value) is not Recipe:
        return value
    from .model_value import ModelValue
    from .text_value import ClipValue
    from .vae_value import VaeValue

    kinds: dict[str, type[PackValue]] = {"model": ModelValue, "clip": ClipValue, "vae": VaeValue}
    return kinds[value.kind](*_content(value))


def as_plain_value(value: Any) -> Any:
    """What a pack gives, as it travels on links. Lists item by item."""
    if isinstance(value, list):
        return [as_plain_value(item) for item in value]
    return value.plain if isinstance(value, PackValue) else value


def _content(recipe: Recipe) -> tuple[Any, ...]:
    return tuple(getattr(recipe, name) for name in _FIELDS)
