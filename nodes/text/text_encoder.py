"""The text encoder: prompts to conditioning, with weights and as many chunks as the text needs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mezzotint.engine.errors import MezzotintError

from ..models.component_weights import LAST_LAYER, TextReading
from ..models.network_names import TEXT_ENCODERS
from .extended_embedding import with_vectors
from .prompt_chunks import Chunk, ChunkLayout, Word, empty_chunk, lay_out
from .prompt_weights import parse_weights
from .text_embedding import PREFIX, TextEmbedding, split_word

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import CLIPTextModel

STOP_OPTION = "stop_at_clip_layer"


class ClipLayerError(MezzotintError):
    """A text encoder is to stop at a layer that it does not have."""


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """A CLIP text encoder on its device, with its tokeniser.

    Attributes:
        network: of transformers. tokenizer: splits words into tokens, adding no special ones. layout: of its chunks.
        device: where the network is. reading: which of its layers is the conditioning.
        learned: names of embeddings → the tokens, below 0, that stand for them.
    """

    network: CLIPTextModel = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)
    layout: ChunkLayout
    device: torch.device
    reading: TextReading = LAST_LAYER

    learned: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """What adapters change, by its name in `lora_keys`."""
        return {TEXT_ENCODERS[0]: self.network}

    def with_networks(self, networks: Mapping[str, Any]) -> TextEncoder:
        """One like this with other networks."""
        return replace(self, network=networks[TEXT_ENCODERS[0]])

    @property
    def width(self) -> int:
        """D, how many numbers a token has."""
        return int(self.network.config.hidden_size)

    @property
    def widths(self) -> Sequence[int]:
        """Of all text encoders in it."""
        return (self.width,)

    def with_embeddings(self, embeddings: Mapping[str, TextEmbedding]) -> TextEncoder:
        """One like this that knows the words `embedding:name`; it leaves out those that are not for its width."""
        found = {name: embedding.of_width(self.width) for name, embedding in embeddings.items()}
        vectors = {name: tensor for name, tensor in found.items() if tensor is not None}
        if not vectors:
            return self
        numbers = itertools.count(-1, -1)
        learned = {name: [next(numbers) for _ in tensor] for name, tensor in vectors.items()}
        return replace(self, network=with_vectors(self.network, torch.cat([*vectors.values()])), learned=learned)

    def with_options(self, options: Mapping[str, Any]) -> TextEncoder:
        """The same encoder with the options of a recipe: `stop_at_clip_layer`.

        Raises:
            ClipLayerError: there is no such layer.
        """
        stop = int(options.get(STOP_OPTION, self.reading.layer))
        layers = int(self.network.config.num_hidden_layers)
        if not -layers <= stop <= -1:
            raise ClipLayerError(
                f"{STOP_OPTION} is {stop}, and this text encoder has {layers} layers; "
                f"allowed are -1 (the last) to {-layers}"
            )
        return replace(self, reading=self.reading._replace(layer=stop))

    def encode(self, text: str) -> list[Any]:
        """The conditioning of a prompt in the syntax of `prompt_weights`; see `encode_chunks`."""
        return self.encode_chunks(self.tokenize(text))

    def encode_chunks(self, chunks: list[Chunk]) -> list[Any]:
        """The conditioning of a prompt's tokens.

        A token's encoding z becomes (z - z_empty) * weight + z_empty, where z_empty is an empty prompt's at the same
        place. Chunks are encoded on their own and joined along the tokens.

        Returns:
            One item, `[[tokens, {"pooled_output": pooled}]]`: float32 [1, chunks * length, D] and, of the first chunk,
            [1, D], projected where the network does; on the CPU.
        """
        is_weighted = any(weight != 1 for chunk in chunks for weight in chunk.weights)
        encoded, pooled = self._forward([*chunks, empty_chunk(self.layout)] if is_weighted else chunks)
        if is_weighted:
            weights = torch.tensor([chunk.weights for chunk in chunks])
            encoded = _weighted(encoded[:-1], weights, encoded[-1:])
        return [[encoded.reshape(1, -1, encoded.shape[-1]), {"pooled_output": pooled[:1]}]]

    def tokenize(self, text: str) -> list[Chunk]:
        """The tokens of a prompt with their weights, in chunks; at least one.

        Words that name embeddings which are not known are left out.
        """
        pieces = [
            (learned, word, piece.weight)
            for piece in parse_weights(text)
            for given in piece.text.split()
            for learned, word in self._parts(given)
        ]
        encoded = self.tokenizer.encode_batch([word for _, word, _ in pieces], add_special_tokens=False)
        words = (
            Word([*learned, *found.ids], weight) for found, (learned, _, weight) in zip(encoded, pieces, strict=True)
        )
        return lay_out(words, self.layout)

    def _parts(self, word: str) -> Iterator[tuple[Sequence[int], str]]:
        """Tokens of learned vectors, or text that is to be split into tokens, or neither."""
        if not word.startswith(PREFIX):
            yield (), word
            return
        name, rest = split_word(word, self.learned)
        yield self.learned.get(name, ()), ""
        if rest:
            yield (), rest

    def _forward(self, chunks: list[Chunk]) -> tuple[Tensor, Tensor]:
        """Hidden states [chunks, length, D] and pooled ones [chunks, D], float32 on the CPU."""
        hidden, output = self.read(torch.tensor([chunk.tokens for chunk in chunks], device=self.device))
        pooled = output.text_embeds if hasattr(output, "text_embeds") else output.pooler_output
        return hidden.float().cpu(), pooled.float().cpu()

    def read(self, tokens: Tensor) -> tuple[Tensor, Any]:
        """The conditioning of tokens [N, length], [N, length, D] on the device, and all that the network says."""
        is_last = self.reading.layer == -1
        output = self.network(tokens, output_hidden_states=not is_last)
        hidden = output.last_hidden_state if is_last else output.hidden_states[self.reading.layer]
        return self._normed(hidden) if self.reading.is_normed and not is_last else hidden, output

    def _normed(self, hidden: Tensor) -> Tensor:
        # transformers 4 keeps the layers in a sub-module, 5 in the model itself
        normed: Tensor = getattr(self.network, "text_model", self.network).final_layer_norm(hidden)
        return normed


def _weighted(encoded: Tensor, weights: Tensor, empty: Tensor) -> Tensor:
    """Encodings [N, T, D] by weights [N, T], relative to the empty one [1, T, D]; a weight of 1 changes nothing."""
    weighted = (encoded - empty) * weights[..., None] + empty
    return torch.where(weights[..., None] == 1, encoded, weighted)
