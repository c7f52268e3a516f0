"""The two text encoders of SDXL as one: their tokens side by side, and what the second makes of the whole text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..models.network_names import TEXT_ENCODERS
from .prompt_chunks import Chunk, empty_chunk
from .text_embedding import TextEmbedding
from .text_encoder import TextEncoder


@dataclass(frozen=True, eq=False)
class DualTextEncoder:
    """What SDXL was trained with (Podell et al. 2023, section 2.1).

    Attributes:
        first: OpenAI's CLIP, `"l"`. second: OpenCLIP, `"g"`, whose pooled output is projected.
    """

    first: TextEncoder
    second: TextEncoder

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """What adapters change, by its name in `lora_keys`."""
        return {TEXT_ENCODERS[0]: self.first.network, TEXT_ENCODERS[1]: self.second.network}

    def with_networks(self, networks: Mapping[str, Any]) -> DualTextEncoder:
        """One like this with other networks."""
        first, second = (networks[name] for name in TEXT_ENCODERS[:2])
        return DualTextEncoder(replace(self.first, network=first), replace(self.second, network=second))

    @property
    def widths(self) -> Sequence[int]:
        """How many numbers a token has in each."""
        return self.first.width, self.second.width

    def with_embeddings(self, embeddings: Mapping[str, TextEmbedding]) -> DualTextEncoder:
        """Both with the embeddings that are for them."""
        return DualTextEncoder(self.first.with_embeddings(embeddings), self.second.with_embeddings(embeddings))

    def with_options(self, options: Mapping[str, Any]) -> DualTextEncoder:
        """The same encoders with the options of a recipe, each. Raises what `TextEncoder.with_options` does."""
        return DualTextEncoder(self.first.with_options(options), self.second.with_options(options))

    def encode(self, text: str) -> list[Any]:
        """The conditioning of a prompt, read by both: [1, T, D of the first + D of the second], pooled [1, P]."""
        return self.encode_each(text, text)

    def encode_each(self, first: str, second: str) -> list[Any]:
        """As `encode`, with a text for each; where one takes fewer chunks, empty ones follow."""
        return self.encode_chunks(self.first.tokenize(first), self.second.tokenize(second))

    def encode_chunks(self, chunks: list[Chunk], others: list[Chunk]) -> list[Any]:
        """As `encode`, of tokens for each; where there are fewer chunks, empty ones follow."""
        count = max(len(chunks), len(others))
        ((tokens, _),) = self.first.encode_chunks(_filled(chunks, count, self.first))
        ((other, options),) = self.second.encode_chunks(_filled(others, count, self.second))
        return [[_side_by_side(tokens, other), options]]


def _side_by_side(first: Tensor, second: Tensor) -> Tensor:
    length = min(first.shape[1], second.shape[1])
    return torch.cat([first[:, :length], second[:, :length]], dim=-1)


def _filled(chunks: list[Chunk], count: int, encoder: TextEncoder) -> list[Chunk]:
    return [*chunks, *[empty_chunk(encoder.layout)] * (count - len(chunks))]
