"""Perturbed-attention guidance: away from what the model predicts when it does not look around.

Ahn et al. 2024, "Self-Rectifying Diffusion Sampling with Perturbed-Attention Guidance", arXiv 2403.17377.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mezzotint import Model, Requests, Widget, node, value_type

from ..sampling.guidance import with_adjustment
from ..sampling.network_change import Around, Forward, NetworkChangeError
from .unet_blocks import MIDDLE, require_unet, self_attention

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..sampling.guidance import Guided


@value_type("mezzotint.PerturbedAttention")
@dataclass(frozen=True, slots=True)
class PerturbedAttention:
    """A `NetworkChange`: in the middle of a U-Net each token attends to itself alone (equation 14)."""

    def around(self, network: nn.Module) -> Mapping[str, Around]:
        return dict.fromkeys(middle_attention(network, "PerturbedAttentionGuidance"), _attending_to_itself)


def middle_attention(network: nn.Module, node_name: str) -> list[str]:
    """The self-attention in the middle of a U-Net. Raises NetworkChangeError: there is none."""
    found = self_attention(require_unet(network, node_name), f"{MIDDLE}.")
    if not found:
        raise NetworkChangeError(f"{node_name}: the model has no self-attention in its middle block; remove the node")
    return found


def _attending_to_itself(forward: Forward, compute: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    from diffusers.hooks.layer_skip import AttentionScoreSkipFunctionMode

    with AttentionScoreSkipFunctionMode():
        return compute(*args, **kwargs)


@value_type("mezzotint.PerturbedAttentionGuidance")
@dataclass(frozen=True, slots=True)
class PerturbedAttentionGuidance:
    """An `Adjustment`: guided + scale * (conditional - perturbed), equation 15, beside the usual guidance."""

    scale: float
    needs_negative = False

    def __call__(self, guided: Guided) -> Requests[Tensor]:
        perturbed = yield from guided.again(PerturbedAttention(), guided.x)
        return guided.prediction + (guided.conditional - perturbed) * self.scale


@node("PerturbedAttentionGuidance", category="model_patches/unet")
def perturbed_attention_guidance(
    model: Model, scale: Annotated[float, Field(ge=0, le=100), Widget(step=0.01, round=0.01)] = 3.0
) -> Model:
    """Guide away from what a U-Net draws with its middle self-attention switched off, for clearer structure.

    It works beside the usual guidance and without. Each step takes one evaluation more.
    """
    return with_adjustment(model, PerturbedAttentionGuidance(scale)) if scale else model
