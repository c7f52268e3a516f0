"""Networks that keep their weights in one dtype and compute in another, so that a file need not be copied to be used.

Weights of a file lie where they are read from; a layer's are widened each time that it asks for them. The result is
that of a network whose weights were widened once: that changes no number.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from .weight_scales import FILE_SCALE, scale_of, scaled

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

SMALL = 1 << 16
"""Tensors of fewer numbers are widened once: norms and biases, whose dtype networks also look at."""


def compute_in(network: nn.Module, dtype: torch.dtype) -> None:
    """Let a network compute in `dtype`, whatever its weights are stored in. They must record no gradients."""
    for module in network.modules():
        others = {
            name: parameter
            for name, parameter in module.named_parameters(recurse=False)
            if parameter.is_floating_point() and parameter.dtype != dtype
        }
        large = tuple(name for name, parameter in others.items() if parameter.numel() >= SMALL)
        says_dtype = isinstance(getattr(type(module), "dtype", None), property)
        for name in others.keys() - set(large):
            others[name].data = scaled(others[name].data, scale_of(module, name), dtype)
        if "weight" not in large:
            module._buffers.pop(FILE_SCALE, None)
        if large or says_dtype:
            layer_class: Any = type(module)
            module.__class__ = _widening(layer_class, large, dtype, says_dtype)
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point() and name != FILE_SCALE:
                module._buffers[name] = buffer.to(dtype)


@cache
def _widening(layer_class: Any, names: tuple[str, ...], dtype: torch.dtype, says_dtype: bool) -> type[nn.Module]:
    """The class of layers that give some of their parameters in another dtype than they keep them in.

    Args:
        says_dtype: whether what uses it asks for its dtype; the answer is that which it computes in.
    """
    properties: dict[str, Any] = {name: property(_Widened(name, dtype)) for name in names}
    if says_dtype:
        properties["dtype"] = property(lambda _: dtype)
    return type(layer_class.__name__, (layer_class,), {**properties, "__module__": layer_class.__module__})


class _Widened:
    """What such a parameter's property gives."""

    def __init__(self, name: str, dtype: torch.dtype) -> None:
        self.name, self.dtype = name, dtype

    def __call__(self, layer: Any) -> Tensor:
        stored: Tensor = layer._parameters[self.name]
        return scaled(stored, scale_of(layer, self.name), self.dtype)
