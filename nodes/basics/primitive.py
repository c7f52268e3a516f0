"""Plain values: numbers, text, true and false; showing any value as text."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from mezzotint.engine.context import Context
from mezzotint.engine.node import node
from mezzotint.engine.value_type import is_numpy_array, is_torch_tensor, shown_text
from mezzotint.engine.widget import Widget

MAX_WHOLE = 2**63 - 1

Multiline = Annotated[str, Widget(multiline=True)]


@node("PrimitiveInt", title="Int", category="utils/primitive")
def primitive_int(
    value: Annotated[int, Field(ge=-MAX_WHOLE, le=MAX_WHOLE), Widget(control_after_generate=True)],
) -> int:
    """A whole number."""
    return value


@node("PrimitiveFloat", title="Float", category="utils/primitive")
def primitive_float(value: Annotated[float, Field(ge=-MAX_WHOLE, le=MAX_WHOLE)]) -> float:
    """A number."""
    return value


@node("PrimitiveString", title="String", category="utils/primitive")
def primitive_string(value: str) -> str:
    """A line of text."""
    return value


@node("PrimitiveStringMultiline", title="String (Multiline)", category="utils/primitive")
def primitive_string_multiline(value: Multiline) -> str:
    """Text of several lines."""
    return value


@node("PrimitiveBoolean", title="Boolean", category="utils/primitive")
def primitive_boolean(value: bool) -> bool:
    """True or false."""
    return value


@node("StringConcatenate", title="Concatenate", category="utils/string")
def string_concatenate(string_a: Multiline, string_b: Multiline, delimiter: str) -> str:
    """Two texts, one after the other, with the delimiter between them."""
    return delimiter.join((string_a, string_b))


@node("Reroute", category="utils")
def reroute(value: Any) -> Any:
    """Passes on what it is given."""
    return value


@node("PreviewAny", title="Preview Any", category="utils", sink=True)
def preview_any(source: Any, *, ctx: Context) -> None:
    """Show any value as text: JSON for lists and dicts, a summary for pictures and other tensors."""
    ctx.show(text=[as_text(source)])


def as_text(value: Any) -> str:
    """A value for people to read."""
    told = shown_text(value)
    if told is not None:
        return told
    if isinstance(value, list | tuple | dict):
        try:
            return json.dumps(value, indent=2, ensure_ascii=False, default=as_text)
        except (TypeError, ValueError):  # keys that JSON does not have, a list that holds itself
            return str(value)
    if is_torch_tensor(value) or is_numpy_array(value):
        return _summary(value)
    return str(value)


def _summary(tensor: Any) -> str:
    """Type, shape and range of a tensor or array: `float32 [1, 64, 64, 3], 0 to 1, mean 0.5`."""
    kind = str(tensor.dtype).removeprefix("torch.")
    text = f"{kind} {list(tensor.shape)}"
    size = tensor.size if is_numpy_array(tensor) else tensor.numel()
    if size == 0 or kind.startswith(("complex", "bool", "str", "object")):
        return text
    mean = (tensor if is_numpy_array(tensor) else tensor.double()).mean()
    return f"{text}, {tensor.min().item():.4g} to {tensor.max().item():.4g}, mean {mean.item():.4g}"
