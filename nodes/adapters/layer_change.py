"""From the tensors that a LoRA file has for one layer to the change of its weight."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .weight_change import Decomposed, Difference, Hadamard, Kronecker, LowRank, WeightChange

Tensors = Mapping[str, Tensor]
"""By role, see `lora_keys`; of the dtype and on the device of the layer."""


def layer_change(tensors: Tensors, weight: Tensor, alpha: float | None) -> WeightChange | None:
    """The change of a layer's weight; None if there are no tensors for one.

    Args:
        alpha: where the tensors hold none; the rank if None.

    Raises:
        ValueError: sizes do not fit the weight, or one another; a few words that say which.
    """
    change = _change(tensors, weight, float(tensors["alpha"]) if "alpha" in tensors else alpha)
    if change is not None and "dora_scale" in tensors:
        return Decomposed(change, _magnitude(tensors["dora_scale"], weight))
    return change


def _change(tensors: Tensors, weight: Tensor, alpha: float | None) -> WeightChange | None:
    kernel = tuple(weight.shape[2:])
    if {"up", "down"} <= tensors.keys():
        change = _low_rank(tensors["up"], tensors["down"], tensors.get("mid"))
        _require_size(change.up.shape[0], change.down[0].numel(), weight)
        down = change.down.reshape(change.rank, *weight.shape[1:])
        return LowRank(change.up, down.contiguous(), _scale(alpha, change.rank))
    if "hada_w1_a" in tensors:
        first, second = (_factor(tensors, f"hada_w{n}", f"hada_t{n}") for n in (1, 2))
        _require_size(len(first.up), first.down[0].numel(), weight)
        _require_size(len(second.up), second.down[0].numel(), weight)
        return Hadamard(first, second, _scale(alpha, first.rank))
    if {"lokr_w1", "lokr_w1_a"} & tensors.keys():
        return _kronecker(tensors, weight, kernel, alpha)
    if "diff" in tensors:
        _require_size(len(tensors["diff"]), tensors["diff"][0].numel(), weight)
        return Difference(tensors["diff"])
    if tensors.keys() & {"up", "down"}:
        raise ValueError("has one of its two factors alone")
    return None


def _scale(alpha: float | None, rank: int) -> float:
    return 1.0 if alpha is None else alpha / rank


def _require_size(outputs: int, inputs: int, weight: Tensor) -> None:
    if (outputs, inputs) != (len(weight), weight[0].numel()):
        raise ValueError(f"changes {outputs} × {inputs} numbers, and the model has {len(weight)} × {weight[0].numel()}")


def _low_rank(up: Tensor, down: Tensor, core: Tensor | None = None) -> LowRank:
    """up [out, rank], down [rank, in, ...]; a core [rank, rank, ...] of a Tucker decomposition goes into down."""
    up, rank = up.flatten(1), up.shape[1]
    if core is not None:
        down = torch.einsum("mn...,nj->mj...", core, down.flatten(1))
    if up.ndim != 2 or down.ndim < 2 or len(down) != rank or rank == 0:
        raise ValueError(f"has factors of {list(up.shape)} and {list(down.shape)} that cannot be multiplied")
    return LowRank(up.contiguous(), down, 1.0)


def _factor(tensors: Tensors, name: str, core_name: str) -> LowRank:
    """One factor of LyCORIS; with a core, its left matrix is stored transposed."""
    left, right = tensors[f"{name}_a"], tensors[f"{name}_b"]
    if core_name in tensors:
        return _low_rank(left.t(), right, tensors[core_name])
    return _low_rank(left, right)


def _kronecker(tensors: Tensors, weight: Tensor, kernel: tuple[int, ...], alpha: float | None) -> WeightChange:
    left_factor = None if "lokr_w1" in tensors else _factor(tensors, "lokr_w1", "lokr_t1")
    right_factor = None if "lokr_w2" in tensors else _factor(tensors, "lokr_w2", "lokr_t2")
    left = tensors["lokr_w1"] if left_factor is None else left_factor.delta()
    right = Difference(tensors["lokr_w2"]) if right_factor is None else right_factor
    outputs = len(tensors["lokr_w2"] if right_factor is None else right_factor.up)
    inputs = weight.shape[1] // left.shape[1]
    shape = (outputs, inputs, *kernel)
    if right.delta().numel() != math.prod(shape) or (len(left) * outputs, left.shape[1] * inputs) != weight.shape[:2]:
        raise ValueError(
            f"has Kronecker factors of {list(left.shape)} and {list(right.delta().shape)}, and the model has "
            f"{list(weight.shape)}"
        )
    factor = right_factor or left_factor  # LyCORIS scales by the rank of the right one where both are factored
    return Kronecker(left, right, shape, 1.0 if factor is None else _scale(alpha, factor.rank))


def _magnitude(given: Tensor, weight: Tensor) -> Tensor:
    """Magnitudes for each output [out, 1, ...], or, as older files have them, for each input [1, in, ...]."""
    ones = [1] * (weight.ndim - 2)
    is_row = given.ndim > 1 and len(given) == 1 and given.numel() == weight.shape[1]
    if is_row and (given.ndim == 2 or weight.shape[1] != len(weight)):  # peft writes those of outputs as such a row
        return given.reshape(1, -1, *ones)
    if given.numel() != len(weight):
        raise ValueError(f"has magnitudes of {list(given.shape)}, and the model has {list(weight.shape)}")
    return given.reshape(-1, 1, *ones)
