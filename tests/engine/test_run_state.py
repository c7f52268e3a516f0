"""The decisions of a run, with no engine: what is ready when, what a failure skips, what is let go, how a run ends."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.engine.run_state import TERMINAL, Moves, Reuse, RunState

DIAMOND: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "lone": []}
CHAIN: dict[str, list[str]] = {"1": [], "2": ["1"], "3": ["2"], "4": ["3"]}


def made(parents: dict[str, list[str]], **sources: Reuse) -> RunState:
    return RunState(parents.__getitem__, sources.get)


def run_one(state: RunState, step_id: str) -> Moves:
    state.started(step_id)
    return state.done(step_id)


def fail_one(state: RunState, step_id: str) -> Moves:
    state.started(step_id)
    return state.failed(step_id)


class TestOrder:
    def test_only_what_is_needed_is_begun_and_parents_come_first(self) -> None:
        state = made(DIAMOND)
        assert state.require(["d"]).ready == ["a"]
        assert "lone" not in state.status
        assert sorted(run_one(state, "a").ready) == ["b", "c"]
        assert run_one(state, "b").ready == []
        assert run_one(state, "c").ready == ["d"]
        assert not state.is_finished
        run_one(state, "d")
        assert state.is_finished

    def test_nothing_needed_is_finished_at_once(self) -> None:
        state = made(DIAMOND)
        state.require([])
        assert state.is_finished
        assert not state.is_stalled

    def test_requiring_again_changes_nothing(self) -> None:
        state = made(DIAMOND)
        state.require(["d", "d"])
        assert state.require(["d", "a"]) == Moves()
        run_one(state, "a")
        assert state.require(["a", "b"]) == Moves()

    def test_a_parent_that_is_listed_twice_is_awaited_once(self) -> None:
        state = made({"a": [], "b": ["a", "a"]})
        state.require(["b"])
        assert run_one(state, "a").ready == ["b"]
        assert run_one(state, "b").freed == ["a"]

    def test_a_long_chain_needs_no_deep_stack(self) -> None:
        chain = {str(i): [str(i - 1)] if i else [] for i in range(8_000)}
        state = made(chain)
        state.require(["7999"])
        assert state.dependents("0") == ["1"]
        moves = fail_one(state, "0")
        assert len(moves.skipped) == 7_999
        assert state.is_finished

    def test_steps_that_wait_are_known(self) -> None:
        state = made(DIAMOND)
        state.require(["d"])
        assert sorted(state.waiting()) == ["b", "c", "d"]
        assert sorted(state.dependents("a")) == ["b", "c"]
        assert state.unmet_count("d") == 2
        run_one(state, "a")
        run_one(state, "b")
        assert state.unmet_count("d") == 1
        assert state.dependents("c") == ["d"]

    @pytest.mark.parametrize("wrong", ["started", "done", "parked"])
    def test_what_cannot_happen_is_an_error(self, wrong: str) -> None:
        state = made(CHAIN)
        state.require(["2"])
        happened = {"started": state.started, "done": state.done, "parked": lambda step: state.parked(step, [])}
        with pytest.raises(RuntimeError, match="step '2' is waiting"):
            happened[wrong]("2")


class TestReuse:
    def test_a_value_in_memory_needs_no_parents(self) -> None:
        state = made(CHAIN, **{"3": "memory"})
        moves = state.require(["4"])
        assert (moves.reused, moves.ready) == (["3"], ["4"])
        assert "2" not in state.status

    def test_a_target_in_memory_is_all_there_is(self) -> None:
        state = made(CHAIN, **{"4": "memory"})
        assert state.require(["4"]).reused == ["4"]
        assert state.is_finished

    def test_a_value_on_disk_is_begun_without_its_parents(self) -> None:
        state = made(CHAIN, **{"3": "disk"})
        assert state.require(["4"]).ready == ["3"]
        assert "2" not in state.status
        assert run_one(state, "3").ready == ["4"]

    def test_a_value_that_cannot_be_read_is_computed_after_all(self) -> None:
        state = made(CHAIN, **{"3": "disk"})
        state.require(["4"])
        state.started("3")
        assert state.parked("3", ["2"]).ready == ["1"]
        run_one(state, "1")
        assert run_one(state, "2").ready == ["3"]
        assert run_one(state, "3").ready == ["4"]


class TestFailure:
    def test_exactly_the_descendants_are_skipped(self) -> None:
        state = made({**DIAMOND, "e": ["lone"]})
        state.require(["d", "e"])
        run_one(state, "a")
        assert fail_one(state, "b").skipped == ["d"]
        assert state.status["c"] == "ready"
        assert run_one(state, "c").ready == []
        run_one(state, "lone")
        run_one(state, "e")
        assert state.is_finished
        assert state.status == {"a": "done", "b": "failed", "c": "done", "d": "failed", "lone": "done", "e": "done"}

    def test_a_step_with_two_failed_parents_is_skipped_once(self) -> None:
        state = made(DIAMOND)
        state.require(["d"])
        run_one(state, "a")
        assert fail_one(state, "b").skipped == ["d"]
        assert fail_one(state, "c").skipped == []

    def test_what_is_needed_later_and_depends_on_a_failure_is_skipped_at_once(self) -> None:
        state = made(DIAMOND)
        state.require(["b"])
        run_one(state, "a")
        fail_one(state, "b")
        moves = state.require(["d"])
        assert moves.skipped == ["d"]
        assert moves.ready == ["c"]
        run_one(state, "c")
        assert state.is_finished

    def test_what_a_skipped_step_needed_is_let_go(self) -> None:
        state = made(DIAMOND)
        state.require(["d"])
        run_one(state, "a")
        fail_one(state, "b")
        assert run_one(state, "c").freed == ["a"]


class TestParking:
    def test_a_body_resumes_when_what_it_asked_for_is_done(self) -> None:
        state = made({"body": ["a"], "a": [], "b": ["a"], "c": []})
        state.require(["body"])
        run_one(state, "a")
        state.started("body")
        assert sorted(state.parked("body", ["b", "c", "b"]).ready) == ["b", "c"]
        assert run_one(state, "c").ready == []
        assert run_one(state, "b").ready == ["body"]
        assert sorted(run_one(state, "body").freed) == ["a", "b", "c"]

    def test_what_is_done_already_resumes_it_at_once(self) -> None:
        state = made({"body": ["a"], "a": []})
        state.require(["body"])
        run_one(state, "a")
        state.started("body")
        assert state.parked("body", ["a"]).ready == ["body"]
        assert run_one(state, "body").freed == ["a"]

    def test_asking_for_nothing_resumes_it_at_once(self) -> None:
        state = made({"body": []})
        state.require(["body"])
        state.started("body")
        assert state.parked("body", []).ready == ["body"]

    def test_a_parked_body_is_not_one_that_could_follow_another_step(self) -> None:
        state = made({"body": [], "a": []})
        state.require(["body"])
        state.started("body")
        state.parked("body", ["a"])
        assert state.dependents("a") == []

    def test_when_what_it_asked_for_fails_it_is_skipped_with_all_behind_it(self) -> None:
        state = made({"body": [], "a": [], "after": ["body"]})
        state.require(["after"])
        state.started("body")
        state.parked("body", ["a"])
        assert fail_one(state, "a").skipped == ["body", "after"]
        assert state.is_finished

    def test_when_what_it_asks_for_has_failed_already_it_is_skipped_at_once(self) -> None:
        state = made({"body": [], "a": []})
        state.require(["body", "a"])
        fail_one(state, "a")
        state.started("body")
        assert state.parked("body", ["a"]).skipped == ["body"]
        assert state.is_finished

    @pytest.mark.parametrize("needs", [["body"], ["after"], ["later"]])
    def test_a_circle_made_while_running_is_a_stall(self, needs: list[str]) -> None:
        state = made({"body": [], "after": ["body"], "later": ["after"]})
        state.require(["after"])
        state.started("body")
        assert not state.is_stalled
        state.parked("body", needs)
        assert state.is_stalled
        assert not state.is_finished
        state.failed("body")
        assert state.is_finished
        assert not state.is_stalled


class TestLettingGo:
    def test_a_value_is_let_go_when_the_last_step_that_waits_for_it_ended(self) -> None:
        state = made(DIAMOND)
        state.require(["d"])
        assert run_one(state, "a").freed == []
        assert run_one(state, "b").freed == []
        assert run_one(state, "c").freed == ["a"]
        assert sorted(run_one(state, "d").freed) == ["b", "c"]

    def test_a_value_that_was_let_go_and_is_needed_again_is_looked_up_or_made_again(self) -> None:
        sources: dict[str, Reuse] = {}
        state = RunState({**CHAIN, "late": ["1"], "later": ["1"]}.__getitem__, sources.get)
        state.require(["2"])
        run_one(state, "1")
        assert run_one(state, "2").freed == ["1"]
        state.free("1")
        assert state.require(["late"]).ready == ["1"]
        run_one(state, "1")
        assert run_one(state, "late").freed == ["1"]
        state.free("1")
        sources["1"] = "memory"
        moves = state.require(["later"])
        assert (moves.ready, moves.reused) == (["later"], ["1"])

    def test_a_value_that_was_not_let_go_is_still_there(self) -> None:
        state = made({**CHAIN, "late": ["1"]})
        state.require(["2"])
        run_one(state, "1")
        run_one(state, "2")
        assert state.require(["late"]).ready == ["late"]

    def test_a_value_that_a_step_found_in_the_same_breath_needs_is_kept(self) -> None:
        """One of two new steps is skipped at once; the other one still waits for the parent that they share."""
        for order in (["skipped", "good"], ["good", "skipped"]):
            state = made({"shared": [], "bad": [], "skipped": ["shared", "bad"], "good": ["shared"]})
            state.require(["shared", "bad"])
            run_one(state, "shared")
            fail_one(state, "bad")
            moves = state.require(order)
            assert (moves.ready, moves.skipped, moves.freed) == (["good"], ["skipped"], [])


class TestCancelling:
    def test_what_has_not_begun_does_not_and_what_runs_ends(self) -> None:
        state = made({**DIAMOND, "e": ["lone"]})
        state.require(["d", "e"])
        run_one(state, "a")
        state.started("b")
        assert sorted(state.cancel()) == ["c", "d", "e", "lone"]
        assert not state.is_finished
        assert state.done("b") == Moves()
        assert state.is_finished

    def test_a_body_that_stops_is_cancelled(self) -> None:
        state = made(CHAIN)
        state.require(["4"])
        state.started("1")
        state.cancel()
        state.cancelled("1")
        state.cancelled("1")
        assert state.is_finished
        assert {*state.status.values()} == {"cancelled"}

    def test_a_parked_body_is_among_what_stops(self) -> None:
        state = made({"body": [], "a": []})
        state.require(["body"])
        state.started("body")
        state.parked("body", ["a"])
        state.started("a")
        assert state.cancel() == ["body"]
        state.done("a")
        assert state.is_finished

    def test_nothing_new_begins_afterwards(self) -> None:
        state = made({"body": [], "a": [], "b": ["a"], "other": []})
        state.require(["body"])
        state.started("body")
        state.cancel()
        assert state.require(["other"]).ready == []
        moves = state.parked("body", ["b"])
        assert (moves.ready, moves.skipped) == ([], ["body"])
        assert state.is_finished
        assert not state.is_stalled


class Simulation:
    """Runs a random graph as an executor would, by chance, and holds the state to an independent account of it."""

    def __init__(self, random: Random, count: int) -> None:
        self.random = random
        names = [f"s{index}" for index in range(count)]
        self.parents = {
            name: random.sample(names[:index], random.randint(0, min(index, 3))) for index, name in enumerate(names)
        }
        self.sources: dict[str, Reuse | None] = {name: random.choice((None, None, "memory", "disk")) for name in names}
        self.state = RunState(lambda step_id: self.parents[step_id], self.reuse)
        self.needs: dict[str, set[str]] = {}  # what a step waited or waits for, as far as it knows
        self.values: set[str] = set()
        self.ready: list[str] = []
        self.running: set[str] = set()
        self.broken: set[str] = set()  # those that failed of themselves
        self.skipped: list[str] = []
        self.is_cancelled = False
        self.parks_left = 2 * count

    def reuse(self, step_id: str) -> Reuse | None:
        source = self.sources[step_id]
        self.needs[step_id] = set() if source else {*self.parents[step_id]}
        if source == "memory":
            self.values.add(step_id)
        return source

    def apply(self, moves: Moves) -> None:
        for step_id in moves.reused:
            assert self.sources[step_id] == "memory"
        for step_id in moves.freed:
            assert self.state.status[step_id] == "done"
            assert not self.waiting_for(step_id), "a value is let go that somebody waits for"
            if self.random.random() < 0.7:
                self.values.discard(step_id)
                self.state.free(step_id)
        for step_id in moves.skipped:
            assert self.state.status[step_id] == "failed"
            self.running.discard(step_id)
        self.skipped += moves.skipped
        for step_id in moves.ready:
            assert step_id not in self.ready
            assert step_id not in self.running
            assert self.needs[step_id] <= self.values, "begun before what it needs is there"
        self.ready += moves.ready
        self.check()

    def waiting_for(self, step_id: str) -> set[str]:
        status = self.state.status
        return {name for name, needs in self.needs.items() if step_id in needs and status[name] not in TERMINAL}

    def check(self) -> None:
        statuses = [*self.state.status.values()]
        active = sum(status in ("ready", "running") for status in statuses)
        assert active == len(self.ready) + len(self.running)
        assert self.state.is_finished == all(status in TERMINAL for status in statuses)
        assert self.state.is_stalled == ("waiting" in statuses and active == 0)

    def step(self) -> None:
        if self.ready and (not self.running or self.random.random() < 0.6):
            step_id = self.ready.pop(self.random.randrange(len(self.ready)))
            assert self.needs[step_id] <= self.values
            self.state.started(step_id)
            self.running.add(step_id)
            return
        step_id = self.random.choice(sorted(self.running))
        self.running.discard(step_id)
        chance = self.random.random()
        if self.is_cancelled and chance < 0.3:
            self.state.cancelled(step_id)
        elif chance < 0.12:
            self.broken.add(step_id)
            self.apply(self.state.failed(step_id))
        elif self.parks_left and (chance < 0.4 or (self.sources[step_id] == "disk" and chance < 0.7)):
            self.park(step_id)
        else:
            self.values.add(step_id)
            self.apply(self.state.done(step_id))

    def park(self, step_id: str) -> None:
        self.parks_left -= 1
        if self.sources[step_id] == "disk":  # it could not be read
            self.sources[step_id] = None
            wanted = self.parents[step_id]
        else:
            wanted = self.random.sample(sorted(self.parents), min(len(self.parents), self.random.randint(0, 3)))
        self.needs[step_id] |= {*wanted}
        self.apply(self.state.parked(step_id, wanted))

    def cancel(self) -> None:
        self.is_cancelled = True
        stopped = self.state.cancel()
        assert {*self.ready} <= {*stopped}
        self.ready.clear()

    def run(self, targets: list[str], cancel_after: int | None) -> None:
        self.apply(self.state.require(targets))
        for turn in range(5000):
            if turn == cancel_after:
                self.cancel()
            if self.state.is_finished:
                return
            if self.state.is_stalled:
                stuck = self.random.choice(self.state.waiting())
                self.broken.add(stuck)
                self.apply(self.state.failed(stuck))
            else:
                self.step()
            if self.random.random() < 0.05:
                self.apply(self.state.require([self.random.choice(sorted(self.parents))]))
        raise AssertionError("the run does not end")

    def doomed(self) -> set[str]:
        """The steps that failed or need one that did, however far away."""
        doomed = set(self.broken)
        while True:
            more = {name for name, needs in self.needs.items() if needs & doomed} - doomed
            if not more:
                return doomed
            doomed |= more


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 9), st.integers(1, 3))
def test_any_run_ends_with_each_step_done_or_behind_a_failure(random: Random, count: int, targets: int) -> None:
    simulation = Simulation(random, count)
    simulation.run(random.sample(sorted(simulation.parents), min(targets, count)), None)
    status = simulation.state.status
    failed = {name for name, state in status.items() if state == "failed"}
    assert failed == {*simulation.skipped} | simulation.broken
    assert len({*simulation.skipped}) == len(simulation.skipped), "skipped once only"
    assert not {*simulation.skipped} & simulation.broken
    assert failed <= simulation.doomed()
    assert {*status.values()} <= {"done", "failed"}


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 9), st.integers(0, 12))
def test_any_run_that_is_cancelled_ends(random: Random, count: int, cancel_after: int) -> None:
    simulation = Simulation(random, count)
    simulation.run([f"s{count - 1}"], cancel_after)
    assert {*simulation.state.status.values()} <= {*TERMINAL}


def run_plainly(random: Random, count: int) -> tuple[dict[str, Any], dict[str, list[str]], set[str], set[str]]:
    """A run without reuse, parking or letting go; returns statuses, parents, targets and those that broke."""
    names = [str(index) for index in range(count)]
    parents = {name: random.sample(names[:index], random.randint(0, min(index, 3))) for index, name in enumerate(names)}
    targets = {*random.sample(names, random.randint(1, count))}
    state = made(parents)
    ready, begun, broken = state.require(sorted(targets)).ready, [], set()
    while ready:
        step_id = ready.pop(random.randrange(len(ready)))
        begun.append(step_id)
        assert all(state.status[parent] == "done" for parent in parents[step_id])
        state.started(step_id)
        if random.random() < 0.2:
            broken.add(step_id)
            ready += state.failed(step_id).ready
        else:
            ready += state.done(step_id).ready
    assert len({*begun}) == len(begun), "begun once only"
    assert state.is_finished
    return dict(state.status), parents, targets, broken


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_in_a_plain_run_exactly_the_descendants_of_failures_are_skipped(random: Random, count: int) -> None:
    status, parents, targets, broken = run_plainly(random, count)
    needed, pending = set(targets), [*targets]
    while pending:
        more = {*parents[pending.pop()]} - needed
        needed |= more
        pending += more
    doomed: set[str] = set()
    for name in sorted(needed, key=int):  # parents have lower numbers
        if name in broken or doomed & {*parents[name]}:
            doomed.add(name)
    assert {*status} == needed
    assert {name for name, state in status.items() if state == "failed"} == doomed
    assert {name for name, state in status.items() if state == "done"} == needed - doomed
