"""Textual inversion (Gal et al. 2022, arXiv 2208.01618): `embedding:name` in a prompt stands for learned vectors."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint import Context
from mezzotint.engine.errors import MezzotintError, ModelFileError
from mezzotint.engine.file_digest import file_identity
from mezzotint.engine.folders import Folders

from ..models.weights_file import read_header, read_tensors
from .prompt_weights import parse_weights

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("mezzotint.nodes")

KIND = "embeddings"
PREFIX = "embedding:"
SUFFIXES = ("", ".safetensors", ".pt", ".bin")
"""What may be left out of a name; the first that is there."""


class EmbeddingError(MezzotintError):
    """An embedding is for another text encoder."""


@dataclass(frozen=True, eq=False)
class TextEmbedding:
    """Learned vectors.

    Attributes:
        name: what the prompt calls them. tensors: float [n, D] each, for text encoders of different widths D.
    """

    name: str
    tensors: Sequence[Tensor]

    def of_width(self, width: int) -> Tensor | None:
        """The vectors for a text encoder of so many numbers to a token."""
        return next((tensor for tensor in self.tensors if tensor.shape[1] == width), None)


def split_word(word: str, names: Iterable[str]) -> tuple[str, str]:
    """A word that begins with `embedding:` → the name of one of these embeddings, and what follows it: a comma, say.

    If it is none of them, the name is all but trailing commas.
    """
    name = word.removeprefix(PREFIX)
    if name in names:
        return name, ""
    plain = name.rstrip(",")
    return plain, name[len(plain) :]


def read_embeddings(texts: Iterable[str], ctx: Context) -> dict[str, TextEmbedding]:
    """The embeddings that prompts name, by name. Those that are missing are left out, with a warning.

    Raises:
        ModelFileError: a file is damaged, a pickle, or holds no embedding.
    """
    found: dict[str, TextEmbedding] = {}
    for word in _words(texts):
        for name in dict.fromkeys((word.removeprefix(PREFIX), split_word(word, ())[0])):
            if path := _find(name, ctx.folders):
                found[name] = TextEmbedding(name, _read(path))
                break
        else:
            log.warning("the prompt's '%s' is left out: no such file is in the folder of embeddings", word)
    return found


def with_embeddings(encoder: Any, texts: Iterable[str], ctx: Context) -> Any:
    """A text encoder that knows the embeddings which prompts name; itself, if they name none that are there.

    Raises:
        ModelFileError: see `read_embeddings`. EmbeddingError: one is for another text encoder.
    """
    embeddings = read_embeddings(texts, ctx)
    if not embeddings:
        return encoder
    widths: Sequence[int] = encoder.widths
    for embedding in embeddings.values():
        if not any(embedding.of_width(width) is not None for width in widths):
            has = " and ".join(str(tensor.shape[1]) for tensor in embedding.tensors)
            raise EmbeddingError(
                f"the embedding '{embedding.name}' has vectors of {has} numbers, and the text encoder takes "
                f"{' or '.join(map(str, widths))}; use one that was made for this kind of model"
            )
    return encoder.with_embeddings(embeddings)


def texts_identity(texts: Iterable[str | None], folders: Folders) -> Any:
    """What changes when an embedding that prompts name is written or replaced; None if they name none.

    Of a prompt that is not known (None) all embeddings count.
    """
    texts = [*texts]
    if None in texts:
        return [[model.name, *file_identity(model.path)] for model in folders.located(KIND)]
    words = [*_words(text for text in texts if text is not None)]
    if not words:
        return None
    names = [name for word in words for name in (word.removeprefix(PREFIX), split_word(word, ())[0])]
    paths = [_find(name, folders) for name in names]
    return [path and [str(path), *file_identity(path)] for path in paths]


def _words(texts: Iterable[str]) -> Iterator[str]:
    """The words that name embeddings."""
    for text in texts:
        if PREFIX in text:
            for piece in parse_weights(text):
                yield from (word for word in piece.text.split() if word.startswith(PREFIX))


def _find(name: str, folders: Folders) -> Path | None:
    found = (folders.find(KIND, name + suffix) for suffix in SUFFIXES) if name else iter(())
    return next((path for path in found if path is not None), None)


def _read(path: Path) -> list[Tensor]:
    shapes: Mapping[str, tuple[int, ...]] = read_header(path).shapes
    names = [name for name, shape in shapes.items() if 1 <= len(shape) <= 2]
    if not names:
        raise ModelFileError(f"'{path}' holds no embedding: no list of vectors; a model belongs into another folder")
    return [tensor.reshape(-1, tensor.shape[-1]).float() for tensor in read_tensors(path, "cpu", names).values()]
