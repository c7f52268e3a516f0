"""Live progress of a run: a bar for each node that tells how far it is, a moving one for others that take long."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mezzotint.engine.event import Event, StepEvent, StepFailed, StepFinished, StepProgressed, StepStarted

from .duration import clock

REFRESH_PER_SECOND = 10
NOTICEABLE_SECONDS = 0.3
"""A node that takes less gets no bar unless it tells how far it is."""
LONG_SECONDS = 1.0
"""A node that took longer stays in the list when it is done."""
TITLE_WIDTH = 30


@dataclass(slots=True)
class NodeProgress:
    """How far one node of the workflow is. The steps that it expands into count as its own.

    Attributes:
        value, total, text: what it told last; `total` 0 if it told nothing. running: steps of it under way.
        began, ended: seconds of the monotonic clock.
    """

    title: str
    began: float
    value: float = 0.0
    total: float = 0.0
    running: int = 0
    ended: float | None = None
    has_failed: bool = False
    text: str = ""

    @property
    def seconds(self) -> float:
        return (time.monotonic() if self.ended is None else self.ended) - self.began

    @property
    def is_shown(self) -> bool:
        if self.total or self.has_failed:
            return True
        return self.seconds >= (NOTICEABLE_SECONDS if self.ended is None else LONG_SECONDS)


class Progress:
    """Listens to a run's events. Where the console is no terminal, a line is written for each node worth one.

    Args:
        titles: what to call the nodes, by id.
    """

    def __init__(self, console: Console, titles: Mapping[str, str]) -> None:
        self.nodes: dict[str, NodeProgress] = {}
        self._console, self._titles = console, titles
        self._lock = threading.Lock()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console, get_renderable=self._table, refresh_per_second=REFRESH_PER_SECOND
            )  # fmt: skip
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, StepEvent):
            return
        with self._lock:
            if isinstance(event, StepStarted):
                self._start(event)
            elif isinstance(event, StepProgressed):
                self._advance(event)
            elif isinstance(event, StepFinished | StepFailed):
                self._end(event)

    def _start(self, event: StepStarted) -> None:
        node = self.nodes.get(event.real_id)
        if node is None:
            node = self.nodes[event.real_id] = NodeProgress(self._title(event), time.monotonic())
        node.running += 1
        node.ended = None

    def _advance(self, event: StepProgressed) -> None:
        node = self.nodes.get(event.real_id)
        if node is not None:
            node.value, node.total, node.text = event.value, event.total, event.text

    def _end(self, event: StepFinished | StepFailed) -> None:
        node = self.nodes.get(event.real_id)
        if node is None:
            return
        node.running -= 1
        node.has_failed |= isinstance(event, StepFailed)
        if node.running > 0:
            return
        node.ended = time.monotonic()
        if not node.has_failed:
            node.value = node.total
        if self._live is None and node.is_shown and not node.has_failed:  # failures are told in full afterwards
            self._console.print(Text(_line(node)), soft_wrap=True)
        if self._live is None or not node.is_shown:
            del self.nodes[event.real_id]

    def _title(self, event: StepEvent) -> str:
        return self._titles.get(event.real_id) or event.node_type

    def _table(self) -> Table:
        with self._lock:
            nodes = [node for node in self.nodes.values() if node.is_shown]
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=TITLE_WIDTH)
        table.add_column(ratio=1)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        for node in nodes[-self._console.height + 2 :]:
            table.add_row(Text(node.title), _bar(node), Text(_count(node)), Text(_time(node), style="dim"))
        return table


def _bar(node: NodeProgress) -> ProgressBar | Text:
    if node.has_failed:
        return Text("failed", style="red")
    if not node.total:
        return ProgressBar(total=None, pulse=True, width=30) if node.ended is None else Text("done", style="dim")
    return ProgressBar(total=node.total, completed=node.value, width=30)


def _count(node: NodeProgress) -> str:
    count = f"{node.value:g}/{node.total:g}" if node.total else ""
    return f"{node.text}  {count}" if node.text else count


def _time(node: NodeProgress) -> str:
    """How long it took; while it runs, also about how long it will."""
    passed = clock(node.seconds)
    if node.ended is not None or not 0 < node.value < node.total:
        return passed
    return f"{passed} < {clock(node.seconds * (node.total - node.value) / node.value)}"


def _line(node: NodeProgress) -> str:
    count = f"{node.value:g} of {node.total:g}" if node.total else "done"
    return f"{node.title}: {count} in {clock(node.seconds)}{f', {node.text}' if node.text else ''}"
