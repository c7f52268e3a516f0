"""What a node is: a typed function and what its signature says.

`@node` marks a function and leaves it as it is; `NodeSpec` is what the registry makes of it (see `signature.py`).
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from .port import COMBO
from .widget import Choices, Widget

if TYPE_CHECKING:
    from pydantic import TypeAdapter

F = TypeVar("F", bound=Callable[..., Any])

BodyKind = Literal["plain", "async", "generator"]
LaneName = Literal["cpu", "device"]
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING", "__slots__": ()})()
"""Stands for "no default"; None is a value."""


class InputError(ValueError):
    """A literal does not fit its input. `code` is the wire's name of the problem, `allowed` what would fit."""

    def __init__(self, code: str, allowed: str, reason: str = "") -> None:
        super().__init__(allowed)
        self.code, self.allowed, self.reason = code, allowed, reason


@dataclass(frozen=True)
class InputSpec:
    """One input of a node.

    Attributes:
        port: the port type, `"INT"` or `"MODEL"`. default: MISSING when a value must be given.
        is_optional: a socket that may stay unconnected. is_lazy: computed only when the body asks.
        is_list: takes the whole list of values; otherwise a list maps the call over its items.
        choices: what a combo allows. limits: ge, gt, le, lt, multiple_of as declared.
    """

    name: str
    port: str
    default: Any = MISSING
    is_optional: bool = False
    is_lazy: bool = False
    is_list: bool = False
    choices: Choices | None = None
    limits: dict[str, float] = field(default_factory=dict)
    annotation: Any = None
    tooltip: str | None = None
    widget: Widget = Widget()

    @property
    def is_required(self) -> bool:
        return self.default is MISSING and not self.is_optional

    @cached_property
    def _adapter(self) -> TypeAdapter[Any] | None:
        if not self.limits or self.annotation is None:
            return None
        from pydantic import TypeAdapter

        return TypeAdapter(self.annotation)

    def read(self, value: Any) -> Any:
        """A literal as this input's type: what a workflow says, coerced as existing editors expect, within the limits.

        Raises:
            InputError: the value cannot be read as the type, or lies outside the limits or the choices.
        """
        reader = _READERS.get(self.port)
        value = reader(value) if reader else value
        if self._adapter is not None:
            self._check_limits(value)
        return value

    def _check_limits(self, value: Any) -> None:
        from pydantic import ValidationError

        assert self._adapter is not None
        try:
            self._adapter.validate_python(value)
        except ValidationError as error:
            raise InputError(_limit_code(error.errors()[0]["type"]), self.allowed()) from None

    def allowed(self) -> str:
        """What fits here, in words: `a whole number from 1 to 10000`."""
        kind = _WORDS.get(self.port, f"a link of type {self.port}")
        low, high = self.limits.get("ge"), self.limits.get("le")
        if low is not None and high is not None:
            kind += f" from {low:g} to {high:g}" if abs(high) < 1e6 else f" from {low:g} to {high}"
        elif low is not None:
            kind += f" of at least {low:g}"
        elif high is not None:
            kind += f" of at most {high:g}"
        for name, sign in (("gt", "above"), ("lt", "below"), ("multiple_of", "in multiples of")):
            if name in self.limits:
                kind += f" {sign} {self.limits[name]:g}"
        return kind


def _limit_code(kind: str) -> str:
    if kind.startswith("greater"):
        return "value_smaller_than_min"
    return "value_bigger_than_max" if kind.startswith("less") else "invalid_input_type"


def _read_int(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("invalid_input_type", _WORDS["INT"], str(error)) from None


def _read_float(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("invalid_input_type", _WORDS["FLOAT"], str(error)) from None
    if not math.isfinite(number):
        raise InputError("invalid_input_type", _WORDS["FLOAT"], f"{number} is not finite")
    return number


_READERS: dict[str, Callable[[Any], Any]] = {"INT": _read_int, "FLOAT": _read_float, "STRING": str, "BOOLEAN": bool}
_WORDS = {
    "INT": "a whole number",
    "FLOAT": "a number",
    "STRING": "text",
    "BOOLEAN": "true or false",
    COMBO: "one of the choices",
}


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output of a node: its name, its port type, and whether it is a list of values."""

    name: str
    port: str
    is_list: bool = False
    tooltip: str | None = None


@dataclass(frozen=True)
class NodeSpec:
    """A registered node. Made from a function by `signature.read_node`, or by hand for other class APIs.

    Attributes:
        body: called with the present inputs by keyword. kind: how it is run.
        context_parameter: the keyword that takes the `Context`, if any.
        code_version: stands for the code in cache keys. uses_id: the node's id enters its key.
        fingerprint: names what changes outside; see `node`.
        takes_extra: undeclared linked inputs are passed too.
    """

    name: str
    body: Callable[..., Any]
    inputs: dict[str, InputSpec]
    outputs: tuple[OutputSpec, ...]
    kind: BodyKind = "plain"
    title: str = ""
    category: str = ""
    description: str = ""
    lane: LaneName = "cpu"
    is_sink: bool = False
    version: int = 1
    code_version: str = ""
    plugin: str = ""
    module: str = ""
    fingerprint: Callable[..., Any] | None = None
    fingerprint_inputs: tuple[str, ...] = ()
    context_parameter: str | None = None
    uses_id: bool = False
    autograd: bool = False
    takes_extra: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    search_aliases: tuple[str, ...] = ()

    def replace(self, **changes: Any) -> NodeSpec:
        """A copy with some attributes changed."""
        return replace(self, **changes)

    @cached_property
    def has_list_input(self) -> bool:
        return any(given.is_list for given in self.inputs.values())

    @cached_property
    def has_lazy_input(self) -> bool:
        return any(given.is_lazy for given in self.inputs.values())

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Names of the inputs that must be given."""
        return tuple(name for name, given in self.inputs.items() if given.is_required)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Inputs that have a default, with it."""
        return {name: given.default for name, given in self.inputs.items() if given.default is not MISSING}


@dataclass(frozen=True)
class Declaration:
    """What `@node` was told beside the signature. Kept on the function as `__node__`."""

    name: str
    options: dict[str, Any]
    namespace: dict[str, Any] | None


@overload
def node(function: F, /) -> F: ...
@overload
def node(
    name: str | None = None,
    /,
    *,
    title: str = "",
    category: str = "",
    version: int = 1,
    sink: bool = False,
    lane: LaneName = "cpu",
    fingerprint: Callable[..., Any] | None = None,
    uses_id: bool = False,
    autograd: bool = False,
    output_names: tuple[str, ...] = (),
    deprecated: bool = False,
    experimental: bool = False,
    aliases: tuple[str, ...] = (),
) -> Callable[[F], F]: ...
def node(name: Any = None, /, **options: Any) -> Any:
    """Make a typed function a node. The function is returned unchanged and can be called as one.

    The annotations are the ports, `Annotated[int, Field(ge=0)]` the limits, `Literal[...]` the choices, the docstring
    the help, the return annotation the outputs (a NamedTuple for several).

    Args:
        name: the class_type in workflows; the function's name when left out.
        title: what editors show. category: the menu path, parts separated by "/".
        version: raise it when the node gives other results than before; cached values are then stale.
        sink: an output node: the reason a graph is run. It writes or shows something.
        lane: "device" for bodies that run a model; "cpu" (a pool of threads) otherwise. Async bodies run on the loop.
        fingerprint: a function of any of the inputs, by name (linked ones are None), whose value stands for what lies
            outside: a file's hash, the hour. An equal value reuses the result; NaN never does.
        uses_id: two nodes with equal inputs are still two (a random source, say).
        autograd: gradients are recorded in the body; everywhere else they are off.
        output_names: names of the outputs where the return annotation is no NamedTuple.
        deprecated, experimental: shown as such in editors. aliases: further words to find it by.
    """
    if callable(name):
        return _mark(name, name.__name__, {}, _caller_namespace())
    namespace = _caller_namespace()
    return lambda function: _mark(function, name or function.__name__, options, namespace)


def _mark(function: Any, name: str, options: dict[str, Any], namespace: dict[str, Any] | None) -> Any:
    function.__node__ = Declaration(name, options, namespace)
    return function


def _caller_namespace() -> dict[str, Any] | None:
    """Names local to a function that declares a node inside itself (tests do), so that its annotations resolve."""
    frame = sys._getframe(2)
    return None if frame.f_locals is frame.f_globals else frame.f_locals


def nodes_in(*modules: ModuleType) -> list[Callable[..., Any]]:
    """The functions of these modules that `@node` marks, in the order of their source."""
    found: list[Callable[..., Any]] = []
    for module in modules:
        functions = (value for value in vars(module).values() if inspect.isfunction(value))
        found.extend(f for f in functions if hasattr(f, "__node__") and f.__module__ == module.__name__)
    return found
