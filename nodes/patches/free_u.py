"""FreeU: more of what a U-Net computes, less of what its skip connections carry (Si et al. 2023, arXiv 2309.11497)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mezzotint import Model, Widget, node, value_type

from ..sampling.network_change import Around, Forward, NetworkChangeError, with_change
from .unet_blocks import output_blocks, require_unet

if TYPE_CHECKING:
    from torch import Tensor, nn

Factor = Annotated[float, Field(ge=0, le=10), Widget(step=0.01)]


@value_type("mezzotint.FreeUChange")
@dataclass(frozen=True, slots=True)
class FreeUChange:
    """A `NetworkChange`. As in the authors' code it acts on output blocks whose input is 4 or 2 times as wide as the
    first level.

    Attributes:
        backbone: for 4 and for 2 times the width, what half of the channels from below are multiplied by (equation 2).
        skip: likewise, what the lowest frequencies of the skip connection are multiplied by (equations 4 to 6).
        is_adaptive: whether the backbone factor counts most where the features are large (version 2, equation 3).
    """

    backbone: tuple[float, float]
    skip: tuple[float, float]
    is_adaptive: bool

    def around(self, network: nn.Module) -> Mapping[str, Around]:
        name = "FreeU_V2" if self.is_adaptive else "FreeU"
        unet = require_unet(network, name)
        width = unet.config.block_out_channels[0]
        pairs = zip((4, 2), self.backbone, self.skip, strict=True)
        factors = {times * width: (backbone, skip) for times, backbone, skip in pairs}
        found = {
            block.resnet: partial(self._joined, block.channels, *factors[block.channels])
            for block in output_blocks(unet)
            if block.channels in factors
        }
        if not found:
            raise NetworkChangeError(
                f"{name}: none of the model's output blocks is 2 or 4 times as wide as its first level ({width} "
                f"channels), as they are in Stable Diffusion; remove the node"
            )
        return {} if all(factor == 1 for factor in (*self.backbone, *self.skip)) else found

    def _joined(
        self,
        channels: int,
        backbone: float,
        skip: float,
        forward: Forward,
        compute: Callable[..., Tensor],
        x: Tensor,
        *args: Any,
    ) -> Tensor:
        import torch
        from diffusers.utils.torch_utils import fourier_filter

        below, kept = x[:, :channels], x[:, channels:]
        half = below[:, : channels // 2]
        factor = (backbone - 1) * _where_large(below) + 1 if self.is_adaptive else backbone
        if skip != 1:
            kept = fourier_filter(kept, threshold=1, scale=skip)
        return compute(torch.cat([half * factor, below[:, channels // 2 :], kept], dim=1), *args)


def _where_large(features: Tensor) -> Tensor:
    """The mean over channels, from 0 where it is least to 1 where it is greatest: [B, 1, h, w]."""
    mean = features.mean(1, keepdim=True)
    least, greatest = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
    return (mean - least) / (greatest - least).clamp(min=1e-12)


@node("FreeU", category="model_patches/unet")
def free_u(model: Model, b1: Factor = 1.1, b2: Factor = 1.2, s1: Factor = 0.9, s2: Factor = 0.2) -> Model:
    """Strengthen what a U-Net computes (b) and damp the coarse part of its skip connections (s), for cleaner pictures.

    b1 and s1 are for its widest blocks, b2 and s2 for the next. Si et al. 2023.
    """
    return with_change(model, FreeUChange((b1, b2), (s1, s2), is_adaptive=False))


@node("FreeU_V2", category="model_patches/unet")
def free_u_v2(model: Model, b1: Factor = 1.3, b2: Factor = 1.4, s1: Factor = 0.9, s2: Factor = 0.2) -> Model:
    """FreeU whose b counts most where features are large, which keeps fine parts from being smoothed over."""
    return with_change(model, FreeUChange((b1, b2), (s1, s2), is_adaptive=True))
