"""Calls a node of Mezzotint from a pack's code: at once, on the thread that runs now."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from mezzotint.engine.node import NodeSpec
from mezzotint.engine.port import ANY
from mezzotint.engine.request import Requests, drive
from mezzotint.engine.value_type import is_torch_tensor
from mezzotint.nodes.models.recipe import Recipe

from . import surroundings
from .coroutine import finished
from .pack_value import as_pack_value

_RECIPES = {"model": "MODEL", "clip": "CLIP", "vae": "VAE"}
_NUMBERS = {"INT", "FLOAT"}
_PLAIN: dict[type, set[str]] = {bool: {"BOOLEAN"}, int: _NUMBERS, float: _NUMBERS, str: {"STRING", "COMBO"}}
_TENSORS = {"IMAGE", "MASK", "SIGMAS"}


class NativeResult(NamedTuple):
    """What a node gave: a value for each output, and what it showed."""

    outputs: tuple[Any, ...]
    shown: dict[str, list[Any]]


def call_node(spec: NodeSpec, values: Sequence[Any] = (), inputs: Mapping[str, Any] | None = None) -> NativeResult:
    """Call a node once; inputs by name, or in order. What it does not declare is left out.

    Raises:
        TypeError: an input is missing; the node wants what an executor alone can give.
        Whatever else the node raises.
    """
    named = {name: value for name, value in (inputs or {}).items() if name in spec.inputs}
    arguments = {**spec.defaults, **_in_order(spec, values, named), **named}
    arguments = {name: _choice(spec, name, value) for name, value in arguments.items()}
    ctx = surroundings.context() or surroundings.context_outside_a_call()
    before = {name: len(items) for name, items in ctx.shown.items()}
    if spec.context_parameter is not None:
        arguments[spec.context_parameter] = ctx
    with _inference(spec):
        result: Any = finished(spec.body(**arguments))
        result = drive(result, ctx) if spec.kind == "generator" else result
    outputs = tuple(result) if len(spec.outputs) > 1 else (result,)[: len(spec.outputs)]
    shown = {name: items[before.get(name, 0) :] for name, items in ctx.shown.items()}
    return NativeResult(tuple(map(as_pack_value, outputs)), shown)


def call_native(node_type: str, **inputs: Any) -> Any:
    """Call a built-in node by its class_type; the value of its only output, or the values of all."""
    outputs = call_node(surroundings.host().registry[node_type], inputs=inputs).outputs
    return outputs[0] if len(outputs) == 1 else outputs


def run_requests(body: Requests[Any]) -> Any:
    """Run a generator body of ours to its end, in the running call."""
    import torch

    with torch.inference_mode():
        return drive(body, surroundings.context() or surroundings.context_outside_a_call())


def _in_order(spec: NodeSpec, values: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Values to inputs: each to the first that may hold it, since the functions that packs call have other orders.

    They also take the graph and the like, in the end; that is left out.
    """
    free = [name for name in spec.inputs if name not in named]
    bound: dict[str, Any] = {}
    for value in values:
        fitting = (name for name in free if _may_hold(spec.inputs[name].port, value))
        name = next(fitting, free[0] if free else None)
        if name is None:
            break
        bound[name] = value
        free.remove(name)
    return bound


def _may_hold(port: str, value: Any) -> bool:
    fitting = _ports_of(value)
    return fitting is None or port == ANY or not fitting.isdisjoint(port.split(","))


def _ports_of(value: Any) -> set[str] | None:
    """The port types that a value may be of; None when that is not seen."""
    if isinstance(value, Recipe):
        return {_RECIPES[value.kind]}
    if is_torch_tensor(value):
        return _TENSORS
    if isinstance(value, dict):
        return {"LATENT"} if "samples" in value else None
    if isinstance(value, list):
        return {"CONDITIONING"} if value and isinstance(value[0], list | tuple) and len(value[0]) == 2 else None
    return _PLAIN.get(type(value))


def _choice(spec: NodeSpec, name: str, value: Any) -> Any:
    return spec.inputs[name].members.get(value, value) if isinstance(value, str) else value


def _inference(spec: NodeSpec) -> AbstractContextManager[Any]:
    if spec.autograd or "torch" not in sys.modules:
        return nullcontext()
    import torch

    return torch.inference_mode()
