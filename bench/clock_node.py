"""Nodes for measuring the server: loaded with `--plugin`."""

import time
from typing import Any

from mezzotint import Context, node


@node("BenchClock")
def bench_clock(salt: str) -> float:
    """When its body was called, in seconds since the epoch."""
    return time.time()


@node("BenchAdd")
def bench_add(a: int, b: int = 0) -> int:
    """An instant step."""
    return a + b


@node("BenchShow", sink=True)
def bench_show(source: Any, *, ctx: Context) -> None:
    """Shows what it gets."""
    ctx.show(values=[source])
