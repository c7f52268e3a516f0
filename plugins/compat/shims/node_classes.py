"""`nodes`: constants, the classes of the built-in nodes, and interruption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mezzotint.engine.context import Context
from mezzotint.engine.definition import define
from mezzotint.engine.node import NodeSpec
from mezzotint.engine.request import drive
from mezzotint.plugins.compat import surroundings
from mezzotint.plugins.compat.coroutine import finished

MAX_RESOLUTION = 16384
EXTENSION_WEB_DIRS: dict[str, str] = {}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {}


def interrupt_processing(value: bool = True) -> None:
    """Ask the running job to stop."""
    if value:
        surroundings.interrupt()


class BuiltInNode:
    """A built-in node as packs call one: `NODE_CLASS_MAPPINGS["VAEDecode"]().run(samples=..., vae=...)`."""

    FUNCTION = "run"
    SPEC: NodeSpec

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        inputs: dict[str, Any] = define(cls.SPEC, surroundings.folders())["input"]
        return inputs

    def run(self, *values: Any, **inputs: Any) -> tuple[Any, ...]:
        """Call the node; inputs in its order or by name. Returns its outputs."""
        spec = self.SPEC
        arguments = {**spec.defaults, **dict(zip(spec.inputs, values, strict=False)), **inputs}
        if spec.context_parameter is not None:
            arguments[spec.context_parameter] = surroundings.context() or Context()
        result: Any = finished(spec.body(**arguments))
        if spec.kind == "generator":
            result = drive(result, surroundings.context())
        return tuple(result) if len(spec.outputs) > 1 else (result,)[: len(spec.outputs)]


class _BuiltInNodes(Mapping[str, type]):
    """Class_type → class, of the nodes of the host."""

    def __getitem__(self, name: str) -> type:
        spec = surroundings.host().registry[name]
        types = {"RETURN_TYPES": tuple(output.port for output in spec.outputs), "CATEGORY": spec.category}
        return type(name, (BuiltInNode,), {"SPEC": spec, **types, "OUTPUT_NODE": spec.is_sink})

    def __iter__(self) -> Iterator[str]:
        return (spec.name for spec in surroundings.host().registry)

    def __len__(self) -> int:
        return len(surroundings.host().registry)


NODE_CLASS_MAPPINGS: Mapping[str, type] = _BuiltInNodes()
