"""What adapters add to the weight of one layer, in closed form.

| kind | change of the weight W | from |
|---|---|---|
| `LowRank` | B A | LoRA, arXiv 2106.09685; a Tucker core in convolutions: LyCORIS, arXiv 2309.14859 |
| `Hadamard` | (B1 A1) ∘ (B2 A2) | LoHa: FedPara, arXiv 2108.06098 |
| `Kronecker` | C ⊗ (B A) | LoKr: LyCORIS |
| `Difference` | a whole weight | |
| `Decomposed` | m (W + Δ) / ‖W + Δ‖ − W | DoRA, arXiv 2402.09353, equation 5 |

Each comes with its own factor alpha / rank; the strength is that of who uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class WeightChange:
    """What is added to a layer's weight. Those below are dataclasses of tensors, numbers and further changes."""

    def tensors(self) -> Iterator[Tensor]:
        """All that it is made of."""
        for value in vars(self).values():
            if isinstance(value, WeightChange):
                yield from value.tensors()
            elif isinstance(value, Tensor):
                yield value

    def delta(self) -> Tensor:
        """The change at strength 1, as many numbers as the weight has, [out, ...]."""
        raise NotImplementedError

    def merged(self, weight: Tensor, strength: float) -> Tensor:
        """weight + strength * delta, a new tensor."""
        return torch.add(weight, self.delta().reshape(weight.shape), alpha=strength)


@dataclass(frozen=True, eq=False)
class LowRank(WeightChange):
    """scale * up @ down: up [out, rank], down [rank, in, ...]; the latter like the layer's weight behind its rank."""

    up: Tensor
    down: Tensor
    scale: float

    @property
    def rank(self) -> int:
        return self.up.shape[1]

    def delta(self) -> Tensor:
        return self.scale * (self.up @ self.down.flatten(1))

    def merged(self, weight: Tensor, strength: float) -> Tensor:
        made = torch.addmm(weight.flatten(1), self.up, self.down.flatten(1), alpha=strength * self.scale)
        return made.view(weight.shape)

    def added_to(self, output: Tensor, layer: Any, x: Tensor, strength: float) -> Tensor:
        """output + strength * delta(x), with no merged weight: x goes through the rank, [..., rank]."""
        factor = strength * self.scale
        if isinstance(layer, nn.Linear):
            inner = nn.functional.linear(x, self.down).flatten(0, -2)
            return torch.addmm(output.flatten(0, -2), inner, self.up.t(), alpha=factor).view(output.shape)
        inner = layer._conv_forward(x, self.down, None)
        flat, across = inner.flatten(2), self.up.expand(len(x), -1, -1)
        return torch.baddbmm(output.flatten(2), across, flat, alpha=factor).view(output.shape)


@dataclass(frozen=True, eq=False)
class Hadamard(WeightChange):
    """scale * first.delta() ∘ second.delta()."""

    first: WeightChange
    second: WeightChange
    scale: float

    def delta(self) -> Tensor:
        return self.scale * (self.first.delta() * self.second.delta())


@dataclass(frozen=True, eq=False)
class Kronecker(WeightChange):
    """scale * left ⊗ right, both [out, in, ...]; the left has no extent where the right has a kernel."""

    left: Tensor
    right: WeightChange
    right_shape: tuple[int, ...]
    scale: float

    def delta(self) -> Tensor:
        right = self.right.delta().reshape(self.right_shape)
        left = self.left.reshape(*self.left.shape[:2], *[1] * (right.ndim - 2))
        return self.scale * torch.kron(left, right)


@dataclass(frozen=True, eq=False)
class Difference(WeightChange):
    """A change that is written out."""

    whole: Tensor

    def delta(self) -> Tensor:
        return self.whole


@dataclass(frozen=True, eq=False)
class Decomposed(WeightChange):
    """Another change, after which the weight gets the given magnitudes: [out, 1, ...], or [1, in, ...] of some files.

    At a strength other than 1 the weight goes so far from the original to the changed one.
    """

    change: WeightChange
    magnitude: Tensor

    def merged(self, weight: Tensor, strength: float) -> Tensor:
        changed = self.change.merged(weight, 1.0).float()
        others = [axis for axis in range(weight.ndim) if self.magnitude.shape[axis] == 1]
        norm = torch.linalg.vector_norm(changed, dim=others, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        whole = changed * (self.magnitude.float() / norm)
        return torch.lerp(weight.float(), whole, strength).to(weight.dtype)
