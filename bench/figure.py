"""One measured figure, beside what was aimed for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table. `holds` is None where there is no target."""

    what: str
    value: str
    target: str = ""
    holds: bool | None = None


def figure(what: str, value: float, unit: str, *, at_most: float | None = None, digits: int = 1) -> Figure:
    """A figure that should be at most so much."""
    shown = f"{value:.{digits}f} {unit}".strip()
    if at_most is None:
        return Figure(what, shown)
    return Figure(what, shown, f"≤ {at_most:g} {unit}".strip(), value <= at_most)


def seconds(work: Callable[[], object]) -> float:
    """How long the work takes, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median(work: Callable[[int], float], times: int) -> float:
    """The median of several measurements; `work` gets the number of each."""
    return statistics.median(work(index) for index in range(times))


def fastest(work: Callable[[int], float], times: int) -> float:
    """The least of several measurements: on a machine with other work, what the code itself costs."""
    return min(work(index) for index in range(times))
