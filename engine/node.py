"""What a node is: a typed function and what its signature says.

`@node` marks a function and leaves it as it is; `NodeSpec` is what the registry makes of it (see `signature.py`).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from .errors import DeclarationError
from .input_spec import MISSING, InputSpec

if TYPE_CHECKING:
    from .invocation import Invocation
    from .problem import Complaint

F = TypeVar("F", bound=Callable[..., Any])

BodyKind = Literal["plain", "async", "generator"]
LaneName = Literal["cpu", "device"]


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
            `CheckedNode`. quick_fingerprint: it is asked while planning.
        is_shown_again: what it shows is shown again when its value is reused, though it is no output node.
        takes_extra: undeclared linked inputs are passed too, and undeclared constants enter the key.
        was, upgrades: its old names, and what makes the inputs of an older version those of the next; see `node`.
        renew: for nodes of other class APIs, as what follows is: the node as it declares itself now.
        definition: its definition for editors, in place of the one that `definition.define` makes.
        check: the node's own check of its constants and of the port types of its links, both by input name.
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
    quick_fingerprint: bool = False
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
    check: Callable[[Mapping[str, Any], Mapping[str, str]], Iterable[Complaint]] | None = None
    invocation: Invocation | None = None

    def replace(self, **changes: Any) -> NodeSpec:
        """A copy with some attributes changed."""
        return replace(self, **changes)

    @cached_property
    def list_inputs(self) -> tuple[str, ...]:
        return tuple(name for name, given in self.inputs.items() if given.is_list)

    @cached_property
    def lazy_inputs(self) -> tuple[str, ...]:
        return tuple(name for name, given in self.inputs.items() if given.is_lazy)

    @cached_property
    def takes_services(self) -> bool:
        """Whether a call gets anything beside values: a context, or lazy inputs to ask for."""
        return self.context_parameter is not None or bool(self.lazy_inputs)

    @cached_property
    def raw_link_inputs(self) -> tuple[str, ...]:
        return tuple(name for name, given in self.inputs.items() if given.is_raw_link)

    @cached_property
    def looks_outside(self) -> bool:
        """Whether checking its inputs may look into folders, or call code of the node's own."""
        named = (given.choices for given in self.inputs.values() if given.choices is not None)
        return any(callable(choices.source) for choices in named) or bool(self.check or self.renew)

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
    quick_fingerprint: bool = False,
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
        quick_fingerprint: it takes no longer than to look at a few files, so steps of an expansion are asked for it,
            too; they are never reused otherwise.
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
    """The functions of these modules that `@node` marks, in the order of their source.

    A package's are also those that it imports from its own modules; what comes from elsewhere is another's.
    """
    marked = (
        (value, module)
        for module in modules
        for value in vars(module).values()
        if inspect.isfunction(value) and hasattr(value, "__node__")
    )
    return [*dict.fromkeys(function for function, module in marked if _is_of(function, module))]


def _is_of(function: Callable[..., Any], module: ModuleType) -> bool:
    home = module.__name__
    return function.__module__ == home or (hasattr(module, "__path__") and function.__module__.startswith(f"{home}."))
