"""The workflow document: a graph in API format, and what its file carried beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SkipValidation, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from .collector import COLLECTOR
from .errors import WorkflowError

# Deep enough for any value that a widget holds, shallow enough for whoever walks a value by recursion.
MAX_VALUE_DEPTH = 64


class Link(NamedTuple):
    """Where an input comes from: an output slot of another node."""

    node_id: str
    slot: int


class Place(NamedTuple):
    """Where the editor's document keeps the value of an input.

    Attributes:
        path: keys and indexes from the document's root to the node, `("nodes", 3)`.
        key: the value's index in the node's `widgets_values`, or its name when these are an object.
        name: the widget's name, for `widgets_values_named`.
    """

    path: tuple[str | int, ...]
    key: int | str
    name: str


def as_link(value: object) -> Link | None:
    """The link that an input value stands for, or None for a constant.

    A link is a pair of a string and an integer, `["4", 0]`; a bool is no slot. Whether the node and the slot exist is
    for validation to say.
    """
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    node_id, slot = value
    if isinstance(node_id, str) and isinstance(slot, int) and not isinstance(slot, bool):
        return tuple.__new__(Link, value)  # as Link(node_id, slot), at a third of the cost
    return None


def unwrap_value(value: Any) -> Any:
    """The constant itself, out of the `{"__value__": ...}` that keeps a list from being taken for a link."""
    if isinstance(value, dict) and "__value__" in value:
        return value["__value__"]
    return value


def wrap_value(value: Any) -> Any:
    """A constant as the API format writes it: a list is wrapped, anything else stays."""
    return {"__value__": value} if isinstance(value, list) else value


def _object_or_nothing(meta: object) -> object:
    # Nothing depends on _meta, so whatever else stands there is no reason to refuse a graph.
    return meta if isinstance(meta, dict) else {}


@dataclass(slots=True, config=ConfigDict(populate_by_name=True))
class WorkflowNode:
    """One node of the graph.

    Attributes:
        class_type: the node type.
        inputs: name -> constant or link, as the API format writes them (see `as_link` and `unwrap_value`).
        meta: the document's `_meta`: the title, and the pack that the node comes from.
    """

    class_type: str
    inputs: dict[str, Any] = Field(default_factory=dict)
    meta: Annotated[dict[str, Any], BeforeValidator(_object_or_nothing)] = Field(default_factory=dict, alias="_meta")

    @property
    def title(self) -> str:
        """The node's title in the editor; its type when it has none."""
        title = self.meta.get("title")
        return title if isinstance(title, str) and title else self.class_type

    def to_api(self) -> dict[str, Any]:
        """The node as the API format writes it."""
        written: dict[str, Any] = {"class_type": self.class_type, "inputs": dict(self.inputs)}
        if self.meta:
            written["_meta"] = dict(self.meta)
        return written


_NODES = TypeAdapter(dict[str, WorkflowNode])


class Workflow(BaseModel):
    """A graph of nodes in API format.

    Attributes:
        nodes: node id -> node, in the order of the document.
        ui: the editor's document that the graph was converted from; saved beside pictures for an editor to reopen.
        extra: what else the file carried for `extra_pnginfo`, by key.
        problems: sentences about nodes that could not be converted; a workflow that has any should not run.
        warnings: sentences about what was left out or repaired while reading.
        upgrades: sentences about nodes that older versions saved, see `upgrade`.
        controls: node id -> input -> what happens to its value after a run (`"fixed"`, `"increment"`, `"decrement"`,
            `"randomize"`), as the editor's document says.
        places: node id -> input -> where `ui` keeps the value.
    """

    model_config = ConfigDict(extra="forbid")

    # Plain defaults, each instance gets copies: a factory is looked into anew whenever a workflow is made.
    nodes: dict[str, WorkflowNode] = {}
    ui: dict[str, Any] | None = None
    extra: dict[str, Any] = {}
    problems: list[str] = []
    warnings: list[str] = []
    upgrades: list[str] = []
    controls: SkipValidation[dict[str, dict[str, str]]] = Field(default={}, repr=False)
    places: SkipValidation[dict[str, dict[str, Place]]] = Field(default={}, repr=False)

    @classmethod
    def from_api(cls, document: Mapping[str, Any]) -> Workflow:
        """Read a graph in API format: `{id: {"class_type": ..., "inputs": {...}, "_meta": {...}}}`.

        Keys of a node that are not known (`is_changed`, say) are left out. Linear in the size of the document.

        Raises:
            WorkflowError: the document is not such a graph; the sentence names every node that is wrong.
        """
        if not isinstance(document, Mapping):
            raise WorkflowError(f"A workflow is an object of nodes by id, and this is {_kind(document)}.")
        try:
            with COLLECTOR.sparing():  # of a large graph, it would look hundreds of times through what stays
                nodes = _NODES.validate_python(document)
        except ValidationError as error:
            raise WorkflowError(_sentences(document, error)) from None
        _check_depth(nodes)
        return cls.model_construct(nodes=nodes)

    def to_api(self) -> dict[str, Any]:
        """The graph in API format. The values are shared with the workflow, the dicts around them are new."""
        return {node_id: node.to_api() for node_id, node in self.nodes.items()}

    @property
    def extra_pnginfo(self) -> dict[str, Any]:
        """What is saved beside the graph in a picture: the editor's document and whatever else the file carried."""
        return {"workflow": self.ui, **self.extra} if self.ui is not None else dict(self.extra)


_LEAVES = {str, int, float, bool, type(None)}


def _check_depth(nodes: dict[str, WorkflowNode]) -> None:
    for node_id, node in nodes.items():
        for name, value in node.inputs.items():
            if type(value) is list and _LEAVES.issuperset(map(type, value)):  # a link, mostly
                continue
            if isinstance(value, (list, dict)) and is_nested(value, MAX_VALUE_DEPTH):
                raise WorkflowError(
                    f"Node {node_id} ({node.title}), input '{name}': the value is nested more than "
                    f"{MAX_VALUE_DEPTH} levels deep; flatten it."
                )


def is_nested(value: Any, levels: int) -> bool:
    """Whether a JSON value has lists or objects more than `levels` deep inside each other."""
    level = [value]
    for _ in range(levels):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, (list, dict))
        ]
        if not level:
            return False
    return True


_SHOWN = 10


def _sentences(document: Mapping[str, Any], error: ValidationError) -> str:
    """What is wrong, a line for each fault; the first ten."""
    # A node id that is no string is reported at ("3", "[key]"), a field of a node at ("3", "inputs").
    faults = [_sentence(document, fault["loc"], fault["input"]) for fault in error.errors(include_url=False)]
    lines = list(dict.fromkeys(faults))
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"And {len(lines) - _SHOWN} more like these."]
    return "\n".join(lines)


def _sentence(document: Mapping[str, Any], location: tuple[int | str, ...], given: object) -> str:
    node_id = location[0] if location else ""
    field = location[1] if len(location) > 1 else None
    if field == "[key]":
        return f'The node id {given!r} is {_kind(given)}; ids are strings, as in "3".'
    if field == "class_type" and _lacks(document, node_id, "class_type"):
        return f"Node {node_id} has no class_type, which names the type of a node."
    if field == "class_type":
        return f"Node {node_id}: class_type is {_kind(given)}; give the node type as a string."
    if field == "inputs" and location[-1] == "[key]":
        return f"Node {node_id}: the input name {given!r} is {_kind(given)}; names are strings."
    if field == "inputs":
        return f"Node {node_id}: inputs is {_kind(given)}; give an object of values by name."
    return f"Node {node_id} is {_kind(given)}; a node is an object with class_type and inputs."


def _lacks(document: Mapping[str, Any], node_id: object, key: str) -> bool:
    node = document.get(node_id) if isinstance(node_id, str) else None
    return isinstance(node, Mapping) and key not in node


_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


def _kind(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "a number"
    return _KINDS.get(type(value), f"a {type(value).__name__}")
