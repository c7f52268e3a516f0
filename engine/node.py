"""What a node is: a typed function and what its signature says.

`@node` marks a function and leaves it as it is; `NodeSpec` is what the registry makes of it (see `signature.py`).
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, overload

from .errors import DeclarationError
from .port import ANY, COMBO, WIDGET_PORTS, are_compatible
from .widget import Choices, Widget

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from .invocation import Invocation

F = TypeVar("F", bound=Callable[..., Any])

BodyKind = Literal["plain", "async", "generator"]
LaneName = Literal["cpu", "device"]
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING", "__slots__": ()})()
"""Stands for "no default"; None is a value."""


class InputError(ValueError):
    """A literal does not fit its input.

    Attributes:
        code: the wire's name of the problem. allowed: what would fit. reason: why it does not, where that needs words.
        detail: the text of the exception behind it, for programs.
    """

    def __init__(self, code: str, allowed: str, reason: str = "", detail: str = "") -> None:
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
        if not (self.limits or self.constraints):
            return None
        from pydantic import Field, TypeAdapter

        limits: dict[str, Any] = {**self.limits}
        kinds: Any = Union[tuple(_TYPES.get(port, Any) for port in self.port.split(","))]  # noqa: UP007
        constrained: Any = Annotated[(kinds, *(self.constraints or (Field(**limits),)))]
        return TypeAdapter(constrained)

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


def _limit_code(kind: str) -> str:
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
_TYPES: dict[str, type] = {port: kind for kind, port in WIDGET_PORTS.items()}
_READERS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": _finite, "STRING": str, "BOOLEAN": bool}


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output of a node: its name, its port type, whether it is a list of values, whether consumed state."""

    name: str
    port: str
    is_list: bool = False
    tooltip: str | None = None
    is_consumed: bool = False


@dataclass(frozen=True)
class NodeSpec:
    """A registered node. Made from a function by `signature.read_node`, or by hand for other class APIs.

    Attributes:
        body: called with the present inputs by keyword. kind: how it is run.
        context_parameter: the keyword that takes the `Context`, if any.
        code_version: stands for the code in cache keys. uses_id: the node's id enters its key.
        fingerprint: names what changes outside; see `node`. fingerprint_inputs: the names it takes; None: it takes the
            `CheckedNode`.
        is_shown_again: what it shows is shown again when its value is reused, though it is no output node.
        takes_extra: undeclared linked inputs are passed too, and undeclared constants enter the key.
        was, upgrades: its old names, and what makes the inputs of an older version those of the next; see `node`.
        renew: for nodes of other class APIs, as what follows is: the node as it declares itself now.
        definition: its definition for editors, in place of the one that `definition.define` makes.
        check: the node's own check of its constants and of the port types of its links, both by input name; gives
            pairs of an input name and what is wrong with it.
        invocation: how the calls of its body are made, in place of `invocation.invoke`.
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
    fingerprint_inputs: tuple[str, ...] | None = ()
    context_parameter: str | None = None
    uses_id: bool = False
    autograd: bool = False
    cached: bool = True
    is_shown_again: bool = False
    takes_extra: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    search_aliases: tuple[str, ...] = ()
    was: tuple[str, ...] = ()
    upgrades: Mapping[int, Callable[[dict[str, Any]], Mapping[str, Any]]] = field(default_factory=dict)
    renew: Callable[[], NodeSpec] | None = None
    definition: Callable[[], dict[str, Any]] | None = None
    check: Callable[[Mapping[str, Any], Mapping[str, str]], Iterable[tuple[str, str]]] | None = None
    invocation: Invocation | None = None

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
    def versioned_inputs(self) -> tuple[tuple[str, Callable[[str], str]], ...]:
        """Inputs whose choices name code, with what gives its version."""
        choices = ((name, given.choices) for name, given in self.inputs.items() if given.choices is not None)
        return tuple((name, named.version) for name, named in choices if named.version is not None)

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
    cached: bool = True,
    output_names: tuple[str, ...] = (),
    deprecated: bool = False,
    experimental: bool = False,
    aliases: tuple[str, ...] = (),
    was: tuple[str, ...] = (),
    upgrades: Mapping[int, Callable[[dict[str, Any]], Mapping[str, Any]]] = {},
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
        autograd: gradients are recorded in the body, and nowhere else. cached: False for values of no use later.
        output_names: names of the outputs, in order, where they differ from those of the NamedTuple or port.
        deprecated, experimental: shown as such in editors. aliases: further words to find it by.
        was: names that it had before; workflows that have them get the new one.
        upgrades: version → a function of the inputs, by name, that a workflow has of that version (constants and links
            as the API format writes them), which returns those of the next version.

    Raises:
        DeclarationError: what it stands above is no function, or the name is no text. All else is checked when the node
            is registered.
    """
    namespace = _caller_namespace()
    if callable(name):
        return _mark(name, None, {}, namespace)
    return lambda function: _mark(function, name, options, namespace)


def _mark(function: Any, name: Any, options: dict[str, Any], namespace: dict[str, Any] | None) -> Any:
    if not inspect.isfunction(function):
        raise DeclarationError(
            f"@node stands above {function!r}, which is no function; put it above a function's 'def'"
        )
    if name is not None and not (isinstance(name, str) and name):
        place = f"plugin '{function.__module__}', node function '{function.__name__}'"
        raise DeclarationError(
            f"{place}: its name is {name!r}; give @node the name as text, or none to use the function's"
        )
    function.__node__ = Declaration(name or function.__name__, options, namespace)  # type: ignore[attr-defined]
    return function


def _caller_namespace() -> dict[str, Any] | None:
    """Names local to a function that declares a node inside itself (tests do), so that its annotations resolve."""
    frame = sys._getframe(2)
    return None if frame.f_locals is frame.f_globals else frame.f_locals


def nodes_in(*modules: ModuleType) -> list[Callable[..., Any]]:
    """The functions of these modules that `@node` marks, in the order of their source."""
    functions = ((value, module.__name__) for module in modules for value in vars(module).values())
    return [f for f, home in functions if inspect.isfunction(f) and hasattr(f, "__node__") and f.__module__ == home]
