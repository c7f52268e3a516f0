"""What to tell people of an exception that a body raised."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from .errors import MezzotintError, OutOfMemoryError
from .plan import Step

OUT_OF_MEMORY_CURE = "use a smaller width, height or batch, or close what else uses the memory"


def failure_facts(step: Step, error: BaseException, inputs: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The fields of `StepFailed` that tell of the exception."""
    error = _translated(error)
    is_expected = isinstance(error, MezzotintError)
    message = str(error) or type(error).__name__
    kind = "" if is_expected else f"{type(error).__name__}: "
    return {
        "sentence": f"Node {step.real_id} ({_name(step)}): {kind}{message}",
        "exception_type": qualified_name(type(error)),
        "message": message,
        "traceback": tuple(traceback.format_exception(error)),
        "inputs": {name: [_short(value) for value in values] for name, values in inputs.items()},
        "is_expected": is_expected,
        "error": error,
    }


def qualified_name(kind: type) -> str:
    """The class's name with its module; builtins bare."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def first_error(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first exception of a group that is no group itself."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _name(step: Step) -> str:
    return step.spec.name if step.real_id == step.id else f"{step.spec.name}, made by it as {step.id}"


def _translated(error: BaseException) -> BaseException:
    """Running out of memory has many classes; people get one sentence."""
    if isinstance(error, OutOfMemoryError) or not is_out_of_memory(error):
        return error
    told = OutOfMemoryError(f"the memory ran out; {OUT_OF_MEMORY_CURE}")
    told.__cause__ = error
    return told


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of whatever class, says that something did not fit."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _short(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} {tuple(value.shape)} {value.dtype}"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 1000 else text[:997] + "..."
