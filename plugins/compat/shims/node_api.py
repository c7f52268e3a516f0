"""`comfy_api.latest`: node classes with a schema. To the engine they look like the older ones."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from mezzotint.engine.blocked import Blocked
from mezzotint.plugins.compat import surroundings

from . import schema


class NodeOutput:
    """What a node returns: its values, what is shown, a sub-graph, or that what follows is blocked."""

    def __init__(self, *args: Any, ui: Any = None, expand: Any = None, block_execution: str | None = None) -> None:
        self.args, self.ui, self.expand, self.block_execution = args, ui, expand, block_execution

    def as_result(self) -> dict[str, Any]:
        """The same as older nodes return it."""
        result: Any = self.args if self.block_execution is None else Blocked(self.block_execution)
        shown = self.ui.as_dict() if hasattr(self.ui, "as_dict") else self.ui
        given = {"result": result, "ui": shown, "expand": self.expand}
        return {name: value for name, value in given.items() if value is not None}


class _Locked(type):
    """Classes on which nothing can be set."""

    def __setattr__(cls, name: str, value: Any) -> None:
        if cls.__dict__.get("IS_LOCKED"):
            raise AttributeError(f"'{name}' cannot be set on {cls.__name__}: nodes keep nothing from call to call")
        super().__setattr__(name, value)


class _SchemaProperty:
    """An attribute of older classes, read from the schema."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self._read(owner.GET_SCHEMA())


class _FunctionName:
    """Which function runs the node."""

    def __get__(self, instance: Any, owner: Any) -> str:
        return "EXECUTE_NORMALIZED_ASYNC" if inspect.iscoroutinefunction(owner.execute) else "EXECUTE_NORMALIZED"


class ComfyNode(metaclass=_Locked):
    """The base of nodes with a schema."""

    hidden: Any = SimpleNamespace()
    FUNCTION = _FunctionName()
    RETURN_TYPES = _SchemaProperty(lambda given: tuple(output.io_type for output in given.outputs))
    RETURN_NAMES = _SchemaProperty(
        lambda given: tuple(output.display_name or output.id or output.io_type for output in given.outputs)
    )
    OUTPUT_TOOLTIPS = _SchemaProperty(lambda given: tuple(output.tooltip for output in given.outputs))
    OUTPUT_IS_LIST = _SchemaProperty(lambda given: tuple(output.is_output_list for output in given.outputs))
    CATEGORY = _SchemaProperty(lambda given: given.category)
    DESCRIPTION = _SchemaProperty(lambda given: given.description)
    INPUT_IS_LIST = _SchemaProperty(lambda given: given.is_input_list)
    OUTPUT_NODE = _SchemaProperty(lambda given: given.is_output_node)
    NOT_IDEMPOTENT = _SchemaProperty(lambda given: given.not_idempotent)
    DEPRECATED = _SchemaProperty(lambda given: given.is_deprecated)
    EXPERIMENTAL = _SchemaProperty(lambda given: given.is_experimental)
    API_NODE = _SchemaProperty(lambda given: given.is_api_node)
    SEARCH_ALIASES = _SchemaProperty(lambda given: given.search_aliases)

    @classmethod
    def define_schema(cls) -> schema.Schema:
        raise NotImplementedError(f"{cls.__name__} has no define_schema")

    @classmethod
    def GET_SCHEMA(cls) -> schema.Schema:
        """The schema."""
        return cls.define_schema()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs as older classes declare them."""
        groups: dict[str, dict[str, Any]] = {"required": {}, "optional": {}, "hidden": {}}
        given = cls.GET_SCHEMA()
        for one in given.inputs:
            groups["optional" if one.optional else "required"][one.id] = one.declaration()
        groups["hidden"] = {kind.name: (str(kind),) for kind in given.hidden_kinds()}
        return {name: group for name, group in groups.items() if group}

    @classmethod
    def prepared(cls, hidden: dict[str, Any]) -> Any:
        """A copy that knows its surroundings, on which nothing can be set."""
        known = {kind.name: hidden.get(str(kind)) for kind in schema.Hidden}
        metaclass: Any = type(cls)
        return metaclass(cls.__name__, (cls,), {"hidden": SimpleNamespace(**known), "IS_LOCKED": True})

    @classmethod
    def EXECUTE_NORMALIZED(cls, **inputs: Any) -> Any:
        """Run `execute` and give what it returns as older nodes do."""
        return _normalised(cls, cls.execute(**inputs))  # type: ignore[attr-defined]

    @classmethod
    async def EXECUTE_NORMALIZED_ASYNC(cls, **inputs: Any) -> Any:
        """The same of an async `execute`."""
        return _normalised(cls, await cls.execute(**inputs))  # type: ignore[attr-defined]


def _normalised(cls: Any, returned: Any) -> Any:
    if not isinstance(returned, NodeOutput):
        return returned
    if returned.expand is not None and not cls.GET_SCHEMA().enable_expand:
        raise ValueError(f"{cls.__name__} expands, and its schema does not say enable_expand=True")
    return returned.as_result()


class ComfyExtension:
    """What a pack with schema classes returns."""

    async def on_load(self) -> None:
        """Called before the nodes are asked for."""

    async def get_node_list(self) -> list[type[ComfyNode]]:
        raise NotImplementedError("the extension has no get_node_list")


class _Execution:
    async def set_progress(
        self, value: float, max_value: float, node_id: str | None = None, preview_image: Any = None,
        ignore_size_limit: bool = False,
    ) -> None:  # fmt: skip
        """Tell how far the running node is."""
        here = surroundings.context()
        if here is not None:
            here.progress(value, max_value, preview_image)


class ComfyAPI:
    """What nodes may ask of their host."""

    def __init__(self) -> None:
        self.execution = _Execution()


class _PreviewText:
    def __init__(self, value: str, **_: Any) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        return {"text": (self.value,)}


io = SimpleNamespace(
    **{name: value for name, value in vars(schema).items() if not name.startswith("_")},
    ComfyNode=ComfyNode,
    NodeOutput=NodeOutput,
)
ui = SimpleNamespace(PreviewText=_PreviewText)
