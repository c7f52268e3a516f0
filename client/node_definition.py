"""Node definitions of a server (wire protocol §1.6) as the specs that this process has of its own nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mezzotint.engine.input_spec import MISSING, InputSpec
from mezzotint.engine.node import NodeSpec, OutputSpec
from mezzotint.engine.port import COMBO
from mezzotint.engine.registry import Registry
from mezzotint.engine.widget import Choices, Widget

Definition = Mapping[str, Any]


def read_registry(definitions: Mapping[str, Definition]) -> Registry:
    """The nodes of a server. They can be asked what they take and give, and cannot be run here."""
    registry = Registry()
    for name, definition in definitions.items():
        registry.register(read_spec(name, definition), plugin="the server")
    return registry


def read_spec(name: str, definition: Definition) -> NodeSpec:
    """The spec of one node."""
    return NodeSpec(
        name=name,
        body=_elsewhere,
        inputs={given.name: given for given in _inputs(definition)},
        outputs=tuple(_outputs(definition)),
        title=str(definition.get("display_name") or name),
        category=str(definition.get("category") or ""),
        description=str(definition.get("description") or ""),
        is_sink=bool(definition.get("output_node")),
    )


def _elsewhere(**_: Any) -> Any:
    raise NotImplementedError("this node runs on the server")


def _inputs(definition: Definition) -> Iterator[InputSpec]:
    groups = definition.get("input") or {}
    for group in ("required", "optional"):
        for name, declared in (groups.get(group) or {}).items():
            yield _input(name, declared, is_optional=group == "optional")


def _input(name: str, declared: Any, *, is_optional: bool) -> InputSpec:
    kind, options = [*declared, {}][:2] if isinstance(declared, list | tuple) else (declared, {})
    options = options if isinstance(options, dict) else {}
    choices = kind if isinstance(kind, list) else options.get("options")
    limits = {ours: options[theirs] for ours, theirs in (("ge", "min"), ("le", "max")) if theirs in options}
    return InputSpec(
        name=name,
        port=COMBO if isinstance(kind, list) else str(kind),
        default=options.get("default", None if is_optional else MISSING),
        is_optional=is_optional,
        is_lazy=bool(options.get("lazy")),
        choices=Choices([str(choice) for choice in choices]) if isinstance(choices, list) else None,
        limits=limits,
        tooltip=options.get("tooltip"),
        widget=Widget(
            multiline=options.get("multiline"),
            dynamic_prompts=options.get("dynamicPrompts"),
            control_after_generate=bool(options.get("control_after_generate")) or None,
            force_input=options.get("forceInput"),
            image_upload=options.get("image_upload"),
        ),
    )


def _outputs(definition: Definition) -> Iterator[OutputSpec]:
    kinds = definition.get("output") or []
    names = definition.get("output_name") or kinds
    lists = definition.get("output_is_list") or [False] * len(kinds)
    for kind, name, is_list in zip(kinds, names, lists, strict=False):
        port = COMBO if isinstance(kind, list) else str(kind)
        yield OutputSpec(str(name) if not isinstance(name, list) else port, port, bool(is_list))
