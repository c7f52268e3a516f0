"""What a body has the loop call comes after what was told of its step, also where beginnings are told late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mezzotint.engine.context import Context
from mezzotint.engine.engine import Engine
from mezzotint.engine.event import Event, StepStarted
from mezzotint.engine.expansion import GraphBuilder
from mezzotint.engine.node import node
from mezzotint.engine.workflow import Workflow


def test_a_word_comes_after_the_beginning_of_its_step_and_before_that_of_the_next(
    make_engine: Callable[..., Engine],
) -> None:
    heard: list[Any] = []

    @node("Say")
    def say(value: int, *, ctx: Context) -> int:
        """Says its value."""
        assert ctx.in_order(lambda: heard.append(("said", value)))
        return value + 1

    @node("End", sink=True)
    def end(value: int) -> None:
        """An end."""

    def hear(event: Event) -> None:
        if isinstance(event, StepStarted):
            heard.append((event.node_type, event.node_id))

    engine = make_engine(say, end)
    for turn in range(6):  # the first runs find out that the node is quick
        graph = GraphBuilder()
        first = graph.node("Say", value=turn * 100)
        graph.node("End", value=graph.node("Say", value=first.out(0)))
        heard.clear()
        asyncio.run(engine.run(Workflow.from_api(graph.finalize()), on_event=hear))
        kinds = [what for what, _ in heard]
        assert kinds == ["Say", "said", "Say", "said", "End"]


def test_where_nobody_listens_nothing_is_called() -> None:
    assert not Context().in_order(lambda: None)
