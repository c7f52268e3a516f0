"""Whose turn it is: the order of the queue, and what becomes of jobs that the process dies of. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezzotint.server.job_queue import MAX_HELD, Entry, JobQueue
from mezzotint.server.recovery import Deaths


def queue_of(*entries: Entry) -> JobQueue:
    queue = JobQueue(lambda: None)
    queue.put(*entries)
    return queue


def order(queue: JobQueue) -> list[str]:
    """The ids in the order in which they would run."""
    found = []
    while (entry := queue.next()) is not None:
        queue.take(entry)
        queue.finish(entry.job_id)
        found.append(entry.job_id)
    return found


def numbered(names: str) -> list[Entry]:
    """Jobs numbered by the server: "aab" are two of client a, then one of b; ids a0, a1, b2."""
    return [Entry(f"{name}{index}", index, index, name) for index, name in enumerate(names)]


def test_one_clients_jobs_run_in_the_order_they_came() -> None:
    assert order(queue_of(*numbered("aaaa"))) == ["a0", "a1", "a2", "a3"]


def test_clients_take_turns() -> None:
    assert order(queue_of(*numbered("aaaabbc"))) == ["a0", "b4", "c6", "a1", "b5", "a2", "a3"]


def test_nothing_passes_a_job_whose_number_somebody_chose() -> None:
    entries = numbered("aabb")
    fixed = Entry("fixed", 1.5, 9, "z", is_fixed=True)
    assert order(queue_of(*entries, fixed)) == ["a0", "a1", "fixed", "b2", "b3"]


def test_of_equal_numbers_the_earlier_goes_first() -> None:
    entries = [
        Entry(name, number, at, is_fixed=True) for at, (number, name) in enumerate([(1, "a"), (0.5, "b"), (1, "c")])
    ]
    assert order(queue_of(*entries)) == ["b", "a", "c"]


SERVER_GIVEN = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(-5, 5)), max_size=25)


@given(SERVER_GIVEN)
def test_every_job_runs_once_and_chosen_numbers_are_absolute(jobs: list[tuple[str, bool, int]]) -> None:
    entries = [
        Entry(str(at), number if is_fixed else at, at, client, is_fixed)
        for at, (client, is_fixed, number) in enumerate(jobs)
    ]
    ran = order(queue_of(*entries))
    assert sorted(ran, key=int) == [entry.job_id for entry in entries]
    by_id = {entry.job_id: entry for entry in entries}
    for at, job_id in enumerate(ran):
        if by_id[job_id].is_fixed:
            assert all(by_id[other].place < by_id[job_id].place for other in ran[:at])
            assert all(by_id[other].place > by_id[job_id].place for other in ran[at + 1 :])
    for client in "abc":
        own = [job_id for job_id in ran if by_id[job_id].client_id == client and not by_id[job_id].is_fixed]
        assert own == sorted(own, key=int)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=20))
def test_no_client_waits_longer_than_one_job_of_each_other(names: list[str]) -> None:
    ran = [job_id[0] for job_id in order(queue_of(*numbered("".join(names))))]
    for client in set(names):
        places = [at for at, name in enumerate(ran) if name == client]
        assert all(after - before <= 3 for before, after in pairwise(places))


def test_a_job_is_moved_before_behind_to_the_front_and_to_the_back() -> None:
    queue = queue_of(*numbered("aaaa"))
    queue.move("a3", queue.number_beside("a3", "a1", is_before=True) or 0)
    assert [entry.job_id for entry in queue.pending] == ["a0", "a3", "a1", "a2"]
    queue.move("a0", queue.number_beside("a0", "a2", is_before=False) or 0)
    queue.move("a1", queue.number_at_front())
    queue.move("a3", queue.number_at_back())
    assert order(queue) == ["a1", "a2", "a0", "a3"]


def test_where_there_is_no_number_between_two_all_are_spread() -> None:
    queue = queue_of(*(Entry(name, 7, at, is_fixed=True) for at, name in enumerate("abc")))
    assert queue.number_beside("c", "b", is_before=True) is None
    assert queue.spread() == {"a": 7, "b": 8, "c": 9}
    assert queue.number_beside("c", "b", is_before=True) == 7.5


def test_the_number_at_the_back_is_before_what_comes_later() -> None:
    queue = queue_of(*numbered("aa"))
    queue.count_from(2)
    queue.move("a0", queue.number_at_back())
    queue.put(Entry("late", queue.next_number(), 2, "a"))
    assert order(queue) == ["a1", "a0", "late"]


def test_every_change_of_the_queue_is_told() -> None:
    remaining: list[int] = []
    queue = JobQueue(lambda: remaining.append(queue.remaining))
    queue.put(Entry("a", 0, 0))
    queue.put(Entry("b", 1, 1))
    entry = queue.next()
    assert entry is not None
    queue.take(entry)
    assert queue.remove(["b", "unknown"]) == ["b"]
    queue.finish("a")
    assert remaining == [1, 2, 2, 1, 0]


def test_a_long_queue_holds_few_jobs_in_memory() -> None:
    job: Any = type("Job", (), {"secrets": {}})()
    queue = queue_of(*(Entry(str(at), at, at, job=job) for at in range(MAX_HELD + 5)))
    assert sum(entry.job is not None for entry in queue.pending) == MAX_HELD


@pytest.mark.parametrize(
    ("deaths", "expected"),
    [
        ([({"5"}, False)], 1),
        ([({"5"}, False), ({"5"}, False)], 2),
        ([({"5", "6"}, False), ({"5"}, False), ({"5"}, False)], 3),
        ([(set(), False), ({"5"}, False), (set(), False)], 3),
        ([({"5"}, False), ({"6"}, False)], 1),
        ([({"5"}, False), ({"5"}, False), ({"5"}, True)], 1),
    ],
)
def test_deaths_count_while_it_may_be_the_same_step(deaths: list[tuple[set[str], bool]], expected: int) -> None:
    known = Deaths()
    for running, has_progressed in deaths:
        known = known.another(running, has_progressed=has_progressed)
    assert known.times == expected


def test_steps_that_did_not_run_at_every_death_are_cleared() -> None:
    known = Deaths().another({"5", "6"}, has_progressed=False).another({"6", "7"}, has_progressed=False)
    assert known == (2, {"6"})
