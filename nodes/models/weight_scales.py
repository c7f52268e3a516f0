"""Weights in 8 bits with a scale beside them: what a file says is `weight * scale`.

Files name the scale of `layer.weight` `layer.scale_weight`, or `layer.weight_scale`; it is a number for the whole
weight, or one for each row. Scales travel under the name of their layer and `FILE_SCALE`, and lie there as a buffer,
since the layers of a network are copied with their buffers wherever a view of it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FILE_SCALE = "file_scale"
NAMES = (".scale_weight", ".weight_scale")
OTHERS = ("scaled_fp8", ".scale_input", ".input_scale", ".comfy_quant")
"""What ends the names of tensors that say how others multiply in 8 bits, which nothing is multiplied in here."""
OTHER_FORMS = {
    ".weight_scale_2": "NVFP4", ".quant_state.bitsandbytes__nf4": "NF4", ".quant_state.bitsandbytes__fp4": "FP4",
    ".qweight": "4 bits", ".SCB": "LLM.int8()",
}  # fmt: skip
"""What ends the names of tensors beside weights that are packed otherwise, and what that is called."""


def other_form(names: Iterable[str]) -> str | None:
    """What weights are packed as that cannot be read; None if they can."""
    return next((form for name in names for end, form in OTHER_FORMS.items() if name.endswith(end)), None)


def is_scale(name: str) -> bool:
    """Whether a tensor of a file is no weight, and says how weights in 8 bits are meant or multiplied."""
    return name.endswith((*NAMES, *OTHERS))


def without_scales(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of a file without scales, and the scales by the names of the weights that they belong to."""
    scales = {
        f"{name.removesuffix(end)}.weight": tensors[name] for name in tensors for end in NAMES if name.endswith(end)
    }
    return {name: each for name, each in tensors.items() if not is_scale(name)}, scales


def row_scales(tensors: Mapping[str, Tensor], scales: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For each tensor its scale, row by row, float32 [rows, 1] on the CPU; ones like it for a vector.

    What gives tensors other names, and parts their rows, does so with these.
    """
    import torch

    made = {}
    for name, tensor in tensors.items():
        scale = scales[name].float().cpu().reshape(-1, 1) if name in scales else torch.ones(1, 1)
        made[name] = scale.expand(len(tensor), 1) if tensor.ndim > 1 else torch.ones(tensor.shape)
    return made


def by_layer(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scales by row, by the names of the network's weights → those that change something, as `FILE_SCALE` of layers.

    A scale that all rows have is one number, [].
    """
    found = {}
    for name, rows in named.items():
        layer, _, key = name.rpartition(".")
        if key == "weight" and rows.ndim > 1 and bool((rows != 1).any()):
            is_one = bool((rows == rows.flatten()[0]).all())
            found[f"{layer}.{FILE_SCALE}"] = rows.flatten()[0].clone() if is_one else rows.clone()
    return found


def parted(named: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A network's tensors, and the scales among them by the names of the weights that they belong to."""
    scales = {name.replace(FILE_SCALE, "weight"): each for name, each in named.items() if name.endswith(FILE_SCALE)}
    return {name: each for name, each in named.items() if not name.endswith(FILE_SCALE)}, scales


def scale_of(layer: nn.Module, name: str) -> Tensor | None:
    """What a layer's parameter is to be multiplied by."""
    return layer._buffers.get(FILE_SCALE) if name == "weight" else None


def scaled(tensor: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The weight that is meant, in `dtype`."""
    wide = tensor.to(dtype)
    if scale is None:
        return wide
    rows = scale if scale.ndim == 0 else scale.reshape(-1, *[1] * (wide.ndim - 1))
    return (wide * rows).to(dtype)
