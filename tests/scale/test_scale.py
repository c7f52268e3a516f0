"""Graphs that are much larger than a person draws. Apart from the engine's own tests, which stay quick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mezzotint.engine.context import Context
from mezzotint.engine.engine import Engine
from mezzotint.engine.node import node
from mezzotint.engine.run_result import RunResult


@node("Add")
def add(a: int = 0, b: int = 0) -> int:
    return a + b


@node("Show", sink=True)
def show(ctx: Context, value: int) -> None:
    ctx.show(values=[value])


def test_a_chain_of_100_000_nodes_runs(make_engine: Callable[..., Engine], run: Callable[..., RunResult]) -> None:
    graph: dict[str, Any] = {"0": {"class_type": "Add", "inputs": {"a": 1}}}
    for i in range(1, 100_000):
        graph[str(i)] = {"class_type": "Add", "inputs": {"a": [str(i - 1), 0], "b": 1}}
    graph["end"] = {"class_type": "Show", "inputs": {"value": ["99999", 0]}}
    result = run(make_engine(add, show), graph)
    assert result.outputs["end"] == {"values": [100_000]}
