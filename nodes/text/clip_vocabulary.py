"""CLIP's tokenizer, from the vocabulary that comes with the package: single files bring none of their own."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
VOCABULARY_SIZE = 49408
START, END = "<|startoftext|>", "<|endoftext|>"
START_ID, END_ID = VOCABULARY_SIZE - 2, VOCABULARY_SIZE - 1
WORD_END = "</w>"
PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What is merged on its own: contractions, words, single digits, runs of signs. Radford et al. 2021, their code."""


@cache
def clip_tokenizer() -> Tokenizer:
    """The tokenizer, which adds no special tokens. Shared: nobody may change it."""
    from tokenizers import AddedToken, Regex, Tokenizer
    from tokenizers.models import BPE
    from tokenizers.normalizers import NFC, Lowercase, Replace, Sequence
    from tokenizers.pre_tokenizers import ByteLevel, Split
    from tokenizers.pre_tokenizers import Sequence as PreTokenizers

    merges = _merges()
    vocabulary = {token: i for i, token in enumerate(_tokens(merges))}
    tokenizer = Tokenizer(
        BPE(vocabulary, merges, unk_token=END, continuing_subword_prefix="", end_of_word_suffix=WORD_END)
    )
    tokenizer.normalizer = Sequence([NFC(), Replace(Regex(r"\s+"), " "), Lowercase()])
    tokenizer.pre_tokenizer = PreTokenizers(
        [Split(Regex(PIECES), behavior="removed", invert=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=True, special=True) for token in (START, END)])
    return tokenizer


def transformers_tokenizer(padding: str) -> Any:
    """transformers' own tokenizer over the vocabulary, as pipelines have it; short texts are filled with `padding`."""
    from transformers import CLIPTokenizer

    merges = _merges()
    vocabulary = {token: i for i, token in enumerate(_tokens(merges))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=padding, model_max_length=77)


def _merges() -> list[tuple[str, str]]:
    """The merges that are used, the first of those in the file. Each makes a token; bytes and specials are the rest."""
    count = VOCABULARY_SIZE - 2 * 256 - 2
    path = files("mezzotint.nodes") / "embedded" / "clip-vocabulary" / VOCABULARY
    with path.open("rb") as packed, gzip.open(packed, "rt", encoding="utf-8") as lines:
        pairs = (line.split() for line in islice(lines, 1, 1 + count))  # the first line is a title
        return [(first, second) for first, second in pairs]


def _tokens(merges: list[tuple[str, str]]) -> list[str]:
    """All tokens in the order of their ids."""
    letters = [chr(letter) for letter in _letters_of_bytes()]
    return [*letters, *(letter + WORD_END for letter in letters), *map("".join, merges), START, END]


def _letters_of_bytes() -> list[int]:
    """What stands for the 256 bytes: printable ones for themselves, first, and the others for letters from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [*printable, *range(256, 256 + 256 - len(printable))]
