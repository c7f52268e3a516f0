"""State that steps change in place: one taker, never cached, through loops and expansions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mezzotint.engine.consumed_state import consumed
from mezzotint.engine.context import Context
from mezzotint.engine.engine import Engine
from mezzotint.engine.errors import InvalidWorkflowError
from mezzotint.engine.expansion import Expand, GraphBuilder
from mezzotint.engine.node import node
from mezzotint.engine.registry import Registry
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.validation import validate
from mezzotint.engine.workflow import Workflow
from mezzotint.nodes.basics import logic, primitive

Run = Callable[..., RunResult]
ran: list[str] = []


@consumed
@dataclass(slots=True)
class Tally:
    """A list that grows in place."""

    entries: list[int] = field(default_factory=list)


class Added(NamedTuple):
    tally: Tally
    total: int


@node
def NewTally(first: int = 0) -> Tally:
    ran.append(f"new {first}")
    return Tally([first])


@node
def AddTo(tally: Tally, number: int = 1) -> Added:
    ran.append(f"add {number}")
    tally.entries.append(number)
    return Added(tally, sum(tally.entries))


@node
def Entries(tally: Tally, *, late: int = 0) -> str:
    ran.append("entries")
    return " ".join(map(str, tally.entries))


@node(sink=True)
def Show(text: Any, ctx: Context) -> None:
    ctx.show(text=[text])


@node
def AddTwice(tally: Tally, ctx: Context) -> Tally:
    graph = ctx.graph()
    once = graph.node("AddTo", tally=Hidden.link, number=10) if Hidden.link else graph.node("NewTally", first=7)
    return Expand(graph, graph.node("AddTo", tally=once.out(0), number=20).out(0))  # type: ignore[return-value]


class Hidden:
    """What AddTwice's expansion links to."""

    link: list[Any] | None = None


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    ran.clear()
    Hidden.link = None
    loops = (logic.repeat_begin, logic.repeat_end, logic.gate, logic.switch)
    return make_engine(NewTally, AddTo, Entries, Show, AddTwice, primitive.reroute, primitive.primitive_int, *loops)


def shown(result: RunResult) -> list[Any]:
    assert [str(failure.sentence) for failure in result.failures] == []
    return [outputs["text"][0] for outputs in result.outputs.values()]


def loop(count: int, first: int = 0) -> GraphBuilder:
    g = GraphBuilder()
    begin = g.node("RepeatBegin", count=count, value_1=g.node("NewTally", first=first).out())
    added = g.node("AddTo", tally=begin.out(2), number=begin.out(1))
    end = g.node("RepeatEnd", flow=begin.out(0), value_1=added.out(0))
    g.node("Show", text=g.node("Entries", tally=end.out(0)).out())
    return g


def test_a_chain_of_steps_changes_one_state(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    once = g.node("AddTo", tally=g.node("NewTally", first=1).out(), number=2)
    twice = g.node("AddTo", tally=once.out(0), number=once.out(1))
    g.node("Show", text=g.node("Entries", tally=twice.out(0)).out())
    assert shown(run(engine, g)) == ["1 2 3"]


def test_what_no_state_is_in_is_reused_and_the_state_is_made_anew(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    entries = g.node("Entries", tally=g.node("AddTo", tally=g.node("NewTally").out()).out(0))
    g.node("Show", text=entries.out())
    shown(run(engine, g))
    assert ran == ["new 0", "add 1", "entries"]
    assert shown(run(engine, g)) == ["0 1"]
    assert len(ran) == 3, "the text has a key and was kept"
    entries.set_input("late", 1)
    assert shown(run(engine, g)) == ["0 1"]
    assert ran[3:] == ["new 0", "add 1", "entries"], "the state was not kept: it is made again from the start"


def test_state_is_not_written_to_disk(make_engine: Callable[..., Engine], run: Run, tmp_path: Path) -> None:
    engine = make_engine(NewTally, AddTo, Entries, Show, cache_dir=tmp_path / "cache")
    g = GraphBuilder()
    g.node("Show", text=g.node("Entries", tally=g.node("NewTally").out()).out())
    run(engine, g)
    engine.flush()
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1, "the text alone"


@node
async def Wait(number: int = 0) -> int:
    await asyncio.sleep(0.05)
    return number


@node
def IsLong(text: str) -> bool:
    return len(text) > 2


def asked_late(g: GraphBuilder, late: Any, *, keeps: bool = False) -> tuple[str, list[str]]:
    """A value beside state that is asked for when the state is long taken; what to look at, and further targets."""
    tally = g.node("NewTally", first=5)
    added = g.node("AddTo", tally=tally.out(), number=2)
    entries = g.node("Entries", tally=added.out(0), late=late)
    chosen = g.node("Switch", switch=g.node("IsLong", text=entries.out()).out(), on_true=added.out(1), on_false=0)
    return chosen.id, [tally.id] if keeps else []


def test_a_value_beside_taken_state_is_made_again_from_the_start(make_engine: Callable[..., Engine], run: Run) -> None:
    engine = make_engine(NewTally, AddTo, Entries, Wait, IsLong, logic.switch)
    g = GraphBuilder()
    chosen, _ = asked_late(g, 0)
    assert run(engine, g, targets=[chosen]).raise_for_status().value(chosen) == 7


def test_state_that_was_kept_while_a_body_was_awaited_is_made_again_too(
    make_engine: Callable[..., Engine], run: Run
) -> None:
    """While a coroutine runs no value is let go: the maker of the state stayed, its state taken; its taker did not."""
    engine = make_engine(NewTally, AddTo, Entries, Wait, IsLong, logic.switch)
    g = GraphBuilder()
    chosen, _ = asked_late(g, g.node("Wait", number=1).out())
    ran.clear()
    assert run(engine, g, targets=[chosen]).raise_for_status().value(chosen) == 7
    assert ran == ["new 5", "add 2", "entries", "new 5", "add 2"]


def test_state_whose_maker_is_asked_for_is_made_again_too(make_engine: Callable[..., Engine], run: Run) -> None:
    engine = make_engine(NewTally, AddTo, Entries, Wait, IsLong, logic.switch)
    g = GraphBuilder()
    chosen, further = asked_late(g, 0, keeps=True)
    assert run(engine, g, targets=[chosen, *further]).raise_for_status().value(chosen) == 7


@pytest.mark.parametrize("count", [0, 1, 2, 5, 40])
def test_state_goes_through_a_loop(engine: Engine, run: Run, count: int) -> None:
    assert shown(run(engine, loop(count, first=9))) == [" ".join(["9", *map(str, range(count))])]


def test_a_loop_whose_first_turn_is_also_shown_keeps_its_state(engine: Engine, run: Run) -> None:
    g = loop(4)
    added = next(made for made in g.nodes.values() if made.class_type == "AddTo")
    g.node("Show", text=added.out(1))
    assert {*shown(run(engine, g))} == {"0 0 1 2 3", 0}
    assert ran.count("new 0") == 1, "the state of the first turn waited for the second"


def test_runs_at_the_same_time_have_a_state_each(engine: Engine) -> None:
    async def both() -> list[RunResult]:
        return await asyncio.gather(*(engine.run(Workflow.from_api(loop(30).finalize())) for _ in range(2)))

    expected = " ".join(["0", *map(str, range(30))])
    assert [shown(result) for result in asyncio.run(both())] == [[expected], [expected]]


def test_a_second_taker_is_a_problem_that_names_both(engine: Engine) -> None:
    g = GraphBuilder()
    tally = g.node("NewTally")
    g.node("Show", text=g.node("Entries", tally=g.node("AddTo", tally=tally.out()).out(0)).out())
    g.node("Show", text=g.node("Entries", tally=tally.out()).out())
    with pytest.raises(InvalidWorkflowError) as refused:
        asyncio.run(engine.run(Workflow.from_api(g.finalize())))
    (problem,) = refused.value.problems
    assert str(problem) == (
        "Node 5 (Entries), input 'tally': it takes output 0 of node 1, which is state that its one taker changes in "
        "place, and node 2 (AddTo), input 'tally', takes it already; link this input to what node 2 gives on."
    )


def test_a_second_taker_is_found_behind_loops_gates_and_reroutes(engine: Engine) -> None:
    g = loop(2)
    end = next(made for made in g.nodes.values() if made.class_type == "RepeatEnd")
    g.node("Show", text=g.node("Entries", tally=g.node("Reroute", value=g.node("Gate", value=end.out(0)))).out())
    (problem,) = engine.validate(Workflow.from_api(g.finalize())).problems
    assert (problem.node_id, problem.input_name, problem.given) == ("7", "value", ["4", 0])
    assert "node 5 (Entries), input 'tally', takes it already" in problem.reason


def test_values_beside_the_state_may_be_taken_by_many(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    begin = g.node("RepeatBegin", count=2, value_1=g.node("NewTally").out(), value_2=5)
    added = g.node("AddTo", tally=begin.out(2), number=begin.out(3))
    again = g.node("AddTo", tally=added.out(0), number=begin.out(3))
    end = g.node("RepeatEnd", flow=begin.out(0), value_1=again.out(0), value_2=again.out(1))
    g.node("Show", text=g.node("Entries", tally=end.out(0)).out())
    assert shown(run(engine, g)) == ["0 5 5 10 10"]


def test_an_expansion_hands_state_on(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    g.node("Show", text=g.node("Entries", tally=g.node("AddTwice", tally=g.node("NewTally").out()).out()).out())
    assert shown(run(engine, g)) == ["7 20"]


def test_an_expansion_that_takes_what_was_taken_fails_with_a_sentence(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    tally = g.node("NewTally")
    Hidden.link = tally.out()
    g.node("Show", text=g.node("Entries", tally=g.node("AddTwice", tally=tally.out()).out()).out())
    (failure,) = run(engine, g).failures
    assert "it takes what node 1 gives, which node 2 has taken already" in failure.sentence


def test_one_state_and_a_list_of_numbers_is_refused(make_engine: Callable[..., Engine], run: Run) -> None:
    @node
    def Numbers() -> list[int]:
        return [1, 2]

    engine = make_engine(NewTally, AddTo, Entries, Show, Numbers)
    g = GraphBuilder()
    added = g.node("AddTo", tally=g.node("NewTally").out(), number=g.node("Numbers").out())
    g.node("Show", text=g.node("Entries", tally=added.out(0)).out())
    (failure,) = run(engine, g).failures
    assert "'tally' is state that one call changes in place, and lists make 2 calls" in failure.sentence


def test_a_list_of_states_is_as_many_states(make_engine: Callable[..., Engine], run: Run) -> None:
    @node
    def Numbers() -> list[int]:
        return [1, 2]

    engine = make_engine(NewTally, AddTo, Entries, Show, Numbers)
    g = GraphBuilder()
    numbers = g.node("Numbers").out()
    added = g.node("AddTo", tally=g.node("NewTally", first=numbers).out(), number=numbers)
    g.node("Show", text=g.node("Entries", tally=added.out(0)).out())
    result = run(engine, g)
    assert [outputs["text"] for outputs in result.outputs.values()] == [["1 1", "2 2"]]


def test_a_body_that_is_not_cached_runs_in_each_run(make_engine: Callable[..., Engine], run: Run) -> None:
    @node(cached=False)
    def Passing(a: int = 0) -> int:
        ran.append("passing")
        return a

    @node
    def Kept(a: int) -> int:
        return a + 1

    engine = make_engine(Passing, Kept)
    ran.clear()
    g = GraphBuilder()
    passing = g.node("Passing", a=3)
    kept = g.node("Kept", a=passing.out())
    assert run(engine, g, targets=[kept.id]).value(kept.id) == 4
    assert run(engine, g, targets=[kept.id]).value(kept.id) == 4
    assert ran == ["passing"], "what is made of it is kept"
    assert run(engine, g, targets=[passing.id]).value(passing.id) == 3
    assert ran == ["passing", "passing"]


def test_checking_state_links_is_linear() -> None:
    registry = Registry()
    for function in (NewTally, AddTo, Entries, Show):
        registry.register(function)
    g = GraphBuilder()
    tally = g.node("NewTally").out()
    for _ in range(2000):
        tally = g.node("AddTo", tally=tally).out(0)
    g.node("Show", text=g.node("Entries", tally=tally).out())
    assert validate(Workflow.from_api(g.finalize()), registry).problems == []


def test_blocked_state_blocks_what_needs_it(engine: Engine, run: Run) -> None:
    g = GraphBuilder()
    gate = g.node("Gate", value=g.node("NewTally").out(), is_open=False)
    g.node("Show", text=g.node("Entries", tally=gate.out()).out())
    result = run(engine, g)
    assert (result.status, result.outputs, ran) == ("done", {}, ["new 0"])
