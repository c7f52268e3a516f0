"""Token merging: self-attention over fewer tokens, similar ones as one (Bolya and Hoffman 2023, "Token Merging for Fast
Stable Diffusion", arXiv 2303.17604)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from mezzotint import Model, Widget, node, value_type

from ..sampling.network_change import Around, Forward, with_change
from .unet_blocks import attention_grid, require_unet, self_attention

if TYPE_CHECKING:
    from torch import Tensor, nn

CELL = 2
"""One token in each square of so many a side is a destination, and stays."""


@value_type("mezzotint.TokenMerging")
@dataclass(frozen=True, slots=True)
class TokenMerging:
    """A `NetworkChange` of the self-attention at full resolution. ratio: the share of tokens that is merged away."""

    ratio: float

    def around(self, network: nn.Module) -> Mapping[str, Around]:
        return {name: partial(self._merged, name) for name in self_attention(require_unet(network, "TomePatchModel"))}

    def _merged(
        self, name: str, forward: Forward, compute: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        grid = attention_grid(forward.size, x.shape[1])
        if grid is None or grid[2] > 0:
            return compute(x, *args, **kwargs)
        matching = Matching.of(x, destinations(grid[:2], f"{name} {forward.sigma!r}"), int(x.shape[1] * self.ratio))
        return matching.unmerged(compute(matching.merged(x), *args, **kwargs))


class Matching(NamedTuple):
    """Which tokens are merged into which; section 3 of the paper, "Token Merging: Your ViT But Faster", 2210.09461.

    Attributes:
        kept, destinations, sources: the places [B, n, 1] of the tokens that stay alone, of those that others are merged
            into, and of these. targets: [B, n, 1], for each source which of the destinations.
    """

    kept: Tensor
    destinations: Tensor
    sources: Tensor
    targets: Tensor

    @classmethod
    def of(cls, x: Tensor, is_destination: Tensor, count: int) -> Matching:
        """The `count` tokens of x [B, N, C] that are most like a destination, each to the one that it is most like.

        Args:
            is_destination: bool [N].
        """
        is_destination = is_destination.to(x.device)
        places = is_destination.new_ones(len(is_destination)).nonzero()[:, 0]
        a, b = places[~is_destination], places[is_destination]
        metric = x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        likeness, target = (metric[:, a] @ metric[:, b].transpose(1, 2)).max(-1)
        order = likeness.argsort(dim=-1, descending=True, stable=True)
        merged, alone = order[:, :count], order[:, count:]
        return cls(
            a[alone][..., None],
            b.expand(len(x), -1)[..., None],
            a[merged][..., None],
            target.gather(1, merged)[..., None],
        )

    def merged(self, x: Tensor) -> Tensor:
        """Fewer tokens: those that stay alone, then the destinations, each the mean of what is merged into it."""
        kept, into, sources = (_taken(x, places) for places in (self.kept, self.destinations, self.sources))
        targets = self.targets.expand(-1, -1, x.shape[-1])
        return _joined(kept, into.scatter_reduce(1, targets, sources, "mean", include_self=True))

    def unmerged(self, merged: Tensor) -> Tensor:
        """As many tokens as there were: each source gets what its destination got."""
        alone = self.kept.shape[1]
        kept, into = merged[:, :alone], merged[:, alone:]
        count = merged.shape[1] + self.sources.shape[1]
        whole = merged.new_empty(len(merged), count, merged.shape[-1])
        parts = ((self.kept, kept), (self.destinations, into), (self.sources, _taken(into, self.targets)))
        for places, values in parts:
            whole.scatter_(1, places.expand_as(values), values)
        return whole


def _taken(x: Tensor, places: Tensor) -> Tensor:
    return x.gather(1, places.expand(-1, -1, x.shape[-1]))


def _joined(first: Tensor, second: Tensor) -> Tensor:
    import torch

    return torch.cat([first, second], dim=1)


def destinations(grid: tuple[int, int], seed: str) -> Tensor:
    """One token in each cell of a grid, by chance: bool [rows * columns]. Rows and columns left over have none."""
    import random

    import torch

    height, width = grid
    chance = random.Random(seed)
    chosen = torch.zeros(height, width, dtype=torch.bool)
    for top in range(0, height - CELL + 1, CELL):
        for left in range(0, width - CELL + 1, CELL):
            chosen[top + chance.randrange(CELL), left + chance.randrange(CELL)] = True
    return chosen.flatten()


@node("TomePatchModel", category="model_patches/unet")
def tome_patch_model(
    model: Model,
    ratio: Annotated[
        float, Field(ge=0, le=1, description="The share of tokens that is merged."), Widget(step=0.01)
    ] = 0.3,
) -> Model:
    """Merge similar tokens before self-attention, which makes large pictures faster and somewhat different."""
    return with_change(model, TokenMerging(ratio)) if ratio else model
