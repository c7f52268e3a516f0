"""Sizes on the command line."""

from __future__ import annotations

import pytest

from mezzotint.cli.size import read_size
from mezzotint.cli.usage import UsageError


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("8G", 8 << 30), ("512M", 512 << 20), ("1.5g", 3 << 29), (" 2 GiB ", 2 << 30), ("1TB", 1 << 40), ("4096", 4096),
     ("16kb", 16 << 10), ("7B", 7)],
)  # fmt: skip
def test_a_size_has_a_number_and_a_unit(text: str, nbytes: int) -> None:
    assert read_size(text, "--max-memory") == nbytes


@pytest.mark.parametrize("text", ["", "G", "-1G", "8X", "8 G G", "1e3", "٣G", "8iB G", "nan"])
def test_anything_else_is_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"--max-memory: '.*' is no size; .*8G or 512M"):
        read_size(text, "--max-memory")


def test_too_little_is_a_sentence() -> None:
    assert read_size("512M", "--max-memory", at_least="512M") == 512 << 20
    with pytest.raises(UsageError, match="8 is too little; give at least 512M"):
        read_size("8", "--max-memory", at_least="512M")
