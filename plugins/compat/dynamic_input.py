"""Inputs with dotted names, since which of them there are depends on what is given.

| declared type | its inputs |
|---|---|
| `COMFY_AUTOGROW_V3` | `images.image0`, `images.image1`, ...: as many as wanted, up to a number |
| `COMFY_DYNAMICCOMBO_V3` | `mode`, a choice, and `mode.width`, ...: those of the option that is chosen |
| `COMFY_DYNAMICSLOT_V3` | `mask`, a link, and `mask.grow`, ...: those that matter if it is there |
| `COMFY_MATCHTYPE_V3` | itself alone; all of a node with one template carry the same type |

The function gets them regrouped: `images={"image0": ...}`, `mode={"mode": "resize", "width": 64}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mezzotint.engine.port import ANY, are_compatible
from mezzotint.engine.problem import Complaint

AUTOGROW, CHOICE, SLOT = "COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICSLOT_V3"
MATCHED = "COMFY_MATCHTYPE_V3"
GROUPS = ("required", "optional")
MAX_GROWN = 100
"""How many inputs grow where no number is said."""

Condition = tuple[str, Any]
"""A choice and the option for which something is there; or a slot and None: when that is linked."""


class Leaf(NamedTuple):
    """One input of a dotted name: `(TYPE, options)`, as if it stood alone.

    Attributes:
        conditions: when it is there. template: which inputs carry its type; None for no others.
    """

    declared: Any
    is_optional: bool
    conditions: tuple[Condition, ...] = ()
    template: str | None = None


def type_and_options(declared: Any) -> tuple[Any, Mapping[str, Any]]:
    """Type and options of a declaration, however short it is."""
    if not isinstance(declared, tuple | list) or not declared:
        return declared, {}
    options = declared[1] if len(declared) > 1 else {}
    return declared[0], options if isinstance(options, Mapping) else {}


def is_dynamic(declared: Any) -> bool:
    """Whether a declaration stands for several inputs, or for one whose type depends on others."""
    kind, _ = type_and_options(declared)
    return type(kind) is str and kind in (AUTOGROW, CHOICE, SLOT, MATCHED)


class DynamicInputs:
    """The dynamic inputs of a node.

    Attributes:
        leaves: by dotted name; several where options of a choice have inputs of equal names.
    """

    def __init__(self) -> None:
        self.leaves: dict[str, list[Leaf]] = {}
        self._heads: set[str] = set()
        self._groups: set[str] = set()

    def add(self, name: str, declared: Any, *, is_optional: bool) -> list[str]:
        """Take up a declaration; returns the names that it stands for."""
        before = {*self.leaves}
        if type_and_options(declared)[0] != MATCHED:
            self._heads.add(name)
        for dotted, leaf in self._expanded(name, declared, is_optional, ()):
            self.leaves.setdefault(dotted, []).append(leaf)
        return [dotted for dotted in self.leaves if dotted not in before]

    def covers(self, name: str) -> bool:
        """Whether a dotted name belongs to one of these, rightly or not."""
        head, dot, _ = name.partition(".")
        return bool(dot) and head in self._heads

    def is_choice(self, name: str) -> bool:
        """Whether an input chooses between options that have inputs."""
        return name in self._groups and isinstance(self.leaves[name][0].declared[0], list)

    def _expanded(
        self, name: str, declared: Any, is_optional: bool, conditions: tuple[Condition, ...]
    ) -> Iterator[tuple[str, Leaf]]:
        kind, options = type_and_options(declared)
        if not is_dynamic(declared):
            yield name, Leaf(declared, is_optional, conditions)
        elif kind == MATCHED:
            template = options.get("template", {})
            port = template.get("allowed_types") or ANY
            yield name, Leaf((port, options), is_optional, conditions, str(template.get("template_id")))
        elif kind == AUTOGROW:
            self._groups.add(name)
            yield from self._grown(name, options.get("template", {}), is_optional, conditions)
        else:
            self._groups.add(name)
            keys = [option["key"] for option in options.get("options", ())]
            own = (keys, options) if kind == CHOICE else (options.get("slotType", ANY), options)
            yield name, Leaf(own, is_optional, conditions)
            parts = options.get("options", ()) if kind == CHOICE else [{"key": None, "inputs": options.get("inputs")}]
            for part in parts:
                for group, child, inner in _listed(part.get("inputs") or {}):
                    when = (*conditions, (name, part["key"]))
                    yield from self._expanded(f"{name}.{child}", inner, group == "optional", when)

    def _grown(
        self, name: str, template: Mapping[str, Any], is_optional: bool, conditions: tuple[Condition, ...]
    ) -> Iterator[tuple[str, Leaf]]:
        ((group, _, inner),) = _listed(template["input"])
        names = template.get("names")
        if names is None:
            names = [f"{template.get('prefix', '')}{index}" for index in range(template.get("max") or MAX_GROWN)]
        for index, child in enumerate(names):
            may_lack = is_optional or group == "optional" or index >= (template.get("min") or 0)
            yield from self._expanded(f"{name}.{child}", inner, may_lack, conditions)

    # what was given

    def regrouped(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by dotted names as the function gets them, without what belongs to options that are not chosen."""
        if not self._heads:
            return dict(given)
        nested: dict[str, Any] = {name: {} for name in self._groups if name in self._heads and name not in self.leaves}
        for name, value in given.items():
            if name.partition(".")[0] not in self._heads:
                nested[name] = value
            elif any(_holds(leaf, given) for leaf in self.leaves.get(name, ())):
                *path, last = name.split(".")
                holder = nested
                for part in [*path, last] if name in self._groups else path:
                    holder = holder.setdefault(part, {})
                holder[last] = value
        return nested

    def complaints(self, literals: Mapping[str, Any], received: Mapping[str, str]) -> Iterator[Complaint]:
        """What is wrong with the inputs that only make sense together."""
        given = {**literals, **dict.fromkeys(received)}
        for name, leaves in self.leaves.items():
            wanted = [leaf for leaf in leaves if leaf.conditions and not leaf.is_optional and _holds(leaf, given)]
            if wanted and name not in given:
                yield Complaint(name, f"it is missing; {_why(wanted[0])}; give it", "required_input_missing")
        for name in received:
            if self.covers(name) and name not in self.leaves:
                yield Complaint(name, self.why_unknown(name), "invalid_dynamic_input")
        yield from self._mismatched(received)

    def why_unknown(self, name: str) -> str:
        """What is wrong with a name that is not there."""
        head = name.partition(".")[0]
        known = [other for other in self.leaves if other.startswith(f"{head}.")]
        shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        return f"there is no such input; there are {shown}"

    def _mismatched(self, received: Mapping[str, str]) -> Iterator[Complaint]:
        first: dict[str, tuple[str, str]] = {}
        for name, port in received.items():
            template = next((leaf.template for leaf in self.leaves.get(name, ()) if leaf.template), None)
            if template is None:
                continue
            other, wanted = first.setdefault(template, (name, port))
            if not are_compatible(port, wanted):
                yield Complaint(name, f"it gets {port}, and '{other}' gets {wanted}; link both to outputs of one type")


def _holds(leaf: Leaf, given: Mapping[str, Any]) -> bool:
    return all(
        name in given and (key is None or given[name] == key or given[name] == [key]) for name, key in leaf.conditions
    )


def _why(leaf: Leaf) -> str:
    name, key = leaf.conditions[-1]
    return f"'{name}' is linked" if key is None else f"'{name}' is '{key}'"


def _listed(groups: Mapping[str, Any]) -> Iterable[tuple[str, str, Any]]:
    """Group, name and declaration of each input."""
    return [(group, name, given) for group in GROUPS for name, given in (groups.get(group) or {}).items()]
