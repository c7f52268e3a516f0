"""What networks are given beside a latent, a noise level and a text, and who makes it of a conditioning's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.engine.context import Context

    from .model_sampling import ModelSampling
    from .region import Box

CONCAT = "concat"
"""The input that is joined to the latent's channels, [B, C', h, w], as models for inpainting and editing want it."""


class ItemInputs(Protocol):
    """What the options of a conditioning's item are to one family of networks; a `Denoiser`'s `item_inputs`."""

    @property
    def options(self) -> frozenset[str]:
        """The options that it reads."""

    def __call__(self, options: Mapping[str, Any], shape: Sequence[int]) -> Mapping[str, Tensor]:
        """The further inputs of the network, once for all steps.

        Args:
            options: of the item; any may be absent. shape: of the latents, [B, C, h, w].

        Returns:
            Tensors [1, ...] or [B, ...], on any device, in the dtype that the network wants, by the name of its keyword
            argument; `"a.b"` is the entry `b` of the dictionary `a`. `CONCAT` is of the whole latent, in the model's
            scale. The names must not depend on the options: what is to be evaluated together must agree in them.

        Raises:
            ConditioningError: the network cannot do without something that is absent.
        """


class NetworkCall(NamedTuple):
    """A forward of a network, before it happens.

    Attributes:
        sample: [N, C, height, width] as the network takes it, without `CONCAT`. timestep: [1] or [N].
        tokens: [N, T, D]. inputs: as from `ItemInputs`, [N, ...] each.
        latents: of each row, which latent of its batch it is. box: the part of the latent that the sample is, or None.
        size: of the whole latent, (h, w).
    """

    sample: Tensor
    timestep: Tensor
    tokens: Tensor
    inputs: Mapping[str, Tensor]
    latents: Sequence[int]
    box: Box | None
    size: tuple[int, int]


class Control(Protocol):
    """What steers a network at each forward, such as a ControlNet with its picture: the option `control` of an item.

    It is hashable. Evaluations with equal ones can share a forward.
    """

    def is_active(self, sigma: float, sampling: ModelSampling) -> bool:
        """Whether it does anything at this noise level."""

    def inputs(self, call: NetworkCall, context: Context) -> Mapping[str, Any]:
        """Further keyword arguments of the network for one forward, such as residuals."""


def as_keywords(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as keyword arguments: `"a.b"` becomes the entry `b` of the dictionary `a`; `CONCAT` is left out."""
    keywords: dict[str, Any] = {}
    for name, value in inputs.items():
        outer, dot, inner = name.partition(".")
        if dot:
            keywords.setdefault(outer, {})[inner] = value
        elif name != CONCAT:
            keywords[name] = value
    return keywords


def item_inputs_of(denoiser: Any) -> ItemInputs | None:
    """Those of a denoiser; a plugin's need not have any."""
    found: ItemInputs | None = getattr(denoiser, "item_inputs", None)
    return found
