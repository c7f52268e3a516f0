"""Reads a function's signature into a `NodeSpec`, and refuses what would go wrong later.

Every refusal is a sentence that names the plugin, the node, the parameter and the cure.
"""

from __future__ import annotations

import enum
import inspect
import re
import typing
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, Literal, NoReturn, get_args, get_origin

from .annotation import (
    NONE,
    constraints_of,
    content,
    description_of,
    holds_list,
    is_pydantics,
    last_extra,
    limits_of,
    unwrapped,
)
from .blocked import Blocked
from .consumed_state import is_consumed
from .context import Context
from .errors import DeclarationError
from .expansion import Expand
from .input_spec import InputError, InputSpec
from .node import BodyKind, Declaration, NodeSpec, OutputSpec
from .port import ANY, COMBO, WIDGET_PORTS, Lazy, Port, port_name
from .widget import Choices, Widget

_OPTIONS: dict[str, type | tuple[type, ...]] = {
    "title": str, "category": str, "version": int, "sink": bool, "lane": str, "fingerprint": object,
    "quick_fingerprint": bool, "uses_id": bool, "autograd": bool, "cached": bool, "output_names": (tuple, list),
    "deprecated": bool, "experimental": bool, "aliases": (tuple, list), "was": (tuple, list), "upgrades": dict,
}  # fmt: skip
_LANES = ("cpu", "device")


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
            self.refuse("its body", "is an async generator", "make it 'async def' with a return, or a plain generator")
        options = self.options()
        hints = self.hints(self.function, "its return annotation")
        inputs, context_parameter = self.inputs(hints)
        outputs = self.outputs(hints, tuple(options.pop("output_names", ())))
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
            was=tuple(options.pop("was", ())),
            fingerprint=fingerprint,
            fingerprint_inputs=self.fingerprint_inputs(fingerprint, inputs),
            context_parameter=context_parameter,
            plugin=self.plugin,
            module=self.function.__module__,
            code_version=code_version,
            **options,
        )

    def refuse(self, place: str, problem: str, cure: str) -> NoReturn:
        raise DeclarationError(f"plugin '{self.plugin}', node '{self.declared.name}': {place} {problem}; {cure}")

    def options(self) -> dict[str, Any]:
        options = dict(self.declared.options)
        for name, value in options.items():
            if name not in _OPTIONS:
                self.refuse(f"option '{name}'", "is not known", f"use some of {', '.join(_OPTIONS)}")
            kind = _OPTIONS[name]
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                named = kind.__name__ if isinstance(kind, type) else kind[0].__name__
                self.refuse(f"option '{name}'", f"is {value!r}", f"give a {named}")
        if options.get("lane", "cpu") not in _LANES:
            self.refuse("option 'lane'", f"is {options['lane']!r}", f"use one of {', '.join(map(repr, _LANES))}")
        return options

    def hints(self, subject: Any, default_place: str) -> dict[str, Any]:
        """The annotations of a function or a NamedTuple, as types."""
        try:
            return typing.get_type_hints(subject, localns=self.declared.namespace, include_extras=True)
        except NameError as error:
            cure = f"import '{error.name}' where the node is defined, outside 'if TYPE_CHECKING'"
            place = _place_naming(error.name or "", subject) or default_place
            self.refuse(place, f"is annotated with '{error.name}', which is not known", cure)
        except Exception as error:
            self.refuse("an annotation", f"cannot be read ({error})", "annotate with types, such as int or Image")

    # inputs

    def inputs(self, hints: dict[str, Any]) -> tuple[dict[str, InputSpec], str | None]:
        inputs: dict[str, InputSpec] = {}
        context_parameter = None
        for parameter in inspect.signature(self.function).parameters.values():
            place = f"parameter '{parameter.name}'"
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                self.refuse(place, "takes a varying or unnamed argument", "declare each input by its name")
            if parameter.name not in hints:
                self.refuse(place, "has no annotation", "annotate it with a port, such as int or Image")
            if unwrapped(hints[parameter.name]).core is not Context:
                inputs[parameter.name] = self.input(parameter, hints[parameter.name], place)
            elif context_parameter is None:
                context_parameter = parameter.name
            else:
                self.refuse(place, f"is a Context, and '{context_parameter}' is one too", "take the Context once")
        return inputs, context_parameter

    def input(self, parameter: inspect.Parameter, annotation: Any, place: str) -> InputSpec:
        core, extras, may_be_none = unwrapped(annotation)
        is_lazy = get_origin(core) is Lazy
        if is_lazy:
            core, extras, inside_may_be_none = content(core, extras)
            may_be_none = may_be_none or inside_may_be_none
            if self.kind == "plain":
                self.refuse(place, "is Lazy in a plain function", "await it in an 'async def' body, or yield Need")
        is_list = holds_list(core, extras)
        if is_list:
            core, extras, _ = content(core, extras)
        port = self.port(core, extras, place)
        widget = last_extra(extras, Widget) or Widget()
        choices, members = self.choices(core, extras, place)
        spec = InputSpec(
            name=parameter.name,
            port=port,
            is_lazy=is_lazy,
            is_list=is_list,
            is_socket={*port.split(",")}.isdisjoint({*WIDGET_PORTS.values(), COMBO, ANY}),
            choices=choices,
            members=members,
            limits=limits_of(extras),
            constraints=constraints_of(extras),
            tooltip=description_of(extras) or widget.tooltip,
            widget=widget,
        )
        self.check_constraints(spec, extras, place)
        return self.with_default(spec, parameter, may_be_none or port == ANY, place)

    def port(self, core: Any, extras: tuple[Any, ...], place: str) -> str:
        named = last_extra(extras, Port)
        if named is not None:
            return named.name
        if core is list or core is typing.List:  # noqa: UP006
            self.refuse(place, "does not say what the list holds", "write list[int], list[Image] or the like")
        if core is Lazy or get_origin(core) is Lazy:
            self.refuse(place, "has Lazy in the wrong place", "write Lazy[Image] around the whole of a parameter")
        if core is NONE or core is Context:
            self.refuse(place, "is no port", "annotate it with a port, such as int or Image")
        if last_extra(extras, Choices) is not None:
            return COMBO
        try:
            return port_name(core)
        except TypeError as error:
            self.refuse(place, f"cannot be a port: {error}", "use a class, or Annotated[..., Port('NAME')]")

    def choices(self, core: Any, extras: tuple[Any, ...], place: str) -> tuple[Choices | None, dict[str, Any]]:
        """What a combo allows, and what the body gets for each text, where that is no text."""
        named = last_extra(extras, Choices)
        if named is not None:
            if core not in (str, Any) or isinstance(named.source, str):
                self.refuse(place, "has Choices that are no list of text", "write Annotated[str, Choices([...])]")
            return named, {}
        if get_origin(core) is Literal:
            members = [(value, value) for value in get_args(core)]
        elif isinstance(core, type) and issubclass(core, enum.Enum):
            members = [(member.value, member) for member in core]
        else:
            return None, {}
        if not all(isinstance(value, str | int) and not isinstance(value, enum.Enum) for value, _ in members):
            self.refuse(place, "has choices that are neither text nor numbers", "give each choice a text")
        texts = {str(value): member for value, member in members}
        are_texts = all(type(member) is str for member in texts.values())
        return Choices([*texts]), {} if are_texts else texts

    def check_constraints(self, spec: InputSpec, extras: tuple[Any, ...], place: str) -> None:
        ports = {*spec.port.split(",")}
        if spec.limits and not ports <= {"INT", "FLOAT"}:
            self.refuse(place, f"has limits, which {spec.port} cannot have", "give them to an int or a float")
        if spec.constraints and not ports <= {"INT", "FLOAT", "STRING"}:
            self.refuse(place, f"has constraints, which {spec.port} cannot have", "check the value in the body")
        if any(is_pydantics(extra) and _is_set(getattr(extra, "default", None)) for extra in extras):
            self.refuse(place, "has a default inside Field", "write it behind the annotation: '= 5'")
        try:
            spec.adapter  # noqa: B018
        except Exception as error:
            self.refuse(place, f"has constraints that do not fit ({error})", "give constraints of its type")

    # defaults

    def with_default(self, spec: InputSpec, parameter: inspect.Parameter, may_be_none: bool, place: str) -> InputSpec:
        given = parameter.default
        if given is parameter.empty:
            if may_be_none and spec.port != ANY:
                self.refuse(place, "may be None but has no default", "write '= None' behind it, or leave '| None' out")
            return spec
        if given is None:
            if not may_be_none:
                self.refuse(place, "has the default None, which its annotation leaves out", "add '| None' to it")
            return spec.replace(default=None, is_optional=True)
        if isinstance(given, list | dict | set):
            self.refuse(place, "has a default that can change", "use None or an immutable value, such as a tuple")
        if is_pydantics(given) or isinstance(given, Port | Widget | Choices):
            self.refuse(place, f"has {type(given).__name__} for a default", "write Annotated[int, Field(...)] = 5")
        if spec.is_list and isinstance(given, tuple):
            return spec.replace(default=[self.default(spec, item, place) for item in given])
        return spec.replace(default=self.default(spec, given, place))

    def default(self, spec: InputSpec, given: Any, place: str) -> Any:
        """The default as a workflow's value would be read, so that leaving it out and giving it are the same."""
        allowed = spec.choices.list(None) if spec.choices is not None and not callable(spec.choices.source) else None
        try:
            if allowed is not None:
                return spec.choose(given, allowed)
            spec.check_type(given)
            return spec.read(given)
        except InputError as error:
            fitting = error.allowed if allowed is None else f"one of {', '.join(map(repr, allowed))}"
            self.refuse(place, f"has the default {given!r}, which it does not allow", f"use {fitting}")

    # outputs

    def outputs(self, hints: dict[str, Any], names: tuple[str, ...]) -> tuple[OutputSpec, ...]:
        place = "its return annotation"
        if "return" not in hints:
            self.refuse(place, "is missing", "write '-> Image', '-> None' or a NamedTuple of the outputs")
        annotation = self.result_annotation(hints["return"], place)
        core = unwrapped(annotation, Blocked, Expand).core
        if core is NONE:
            outputs: tuple[OutputSpec, ...] = ()
        elif isinstance(core, type) and issubclass(core, tuple) and hasattr(core, "_fields"):
            outputs = self.named_outputs(core, place)
        else:
            outputs = (self.output("", annotation, place),)
        if len(names) > len(outputs):
            self.refuse("option 'output_names'", f"is {names!r} for {len(outputs)} outputs", "give one for each output")
        renamed = (replace(output, name=str(name)) for output, name in zip(outputs, names, strict=False))
        outputs = (*renamed, *outputs[len(names) :])
        for index, output in enumerate(outputs):
            if output.name in (before.name for before in outputs[:index]):
                self.refuse("option 'output_names'", f"gives two outputs the name '{output.name}'", "use others")
        return outputs

    def named_outputs(self, core: Any, place: str) -> tuple[OutputSpec, ...]:
        fields = self.hints(core, place)
        for name in core._fields:
            if name not in fields:
                self.refuse(f"output '{name}'", "has no annotation", "declare a typing.NamedTuple with typed fields")
        return tuple(self.output(name, fields[name], f"output '{name}'") for name in core._fields)

    def result_annotation(self, annotation: Any, place: str) -> Any:
        """What the body gives in the end: the third argument of a generator's annotation."""
        is_generators = get_origin(annotation) is Generator and len(get_args(annotation)) == 3
        if self.kind == "generator" and not is_generators:
            self.refuse(place, "is not a generator's", "annotate a body that yields as '-> Requests[...]'")
        if self.kind != "generator" and is_generators:
            self.refuse(place, "is a generator's, but the body never yields", "write 'return (yield from ...)'")
        return get_args(annotation)[2] if is_generators else annotation

    def output(self, name: str, annotation: Any, place: str) -> OutputSpec:
        core, extras, _ = unwrapped(annotation, Blocked, Expand)
        is_list = holds_list(core, extras)
        tooltip = description_of(extras)
        if is_list:
            core, extras, _ = content(core, extras)
        if core is tuple or (get_origin(core) is tuple and last_extra(extras, Port) is None):
            self.refuse(place, "is a plain tuple", "declare a NamedTuple, whose fields name the outputs")
        port = self.port(core, extras, place)
        return OutputSpec(name or port, port, is_list, tooltip, is_consumed(core))

    def fingerprint_inputs(self, fingerprint: Any, inputs: dict[str, InputSpec]) -> tuple[str, ...]:
        if fingerprint is None:
            return ()
        try:
            names = tuple(inspect.signature(fingerprint).parameters)
        except (TypeError, ValueError):
            self.refuse("option 'fingerprint'", f"is {fingerprint!r}", "give a function of some of the inputs")
        for name in names:
            if name not in inputs and name != "folders":
                known = ", ".join([*inputs, "folders"])
                self.refuse(f"parameter '{name}'", "of the fingerprint is no input", f"use some of {known}")
        return names


def _is_set(default: Any) -> bool:
    return default is not None and default is not ... and type(default).__name__ != "PydanticUndefinedType"


def _place_naming(name: str, subject: Any) -> str | None:
    """Where in a function's or NamedTuple's annotations a name stands."""
    for parameter, annotation in subject.__annotations__.items():
        if re.search(rf"\b{re.escape(name)}\b", str(annotation)):
            kind = "output" if isinstance(subject, type) else "parameter"
            return None if parameter == "return" else f"{kind} '{parameter}'"
    return None


def _first_paragraph(docstring: str | None) -> str:
    return " ".join(inspect.cleandoc(docstring or "").split("\n\n")[0].split())
