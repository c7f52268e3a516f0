"""A layer of a network with changes to its weight, which holds the original weight and no merged copy of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from ..models.network_overlay import shallow_copy
from ..models.weight_scales import scale_of
from .weight_change import LowRank, WeightChange

MERGE_PASSES = 32
"""Writing a merged weight costs about as much as this rank would; measured on the CPU, where it is rarely decisive."""


class Weighted(NamedTuple):
    """A change and how strong it is; `bias`, if any, is added to the layer's at the same strength, [out]."""

    change: WeightChange | None
    bias: Tensor | None
    strength: float


def stored_weight(layer: nn.Module) -> Tensor:
    """The weight of a layer as it is kept, maybe narrower than what the layer computes with (`weight_casting`)."""
    weight = layer._parameters["weight"]
    assert weight is not None
    return weight


def own_parameters(layer: nn.Module) -> dict[str, Tensor]:
    """The parameters of a layer itself, with its changes merged in; those that are unchanged, as they are kept.

    A weight that is kept with a scale (`weight_scales`) is the one that is meant, in the dtype of computation.
    """
    own = {name: parameter for name, parameter in layer._parameters.items() if parameter is not None}
    if scale_of(layer, "weight") is not None:
        own["weight"] = layer.weight  # type: ignore[assignment]
    forward = layer.__dict__.get("forward")
    if not isinstance(forward, PatchedForward):
        return dict(own)
    weight, bias = forward.merged()
    return {**own, "weight": weight, **({} if bias is None else {"bias": bias})}


def adds_bias(layer: nn.Module) -> bool:
    """Whether changes give a bias to a layer that has none."""
    forward = layer.__dict__.get("forward")
    if not isinstance(forward, PatchedForward) or layer._parameters.get("bias") is not None:
        return False
    return any(change.bias is not None for change in forward.changes)


def is_patchable(layer: nn.Module) -> bool:
    """Whether changes can be made to a layer of this class."""
    return isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)


def patched(layer: nn.Module, change: Weighted) -> nn.Module:
    """A layer like this one with one more change, after those that it has. The original stays as it was."""
    earlier = layer.__dict__.get("forward")
    changes = (*earlier.changes, change) if isinstance(earlier, PatchedForward) else (change,)
    made = shallow_copy(layer)
    made.forward = PatchedForward(made, changes)
    return made


class PatchedForward:
    """The forward of a layer with changes.

    For few rows (tokens, pixels) each low-rank change is a branch beside the layer. For many, going through the ranks
    would take longer than multiplying the small factors out: then the merged weight is made for this one call. Which is
    cheaper follows from the sizes alone, so equal inputs give equal bits.
    """

    def __init__(self, layer: Any, changes: tuple[Weighted, ...]) -> None:
        self.layer, self.changes = layer, changes
        self._most_rows = _most_rows(layer, changes)

    def __call__(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        if self._rows(x) <= self._most_rows:
            return self._branched(x)
        layer = self.layer
        weight, bias = self.merged()
        if isinstance(layer, nn.Linear):
            return nn.functional.linear(x, weight, bias)
        output: Tensor = layer._conv_forward(x, weight, bias)
        return output

    def merged(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias with all changes, in the dtype of computation."""
        weight, bias = self.layer.weight, self.layer.bias
        for change, bias_change, strength in self.changes:
            if change is not None:
                weight = change.merged(weight, strength)
            if bias_change is not None:
                bias = strength * bias_change if bias is None else bias.add(bias_change, alpha=strength)
        return weight, bias

    def _branched(self, x: Tensor) -> Tensor:
        layer = self.layer
        output: Tensor = type(layer).forward(layer, x)
        for change, _, strength in self.changes:
            assert isinstance(change, LowRank)
            output = change.added_to(output, layer, x, strength)
        return output

    def _rows(self, x: Tensor) -> int:
        if isinstance(self.layer, nn.Linear):
            return x.numel() // x.shape[-1]
        rows = len(x)
        for size, stride in zip(x.shape[2:], self.layer.stride, strict=True):
            rows *= -(-size // stride)
        return rows


def _most_rows(layer: Any, changes: tuple[Weighted, ...]) -> int:
    """Up to how many rows branches are cheaper: rows * rank * (in + out) < in * out * (rank + passes)."""
    low_rank = [change.change for change in changes if isinstance(change.change, LowRank) and change.bias is None]
    if len(low_rank) < len(changes) or getattr(layer, "groups", 1) > 1:
        return -1
    rank = sum(change.rank for change in low_rank)
    weight = stored_weight(layer)
    inputs, outputs = weight[0].numel(), len(weight)
    return int(inputs * outputs * (rank + MERGE_PASSES) / ((inputs + outputs) * rank))
