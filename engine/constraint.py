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
    if constraints:
        return _adapter(port, constraints)
    return _limits_adapter(port, (*limits,), *limits.values()) if limits else None


@lru_cache(maxsize=1024, typed=True)
def _limits_adapter(port: str, names: tuple[str, ...], *values: float) -> TypeAdapter[Any]:
    """Many inputs have the same limits, and to make an adapter takes longer than to read the rest of an input."""
    from pydantic import Field

    limits: dict[str, Any] = dict(zip(names, values, strict=True))
    return _adapter(port, (Field(**limits),))


def _adapter(port: str, constraints: tuple[Any, ...]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    kinds: Any = Union[tuple(_TYPES.get(kind, Any) for kind in port.split(","))]  # noqa: UP007
    constrained: Any = Annotated[(kinds, *constraints)]
    return TypeAdapter(constrained)
