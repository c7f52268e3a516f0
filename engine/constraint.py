"""What checks that a constant is within the limits of an input: pydantic, made once for all that are alike."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Union

from .port import WIDGET_PORTS

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_TYPES: dict[str, type] = {port: kind for kind, port in WIDGET_PORTS.items()}


def adapter(port: str, limits: Mapping[str, float], constraints: tuple[Any, ...]) -> TypeAdapter[Any] | None:
    """What validates values of a port by the constraints, or where there are none by the limits; None without either.

    Raises:
        Exception: whatever pydantic raises when they do not fit the type.
    """
    if not constraints:
        if not limits:
            return None
        from pydantic import Field

        given: dict[str, Any] = {**limits}
        constraints = (Field(**given),)
    # A Field is to pydantic no more than what it lists.
    parts = tuple(part for constraint in constraints for part in getattr(constraint, "metadata", (constraint,)))
    are_values = all(type(part).__module__ == "annotated_types" for part in parts)
    return _shared_adapter(port, parts) if are_values else _adapter(port, parts)


def _adapter(port: str, parts: tuple[Any, ...]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    kinds: Any = Union[tuple(_TYPES.get(kind, Any) for kind in port.split(","))]  # noqa: UP007
    constrained: Any = Annotated[(kinds, *parts)]
    return TypeAdapter(constrained)


_shared_adapter = lru_cache(maxsize=1024)(_adapter)
"""Many inputs have the same limits, and to make an adapter takes longer than to read the rest of an input."""
