from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mezzotint.nodes.text.prompt_chunks import Chunk, ChunkLayout, Word, empty_chunk, lay_out

START, END, PADDING = 1000, 1001, 1002


def layout(length: int = 12) -> ChunkLayout:
    return ChunkLayout(START, END, PADDING, length)


def word(first: int, count: int, weight: float = 1.0) -> Word:
    return Word(list(range(first, first + count)), weight)


def test_no_words_make_one_empty_chunk() -> None:
    assert lay_out([], layout(5)) == [empty_chunk(layout(5))] == [Chunk([START, END, *[PADDING] * 3], [1.0] * 5)]


def test_words_lie_between_start_and_end_and_the_rest_is_padding() -> None:
    (chunk,) = lay_out([word(1, 2), word(3, 1, 1.5)], layout(7))
    assert chunk.tokens == [START, 1, 2, 3, END, PADDING, PADDING]
    assert chunk.weights == [1.0, 1.0, 1.0, 1.5, 1.0, 1.0, 1.0]


def test_a_chunk_that_is_just_full_is_not_followed_by_an_empty_one() -> None:
    (chunk,) = lay_out([word(1, 5), word(6, 5)], layout(12))
    assert PADDING not in chunk.tokens


def test_a_short_word_that_does_not_fit_moves_whole_to_the_next_chunk() -> None:
    first, second = lay_out([word(1, 5), word(6, 7)], layout(12))
    assert first.tokens == [START, 1, 2, 3, 4, 5, END, *[PADDING] * 5]
    assert second.tokens == [START, 6, 7, 8, 9, 10, 11, 12, END, *[PADDING] * 3]


def test_a_word_of_eight_tokens_is_split() -> None:
    first, second = lay_out([word(1, 5), word(6, 8, 1.2)], layout(12))
    assert first.tokens == [START, *range(1, 11), END]
    assert first.weights == [*[1.0] * 6, *[1.2] * 5, 1.0]
    assert second.tokens == [START, 11, 12, 13, END, *[PADDING] * 7]


def test_a_word_longer_than_a_chunk_takes_several() -> None:
    chunks = lay_out([word(1, 25)], layout(12))
    assert [len(set(chunk.tokens) - {START, END, PADDING}) for chunk in chunks] == [10, 10, 5]


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(3, 20))
def test_no_token_is_lost_whatever_the_length(counts: list[int], length: int) -> None:
    chunks = lay_out([word(1, count) for count in counts], layout(length))
    assert all(len(chunk.tokens) == len(chunk.weights) == length for chunk in chunks)
    kept = [token for chunk in chunks for token in chunk.tokens if token < START]
    assert kept == [token for count in counts for token in range(1, count + 1)]
