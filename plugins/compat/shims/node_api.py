"""`comfy_api.latest`: node classes with a schema. To the engine they look like the older ones."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from mezzotint.engine.blocked import Blocked
from mezzotint.engine.value_type import is_torch_tensor
from mezzotint.nodes.png import to_uint8
from mezzotint.plugins.compat import surroundings
from mezzotint.plugins.compat.refusal import refusal

from . import schema, schema_types
from . import ui as ui_module


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


class _EveryInput(dict[str, Any]):
    """Optional inputs of any name and type, beside those that are declared."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> tuple[str, dict[str, Any]]:
        return "*", {}


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
    DEV_ONLY = _SchemaProperty(lambda given: given.is_dev_only)
    PRICE_BADGE = _SchemaProperty(lambda given: given.price_badge)
    ESSENTIALS_CATEGORY = _SchemaProperty(lambda given: given.essentials_category)
    HAS_INTERMEDIATE_OUTPUT = _SchemaProperty(lambda given: given.has_intermediate_output)
    OUTPUT_MATCHTYPES = _SchemaProperty(lambda given: given.output_templates())

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
        given = cls.GET_SCHEMA()
        groups = {"optional": {}, **schema_types.input_groups(given.inputs)}
        if given.accept_all_inputs:
            groups["optional"] = _EveryInput(groups["optional"])
        elif not groups["optional"]:
            del groups["optional"]
        if hidden := {kind.name: (str(kind),) for kind in given.hidden_kinds()}:
            groups["hidden"] = hidden
        return {name: groups[name] for name in ("required", "optional", "hidden") if name in groups}

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
        _tell_progress(value, max_value, preview_image)


class ComfyAPI:
    """What nodes may ask of their host."""

    def __init__(self) -> None:
        self.execution = _Execution()


class ComfyAPISync:
    """The same for functions that are not async."""

    class _Execution:
        def set_progress(self, value: float, max_value: float, node_id: str | None = None, preview_image: Any = None,
                         ignore_size_limit: bool = False) -> None:  # fmt: skip
            """Tell how far the running node is."""
            _tell_progress(value, max_value, preview_image)

    def __init__(self) -> None:
        self.execution = self._Execution()


def _tell_progress(value: float, max_value: float, preview: Any) -> None:
    here = surroundings.context()
    if here is None:
        return
    if is_torch_tensor(preview):  # one picture, or a batch of them
        from PIL import Image

        preview = Image.fromarray(to_uint8(preview[0] if preview.ndim == 4 else preview))
    here.progress(value, max_value, preview)


class _Offered(SimpleNamespace):
    """The names of some modules; those that are not there are refused."""

    def __init__(self, called: str, *names: Mapping[str, Any]) -> None:
        self._called = called
        for given in names:
            vars(self).update({name: value for name, value in given.items() if not name.startswith("_")})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(refusal(f"comfy_api.latest.{self._called}.{name}"))


io = IO = _Offered("io", vars(schema_types), vars(schema), {"ComfyNode": ComfyNode, "NodeOutput": NodeOutput})
ui = UI = _Offered("ui", vars(ui_module))
_KINDS = ("Image", "Mask", "Latent", "Audio", "Video")
Input = SimpleNamespace(**dict.fromkeys(_KINDS, Any))
InputImpl = _Offered("InputImpl")
Types = _Offered("Types")
