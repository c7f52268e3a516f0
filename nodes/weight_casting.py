"""Networks that keep their weights in one dtype and compute in another, so that a file need not be copied to be used.

Weights of a file lie where they are read from; a layer's are turned into the dtype of computation while it runs. The
result is that of a network whose weights were turned once: widening a float changes no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

SMALL = 1 << 16
"""Tensors of fewer numbers are turned once: norms and biases, which networks also use outside of their layers."""


def compute_in(network: nn.Module, dtype: torch.dtype) -> None:
    """Let a network compute in `dtype`, whatever its weights are stored in. They must record no gradients."""
    for module in network.modules():
        others = {
            name: parameter
            for name, parameter in module.named_parameters(recurse=False)
            if parameter.is_floating_point() and parameter.dtype != dtype
        }
        for name in [name for name, parameter in others.items() if parameter.numel() < SMALL]:
            others[name].data = others.pop(name).data.to(dtype)
        if others:
            layer = _Layer(others, dtype)
            module.register_forward_pre_hook(layer.widen, with_kwargs=True)
            module.register_forward_hook(layer.restore, always_call=True)
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point():
                module._buffers[name] = buffer.to(dtype)


class _Layer:
    """The hooks of one module.

    Args:
        stored: its parameters that are kept in another dtype than it computes in.
    """

    def __init__(self, stored: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        self.stored, self.dtype = stored, dtype

    def widen(
        self, module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Before a forward. What comes in is turned, too: some networks turn it to the dtype that weights have."""
        for name, parameter in self.stored.items():
            module._parameters[name] = parameter.to(self.dtype)  # type: ignore[assignment]
        return tuple(map(self._turned, arguments)), {name: self._turned(value) for name, value in options.items()}

    def _turned(self, value: Any) -> Any:
        is_float = hasattr(value, "is_floating_point") and value.is_floating_point()
        return value.to(self.dtype) if is_float and value.dtype != self.dtype else value

    def restore(self, module: nn.Module, *_: Any) -> None:
        """After a forward, even one that failed."""
        for name, parameter in self.stored.items():
            module._parameters[name] = parameter  # type: ignore[assignment]
