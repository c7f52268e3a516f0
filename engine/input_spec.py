"""One input of a node: its port, what it allows, and how a constant is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .constraint import adapter
from .port import ANY, COMBO, WIDGET_PORTS, are_compatible
from .widget import Choices, Widget

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from .problem import ProblemCode

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING", "__slots__": ()})()
"""Stands for "no default"; None is a value."""


class InputError(ValueError):
    """A literal does not fit its input.

    Attributes:
        code: the wire's name of the problem. allowed: what would fit. reason: why it does not, where that needs words.
        detail: the text of the exception behind it, for programs.
    """

    def __init__(self, code: ProblemCode, allowed: str, reason: str = "", detail: str = "") -> None:
        super().__init__(allowed)
        self.code, self.allowed, self.reason, self.detail = code, allowed, reason, detail or reason


@dataclass(frozen=True)
class InputSpec:
    """One input of a node.

    Attributes:
        port: the port type, `"INT"` or `"MODEL"`. default: MISSING when a value must be given.
        is_optional: a socket that may stay unconnected. is_lazy: computed only when the body asks.
        is_list: takes the whole list of values; otherwise a list maps the call over its items.
        is_socket: takes links only; text and numbers are refused.
        is_raw_link: the body gets a link itself, `["id", slot]`, in place of the value it brings.
        choices: what a combo allows. members: what the body gets for each choice, where that is no text.
        limits: ge, gt, le, lt, multiple_of as declared. constraints: what pydantic checks; the limits when empty.
    """

    name: str
    port: str
    default: Any = MISSING
    is_optional: bool = False
    is_lazy: bool = False
    is_list: bool = False
    is_socket: bool = False
    is_raw_link: bool = False
    choices: Choices | None = None
    members: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    constraints: tuple[Any, ...] = ()
    tooltip: str | None = None
    widget: Widget = Widget()

    def replace(self, **changes: Any) -> InputSpec:
        """A copy with some attributes changed."""
        return replace(self, **changes)

    @property
    def is_required(self) -> bool:
        return self.default is MISSING and not self.is_optional

    @property
    def wire_default(self) -> Any:
        """The default as editors get it: that of a combo is one of its choices."""
        return next((text for text, member in self.members.items() if member == self.default), self.default)

    @cached_property
    def adapter(self) -> TypeAdapter[Any] | None:
        """What checks the constraints. Making it raises whatever pydantic raises when they do not fit the type."""
        return adapter(self.port, self.limits, self.constraints)

    @cached_property
    def plain_types(self) -> frozenset[type]:
        """The classes whose every value `read` gives back as it is, and no choice or limit is in the way."""
        if self.limits or self.constraints or self.choices is not None:
            return frozenset()
        return _PLAIN_TYPES.get(self.port, frozenset())

    def read(self, value: Any) -> Any:
        """A constant as this input's type: what a workflow says, coerced as existing editors expect, within the limits.

        Choices are another matter (`choose`), since they may change.

        Raises:
            InputError: the value cannot be read as the type, or lies outside the limits.
        """
        if value is None:
            if self.is_optional or self.port == ANY:
                return None
            raise InputError("invalid_input_type", self.allowed(), "null is no value")
        reader = _READERS.get(self.port)
        if reader is not None:
            try:
                value = reader(value)
            except (TypeError, ValueError, OverflowError) as error:
                reason = str(error) if isinstance(error, NotFiniteError) else ""
                raise InputError("invalid_input_type", self.allowed(), reason, str(error)) from None
        elif "," in self.port or self.is_socket:
            self.check_type(value)
        return value if self.adapter is None else self._constrained(value)

    def accepts(self, port: str) -> bool:
        """Whether a link may bring a value of this port type."""
        return are_compatible(port, self.port)

    def choose(self, value: Any, allowed: Sequence[str]) -> Any:
        """What the body gets for a choice, given as the text that editors show or as the member itself.

        Raises:
            InputError: it is none of `allowed`.
        """
        if isinstance(value, str) and value in allowed:
            return self.members.get(value, value)
        for text, member in self.members.items():
            if type(member) is type(value) and member == value and text in allowed:
                return member
        raise InputError("value_not_in_list", self.allowed())

    def check_type(self, value: Any) -> None:
        """Refuse text, numbers and booleans of a type that the port does not have, and numbers that are not finite.

        Raises:
            InputError: it is such a value.
        """
        kind = WIDGET_PORTS.get(type(value))
        ports = {*self.port.split(",")}
        if kind is None or ANY in ports:
            return
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError("invalid_input_type", self.allowed(), f"{value} is not finite")
        if ports.isdisjoint((kind, _ALSO_FITS.get(kind))):
            raise InputError("invalid_input_type", self.allowed())

    def _constrained(self, value: Any) -> Any:
        from pydantic import ValidationError

        assert self.adapter is not None
        try:
            return self.adapter.validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            code = _limit_code(first["type"])
            told = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
            reason = told if code == "invalid_input_type" and first["type"] != "multiple_of" else ""
            raise InputError(code, self.allowed(), reason) from None
        except TypeError as error:  # a constraint that does not suit the type
            raise InputError("invalid_input_type", self.allowed(), str(error)) from None

    def allowed(self) -> str:
        """What fits here, in words: `a whole number from 1 to 10000`."""
        kind = " or ".join(_WORDS.get(port, f"a link of type {port}") for port in self.port.split(","))
        low, high = self.limits.get("ge"), self.limits.get("le")
        if low is not None and high is not None:
            kind += f" from {_number(low)} to {_number(high)}"
        elif low is not None:
            kind += f" of at least {_number(low)}"
        elif high is not None:
            kind += f" of at most {_number(high)}"
        for name, sign in (("gt", "above"), ("lt", "below"), ("multiple_of", "in multiples of")):
            if name in self.limits:
                kind += f" {sign} {_number(self.limits[name])}"
        return kind


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def _limit_code(kind: str) -> ProblemCode:
    if kind.startswith("greater"):
        return "value_smaller_than_min"
    return "value_bigger_than_max" if kind.startswith("less") else "invalid_input_type"


class NotFiniteError(ValueError):
    """NaN or infinity where a number is wanted."""


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise NotFiniteError(f"{number} is not finite")
    return number


_WORDS = {
    "INT": "a whole number",
    "FLOAT": "a number",
    "STRING": "text",
    "BOOLEAN": "true or false",
    COMBO: "one of the choices",
    ANY: "any value",
}
_ALSO_FITS = {"INT": "FLOAT", "STRING": COMBO}
_PLAIN_TYPES: dict[str, frozenset[type]] = {
    "INT": frozenset({int}),
    "STRING": frozenset({str}),
    "BOOLEAN": frozenset({bool}),
    ANY: frozenset({int, float, str, bool}),
}
_READERS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": _finite, "STRING": str, "BOOLEAN": bool}
