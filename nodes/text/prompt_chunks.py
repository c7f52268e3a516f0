"""Tokens of a prompt, laid out in chunks of the length that a text encoder takes.

A chunk is a start token, what fits, an end token, and padding. Words stay together: one that does not fit begins the
next chunk, unless it is long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

LONG_WORD = 8
"""Words of so many tokens are split over two chunks."""


class Word(NamedTuple):
    """The tokens of a word, and its weight in the prompt."""

    tokens: list[int]
    weight: float


@dataclass(frozen=True, slots=True)
class ChunkLayout:
    """What chunks of a tokeniser look like: the ids of its special tokens, and the length with them."""

    start: int
    end: int
    padding: int
    length: int

    @property
    def capacity(self) -> int:
        """How many tokens of text fit."""
        return self.length - 2


@dataclass(slots=True)
class Chunk:
    """Token ids and their weights, both of the layout's length; special tokens weigh 1."""

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


def empty_chunk(layout: ChunkLayout) -> Chunk:
    """The chunk of an empty prompt."""
    return _closed(Chunk(), layout)


def lay_out(words: Iterable[Word], layout: ChunkLayout) -> list[Chunk]:
    """The words in chunks; one empty chunk when there are none."""
    chunks = [Chunk()]
    for word in words:
        tokens = word.tokens
        while tokens:
            room = layout.capacity - len(chunks[-1].tokens)
            may_split = len(tokens) >= min(LONG_WORD, layout.capacity + 1)
            taken = tokens[:room] if len(tokens) <= room or may_split else []
            chunks[-1].tokens += taken
            chunks[-1].weights += [word.weight] * len(taken)
            tokens = tokens[len(taken) :]
            if tokens:
                chunks.append(Chunk())
    return [_closed(chunk, layout) for chunk in chunks]


def _closed(chunk: Chunk, layout: ChunkLayout) -> Chunk:
    padding = layout.capacity - len(chunk.tokens)
    return Chunk(
        [layout.start, *chunk.tokens, layout.end, *[layout.padding] * padding],
        [1.0, *chunk.weights, 1.0, *[1.0] * padding],
    )
