"""ControlNets and T2I-Adapters with their pictures, as the option `control` of a conditioning's item.

Zhang et al. 2023, arXiv 2302.05543; Mou et al. 2023, arXiv 2302.08453. What several add to the network adds up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mezzotint import value_type

from ..sampling.control import AT_CALL
from ..tensor_value import TensorValue
from .control_net_recipe import ControlNetRecipe

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.engine.context import Context

    from ..sampling.control import ControlledForward
    from ..sampling.model_sampling import ModelSampling


@value_type("mezzotint.AppliedControl")
@dataclass(frozen=True, slots=True)
class AppliedControl:
    """One network with its picture, float32 [B, H, W, C] in 0..1.

    Attributes:
        strength: what it adds is multiplied by. start_percent, end_percent: the part of sampling, 0 to 1.
        vae: of networks that are shown latents. mask: float32 [B, H, W] or [H, W], for those that fill in what it
            selects.
    """

    net: ControlNetRecipe
    hint: TensorValue
    strength: float
    start_percent: float = 0.0
    end_percent: float = 1.0
    vae: Any = None
    mask: TensorValue | None = None

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
        pictures: list[Tensor] = []
        for link in self.links:
            with context.models.borrow(link.net) as network:
                if network.steers_transformers:
                    pictures.append(network.picture(link, forward, context))
                else:
                    _add(total, network.options(forward, link.hint, link.strength))
        return {AT_CALL: partial(self._at_call, forward, context, pictures)} if pictures else total

    def _at_call(
        self,
        forward: ControlledForward,
        context: Context,
        pictures: Sequence[Tensor],
        transformer: Any,
        arguments: Mapping[str, Any],
        rows: Sequence[int],
    ) -> Mapping[str, Any]:
        """Further arguments of a transformer; see `AT_CALL`."""
        total: dict[str, Any] = {}
        for link, picture in zip(self.links, pictures, strict=True):
            with context.models.borrow(link.net) as network:
                shown = picture if len(rows) == len(picture) else picture[[*rows]]
                _add(total, network.residuals(transformer, arguments, shown, link.strength))
        return total


def _add(total: dict[str, Any], further: Mapping[str, Any]) -> None:
    """Add tensors, or lists of them, to those of the same name."""
    for name, added in further.items():
        total[name] = _sum(total[name], added) if name in total else added


def _sum(first: Any, second: Any) -> Any:
    """Of two tensors, or of lists of them, one by one."""
    if isinstance(first, list):
        return [a + b for a, b in zip(first, second, strict=True)]
    return first + second
