"""What the engine costs beside the bodies: graphs of steps that do next to nothing."""

from __future__ import annotations

import asyncio
import gc
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from mezzotint.engine.engine import Engine
from mezzotint.engine.node import node
from mezzotint.engine.registry import Registry
from mezzotint.engine.workflow import Workflow

from .figure import Figure, fastest, figure, seconds

Graph = dict[str, Any]
WIDTH = 10
ROUNDS = 7


@node("Add")
def add(a: int = 0, b: int = 0) -> int:
    """The trivial step."""
    return a + b


@node("Keep", sink=True)
def keep(value: int) -> None:
    """An end."""


def chain(length: int, seed: int) -> Graph:
    """Steps one behind the other."""
    graph: Graph = {"0": {"class_type": "Add", "inputs": {"a": seed}}}
    for i in range(1, length):
        graph[str(i)] = {"class_type": "Add", "inputs": {"a": [str(i - 1), 0], "b": 1}}
    graph["end"] = {"class_type": "Keep", "inputs": {"value": [str(length - 1), 0]}}
    return graph


def layered(count: int, seed: int) -> Graph:
    """Layers of ten, each step taking two values of the layer before."""
    graph: Graph = {str(i): {"class_type": "Add", "inputs": {"a": seed, "b": i}} for i in range(WIDTH)}
    for i in range(WIDTH, count):
        start = (i // WIDTH - 1) * WIDTH
        links = {"a": [str(start + i % WIDTH), 0], "b": [str(start + (i + 1) % WIDTH), 0]}
        graph[str(i)] = {"class_type": "Add", "inputs": links}
    for i in range(WIDTH):
        graph[f"end{i}"] = {"class_type": "Keep", "inputs": {"value": [str(count - WIDTH + i), 0]}}
    return graph


def fan(count: int, seed: int) -> Graph:
    """Many steps that depend on one."""
    graph: Graph = {"0": {"class_type": "Add", "inputs": {"a": seed}}}
    for i in range(1, count):
        graph[str(i)] = {"class_type": "Add", "inputs": {"a": ["0", 0], "b": i}}
        graph[f"end{i}"] = {"class_type": "Keep", "inputs": {"value": [str(i), 0]}}
    return graph


class Costs:
    """Measures on one engine, as a long-lived process has it."""

    def __init__(self) -> None:
        registry = Registry()
        for function in (add, keep):
            registry.register(function)
        self.engine = Engine(registry, memory_nbytes=4 << 30)
        self._seeds = iter(range(1, 10**9, 10**6))
        for _ in range(3):
            self.run(layered(300, next(self._seeds)))
        gc.collect()
        gc.freeze()  # as a host does

    def run(self, graph: Graph) -> float:
        """Seconds from the JSON document to the end of the run."""
        return seconds(lambda: asyncio.run(self.engine.run(Workflow.from_api(graph))))

    def cold(self, make: Callable[[int, int], Graph], count: int, times: int = ROUNDS) -> float:
        """Seconds of the fastest of several runs that reuse nothing."""
        return fastest(lambda _: self.run(make(count, next(self._seeds))), times)

    def cached(self, make: Callable[[int, int], Graph], count: int, times: int = ROUNDS) -> float:
        """Seconds of the fastest of several runs that reuse everything."""
        graph = make(count, next(self._seeds))
        self.run(graph)
        return fastest(lambda _: self.run(graph), times)

    def growth(self) -> float:
        """t(3,000)/t(300), the median of pairs. Ten small runs take as long as a large one, and meet as much noise."""
        ratios = []
        for _ in range(9):
            small = sum(self.cold(layered, 300, 1) for _ in range(10)) / 10
            ratios.append(self.cold(layered, 3_000, 1) / small)
        return statistics.median(ratios)


def engine_costs() -> Iterator[Figure]:
    """The figures of the engine."""
    costs = Costs()
    for name, make, count, times in (
        ("layered graph of 300", layered, 300, 60),
        ("chain of 3,000", chain, 3_000, 5),
        ("fan of 1,000", fan, 1_000, 5),
        ("chain of 100,000", chain, 100_000, 1),
    ):
        steps = len(make(count, 0))
        cold, cached = costs.cold(make, count, times), costs.cached(make, count, times)
        target = 40.0 if name == "layered graph of 300" else None
        yield figure(f"{name}, cold, a step", cold / steps * 1e6, "µs", at_most=target)
        yield figure(f"{name}, fully cached, a step", cached / steps * 1e6, "µs")
    yield figure("growth t(3,000)/t(300), layered, cold", costs.growth(), "", at_most=11)
    yield figure("rerun of a fully cached chain of 300", costs.cached(chain, 300, 60) * 1e3, "ms", at_most=5, digits=2)
    costs.engine.close()
