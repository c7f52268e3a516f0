"""CLIP's tokenizer gives the ids that its models were trained on."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.nodes.text.clip_vocabulary import END_ID, START_ID, clip_tokenizer

from ..tiny_models import clip_tokenizer as tokenizer_of_transformers


def ids(text: str) -> list[int]:
    return list(clip_tokenizer().encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # What the tokenizers of CLIP and OpenCLIP give.
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("A  PHOTO of\ta cat", [320, 1125, 539, 320, 2368]),
        ("a photo of an astronaut riding a horse on mars", [320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496]),
        ("masterpiece, best quality, 1girl", [12066, 267, 949, 3027, 267, 272, 1611]),
        ("don't", [847, 713]),
        ("", []),
    ],
)
def test_known_ids(text: str, expected: list[int]) -> None:
    assert ids(text) == expected


def test_special_tokens_have_the_last_ids() -> None:
    tokenizer = clip_tokenizer()
    assert (START_ID, END_ID) == (49406, 49407)
    assert tokenizer.token_to_id("<|startoftext|>") == START_ID
    assert tokenizer.token_to_id("<|endoftext|>") == END_ID
    assert tokenizer.get_vocab_size() == 49408


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_is_split_as_by_transformers(text: str) -> None:
    assert ids(text) == THEIRS(text, add_special_tokens=False)["input_ids"]


THEIRS = tokenizer_of_transformers()
