"""What a pack's INPUT_TYPES says, as the engine's inputs."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from mezzotint.engine.input_spec import InputError, InputSpec
from mezzotint.engine.port import ANY, COMBO
from mezzotint.engine.sentence import list_of

from .dynamic_input import GROUPS, MATCHED, DynamicInputs, is_dynamic, type_and_options

NO_TYPE = "no type"
"""A text that no type is called."""
_READERS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


class Exemptions(NamedTuple):
    """Which checks a node does itself: the limits of some inputs (None: of all), the types of all its links."""

    limits: frozenset[str] | None = frozenset()
    links: bool = False

    def covers(self, name: str) -> bool:
        return self.limits is None or name.partition(".")[0] in self.limits


@dataclass(frozen=True)
class PackInput(InputSpec):
    """An input of a pack's node, checked as packs expect.

    Attributes:
        values: what a combo allows, of any type; None for other inputs. may_be_several: it takes a list of them.
        is_exempt: its node checks its constants itself, beyond their type. takes_any_link: and its links.
    """

    values: tuple[Any, ...] | None = None
    may_be_several: bool = False
    is_exempt: bool = False
    takes_any_link: bool = False

    @cached_property
    def plain_types(self) -> frozenset[type]:
        is_usual = self.values is None and type(self.port) is str  # text of packs may be no key of a table
        return super().plain_types if is_usual else frozenset()

    def accepts(self, port: str) -> bool:
        return self.takes_any_link or super().accepts(port)

    def read(self, value: Any) -> Any:
        reader = _READERS.get(self.port) if type(self.port) is str else None
        if reader is not None:
            try:
                value = reader(value)
            except (TypeError, ValueError, OverflowError) as error:
                raise InputError("invalid_input_type", self.allowed(), detail=str(error)) from None
        if not self.is_exempt:
            self._check_limits(value)
            self._check_choice(value)
        return value

    def _check_limits(self, value: Any) -> None:
        try:
            if "ge" in self.limits and value < self.limits["ge"]:
                raise InputError("value_smaller_than_min", self.allowed())
            if "le" in self.limits and value > self.limits["le"]:
                raise InputError("value_bigger_than_max", self.allowed())
        except TypeError as error:
            raise InputError("invalid_input_type", self.allowed(), str(error)) from None

    def _check_choice(self, value: Any) -> None:
        if self.values is None:
            return
        chosen = value if self.may_be_several and isinstance(value, list) else [value]
        for item in chosen:
            if item not in self.values:
                raise InputError("value_not_in_list", list_of([*map(str, self.values)], None))


def read_input(name: str, declared: Any, *, is_optional: bool, exemptions: Exemptions) -> PackInput:
    """An input from its declaration, `(TYPE, options)`."""
    kind, options = type_and_options(declared)
    values = _values(kind, options)
    number = isinstance(options.get("min"), int | float), isinstance(options.get("max"), int | float)
    limits = {
        limit: options[key] for limit, key, given in zip(("ge", "le"), ("min", "max"), number, strict=True) if given
    }
    return PackInput(
        name=name,
        port=port_of(kind),
        is_optional=is_optional,
        is_lazy=bool(options.get("lazy")),
        is_raw_link=bool(options.get("rawLink")),
        limits=limits,
        tooltip=options.get("tooltip") if isinstance(options.get("tooltip"), str) else None,
        values=values,
        may_be_several=bool(options.get("multiselect") or options.get("multi_select")),
        is_exempt=exemptions.covers(name),
        takes_any_link=exemptions.links,
    )


def port_of(kind: Any) -> str:
    """The port type that a declared type stands for.

    Text that differs from none is any type; text with another comparison of its own stays what it is.
    """
    named = wire_type(kind)
    if type(named) is str:
        return ANY if named == MATCHED else named
    is_any = not named != NO_TYPE  # noqa: SIM202  (text of packs may be equal to nothing and differ from nothing)
    return ANY if is_any else named


def wire_type(kind: Any) -> str:
    """What definitions call a declared type."""
    if isinstance(kind, list | tuple):
        return COMBO
    if isinstance(kind, enum.Enum):
        kind = kind.value
    return kind if isinstance(kind, str) else str(kind)


def _values(kind: Any, options: Mapping[str, Any]) -> tuple[Any, ...] | None:
    if isinstance(kind, list | tuple):
        return tuple(kind)
    if kind == COMBO and isinstance(options.get("options"), list | tuple):
        return tuple(options["options"])
    return None


class UnknownInput(PackInput):
    """An input of a dotted name that its group does not have."""

    @cached_property
    def plain_types(self) -> frozenset[type]:
        return frozenset()

    def read(self, value: Any) -> Any:
        raise InputError("invalid_dynamic_input", "none", self.tooltip or "")


class DeclaredInputs(dict[str, InputSpec]):
    """The inputs by name. Groups of packs that claim to have every name are asked for it, by `in` and index.

    Attributes:
        dynamic: those with dotted names.
    """

    def __init__(self, groups: Mapping[str, Any], exemptions: Exemptions) -> None:
        self._groups, self._exemptions, self.dynamic = groups, exemptions, DynamicInputs()
        super().__init__()
        for group in GROUPS:
            for name in groups.get(group, ()):
                declared = groups[group][name]
                if not is_dynamic(declared):
                    self[name] = self._read(group, name)
                    continue
                for dotted in self.dynamic.add(name, declared, is_optional=group == "optional"):
                    self[dotted] = self._leaf(dotted)

    def _leaf(self, name: str) -> InputSpec:
        """An input of a dotted name; where options of a choice differ over it, the choice decides only when it runs."""
        first, *others = self.dynamic.leaves[name]
        is_optional = first.is_optional or bool(first.conditions)
        if any(other.declared != first.declared for other in others):
            return PackInput(name=name, port=ANY, is_optional=is_optional, is_exempt=True)
        exemptions = self._exemptions
        if self.dynamic.is_choice(name):  # what is not there brings no inputs, so no check of a node's own can allow it
            exemptions = Exemptions(links=exemptions.links)
        return read_input(name, first.declared, is_optional=is_optional, exemptions=exemptions)

    def __missing__(self, name: str) -> InputSpec:
        if self.dynamic.covers(name):
            return UnknownInput(name=name, port=ANY, is_optional=True, tooltip=self.dynamic.why_unknown(name))
        for group in GROUPS:
            if name in self._groups.get(group, ()):
                return self.setdefault(name, self._read(group, name))
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name) or any(name in self._groups.get(group, ()) for group in GROUPS):
            return True
        return isinstance(name, str) and self.dynamic.covers(name)

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def _read(self, group: str, name: str) -> InputSpec:
        declared = self._groups[group][name]
        return read_input(name, declared, is_optional=group == "optional", exemptions=self._exemptions)


def hidden_kinds(groups: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The hidden inputs: name and kind, such as `("id", "UNIQUE_ID")`."""
    for name, declared in (groups.get("hidden") or {}).items():
        kind, _ = type_and_options(declared)
        yield name, port_of(kind)
