"""A rectangle of a latent's cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Box(NamedTuple):
    """Sizes and places are counted in cells."""

    top: int
    left: int
    height: int
    width: int

    def of(self, tensor: Tensor) -> Tensor:
        """What lies in it: a view [..., height, width] of [..., h, w]."""
        return tensor[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def encloses(self, other: Box) -> bool:
        """Whether all of another one lies in it."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and self.top + self.height >= other.top + other.height
            and self.left + self.width >= other.left + other.width
        )
