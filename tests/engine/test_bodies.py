"""The three kinds of body: lazy inputs, sub-graphs, loops, async nodes, cancellation, requests answered by lanes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mezzotint.engine import event as events
from mezzotint.engine.context import Context
from mezzotint.engine.engine import Engine
from mezzotint.engine.expansion import Expand, GraphBuilder
from mezzotint.engine.node import node
from mezzotint.engine.port import Lazy
from mezzotint.engine.request import Need, Request, Requests, drive
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.workflow import Workflow

Run = Callable[..., RunResult]
Make = Callable[..., Engine]


@node
def Add(a: int = 0, b: int = 0) -> int:
    return a + b


@node
def Count(to: int = 3) -> list[int]:
    return list(range(to))


@node
def Flags() -> list[bool]:
    return [False, True]


@node
def Fail(a: int = 0) -> int:
    raise ValueError("broken")


@node(sink=True)
def Show(ctx: Context, value: int = 0) -> None:
    ctx.show(values=[value])


@node
def Choose(first: bool, one: Lazy[int], other: Lazy[int]) -> Requests[int]:
    return (yield Need(one if first else other))


@node
async def ChooseLater(first: bool, one: Lazy[int], other: Lazy[int]) -> int:
    return await (one if first else other)


@node
def Both(one: Lazy[int], other: Lazy[int]) -> Requests[int]:
    one_value, other_value = yield Need("one", "other")
    return one_value + other_value


@node
def Factorial(ctx: Context, n: int, so_far: int = 1) -> int:
    if n <= 1:
        return so_far
    g = ctx.graph()
    return Expand(g, g.node(Factorial, n=n - 1, so_far=so_far * n))  # type: ignore[return-value]


@node
def Sum3(ctx: Context, a: int) -> Requests[int]:
    g = ctx.graph()
    once = g.node(Add, a=a, b=1)
    twice = g.node(Add, a=once, b=1)
    first, second = yield Expand(g, once, twice)
    return a + first + second


@node
async def ExpandLater(ctx: Context, a: int) -> int:
    g = ctx.graph()
    return Expand(g, g.node(Add, a=a, b=1))  # type: ignore[return-value]


@node
def ExpandWrongly(ctx: Context, how: str) -> int:
    g = ctx.graph()
    if how == "taken id":
        return Expand({"1": {"class_type": "Add", "inputs": {}}}, 1)  # type: ignore[return-value]
    if how == "unknown node":
        g.node("Nowhere")
    if how == "circle":
        a, b = g.node(Add), g.node(Add)
        a.set_input("a", b)
        b.set_input("a", a)
        return Expand(g, a)  # type: ignore[return-value]
    if how == "itself":
        return Expand(g, g.node(Add, a=[ctx.node_id, 0]))  # type: ignore[return-value]
    return Expand(g, ["nobody", 0])  # type: ignore[return-value]


@node
async def Sleep(seconds: float, a: int = 0) -> int:
    await asyncio.sleep(seconds)
    return a


NODES = (Add, Count, Flags, Fail, Show, Choose, ChooseLater, Both, Factorial, Sum3, ExpandLater, ExpandWrongly, Sleep)


@pytest.fixture
def engine(make_engine: Make) -> Engine:
    return make_engine(*NODES)


def shown(result: RunResult, node_id: str) -> list[Any]:
    assert result.status == "done", [failure.sentence for failure in result.failures]
    return result.outputs[node_id]["values"]


@pytest.mark.parametrize("chooser", [Choose, ChooseLater])
def test_a_lazy_input_that_nobody_asks_for_is_never_computed(
    engine: Engine, run: Run, heard: list[Any], chooser: Callable[..., Any]
) -> None:
    g = GraphBuilder()
    chosen = g.node(chooser, first=True, one=g.node(Add, a=1), other=g.node(Fail))
    end = g.node(Show, value=chosen)
    assert shown(run(engine, g, on_event=heard.append), end.id) == [1]
    assert [event.node_id for event in heard if isinstance(event, events.StepStarted)] == [chosen.id, "1", end.id]


def test_lazy_inputs_can_be_asked_for_together(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(Both, one=g.node(Add, a=1), other=2))
    assert shown(run(engine, g), end.id) == [3]


def test_a_lazy_input_that_fails_fails_who_asks(engine: Engine, run: Run) -> None:
    for chooser in (Choose, ChooseLater):
        g = GraphBuilder()
        end = g.node(Show, value=g.node(chooser, first=False, one=1, other=g.node(Fail)))
        result = run(engine, g)
        assert [failure.node_type for failure in result.failures] == ["Fail"]
        assert {"2", end.id} <= set(result.skipped)


def test_a_lazy_input_maps_over_lists(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    count = g.node(Count, to=3)
    end = g.node(Show, value=g.node(Both, one=count, other=g.node(Add, a=count, b=10)))
    mapped = g.node(Show, value=g.node(Choose, first=g.node(Flags), one=count, other=7))
    result = run(engine, g)
    assert shown(result, end.id) == [10]
    assert shown(result, mapped.id) == [7, 1]


def test_a_step_may_replace_itself_by_a_graph_again_and_again(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(Factorial, n=6))
    assert shown(run(engine, g), end.id) == [720]


def test_a_long_loop_by_recursion_runs(engine: Engine, run: Run) -> None:
    @node
    def Down(ctx: Context, n: int) -> int:
        g = ctx.graph()
        return 0 if n == 0 else Expand(g, g.node("Down", n=n - 1))  # type: ignore[return-value]

    engine.registry.register(Down)
    g = GraphBuilder()
    end = g.node(Show, value=g.node(Down, n=300))
    assert shown(run(engine, g), end.id) == [0]


def test_a_generator_gets_the_values_of_its_sub_graph(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(Sum3, a=10))
    mapped = g.node(Show, value=g.node(Sum3, a=g.node(Count, to=2)))
    result = run(engine, g)
    assert shown(result, end.id) == [33]
    assert shown(result, mapped.id) == [3, 6]


def test_an_async_body_may_expand(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(ExpandLater, a=4))
    assert shown(run(engine, g), end.id) == [5]


def test_an_expanded_step_is_cached_as_a_whole(engine: Engine, run: Run, heard: list[Any]) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(Factorial, n=4))
    run(engine, g)
    assert shown(run(engine, g, on_event=heard.append), end.id) == [24]
    assert not [event for event in heard if isinstance(event, events.StepStarted)]


def test_steps_of_an_expansion_name_their_real_node(engine: Engine, run: Run, heard: list[Any]) -> None:
    g = GraphBuilder()
    inner = g.node(Sum3, a=1)
    g.node(Show, value=inner)
    run(engine, g, on_event=heard.append)
    made = [event for event in heard if isinstance(event, events.StepStarted) and event.parent_id]
    assert [(event.node_id, event.parent_id, event.display_id, event.real_id) for event in made] == [
        ("1.0.0.1", "1", "1", "1"),
        ("1.0.0.2", "1", "1", "1"),
    ]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("taken id", "which is taken"),
        ("unknown node", "no node type 'Nowhere'"),
        ("circle", "forms a circle"),
        ("itself", "closed a circle"),
        ("link to nobody", "links to node 'nobody'"),
    ],
)
def test_a_wrong_sub_graph_fails_the_node_with_a_sentence(engine: Engine, run: Run, how: str, told: str) -> None:
    g = GraphBuilder()
    g.node(Show, value=g.node(ExpandWrongly, how=how))
    other = g.node(Show, value=1)
    result = run(engine, g)
    assert [told in failure.sentence for failure in result.failures] == [True], result.failures
    assert result.outputs[other.id] == {"values": [1]}


@pytest.mark.timeout(20)
def test_an_async_body_that_comes_to_wait_for_itself_is_a_failure_and_no_hang(make_engine: Make, run: Run) -> None:
    @node
    async def Knot(ctx: Context) -> int:
        g = ctx.graph()
        return Expand(g, g.node(Add, a=["2", 0]))  # type: ignore[return-value]

    g = GraphBuilder()
    knot = g.node(Knot)
    after = g.node(Add, a=knot)
    g.node(Show, value=after)
    result = run(make_engine(Knot, Add, Show), g)
    assert result.status == "failed"
    assert "waits for itself" in result.failures[0].sentence


def test_a_body_that_yields_no_request_fails_with_a_sentence_and_its_lane_goes_on(make_engine: Make, run: Run) -> None:
    @node
    def Odd(what: str) -> Requests[int]:
        yield what or None  # type: ignore[misc]
        return 1

    engine = make_engine(Odd, Show, cpu_threads=1)
    for what in ("text", ""):
        g = GraphBuilder()
        g.node(Show, value=g.node(Odd, what=what))
        assert "may yield Need, Expand" in run(engine, g).failures[0].sentence


def test_an_expansion_with_the_wrong_number_of_results_is_a_sentence(make_engine: Make, run: Run) -> None:
    @node
    def Two() -> int:
        return Expand({}, 1, 2)  # type: ignore[return-value]

    g = GraphBuilder()
    g.node(Show, value=g.node(Two))
    assert "gives 2 results and the node has 1 outputs" in run(make_engine(Two, Show), g).failures[0].sentence


def test_async_bodies_run_at_once_and_others_go_on_meanwhile(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    sleeps = [g.node(Sleep, seconds=0.2, a=i) for i in range(5)]
    for sleep in sleeps:
        g.node(Show, value=sleep)
    began = time.perf_counter()
    assert run(engine, g).status == "done"
    assert time.perf_counter() - began < 0.9


def test_an_async_body_maps_over_a_list_concurrently(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(Sleep, seconds=0.1, a=g.node(Count, to=6)))
    began = time.perf_counter()
    assert shown(run(engine, g), end.id) == [0, 1, 2, 3, 4, 5]
    assert time.perf_counter() - began < 0.5


def test_an_async_body_that_raises_is_blamed_by_its_own_error(make_engine: Make, run: Run) -> None:
    @node
    async def FailLater(a: int) -> int:
        await asyncio.sleep(0)
        raise ValueError(f"no {a}")

    g = GraphBuilder()
    g.node(Show, value=g.node(FailLater, a=3))
    failure = run(make_engine(FailLater, Show), g).failures[0]
    assert (failure.exception_type, failure.message) == ("ValueError", "no 3")


# cancellation


def cancel_soon(engine: Engine, g: GraphBuilder, started: threading.Event) -> RunResult:
    async def go() -> RunResult:
        prepared = await engine.prepare(Workflow.from_api(g.finalize()))
        running = asyncio.ensure_future(prepared.execute())
        await asyncio.to_thread(started.wait, 10)
        prepared.cancel()
        return await running

    return asyncio.run(go())


def test_a_body_is_cancelled_at_its_next_progress_call(make_engine: Make) -> None:
    started, reached = threading.Event(), []

    @node
    def Endless(ctx: Context) -> int:
        for step in range(10_000):
            reached.append(step)
            started.set()
            ctx.progress(step, 10_000)
            time.sleep(0.001)
        return 1

    g = GraphBuilder()
    g.node(Show, value=g.node(Endless))
    result = cancel_soon(make_engine(Endless, Show), g, started)
    assert result.status == "cancelled"
    assert not result.failures
    assert len(reached) < 5_000


def test_a_cancelled_caller_does_not_wait_for_a_body_that_never_stops(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mezzotint.engine.run.PATIENCE_SECONDS", 0.05)
    started, may_end = threading.Event(), threading.Event()

    @node
    def Deaf() -> int:
        started.set()
        may_end.wait(30)
        return 5

    g = GraphBuilder()
    end = g.node(Show, value=g.node(Deaf))
    engine = make_engine(Deaf, Show)

    async def cancelled() -> None:
        running = asyncio.ensure_future(engine.run(Workflow.from_api(g.finalize())))
        await asyncio.to_thread(started.wait, 10)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=5)
        assert done, "it waits for the body"
        assert running.cancelled()

    async def again() -> RunResult:
        """Another run of the same step computes it itself: what was left is no longer waited for."""
        running = asyncio.ensure_future(engine.run(Workflow.from_api(g.finalize())))
        await asyncio.sleep(0.05)
        may_end.set()
        return await asyncio.wait_for(running, 10)

    try:
        asyncio.run(cancelled())
        assert asyncio.run(again()).outputs[end.id] == {"values": [5]}
    finally:
        may_end.set()


def test_an_async_body_is_cancelled_at_once(make_engine: Make) -> None:
    started = threading.Event()

    @node
    async def Forever() -> int:
        started.set()
        await asyncio.sleep(60)
        return 1

    g = GraphBuilder()
    g.node(Show, value=g.node(Forever))
    began = time.perf_counter()
    assert cancel_soon(make_engine(Forever, Show), g, started).status == "cancelled"
    assert time.perf_counter() - began < 5


def test_a_generator_that_waits_for_its_inputs_is_closed_on_cancellation(make_engine: Make) -> None:
    started, closed = threading.Event(), []

    @node
    def Slow(ctx: Context) -> int:
        started.set()
        while True:
            ctx.check()
            time.sleep(0.001)

    @node
    def Waiting(value: Lazy[int]) -> Requests[int]:
        try:
            return (yield Need("value"))
        finally:
            closed.append(True)

    g = GraphBuilder()
    g.node(Show, value=g.node(Waiting, value=g.node(Slow)))
    assert cancel_soon(make_engine(Slow, Waiting, Show), g, started).status == "cancelled"
    assert closed == [True]


def test_after_a_cancelled_run_the_next_one_works(make_engine: Make, run: Run) -> None:
    started, fast = threading.Event(), []

    @node
    def Slow(ctx: Context) -> int:
        started.set()
        while not fast:
            ctx.check()
            time.sleep(0.001)
        return 5

    g = GraphBuilder()
    end = g.node(Show, value=g.node(Slow))
    engine = make_engine(Slow, Show)
    assert cancel_soon(engine, g, started).status == "cancelled"
    fast.append(True)
    assert shown(run(engine, g), end.id) == [5]


def test_a_run_cancelled_before_it_begins_runs_nothing(engine: Engine, heard: list[Any]) -> None:
    g = GraphBuilder()
    g.node(Show, value=1)

    async def go() -> RunResult:
        prepared = await engine.prepare(Workflow.from_api(g.finalize()), on_event=heard.append)
        prepared.cancel()
        return await prepared.execute()

    assert asyncio.run(go()).status == "cancelled"
    assert [event.kind for event in heard] == ["run_started", "run_finished"]


# requests that the lane answers


class Double(Request):
    """A request of our own: doubles a number, many at once."""

    __slots__ = ("number",)
    batches: list[list[int]] = []  # noqa: RUF012

    def __init__(self, number: int) -> None:
        self.number = number

    def group(self) -> str:
        return "double"

    @classmethod
    def answer(cls, requests: Sequence[Double], context: Context) -> list[int]:
        cls.batches.append([request.number for request in requests])
        time.sleep(0.01)
        return [2 * request.number for request in requests]


@node(lane="device")
def Power(n: int, start: int = 1) -> Requests[int]:
    value = start
    for _ in range(n):
        value = yield Double(value)
    return value


def test_a_body_gets_the_answers_of_its_lane(make_engine: Make, run: Run) -> None:
    g = GraphBuilder()
    end = g.node(Show, value=g.node(Power, n=10))
    assert shown(run(make_engine(Power, Show), g), end.id) == [1024]
    assert drive(Power(10)) == 1024


def test_equal_requests_of_several_steps_are_answered_together_where_the_lane_is_wide(make_engine: Make) -> None:
    def together(width: int) -> int:
        engine = make_engine(Power, Show, device_width=width)
        Double.batches.clear()

        async def all_at_once() -> list[RunResult]:
            return await asyncio.gather(*(engine.run(graph(start)) for start in range(4)))

        def graph(start: int) -> Workflow:
            g = GraphBuilder()
            g.node(Show, value=g.node(Power, n=6, start=start))
            return Workflow.from_api(g.finalize())

        assert [r.outputs["2"]["values"] for r in asyncio.run(all_at_once())] == [[64 * start] for start in range(4)]
        return max(map(len, Double.batches))

    assert together(width=1) == 1
    assert together(width=4) > 1


class Ask(Request):
    """A request of our own that is answered by a function."""

    __slots__ = ("reply",)

    def __init__(self, reply: Callable[[], int]) -> None:
        self.reply = reply

    @classmethod
    def answer(cls, requests: Sequence[Ask], context: Context) -> list[int]:
        return [request.reply() for request in requests]


def test_a_step_that_comes_while_a_body_asks_again_and_again_has_its_turn_in_between(make_engine: Make) -> None:
    has_run, asked = threading.Event(), threading.Event()

    @node(lane="device")
    def Patient() -> Requests[int]:
        for _ in range(3_000):
            yield Ask(lambda: asked.set() or time.sleep(0.001) or 0)
            if has_run.is_set():
                return 1
        return 0

    @node(lane="device")
    def Quick() -> int:
        has_run.set()
        return 1

    engine = make_engine(Patient, Quick, Show, device_width=1)
    first, second = GraphBuilder(), GraphBuilder()
    end = first.node(Show, value=first.node(Patient))
    second.node(Show, value=second.node(Quick))

    async def both() -> RunResult:
        running = asyncio.ensure_future(engine.run(Workflow.from_api(first.finalize())))
        await asyncio.to_thread(asked.wait, 10)
        await engine.run(Workflow.from_api(second.finalize()))
        return await running

    assert asyncio.run(both()).outputs[end.id] == {"values": [1]}


def test_a_body_that_only_asks_its_lane_is_cancelled_at_its_next_request(make_engine: Make) -> None:
    started, answered, closed = threading.Event(), [], []

    def reply() -> int:
        answered.append(1)
        if len(answered) > 2:
            started.set()
        time.sleep(0.001)
        return 0

    @node(lane="device")
    def Asker() -> Requests[int]:
        try:
            for _ in range(10_000):
                yield Ask(reply)
        finally:
            closed.append(1)
        return 1

    g = GraphBuilder()
    g.node(Show, value=g.node(Asker))
    assert cancel_soon(make_engine(Asker, Show), g, started).status == "cancelled"
    assert len(answered) < 5_000
    assert closed == [1]


def test_a_later_answer_that_raises_is_raised_in_the_body(make_engine: Make, run: Run) -> None:
    replies, got = iter([1, 2, 0, 4]), []

    @node(lane="device")
    def Inverse() -> Requests[int]:
        for _ in range(4):
            try:
                got.append((yield Ask(lambda: 4 // next(replies))))
            except ZeroDivisionError:
                got.append(-1)
        return 1

    g = GraphBuilder()
    end = g.node(Show, value=g.node(Inverse))
    assert shown(run(make_engine(Inverse, Show), g), end.id) == [1]
    assert got == [4, 2, -1, 1]


def test_an_answer_that_raises_is_raised_in_the_body(make_engine: Make, run: Run) -> None:
    class Broken(Request):
        @classmethod
        def answer(cls, requests: Sequence[Any], context: Context) -> list[Any]:
            raise ValueError("no answer")

    @node(lane="device")
    def Careful() -> Requests[int]:
        try:
            yield Broken()
        except ValueError:
            return 7
        return 0

    @node(lane="device")
    def Careless() -> Requests[int]:
        return (yield Broken())

    g = GraphBuilder()
    end = g.node(Show, value=g.node(Careful))
    g.node(Show, value=g.node(Careless))
    result = run(make_engine(Careful, Careless, Show), g)
    assert result.outputs[end.id] == {"values": [7]}
    assert [failure.message for failure in result.failures] == ["no answer"]


def test_a_step_that_waits_for_its_sub_graph_is_not_run_again_behind_it(make_engine: Make, run: Run) -> None:
    called = []

    @node
    def Once(ctx: Context) -> int:
        called.append(1)
        g = ctx.graph()
        return Expand(g, g.node(Add, a=1, b=2))  # type: ignore[return-value]

    g = GraphBuilder()
    end = g.node(Show, value=g.node(Once))
    engine = make_engine(Once, Add, Show)
    assert shown(run(engine, g), end.id) == [3]
    assert called == [1]
