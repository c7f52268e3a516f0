"""Self-attention guidance: away from what the model predicts when what it attends to most is blurred.

Hong et al. 2023, "Improving Sample Quality of Diffusion Models Using Self-Attention Guidance", arXiv 2210.00939.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mezzotint import Model, Requests, Widget, node, value_type

from ..sampling.guidance import with_adjustment
from ..sampling.network_change import Around, Forward
from .perturbed_attention import middle_attention
from .unet_blocks import attention_grid

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..sampling.guidance import Guided

KERNEL = 9
"""The side of the kernel that blurs, in cells of the latent."""
MUCH = 1.0
"""A token that all others together attend to more than so is of those that are blurred; 1 is the mean."""


@value_type("mezzotint.AttentionMask")
@dataclass(frozen=True, slots=True)
class AttentionMask:
    """A `NetworkChange` by which the network predicts where it looks in its middle block: 1 or 0, section 4.2.

    The network is left at that point. As a prediction, it is weighed over areas and merged with others like any.
    """

    def around(self, network: nn.Module) -> Mapping[str, Around]:
        name, *_ = middle_attention(network, "SelfAttentionGuidance")
        channels: int = network.config.out_channels  # type: ignore[assignment, union-attr]
        return {name: partial(_look, network.get_submodule(name)), "": partial(_as_prediction, channels)}


class _Seen(Exception):  # noqa: N818  # no error: it carries what was waited for
    """How much each token is attended to, [B, N]."""

    def __init__(self, attention: Tensor) -> None:
        super().__init__()
        self.attention = attention


def _look(attention: Any, forward: Forward, compute: Callable[..., Tensor], x: Tensor, *_: Any, **__: Any) -> Tensor:
    queries, keys = (attention.head_to_batch_dim(project(x)) for project in (attention.to_q, attention.to_k))
    scores = attention.get_attention_scores(queries, keys)
    raise _Seen(scores.unflatten(0, (len(x), -1)).mean(1).sum(1))


def _as_prediction(
    channels: int, forward: Forward, compute: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any
) -> Any:
    import torch

    try:
        return compute(x, *args, **kwargs)
    except _Seen as seen:
        attention = seen.attention
    grid = attention_grid(forward.size, attention.shape[1])
    if grid is None:
        mask = torch.zeros_like(x[:, :channels])
    else:
        mask = (attention > MUCH).to(x.dtype).reshape(-1, 1, *grid[:2])
        mask = torch.nn.functional.interpolate(mask, forward.size, mode="nearest")
    c_in, c_skip, c_out, _ = forward.sampling.sigmas.preconditioning(forward.sigma)
    return ((mask - x[:, :channels] * (c_skip / c_in)) / c_out,)


@value_type("mezzotint.SelfAttentionGuidance")
@dataclass(frozen=True, slots=True)
class SelfAttentionGuidance:
    """An `Adjustment`: guided + scale * (blurred - prediction for it), of the negative conditioning: equation 16."""

    scale: float
    blur_sigma: float
    needs_negative = True

    def __call__(self, guided: Guided) -> Requests[Tensor]:
        import torch

        x0 = guided.unconditional
        if x0 is None:  # a guider of one conditioning
            return guided.prediction
        mask = yield from guided.again(AttentionMask(), guided.x, is_negative=True)
        blurred = torch.where(mask > 0.5, blur(x0, self.blur_sigma), x0)
        predicted = yield from guided.again(None, guided.x + blurred - x0, is_negative=True)
        return guided.prediction + (blurred - predicted) * self.scale


def blur(x: Tensor, sigma: float) -> Tensor:
    """[B, C, h, w] under a Gaussian of a deviation of `sigma` cells, with reflected edges; 0 leaves it as it is."""
    import torch
    from torch.nn.functional import conv2d, pad

    if sigma <= 0:
        return x
    radius = min(KERNEL // 2, x.shape[-1] - 1, x.shape[-2] - 1)
    distance = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    weights = torch.exp(-((distance / sigma) ** 2) / 2)
    weights = weights / weights.sum()
    channels = x.shape[1]
    rows, columns = (weights.expand(channels, 1, -1).unsqueeze(axis) for axis in (3, 2))
    x = conv2d(pad(x, (0, 0, radius, radius), mode="reflect"), rows, groups=channels)
    return conv2d(pad(x, (radius, radius, 0, 0), mode="reflect"), columns, groups=channels)


@node("SelfAttentionGuidance", title="Self-Attention Guidance", category="_for_testing")
def self_attention_guidance(
    model: Model,
    scale: Annotated[float, Field(ge=-2, le=5), Widget(step=0.01)] = 0.5,
    blur_sigma: Annotated[
        float, Field(ge=0, le=10, description="Of the blur, in latent cells."), Widget(step=0.1)
    ] = 2.0,
) -> Model:
    """Guide away from what a U-Net draws when what it looks at most is blurred, for finer detail.

    It needs the negative prompt. Each step takes one and a half evaluations more.
    """
    return with_adjustment(model, SelfAttentionGuidance(scale, blur_sigma)) if scale else model
