"""Which inputs of a node type are widgets, and which of the values in `widgets_values` is whose."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .ui_document import UiNode

CONTROL_MODES = frozenset({"fixed", "increment", "increment-wrap", "decrement", "randomize"})
SEED_NAMES = frozenset({"seed", "noise_seed"})
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
# INT, FLOAT, STRING, BOOLEAN and COMBO are widgets everywhere; the others are known to newer editors.
WIDGET_TYPES = frozenset(
    {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC_COMBO}
    | {"COLOR", "BOUNDINGBOX", "CURVE", "IMAGECOMPARE", "WEBCAM", "AUDIO_RECORD", "LOAD_3D"}
)
_UPLOADS = ("image_upload", "video_upload", "audio_upload", "mesh_upload", "file_upload", "animated_image_upload")


class _Missing:
    """The type of MISSING."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class WidgetSpec:
    """A widget that a definition declares.

    Attributes:
        default: what it holds when a file stores nothing for it; MISSING when the definition names nothing.
        extras: how many control values follow its own (1: the mode; 2: the mode and a filter).
        is_forced: it is drawn as a socket only (`forceInput`), so it holds a value in files from before that.
        has_upload: it brings an upload button, which may store one value at the end of the node's values.
        branches: for a dynamic combo, the widgets that each of its choices adds behind it.
    """

    name: str
    kind: str
    default: Any = MISSING
    extras: int = 0
    is_forced: bool = False
    has_upload: bool = False
    branches: Mapping[str, tuple[WidgetSpec, ...]] = field(default_factory=dict)


class StoredValue(NamedTuple):
    """A widget's value, and its key in `widgets_values`; no key when it is the definition's default."""

    value: Any
    key: int | str | None


@dataclass(slots=True)
class StoredWidgets:
    """A node's widget values by name, and the control mode of those that have one.

    `is_exact` says that each stored value found its widget; otherwise the definition has changed since, or a pack
    added values of its own.
    """

    values: dict[str, StoredValue] = field(default_factory=dict)
    controls: dict[str, str] = field(default_factory=dict)
    is_exact: bool = True


def widget_layout(definition: Mapping[str, Any], marked: Iterable[str] = ()) -> tuple[WidgetSpec, ...]:
    """The widgets of a node type in the order in which files store their values, forced ones included.

    `marked` are inputs that a file calls widgets although their type is none that we know (a pack's own widget).
    """
    extra = frozenset(marked)
    found = (widget_spec(name, spec, name in extra) for name, spec in declared_inputs(definition))
    return tuple(spec for spec in found if spec is not None)


def declared_inputs(definition: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The declared inputs that can be widgets or sockets, name and SPEC: the required ones, then the optional."""
    inputs, order = definition.get("input") or {}, definition.get("input_order") or {}
    for group in ("required", "optional"):
        specs = inputs.get(group) or {}
        for name in order.get(group) or specs:
            if name in specs:
                yield name, specs[name]


def input_options(spec: Any) -> Mapping[str, Any]:
    """The OPTIONS of a SPEC."""
    options = spec[1] if isinstance(spec, Sequence) and len(spec) > 1 else None
    return options if isinstance(options, Mapping) else {}


def widget_spec(name: str, spec: Any, is_marked: bool = False, prefix: str = "") -> WidgetSpec | None:
    """The widget of one declared input; None for a socket."""
    declared = spec[0] if isinstance(spec, Sequence) and spec else None
    options = input_options(spec)
    kind = "COMBO" if isinstance(declared, Sequence) and not isinstance(declared, str) else str(declared)
    kind = str(options.get("widgetType") or kind)
    if kind not in WIDGET_TYPES and not is_marked:
        return None
    full_name = prefix + name
    return WidgetSpec(
        name=full_name,
        kind=kind,
        default=_default(kind, declared, options),
        extras=_extras(name, kind, options),
        is_forced=bool(options.get("forceInput")),
        has_upload=any(options.get(flag) for flag in _UPLOADS),
        branches=_branches(full_name, options) if kind == DYNAMIC_COMBO else {},
    )


def combo_choices(spec: Any) -> list[Any]:
    """The choices of a combo's SPEC, old style (a list as the type) or new (`options`)."""
    declared = spec[0] if isinstance(spec, Sequence) and spec else None
    if isinstance(declared, Sequence) and not isinstance(declared, str):
        return list(declared)
    options = input_options(spec).get("options")
    return list(options) if isinstance(options, Sequence) and not isinstance(options, str) else []


def read_widgets(node: UiNode, layout: Sequence[WidgetSpec]) -> StoredWidgets:
    """The values of a node's widgets; those that the file stores nothing for take their default."""
    stored = stored_widgets(node, layout)
    _fill_defaults(stored, layout)
    return stored


def stored_widgets(node: UiNode, layout: Sequence[WidgetSpec]) -> StoredWidgets:
    """The values that a file stores for a node's widgets.

    Values stored by position are preferred while they fit the definition exactly, since scripts edit these; otherwise
    values stored by name are.
    """
    if isinstance(node.values, dict):
        stored = StoredWidgets()
        _take_named(stored, node.values, layout)
        return stored
    stored = assign_values(node.values or [], layout)
    if not stored.is_exact:
        _take_named(stored, node.named_values, layout)
    return stored


def assign_values(values: Sequence[Any], layout: Sequence[WidgetSpec]) -> StoredWidgets:
    """Give each widget its value from a list stored by position, without defaults."""
    stored = StoredWidgets()
    waiting = deque(layout if _holds_forced(values, layout) else [spec for spec in layout if not spec.is_forced])
    index = 0
    while waiting and index < len(values):
        spec = waiting.popleft()
        if not spec.is_forced:
            stored.values[spec.name] = StoredValue(values[index], index)
            waiting.extendleft(reversed(added_widgets(spec, values[index])))
        index += 1
        if spec.extras and index < len(values) and _is_control(values[index]):
            if not spec.is_forced:
                stored.controls[spec.name] = _control_mode(values[index])
            index += spec.extras
    rest = len(values) - index
    stored.is_exact = not waiting and (rest == 0 or (rest == 1 and any(spec.has_upload for spec in layout)))
    return stored


def primitive_layout(node: UiNode) -> tuple[WidgetSpec, ...]:
    """The one widget of a PrimitiveNode, which takes after the input that it feeds."""
    values = stored if isinstance(stored := node.values, list) else []
    has_control = len(values) > 1 and _is_control(values[1])
    return (WidgetSpec("value", "*", extras=min(len(values) - 1, 2) if has_control else 0),)


def _take_named(stored: StoredWidgets, named: Mapping[str, Any], layout: Sequence[WidgetSpec]) -> None:
    waiting = deque(spec for spec in layout if not spec.is_forced)
    while waiting:
        spec = waiting.popleft()
        if spec.name in named:
            stored.values[spec.name] = StoredValue(named[spec.name], spec.name)
            if spec.extras and _is_control(mode := named.get("control_after_generate")):
                stored.controls[spec.name] = _control_mode(mode)
            waiting.extendleft(reversed(added_widgets(spec, named[spec.name])))


def _fill_defaults(stored: StoredWidgets, layout: Sequence[WidgetSpec]) -> None:
    """Put the values in the order of the layout, with defaults where there is none."""
    ordered: dict[str, StoredValue] = {}
    waiting = deque(spec for spec in layout if not spec.is_forced)
    while waiting:
        spec = waiting.popleft()
        held = stored.values.get(spec.name, StoredValue(None, None))
        # A null is how editors write a number that was none.
        value = spec.default if held.value is None else held.value
        if value is not MISSING:
            ordered[spec.name] = StoredValue(value, held.key)
            waiting.extendleft(reversed(added_widgets(spec, value)))
    stored.values = ordered


def _holds_forced(values: Sequence[Any], layout: Sequence[WidgetSpec]) -> bool:
    """Whether a file is from before some inputs were forced to be sockets: it then has a value for each of them."""
    if not any(spec.is_forced for spec in layout):
        return False
    count = sum(1 + spec.extras for spec in layout)
    uploads = 1 if any(spec.has_upload for spec in layout) else 0
    return len(values) in (count, count + uploads)


def added_widgets(spec: WidgetSpec, value: Any) -> tuple[WidgetSpec, ...]:
    """The widgets that a choice of a dynamic combo brings; none for any other widget."""
    return spec.branches.get(value, ()) if spec.branches and isinstance(value, str) else ()


def _is_control(value: Any) -> bool:
    # Files older than the definition's flag have no control value here: the next widget's value stands in its place.
    # The oldest wrote a switch, true for a new seed after each run.
    return value is None or isinstance(value, bool) or (isinstance(value, str) and value in CONTROL_MODES)


def _control_mode(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "randomize" if value is True else "fixed"


def _extras(name: str, kind: str, options: Mapping[str, Any]) -> int:
    if kind == "INT":
        return 1 if options.get("control_after_generate") or name in SEED_NAMES else 0
    return 2 if kind == "COMBO" and options.get("control_after_generate") else 0


def _default(kind: str, declared: Any, options: Mapping[str, Any]) -> Any:
    if options.get("default") is not None:
        return options["default"]
    if kind in ("COMBO", DYNAMIC_COMBO):
        choices = combo_choices([declared, options])
        first = choices[0] if choices else MISSING
        return first.get("key", MISSING) if isinstance(first, Mapping) else first
    if kind in ("INT", "FLOAT"):
        return max(0, options.get("min") or 0)
    plain: dict[str, Any] = {"STRING": options.get("defaultVal") or "", "BOOLEAN": False}
    return plain.get(kind, MISSING)


def _branches(name: str, options: Mapping[str, Any]) -> dict[str, tuple[WidgetSpec, ...]]:
    """The widgets behind each choice of a dynamic combo; their names are dotted, `mode.width`."""
    branches: dict[str, tuple[WidgetSpec, ...]] = {}
    for choice in combo_choices([DYNAMIC_COMBO, options]):
        if isinstance(choice, Mapping):
            added = (
                widget_spec(inner, spec, prefix=f"{name}.")
                for inner, spec in declared_inputs({"input": choice.get("inputs")})
            )
            branches[str(choice.get("key"))] = tuple(spec for spec in added if spec is not None)
    return branches
