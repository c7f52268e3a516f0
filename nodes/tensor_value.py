"""A tensor that is part of a small value: it hashes and compares by its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mezzotint import value_type

if TYPE_CHECKING:
    from torch import Tensor


@value_type("mezzotint.TensorValue")
@dataclass(frozen=True, eq=False)
class TensorValue:
    """A tensor on the CPU, and the digest of its shape and numbers."""

    tensor: Tensor
    digest: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorValue) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def tensor_value(tensor: Tensor) -> TensorValue:
    """A tensor as part of a value."""
    from blake3 import blake3

    kept = tensor.detach().float().cpu().contiguous()
    return TensorValue(kept, blake3(repr(tuple(kept.shape)).encode() + kept.numpy().tobytes()).hexdigest())
