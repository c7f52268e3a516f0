"""Writes safetensors files tensor by tensor, so that a file larger than memory can be made.

The format: 8 bytes that say how long the header is, little-endian; the header, JSON; the tensors' bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

from .weights_file import DTYPES

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ALIGNMENT = 8
"""The header is filled up with spaces to a multiple of so many bytes, so that tensors can be mapped into memory."""
FORMAT_NAMES = {
    **{torch_name: name for name, torch_name in DTYPES.items()},
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class DeferredTensor:
    """A tensor that is made when it is written: of any device, of that shape and dtype."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @classmethod
    def of(cls, tensor: Tensor) -> DeferredTensor:
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor)

    def changed(self, shape: tuple[int, ...], change: Callable[[Tensor], Tensor]) -> DeferredTensor:
        """What `change` makes of it, of another shape and the same dtype."""
        return replace(self, shape=shape, make=lambda: change(self.make()))

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_weights(
    file: IO[bytes],
    tensors: Mapping[str, DeferredTensor],
    metadata: Mapping[str, str],
    progress: Callable[[int, int], object],
) -> None:
    """Write a whole safetensors file.

    Args:
        progress: told after each tensor how many are written, and of how many; what it raises ends the writing.

    Raises:
        OSError: it cannot be written.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))  # so that all are aligned
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, tensor in ordered:
        offsets = [place, place + tensor.nbytes]
        dtype = FORMAT_NAMES[str(tensor.dtype).removeprefix("torch.")]
        header[name] = {"dtype": dtype, "shape": [*tensor.shape], "data_offsets": offsets}
        place = offsets[1]
    encoded = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % ALIGNMENT)
    file.write(len(encoded).to_bytes(8, "little"))
    file.write(encoded)
    for count, (name, tensor) in enumerate(ordered, 1):
        made = tensor.make()
        if tuple(made.shape) != tensor.shape or made.dtype != tensor.dtype:
            raise ValueError(f"{name} became {made.dtype} {list(made.shape)}, not {tensor.dtype} {list(tensor.shape)}")
        file.write(_bytes(made))
        progress(count, len(ordered))


def _bytes(tensor: Tensor) -> memoryview:
    import torch

    raw: Any = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return memoryview(raw)
