"""Python's cycle collector, which is told to look less often while runs are under way.

A run makes dozens of objects a step; nearly all stay until its end and then go by themselves. At Python's usual
threshold the collector looks through them again and again, finds nothing, and takes a quarter of a large run's time.
Bodies that are not known to be quick may well leave circles behind, and tensors in them: while one runs, the usual
threshold holds.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SPARING_THRESHOLD = 100_000
"""New objects before the collector looks: ten to twenty megabytes at most, if all of them were garbage."""


class Collector:
    """Sets the threshold of the youngest generation. Safe for threads; there is one, as there is one collector."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = self._slow_bodies = 0
        self._usual: tuple[int, int, int] | None = None

    @contextmanager
    def sparing(self) -> Iterator[None]:
        """A run is under way."""
        self._count(runs=1)
        try:
            yield
        finally:
            self._count(runs=-1)

    @contextmanager
    def usual(self) -> Iterator[None]:
        """A body runs that may take long."""
        self._count(slow_bodies=1)
        try:
            yield
        finally:
            self._count(slow_bodies=-1)

    def _count(self, runs: int = 0, slow_bodies: int = 0) -> None:
        with self._lock:
            self._runs += runs
            self._slow_bodies += slow_bodies
            if self._runs and not self._slow_bodies:
                self._spare()
            else:
                self._restore()

    def _spare(self) -> None:
        usual = gc.get_threshold()
        if self._usual is None and 0 < usual[0] < SPARING_THRESHOLD:  # 0: somebody wants no collections at all
            self._usual = usual
            gc.set_threshold(SPARING_THRESHOLD, *usual[1:])

    def _restore(self) -> None:
        if self._usual is not None and gc.get_threshold()[0] == SPARING_THRESHOLD:  # nobody else has set it since
            gc.set_threshold(*self._usual)
        self._usual = None


COLLECTOR = Collector()
