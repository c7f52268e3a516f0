"""What the engine costs beside the bodies: graphs of steps that do next to nothing."""

from __future__ import annotations

import asyncio
import gc
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from mezzotint.engine.engine import Engine
from mezzotint.engine.node import node
from mezzotint.engine.registry import Registry
from mezzotint.engine.workflow import Workflow

from .figure import Figure, fastest, figure, seconds

Graph = dict[str, Any]
WIDTH = 10
ROUNDS = 20
"""How often the cases take turns."""


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


class Case(NamedTuple):
    """A graph to measure, and how many runs of it a round has."""

    name: str
    make: Callable[[int, int], Graph]
    size: int
    runs: int


SMALL = (
    Case("layered graph of 300", layered, 300, 3),
    Case("chain of 300", chain, 300, 3),
    Case("chain of 3,000", chain, 3_000, 1),
    Case("fan of 1,000", fan, 1_000, 1),
)
LARGE = Case("chain of 100,000", chain, 100_000, 1)


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

    def cold(self, case: Case) -> float:
        """Seconds of the fastest of a round's runs that reuse nothing."""
        return fastest(lambda _: self.run(case.make(case.size, next(self._seeds))), case.runs)

    def cached(self, case: Case) -> float:
        """Seconds of the fastest of a round's runs that reuse everything."""
        graph = case.make(case.size, next(self._seeds))
        self.run(graph)
        return fastest(lambda _: self.run(graph), case.runs)

    def rounds(self, cases: Sequence[Case], times: int) -> dict[str, tuple[float, float]]:
        """Seconds by the case's name, cold and cached, the fastest of all rounds. Cases take turns."""
        found = [{case.name: (self.cold(case), self.cached(case)) for case in cases} for _ in range(times)]
        return {name: tuple(map(min, zip(*(each[name] for each in found), strict=True))) for name in found[0]}

    def growth(self) -> float:
        """t(3,000)/t(300), the median of pairs. Ten small runs take as long as a large one, and meet as much noise."""
        ratios = []
        for _ in range(9):
            small = sum(self.run(layered(300, next(self._seeds))) for _ in range(10)) / 10
            ratios.append(self.run(layered(3_000, next(self._seeds))) / small)
        return statistics.median(ratios)


def engine_costs() -> Iterator[Figure]:
    """The figures of the engine."""
    costs = Costs()
    found = costs.rounds(SMALL, ROUNDS)
    growth = costs.growth()
    found |= costs.rounds([LARGE], 1)
    for case in (*SMALL, LARGE):
        steps, (cold, cached) = len(case.make(case.size, 0)), found[case.name]
        target = 40.0 if case is SMALL[0] else None
        yield figure(f"{case.name}, cold, a step", cold / steps * 1e6, "µs", at_most=target)
        yield figure(f"{case.name}, fully cached, a step", cached / steps * 1e6, "µs")
    yield figure("growth t(3,000)/t(300), layered, cold", growth, "", at_most=11)
    yield figure("rerun of a fully cached chain of 300", found["chain of 300"][1] * 1e3, "ms", at_most=5, digits=2)
    costs.engine.close()
