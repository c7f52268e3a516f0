"""What a limit on the process's memory does: less counts as free, and what would not fit is refused in a sentence."""

from __future__ import annotations

import mmap

import pytest

from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.engine.free_memory import PROCESS, free_nbytes
from mezzotint.engine.residency import Residency

MB = 1 << 20


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is taken away after each test."""
    monkeypatch.setattr(PROCESS, "limit_nbytes", None)


def test_memory_is_free_up_to_the_limit() -> None:
    before = free_nbytes("cpu")
    PROCESS.limit_nbytes = PROCESS.resident_nbytes + 50 * MB
    assert free_nbytes("cpu") <= min(before + 50 * MB, 60 * MB)
    with mmap.mmap(-1, 30 * MB) as held:  # new pages: an allocator may have some left
        held.write(b"a" * (30 * MB))
        assert free_nbytes("cpu") < 30 * MB
    PROCESS.limit_nbytes = 1
    assert free_nbytes("cpu") == 0


def test_a_step_that_would_exceed_it_is_refused() -> None:
    PROCESS.limit_nbytes = PROCESS.resident_nbytes + 50 * MB
    models = Residency(device="cpu", budget_nbytes=1 << 40)
    models.reserve(MB, "a small thing")
    with pytest.raises(OutOfMemoryError, match=r"a large thing needs about 104\.9 MB of memory, and \d+\.\d MB can be"):
        models.reserve(100 * MB, "a large thing")
