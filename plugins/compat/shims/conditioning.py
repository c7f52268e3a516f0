"""`node_helpers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def conditioning_set_values(conditioning: list[Any], values: Mapping[str, Any], append: bool = False) -> list[Any]:
    """A copy in which each item has these options; with `append` they are added behind those it has."""
    changed = []
    for tokens, options in conditioning:
        added = {key: [*options[key], *value] if append and key in options else value for key, value in values.items()}
        changed.append([tokens, {**options, **added}])
    return changed


def pillow(function: Callable[..., Any], argument: Any) -> Any:
    """Call a function of Pillow; if it stumbles, once more with leave to read files that end too early."""
    from PIL import ImageFile

    try:
        return function(argument)
    except (OSError, ValueError):
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
        try:
            return function(argument)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
