"""Running graphs of small nodes on a real engine: values, order, lists, blockers, failure, reuse."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from mezzotint.engine import event as events
from mezzotint.engine.blocked import Blocked
from mezzotint.engine.context import Context
from mezzotint.engine.engine import Engine
from mezzotint.engine.errors import InvalidWorkflowError, MezzotintError, OutOfMemoryError
from mezzotint.engine.expansion import GraphBuilder
from mezzotint.engine.node import node
from mezzotint.engine.run_result import RunResult

Make = Callable[..., Engine]


@node
def Add(a: int = 0, b: int = 0) -> int:
    return a + b


@node
def Split(a: int) -> NamedTuple("Halves", [("half", int), ("rest", int)]):  # type: ignore[valid-type]
    return a // 2, a - a // 2


@node
def Count(to: int = 3) -> list[int]:
    return list(range(to))


@node
def Total(numbers: list[int]) -> int:
    return sum(numbers)


@node
def Fail(a: int = 0, text: str = "broken") -> int:
    raise ValueError(text)


@node
def Complain(a: int = 0) -> int:
    raise MezzotintError("that cannot be; use another number")


@node
def Stop(a: int, message: str = "") -> int:
    return Blocked(message or None)  # type: ignore[return-value]


@node
def StopEven(a: int) -> int:
    return Blocked() if a % 2 == 0 else a  # type: ignore[return-value]


@node(sink=True)
def Show(ctx: Context, value: int = 0) -> None:
    ctx.show(values=[value])


NODES = (Add, Split, Count, Total, Fail, Complain, Stop, StopEven, Show)


@pytest.fixture
def engine(make_engine: Make) -> Engine:
    return make_engine(*NODES)


def shown(result: RunResult, node_id: str) -> list[Any]:
    return result.outputs[node_id]["values"]


def test_values_flow_along_links(engine: Engine, run: Callable[..., RunResult]) -> None:
    g = GraphBuilder()
    halves = g.node(Split, a=7)
    total = g.node(Add, a=halves.out(0), b=halves.out(1))
    end = g.node(Show, value=total)
    result = run(engine, g)
    assert result.status == "done"
    assert shown(result, end.id) == [7]


def test_any_node_can_be_wanted(engine: Engine, run: Callable[..., RunResult]) -> None:
    g = GraphBuilder()
    halves = g.node(Split, a=7)
    g.node(Fail)
    result = run(engine, g, targets=[halves.id])
    assert (result.value(halves.id, 0), result.value(halves.id, 1)) == (3, 4)


def test_only_what_an_output_needs_runs(engine: Engine, run: Callable[..., RunResult]) -> None:
    g = GraphBuilder()
    g.node(Fail)
    g.node(Show, value=g.node(Add, a=1))
    assert run(engine, g).status == "done"


def test_a_list_maps_the_call_over_its_items(engine: Engine, run: Callable[..., RunResult]) -> None:
    g = GraphBuilder()
    numbers = g.node(Count, to=4)
    end = g.node(Show, value=g.node(Add, a=numbers, b=10))
    assert shown(run(engine, g), end.id) == [10, 11, 12, 13]


def test_a_shorter_list_repeats_its_last_item(engine: Engine, run: Callable[..., RunResult]) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(Add, a=g.node(Count, to=4), b=g.node(Count, to=2)))
    assert shown(run(engine, g), end.id) == [0, 2, 3, 4]


def test_a_list_input_takes_the_whole_list(engine: Engine, run: Callable[..., RunResult]) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(Total, numbers=g.node(Count, to=5)))
    literal = g.node(Show, value=g.node(Total, numbers=[1, 2]))
    result = run(engine, g)
    assert shown(result, end.id) == [10]
    assert shown(result, literal.id) == [3]


def test_an_empty_list_maps_to_no_calls(engine: Engine, run: Callable[..., RunResult]) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(Add, a=g.node(Count, to=0), b=1))
    result = run(engine, g)
    assert result.status == "done"
    assert end.id not in result.outputs


def test_a_blocker_stops_its_branch_silently(engine: Engine, run: Callable[..., RunResult], heard: list[Any]) -> None:
    g = GraphBuilder()
    blocked = g.node(Show, value=g.node(Add, a=g.node(Stop, a=1)))
    other = g.node(Show, value=2)
    result = run(engine, g, on_event=heard.append)
    assert result.status == "done"
    assert blocked.id not in result.outputs
    assert shown(result, other.id) == [2]
    assert not [event for event in heard if isinstance(event, events.StepBlocked)]


def test_a_blocker_with_a_message_is_told_of_once(
    engine: Engine, run: Callable[..., RunResult], heard: list[Any]
) -> None:
    g = GraphBuilder()
    first = g.node(Add, a=g.node(Stop, a=1, message="no picture today"))
    g.node(Show, value=g.node(Add, a=first))
    assert run(engine, g, on_event=heard.append).status == "done"
    told = [event for event in heard if isinstance(event, events.StepBlocked)]
    assert [(event.node_id, event.message) for event in told] == [(first.id, "no picture today")]


def test_a_blocker_in_a_list_blocks_only_its_own_call(engine: Engine, run: Callable[..., RunResult]) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(StopEven, a=g.node(Count, to=4)))
    assert shown(run(engine, g), end.id) == [1, 3]


def test_a_failing_node_fails_its_own_branch_and_an_independent_output_still_arrives(
    engine: Engine, run: Callable[..., RunResult]
) -> None:
    g = GraphBuilder()
    failing = g.node(Fail, text="no luck")
    broken = g.node(Show, value=g.node(Add, a=failing))
    other = g.node(Show, value=g.node(Add, a=1, b=1))
    result = run(engine, g)
    assert result.status == "failed"
    assert shown(result, other.id) == [2]
    assert broken.id not in result.outputs
    assert [(failure.node_id, failure.exception_type) for failure in result.failures] == [(failing.id, "ValueError")]
    assert broken.id in result.skipped
    assert "no luck" in result.failures[0].sentence
    assert failing.id in result.failures[0].sentence


def test_every_failure_is_reported(engine: Engine, run: Callable[..., RunResult]) -> None:
    g = GraphBuilder()
    g.node(Show, value=g.node(Fail, text="first"))
    g.node(Show, value=g.node(Complain))
    result = run(engine, g)
    assert {failure.message for failure in result.failures} == {"first", "that cannot be; use another number"}
    assert {failure.is_expected for failure in result.failures} == {True, False}


def test_running_out_of_memory_is_one_sentence(make_engine: Make, run: Callable[..., RunResult]) -> None:
    @node(sink=True)
    def Greedy() -> None:
        raise MemoryError

    g = GraphBuilder()
    g.node(Greedy)
    failure = run(make_engine(Greedy), g).failures[0]
    assert isinstance(failure.error, OutOfMemoryError)
    assert "smaller" in failure.sentence


def test_problems_are_raised_before_anything_runs(engine: Engine, run: Callable[..., RunResult]) -> None:
    with pytest.raises(InvalidWorkflowError) as raised:
        run(engine, {"1": {"class_type": "Shwo", "inputs": {}}, "2": {"class_type": "Show", "inputs": {"value": "x"}}})
    assert len(raised.value.problems) == 2
    assert "did you mean 'Show'?" in str(raised.value)


def test_an_equal_rerun_runs_nothing(engine: Engine, run: Callable[..., RunResult], heard: list[Any]) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(Add, a=1, b=2))
    run(engine, g)
    result = run(engine, g, on_event=heard.append)
    assert not [event for event in heard if isinstance(event, events.StepStarted)]
    assert shown(result, end.id) == [3]
    started = next(event for event in heard if isinstance(event, events.RunStarted))
    assert set(started.reused) == set(g.nodes)


def test_a_change_reruns_only_what_depends_on_it(
    engine: Engine, run: Callable[..., RunResult], heard: list[Any]
) -> None:
    def graph(a: int) -> GraphBuilder:
        g = GraphBuilder()
        left, right = g.node(Add, a=a), g.node(Add, a=100)
        g.node(Show, value=g.node(Add, a=left, b=right))
        return g

    run(engine, graph(1))
    run(engine, graph(2), on_event=heard.append)
    started = {event.node_id: event.reason for event in heard if isinstance(event, events.StepStarted)}
    assert started == {"1": "changed: 'a'", "3": "changed: 'a' (from node 1)", "4": "changed: 'value' (from node 3)"}


def test_equal_nodes_of_one_graph_run_once(make_engine: Make, run: Callable[..., RunResult]) -> None:
    ran = []

    @node
    def Slow(a: int) -> int:
        time.sleep(0.02)
        ran.append(a)
        return a

    g = GraphBuilder()
    for _ in range(3):
        g.node(Show, value=g.node(Slow, a=1))
    assert run(make_engine(Slow, Show), g).status == "done"
    assert ran == [1]


def test_two_runs_at_once_share_a_step(make_engine: Make) -> None:
    ran = []

    @node
    def Slow(a: int) -> int:
        time.sleep(0.05)
        ran.append(a)
        return a

    g = GraphBuilder()
    g.node(Show, value=g.node(Slow, a=1))
    engine = make_engine(Slow, Show)

    async def both() -> list[RunResult]:
        from mezzotint.engine.workflow import Workflow

        document = Workflow.from_api(g.finalize())
        return await asyncio.gather(engine.run(document), engine.run(document))

    assert [result.outputs["2"] for result in asyncio.run(both())] == [{"values": [1]}] * 2
    assert ran == [1]


def test_independent_branches_run_at_once(make_engine: Make, run: Callable[..., RunResult]) -> None:
    barrier = threading.Barrier(2, timeout=5)

    @node
    def Meet(a: int) -> int:
        barrier.wait()
        return a

    g = GraphBuilder()
    g.node(Show, value=g.node(Meet, a=1))
    g.node(Show, value=g.node(Meet, a=2))
    assert run(make_engine(Meet, Show, cpu_threads=2), g).status == "done"


@pytest.mark.parametrize("is_quick", [False, True])
def test_a_fingerprint_that_changes_reruns_the_node(
    is_quick: bool, make_engine: Make, run: Callable[..., RunResult]
) -> None:
    world, ran = {"value": 1}, []

    @node(fingerprint=lambda: world["value"], quick_fingerprint=is_quick)
    def Read() -> int:
        ran.append(world["value"])
        return world["value"]

    g = GraphBuilder()
    end = g.node(Show, value=g.node(Read))
    engine = make_engine(Read, Show)
    assert [shown(run(engine, g), end.id) for _ in range(2)] == [[1], [1]]
    world["value"] = 2
    assert shown(run(engine, g), end.id) == [2]
    assert ran == [1, 2]


def test_a_fingerprint_of_nan_never_reuses(make_engine: Make, run: Callable[..., RunResult]) -> None:
    ran = []

    @node(fingerprint=lambda: float("nan"))
    def Now() -> int:
        ran.append(1)
        return len(ran)

    g = GraphBuilder()
    end = g.node(Show, value=g.node(Add, a=g.node(Now)))
    engine = make_engine(Now, Add, Show)
    assert [shown(run(engine, g), end.id) for _ in range(2)] == [[1], [2]]


def test_events_are_numbered_from_one_without_gaps(
    engine: Engine, run: Callable[..., RunResult], heard: list[Any]
) -> None:
    g = GraphBuilder()
    g.node(Show, value=g.node(Add, a=g.node(Count)))
    run(engine, g, on_event=heard.append)
    assert [event.sequence for event in heard] == list(range(1, len(heard) + 1))
    assert (heard[0].kind, heard[-1].kind) == ("run_started", "run_finished")
    assert len({event.job_id for event in heard}) == 1


def test_a_wrong_number_of_outputs_is_a_sentence(make_engine: Make, run: Callable[..., RunResult]) -> None:
    @node(output_names=("x",))
    def Pair() -> NamedTuple("Pair", [("x", int), ("y", int)]):  # type: ignore[valid-type]
        return (1,)

    g = GraphBuilder()
    g.node(Show, value=g.node(Pair))
    failure = run(make_engine(Pair, Show), g).failures[0]
    assert "must return 2 values (x, y), and returned 1 values" in failure.message
