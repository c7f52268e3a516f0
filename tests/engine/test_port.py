"""Which links may carry what."""

from __future__ import annotations

import itertools

import pytest

from mezzotint.engine.port import are_compatible


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ("IMAGE", "IMAGE"), ("*", "IMAGE"), ("IMAGE", "*"), ("INT", "INT,FLOAT"), ("INT,FLOAT", "FLOAT,STRING"),
        ("STRING", "COMBO"), ("COMBO", "STRING"), ("STRING,INT", "COMBO"), ("COMBO", "IMAGE,STRING"), ("*,INT", "MASK"),
    ],
)  # fmt: skip
def test_equal_overlapping_and_any_types_fit(received: str, expected: str) -> None:
    assert are_compatible(received, expected)


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ("IMAGE", "MASK"),
        ("INT", "FLOAT"),
        ("INT,FLOAT", "STRING"),
        ("COMBO", "INT"),
        ("IMAGES", "IMAGE"),
        ("", "IMAGE"),
    ],
)
def test_other_types_do_not(received: str, expected: str) -> None:
    assert not are_compatible(received, expected)


def test_the_direction_makes_no_difference() -> None:
    ports = ["*", "INT", "INT,FLOAT", "STRING", "COMBO", "COMBO,IMAGE", "IMAGE"]
    for a, b in itertools.product(ports, ports):
        assert are_compatible(a, b) == are_compatible(b, a)
