"""What travels on NOISE links: a seed, from which the noise of a latent is drawn when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mezzotint.engine.value_type import value_type

if TYPE_CHECKING:
    from torch import Tensor


class NoiseValue(Protocol):
    """What the driver wants of a value on a NOISE link."""

    @property
    def seed(self) -> int:
        """What noise between steps is drawn from."""

    def draw(self, shape: Sequence[int], batch_index: Sequence[int] | None) -> Tensor:
        """The noise to start from: float32 of a latent's shape, on the CPU. `batch_index`: see `initial_noise`."""


@value_type("mezzotint.SeededNoise")
@dataclass(frozen=True, slots=True)
class SeededNoise:
    """Standard normal noise of a seed, 0 to 2**64 - 1."""

    seed: int

    def draw(self, shape: Sequence[int], batch_index: Sequence[int] | None) -> Tensor:
        from .noise import initial_noise

        return initial_noise(shape, self.seed, batch_index)


@value_type("mezzotint.NoNoise")
@dataclass(frozen=True, slots=True)
class NoNoise:
    """No noise to start from; noise between steps is still that of the seed."""

    seed: int = 0

    def draw(self, shape: Sequence[int], batch_index: Sequence[int] | None) -> Tensor:
        from .noise import no_noise

        return no_noise(shape)
