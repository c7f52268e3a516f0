"""Ports: the types that links carry, and how a Python annotation names one.

A port type is the string that editors and saved workflows know (`"IMAGE"`, `"INT"`, `"*"`). A union is written with
commas (`"INT,FLOAT"`). No port imports torch.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Awaitable, Generator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

ANY = "*"
COMBO = "COMBO"
WIDGET_PORTS = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}
_TEXTS = (COMBO, "STRING")


@dataclass(frozen=True, slots=True)
class Port:
    """Names the port type of an annotation: `Image = Annotated[Tensor, Port("IMAGE")]`."""

    name: str


class Lazy(Awaitable[T_co], Generic[T_co]):
    """A linked input that is computed only when the node asks for it.

    Async bodies `await` it; generator bodies `yield Need("name")`. Plain functions cannot declare one: they would block
    the lane that has to compute it.
    """

    def __init__(self, name: str, fetch: Any) -> None:
        self.name = name
        self._fetch = fetch

    def __await__(self) -> Generator[Any, None, T_co]:
        result: T_co = yield from self._fetch(self.name).__await__()
        return result


def port_name(annotation: Any) -> str:
    """The port type of an annotation: `int` → `"INT"`, `Annotated[..., Port("X")]` → `"X"`, a class → its name.

    Raises:
        TypeError: the annotation names no port (a sentence without the node's name; callers add it).
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        named = [extra.name for extra in annotation.__metadata__ if isinstance(extra, Port)]
        return named[-1] if named else port_name(annotation.__origin__)
    if annotation in (Any, object):
        return ANY
    if origin is Literal or (isinstance(annotation, type) and issubclass(annotation, enum.Enum)):
        return COMBO
    if origin in (Union, types.UnionType):
        return ",".join(dict.fromkeys(port_name(arg) for arg in get_args(annotation) if arg is not type(None)))
    if annotation is Lazy or origin is Lazy:
        raise TypeError("Lazy is no port but stands around one")
    if isinstance(annotation, type):
        return WIDGET_PORTS.get(annotation, annotation.__name__.upper())
    if isinstance(origin, type):
        return origin.__name__.upper()
    raise TypeError(f"the annotation {annotation!r} names no port")


def are_compatible(received: str, expected: str) -> bool:
    """Whether a link may carry `received` into an input of type `expected`.

    `"*"` matches all; unions match when they overlap; a combo and a string accept each other, since both are text.
    """
    differs = received != expected  # packs have types that differ from none: text with a `__ne__` of its own
    if not differs or ANY in (received, expected):
        return True
    offered, wanted = set(received.split(",")), set(expected.split(","))
    if offered & wanted or ANY in offered | wanted:
        return True
    return not offered.isdisjoint(_TEXTS) and not wanted.isdisjoint(_TEXTS)
