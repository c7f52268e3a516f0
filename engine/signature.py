"""Reads a function's signature into a `NodeSpec`, and refuses what would go wrong later.

Every refusal is a sentence that names the plugin, the node, the parameter and the cure.
"""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Callable, Generator
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from .context import Context
from .errors import DeclarationError
from .node import MISSING, BodyKind, Declaration, InputError, InputSpec, NodeSpec, OutputSpec
from .port import COMBO, Lazy, port_name
from .widget import Choices, Widget

_LIMITS = ("ge", "gt", "le", "lt", "multiple_of")


def read_node(function: Callable[..., Any], plugin: str = "", code_version: str = "") -> NodeSpec:
    """The `NodeSpec` of a function marked by `@node`.

    Raises:
        DeclarationError: the signature cannot be a node's; the message says where and what helps.
    """
    declared: Declaration | None = getattr(function, "__node__", None)
    if declared is None:
        name = getattr(function, "__name__", repr(function))
        raise DeclarationError(f"plugin '{plugin}': '{name}' is not a node; put @node above its definition")
    return _Reader(function, declared, plugin or function.__module__).read(code_version)


class _Reader:
    """Reads one function; holds what its messages need."""

    def __init__(self, function: Callable[..., Any], declared: Declaration, plugin: str) -> None:
        self.function, self.declared, self.plugin = function, declared, plugin
        self.kind: BodyKind = "plain"
        if inspect.iscoroutinefunction(function):
            self.kind = "async"
        elif inspect.isgeneratorfunction(function):
            self.kind = "generator"

    def read(self, code_version: str) -> NodeSpec:
        if inspect.isasyncgenfunction(self.function):
            self.refuse("return", "is an async generator", "make it 'async def' with a return, or a plain generator")
        hints = self.hints()
        options = dict(self.declared.options)
        inputs, context_parameter = self.inputs(hints)
        outputs = self.outputs(hints, options.pop("output_names", ()))
        fingerprint = options.pop("fingerprint", None)
        return NodeSpec(
            name=self.declared.name,
            body=self.function,
            kind=self.kind,
            inputs=inputs,
            outputs=outputs,
            title=options.pop("title", "") or self.declared.name,
            description=_first_paragraph(self.function.__doc__),
            is_sink=options.pop("sink", False),
            is_deprecated=options.pop("deprecated", False),
            is_experimental=options.pop("experimental", False),
            search_aliases=tuple(options.pop("aliases", ())),
            fingerprint=fingerprint,
            fingerprint_inputs=self.fingerprint_inputs(fingerprint, inputs),
            context_parameter=context_parameter,
            plugin=self.plugin,
            module=self.function.__module__,
            code_version=code_version,
            **options,
        )

    def refuse(self, parameter: str, problem: str, cure: str) -> NoReturn:
        place = "its return annotation" if parameter == "return" else f"parameter '{parameter}'"
        raise DeclarationError(f"plugin '{self.plugin}', node '{self.declared.name}': {place} {problem}; {cure}")

    def hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self.function, localns=self.declared.namespace, include_extras=True)
        except NameError as error:
            cure = f"import '{error.name}' where the node is defined, outside 'if TYPE_CHECKING'"
            self.refuse(self.parameter_naming(error.name), f"is annotated with '{error.name}', which is not known", cure)
        except TypeError as error:
            raise DeclarationError(
                f"plugin '{self.plugin}', node '{self.declared.name}': an annotation cannot be read ({error})"
            ) from None

    def parameter_naming(self, name: str | None) -> str:
        for parameter, annotation in self.function.__annotations__.items():
            if name and name in str(annotation):
                return str(parameter)
        return "return"

    # inputs

    def inputs(self, hints: dict[str, Any]) -> tuple[dict[str, InputSpec], str | None]:
        inputs: dict[str, InputSpec] = {}
        context_parameter = None
        for parameter in inspect.signature(self.function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                self.refuse(parameter.name, "takes a varying or unnamed argument", "declare each input by its name")
            if parameter.name not in hints:
                self.refuse(parameter.name, "has no annotation", "annotate it with a port, such as int or Image")
            if _strip(hints[parameter.name]) is Context:
                context_parameter = parameter.name
                continue
            inputs[parameter.name] = self.input(parameter, hints[parameter.name])
        return inputs, context_parameter

    def input(self, parameter: inspect.Parameter, annotation: Any) -> InputSpec:
        name = parameter.name
        extras = list(_extras(annotation))
        core, is_optional = _without_none(annotation)
        extras += _extras(core)
        is_lazy = get_origin(_strip(core)) is Lazy
        if is_lazy:
            core, optional_inside = _without_none(get_args(_strip(core))[0])
            is_optional |= optional_inside
            extras += _extras(core)
            if self.kind == "plain":
                self.refuse(name, "is Lazy in a plain function", "make the body 'async def' and await it, or yield Need")
        is_list = get_origin(_strip(core)) is list
        if is_list:
            core = get_args(_strip(core))[0]
        widget = next((extra for extra in extras if isinstance(extra, Widget)), Widget())
        spec = InputSpec(
            name=name,
            port=self.port(name, core),
            default=MISSING if parameter.default is parameter.empty else parameter.default,
            is_optional=is_optional and parameter.default is None,
            is_lazy=is_lazy,
            is_list=is_list,
            choices=self.choices(core, extras),
            limits=_limits(extras),
            annotation=annotation if not (is_lazy or is_list) else None,
            tooltip=_description(extras) or widget.tooltip,
            widget=widget,
        )
        self.check_default(spec)
        return spec

    def port(self, name: str, annotation: Any) -> str:
        if isinstance(next((e for e in _extras(annotation) if isinstance(e, Choices)), None), Choices):
            return COMBO
        try:
            return port_name(annotation)
        except TypeError as error:
            self.refuse(name, f"cannot be a port: {error}", "use a basic type, a class, or Annotated[..., Port('NAME')]")

    def choices(self, annotation: Any, extras: list[Any]) -> Choices | None:
        named = next((extra for extra in [*extras, *_extras(annotation)] if isinstance(extra, Choices)), None)
        core = _strip(annotation)
        if named is None and get_origin(core) is Literal:
            return Choices([str(value) for value in get_args(core)])
        if named is None and isinstance(core, type) and issubclass(core, enum.Enum):
            return Choices([str(member.value) for member in core])
        return named

    def check_default(self, spec: InputSpec) -> None:
        if spec.default is MISSING or spec.default is None:
            return
        if isinstance(spec.default, list | dict | set):
            self.refuse(spec.name, "has a default that can change", "use None or an immutable value")
        given = spec.default.value if isinstance(spec.default, enum.Enum) else spec.default
        if spec.choices is not None and not callable(spec.choices.source) and given not in spec.choices.list(None):
            allowed = ", ".join(map(repr, spec.choices.list(None)))
            self.refuse(spec.name, f"has the default {given!r}, which is not a choice", f"use one of {allowed}")
        try:
            spec.read(given)
        except InputError as error:
            self.refuse(spec.name, f"has the default {given!r}, which it does not allow", f"use {error.allowed}")

    # outputs

    def outputs(self, hints: dict[str, Any], names: tuple[str, ...]) -> tuple[OutputSpec, ...]:
        if "return" not in hints:
            self.refuse("return", "is missing", "write '-> Image', '-> None' or a NamedTuple of the outputs")
        annotation = self.result_annotation(hints["return"])
        core = _strip(annotation)
        if core in (None, type(None)):
            return ()
        if isinstance(core, type) and issubclass(core, tuple) and hasattr(core, "_fields"):
            fields = typing.get_type_hints(core, localns=self.declared.namespace, include_extras=True)
            return tuple(self.output(name, fields[name]) for name in core._fields)
        return (self.output(names[0] if names else "", annotation),)

    def result_annotation(self, annotation: Any) -> Any:
        """What the body gives in the end: the third argument of a generator's annotation."""
        if self.kind != "generator":
            return annotation
        if get_origin(annotation) not in (Generator, typing.Generator) or len(get_args(annotation)) != 3:
            self.refuse("return", "is not a generator's", "annotate a body that yields as '-> Requests[...]'")
        return get_args(annotation)[2]

    def output(self, name: str, annotation: Any) -> OutputSpec:
        is_list = get_origin(_strip(annotation)) is list
        core = get_args(_strip(annotation))[0] if is_list else annotation
        port = self.port("return", _without_none(core)[0])
        return OutputSpec(name or port, port, is_list, _description([*_extras(annotation)]))

    def fingerprint_inputs(
        self, fingerprint: Callable[..., Any] | None, inputs: dict[str, InputSpec]
    ) -> tuple[str, ...]:
        if fingerprint is None:
            return ()
        names = tuple(inspect.signature(fingerprint).parameters)
        for name in names:
            if name not in inputs and name != "folders":
                self.refuse(name, "is taken by the fingerprint but is no input", f"use some of {', '.join(inputs)}")
        return names


def _strip(annotation: Any) -> Any:
    return annotation.__origin__ if get_origin(annotation) is Annotated else annotation


def _extras(annotation: Any) -> tuple[Any, ...]:
    return annotation.__metadata__ if get_origin(annotation) is Annotated else ()


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """The annotation without `| None`, and whether it had it."""
    core = _strip(annotation)
    if get_origin(core) not in (Union, types.UnionType) or type(None) not in get_args(core):
        return annotation, False
    kept = [arg for arg in get_args(core) if arg is not type(None)]
    inner = kept[0] if len(kept) == 1 else Union[tuple(kept)]
    extras = _extras(annotation)
    return (Annotated[(inner, *extras)] if extras else inner), True


def _limits(extras: list[Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for extra in extras:
        for constraint in (extra, *getattr(extra, "metadata", ())):
            for name in _LIMITS:
                value = getattr(constraint, name, None)
                if isinstance(value, int | float):
                    found[name] = value
    return found


def _description(extras: list[Any]) -> str | None:
    texts = (getattr(extra, "description", None) for extra in extras)
    return next((text for text in texts if isinstance(text, str)), None)


def _first_paragraph(docstring: str | None) -> str:
    return " ".join(inspect.cleandoc(docstring or "").split("\n\n")[0].split())


