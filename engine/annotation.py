"""What an annotation is made of: the type itself, the extras of `Annotated`, and whether it may be None."""

from __future__ import annotations

import types
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin

from .port import Port

E = TypeVar("E")

NONE = type(None)
_LIMITS = ("ge", "gt", "le", "lt", "multiple_of")


class Unwrapped(NamedTuple):
    """An annotation without `Annotated` and `| None`: the rest, its extras (outermost last), whether None was in."""

    core: Any
    extras: tuple[Any, ...]
    may_be_none: bool


def unwrapped(annotation: Any, *also_dropped: Any) -> Unwrapped:
    """Take `Annotated` and `| None` off, however they are nested, and of unions the members `also_dropped`."""
    if hasattr(annotation, "__metadata__"):
        core, extras, may_be_none = unwrapped(annotation.__origin__, *also_dropped)
        return Unwrapped(core, (*extras, *annotation.__metadata__), may_be_none)
    if get_origin(annotation) not in (Union, types.UnionType):
        return Unwrapped(annotation, (), False)
    may_be_none = NONE in get_args(annotation)
    kept = [arg for arg in get_args(annotation) if arg is not NONE and arg not in also_dropped]
    if len(kept) == 1:
        return unwrapped(kept[0], *also_dropped)._replace(may_be_none=may_be_none)
    return Unwrapped(Union[tuple(kept)] if kept else NONE, (), may_be_none)  # noqa: UP007


def content(core: Any, extras: tuple[Any, ...]) -> Unwrapped:
    """What a `Lazy[...]` or `list[...]` holds; its own extras come before those around it."""
    inner = unwrapped(get_args(core)[0])
    return inner._replace(extras=(*inner.extras, *extras))


def holds_list(core: Any, extras: tuple[Any, ...]) -> bool:
    """Whether it is `list[...]`, and not a port whose values happen to be lists."""
    return get_origin(core) is list and bool(get_args(core)) and last_extra(extras, Port) is None


def last_extra(extras: tuple[Any, ...], kind: type[E]) -> E | None:
    """The outermost extra of a kind."""
    return next((extra for extra in reversed(extras) if isinstance(extra, kind)), None)


def constraints_of(extras: tuple[Any, ...]) -> tuple[Any, ...]:
    """What pydantic has to check. A Field that only describes has no metadata."""
    return tuple(extra for extra in extras if is_pydantics(extra) and getattr(extra, "metadata", True))


def is_pydantics(extra: Any) -> bool:
    """Whether it is a Field, a constraint or a validator."""
    return type(extra).__module__.split(".")[0] in ("pydantic", "annotated_types")


def limits_of(extras: tuple[Any, ...]) -> dict[str, float]:
    """The limits of a number by name: ge, gt, le, lt, multiple_of; the outermost counts."""
    found: dict[str, float] = {}
    for extra in extras:
        for constraint in (extra, *getattr(extra, "metadata", ())):
            given = {name: getattr(constraint, name, None) for name in _LIMITS}
            found.update({name: value for name, value in given.items() if isinstance(value, int | float)})
    return found


def description_of(extras: tuple[Any, ...]) -> str | None:
    """The outermost description of a Field."""
    texts = (getattr(extra, "description", None) for extra in reversed(extras))
    return next((text for text in texts if isinstance(text, str)), None)
