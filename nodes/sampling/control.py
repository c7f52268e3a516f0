"""What steers a network at each of its forwards, such as a ControlNet with its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.engine.context import Context

    from ..latents.box import Box
    from .model_sampling import ModelSampling
    from .network_call import NamedTensors


class ControlledForward(NamedTuple):
    """A forward of a network, before it happens.

    Attributes:
        x: [N, C, height, width], scaled as the network takes it. timestep: [1] or [N]. tokens: [N, T, D].
        inputs: what else it is given of its conditioning, [N, ...] each. All are in the network's dtype.
        latents: of each row, which latent of its batch it is. box: the part of the latent that x is; None for all.
        size: of the whole latent, (h, w). config: of the network, as diffusers has it; empty where it is not known.
        sampling: of the model.
    """

    x: Tensor
    timestep: Tensor
    tokens: Tensor
    inputs: NamedTensors
    latents: Sequence[int]
    box: Box | None
    size: tuple[int, int]
    config: Mapping[str, Any] = {}
    sampling: ModelSampling | None = None


AT_CALL = "control_at_call"
"""The argument, for networks that are called through their pipeline, that gives more once the pipeline's are known:
`(network, arguments, rows)` → further arguments; rows: which of the forward these are."""


class Control(Protocol):
    """The option `control` of a conditioning's item. Hashable; evaluations with equal ones can share a forward."""

    def at(self, sigma: float, sampling: ModelSampling) -> Control | None:
        """What of it does anything at this noise level; None if nothing does."""

    def options(self, forward: ControlledForward, context: Context) -> Mapping[str, Any]:
        """Further keyword arguments of the network for one forward, such as residuals."""
