"""A text encoder as packs hold it: `clip.tokenize(text)`, `clip.encode_from_tokens(tokens)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mezzotint.nodes.text.prompt_chunks import Chunk
from mezzotint.nodes.text.text_encoder import STOP_OPTION

from . import surroundings
from .native_call import call_native
from .pack_value import PackValue

if TYPE_CHECKING:
    from torch import Tensor


class Tokens(dict[str, Any]):
    """Encoder → chunks of pairs (token, weight), and the text that they are of."""

    def __init__(self, text: str, chunks: Mapping[str, Any]) -> None:
        super().__init__(chunks)
        self.text = text


class ClipValue(PackValue):
    """A text encoder."""

    CALLED = "clip"

    def tokenize(self, text: str, return_word_ids: bool = False, **_: Any) -> Tokens:
        """The tokens of a prompt, `{"l": [[(token, weight), ...], ...]}`: a list for each chunk; of SDXL `"g"`, too."""
        if return_word_ids:
            raise NotImplementedError(
                "clip.tokenize: return_word_ids is not offered; the numbers of words are not kept"
            )
        with surroundings.models().borrow(self) as encoder:
            chunks = {name: part.tokenize(text) for name, part in _parts(encoder).items()}
        return Tokens(text, {name: [*map(_pairs, found)] for name, found in chunks.items()})

    def encode_from_tokens(
        self, tokens: Mapping[str, Any], return_pooled: bool = False, return_dict: bool = False
    ) -> Any:
        """The encoding [1, T, D]; with `return_pooled` the pooled one [1, D], too; or both in a dict."""
        ((encoded, options),) = self.encode_from_tokens_scheduled(tokens)
        if return_dict:
            return {"cond": encoded, **options}
        return (encoded, options.get("pooled_output")) if return_pooled else encoded

    def encode_from_tokens_scheduled(
        self, tokens: Mapping[str, Any], unprojected: bool = False, add_dict: Mapping[str, Any] = {}, **_: Any
    ) -> list[Any]:
        """The conditioning, `[[encoded, {"pooled_output": pooled, ...}]]`."""
        if isinstance(tokens, Tokens) and tokens == self.tokenize(tokens.text):
            conditioning = call_native("CLIPTextEncode", text=tokens.text, clip=self)
        else:
            conditioning = self._encode_changed(tokens)
        return [[encoded, {**options, **add_dict}] for encoded, options in conditioning]

    def encode(self, text: str) -> Tensor:
        """The encoding of a text."""
        encoded: Tensor = self.encode_from_tokens(self.tokenize(text))
        return encoded

    def clip_layer(self, layer_idx: int) -> None:
        """Stop at a layer: -1 is the last."""
        self.become(self.with_option(STOP_OPTION, layer_idx))

    @property
    def layer_idx(self) -> int | None:
        """The layer at which it stops, if that was said."""
        found: int | None = dict(self.options).get(STOP_OPTION)
        return found

    def _encode_changed(self, tokens: Mapping[str, Any]) -> list[Any]:
        """Of tokens that a pack changed or made."""
        import torch

        with surroundings.models().borrow(self) as encoder, torch.inference_mode():
            names = [*_parts(encoder)]
            if {*tokens} != {*names}:
                raise ValueError(f"tokens are for the encoders {', '.join(tokens)}; this text encoder has {names}")
            encoded: list[Any] = encoder.encode_chunks(*([*map(_chunk, tokens[name])] for name in names))
            return encoded


def _parts(encoder: Any) -> dict[str, Any]:
    """The text encoders that one is made of, by the names that tokens have."""
    return {"l": encoder.first, "g": encoder.second} if hasattr(encoder, "second") else {"l": encoder}


def _pairs(chunk: Chunk) -> list[tuple[int, float]]:
    return [*zip(chunk.tokens, chunk.weights, strict=True)]


def _chunk(pairs: Iterable[Sequence[Any]]) -> Chunk:
    tokens, weights = zip(*((pair[0], float(pair[1])) for pair in pairs), strict=True)
    return Chunk([*tokens], [*weights])
