"""Node definitions as editors get them: `object_info`, one DEF for each node type (wire protocol §1.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .input_spec import MISSING, InputSpec
from .node import NodeSpec
from .port import COMBO
from .registry import Registry

if TYPE_CHECKING:
    from .folders import Folders


class Definitions(Mapping[str, dict[str, Any]]):
    """class_type → DEF for all registered nodes, each made when it is asked for."""

    def __init__(self, registry: Registry, folders: Folders | None = None) -> None:
        self._registry, self._folders = registry, folders

    def __getitem__(self, name: str) -> dict[str, Any]:
        spec = self._registry.get(name) or self._registry.renamed(name)
        if spec is None:
            raise KeyError(name)
        return define(spec, self._folders)

    def __iter__(self) -> Iterator[str]:
        return (spec.name for spec in self._registry)

    def __len__(self) -> int:
        return len(self._registry)


def define(spec: NodeSpec, folders: Folders | None = None) -> dict[str, Any]:
    """The DEF of a node; lists of files are read now."""
    if spec.definition is not None:
        return spec.definition()
    groups: dict[str, dict[str, list[Any]]] = {"required": {}, "optional": {}}
    for given in spec.inputs.values():
        groups["optional" if given.is_optional else "required"][given.name] = _input(given, folders)
    present = {name: group for name, group in groups.items() if group}
    return {
        "input": present,
        "input_order": {name: [*group] for name, group in present.items()},
        "is_input_list": bool(spec.list_inputs),
        "output": [output.port for output in spec.outputs],
        "output_is_list": [output.is_list for output in spec.outputs],
        "output_name": [output.name for output in spec.outputs],
        "output_tooltips": [output.tooltip for output in spec.outputs],
        "name": spec.name,
        "display_name": spec.title,
        "description": spec.description,
        "python_module": spec.module,
        "category": spec.category,
        "output_node": spec.is_sink,
        "deprecated": spec.is_deprecated,
        "experimental": spec.is_experimental,
        "search_aliases": [*spec.search_aliases],
    }


def _input(given: InputSpec, folders: Folders | None) -> list[Any]:
    options: dict[str, Any] = given.widget.options()
    if given.default is not MISSING and given.default is not None:
        options["default"] = given.wire_default
    options.update({name: value for name, value in _range(given).items() if name not in options})
    if given.tooltip:
        options["tooltip"] = given.tooltip
    if given.is_lazy:
        options["lazy"] = True
    kind: Any = given.port
    if given.port == COMBO and given.choices is not None:
        kind = given.choices.list(folders)
        options.update(given.choices.extra)
    return [kind, options] if options else [kind]


def _range(given: InputSpec) -> dict[str, float]:
    """An input's limits as editors know them: inclusive, so that of whole numbers those above 0 begin at 1."""
    limits, step = given.limits, 1 if given.port == "INT" else 0
    found: dict[str, float] = {}
    if "ge" in limits or "gt" in limits:
        found["min"] = limits["ge"] if "ge" in limits else limits["gt"] + step
    if "le" in limits or "lt" in limits:
        found["max"] = limits["le"] if "le" in limits else limits["lt"] - step
    if "multiple_of" in limits:
        found["step"] = limits["multiple_of"]
    return found
