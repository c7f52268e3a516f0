"""The memory tier: bounded in bytes, the least recently used values go first."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.engine.memory_cache import MemoryCache, StepValue


def value(total_nbytes: int) -> StepValue:
    return StepValue(([0],), None, total_nbytes)


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache(100)


def test_what_is_kept_is_found_and_the_rest_is_not(cache: MemoryCache) -> None:
    kept = value(10)
    cache.put("a", kept)
    assert cache.get("a") is kept
    assert cache.get("b") is None
    assert cache.get(None) is None
    assert "a" in cache
    assert "b" not in cache


def test_the_least_recently_used_goes_first(cache: MemoryCache) -> None:
    for key in "abc":
        cache.put(key, value(30))
    cache.get("a")
    cache.put("d", value(30))
    assert [key for key in "abcd" if key in cache] == ["a", "c", "d"]


def test_looking_whether_it_is_there_is_no_use(cache: MemoryCache) -> None:
    for key in "abc":
        cache.put(key, value(30))
    assert "a" in cache
    cache.put("d", value(30))
    assert "a" not in cache


def test_a_value_larger_than_the_budget_is_not_kept_and_drops_no_other(cache: MemoryCache) -> None:
    cache.put("a", value(60))
    cache.put("b", value(101))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    cache.put("c", value(100))
    assert [key for key in "abc" if key in cache] == ["c"]


def test_putting_again_replaces_and_counts_once(cache: MemoryCache) -> None:
    cache.put("a", value(60))
    again = value(50)
    cache.put("a", again)
    assert cache.get("a") is again
    assert (cache.total_nbytes, len(cache)) == (50, 1)


def test_dropping_what_is_not_there_is_no_error(cache: MemoryCache) -> None:
    cache.put("a", value(60))
    cache.drop("b")
    cache.drop("a")
    cache.drop("a")
    assert (cache.total_nbytes, len(cache)) == (0, 0)


def test_clearing_forgets_all(cache: MemoryCache) -> None:
    cache.put("a", value(60))
    cache.clear()
    assert (cache.total_nbytes, cache.get("a")) == (0, None)


def test_a_value_knows_its_size() -> None:
    small, large = StepValue(([1],)), StepValue(([numpy.zeros(10_000, "uint8")], [1]))
    assert small.total_nbytes > 0
    assert large.total_nbytes > 10_000


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 120), st.booleans()), max_size=40))
def test_the_bytes_are_counted_right_and_the_order_is_that_of_use(steps: list[tuple[str, int, bool]]) -> None:
    cache = MemoryCache(200)
    model: dict[str, int] = {}  # in the order of use, the oldest first
    for key, size, is_read in steps:
        if is_read:
            assert (cache.get(key) is not None) == (key in model)
            if key in model:
                model[key] = model.pop(key)
        else:
            cache.put(key, value(size))
            model.pop(key, None)
            model[key] = size
            while sum(model.values()) > 200:
                del model[next(iter(model))]
        assert {key for key in "abcde" if key in cache} == {*model}
        assert cache.total_nbytes == sum(model.values()) <= 200
