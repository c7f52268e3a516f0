"""A text encoder with more tokens than its vocabulary has: those of learned vectors, with numbers below 0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..models.network_overlay import shallow_copy, with_layers


def with_vectors(network: Any, vectors: Tensor) -> Any:
    """The network in which token -1 is the first of these vectors [N, D], -2 the second, and so on.

    Numbers below 0, since some networks pool where they find the highest. The original stays as it was, and shares all
    its weights.
    """
    table = network.get_input_embeddings()
    place = next(name for name, module in network.named_modules() if module is table)
    layer = shallow_copy(table)
    layer.forward = _ExtendedForward(layer, vectors.to(next(network.parameters()).device))
    return with_layers(network, {place: layer})


class _ExtendedForward:
    """The forward of a table of tokens, with further rows behind it."""

    def __init__(self, layer: nn.Module, vectors: Tensor) -> None:
        self.layer, self.vectors = layer, vectors

    def __call__(self, tokens: Tensor) -> Tensor:
        known: Tensor = type(self.layer).forward(self.layer, tokens.clamp(min=0))
        learned = self.vectors.to(known.dtype)[(-1 - tokens).clamp(min=0)]
        return torch.where((tokens < 0)[..., None], learned, known)
