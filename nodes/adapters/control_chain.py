"""ControlNets and T2I-Adapters with their pictures, as the option `control` of a conditioning's item.

Zhang et al. 2023, arXiv 2302.05543; Mou et al. 2023, arXiv 2302.08453. What several add to the network adds up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mezzotint import value_type

from ..tensor_value import TensorValue
from .control_net_recipe import ControlNetRecipe

if TYPE_CHECKING:
    from mezzotint.engine.context import Context

    from ..sampling.control import ControlledForward
    from ..sampling.model_sampling import ModelSampling


@value_type("mezzotint.AppliedControl")
@dataclass(frozen=True, slots=True)
class AppliedControl:
    """One network with its picture, float32 [B, H, W, C] in 0..1.

    Attributes:
        strength: what it adds is multiplied by. start_percent, end_percent: the part of sampling, 0 to 1.
    """

    net: ControlNetRecipe
    hint: TensorValue
    strength: float
    start_percent: float = 0.0
    end_percent: float = 1.0

    def is_active(self, sigma: float, sampling: ModelSampling) -> bool:
        """Whether it does anything at this noise level."""
        levels = sampling.sigmas
        is_begun = self.start_percent <= 0 or sigma <= levels.percent_to_sigma(self.start_percent)
        return is_begun and (self.end_percent >= 1 or sigma >= levels.percent_to_sigma(self.end_percent))


@value_type("mezzotint.ControlChain")
@dataclass(frozen=True, slots=True)
class ControlChain:
    """Several that steer the same forward; a `Control`."""

    links: tuple[AppliedControl, ...]

    def at(self, sigma: float, sampling: ModelSampling) -> ControlChain | None:
        active = tuple(link for link in self.links if link.is_active(sigma, sampling))
        return ControlChain(active) if active else None

    def options(self, forward: ControlledForward, context: Context) -> Mapping[str, Any]:
        total: dict[str, Any] = {}
        for link in self.links:
            with context.models.borrow(link.net) as network:
                for name, added in network.options(forward, link.hint, link.strength).items():
                    total[name] = _sum(total[name], added) if name in total else added
        return total


def _sum(first: Any, second: Any) -> Any:
    """Of two tensors, or of lists of them, one by one."""
    if isinstance(first, list):
        return [a + b for a, b in zip(first, second, strict=True)]
    return first + second
