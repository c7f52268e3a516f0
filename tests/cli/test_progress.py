"""What is shown while a run goes on."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from mezzotint.cli import progress as module
from mezzotint.cli.progress import Progress, clock
from mezzotint.engine.event import StepEvent, StepFailed, StepFinished, StepProgressed, StepStarted

STEP = {"node_type": "Sample", "display_id": "3", "parent_id": None}


def event(kind: type[StepEvent], node_id: str = "3", real_id: str = "3", **facts: Any) -> StepEvent:
    return kind("job", 1, 0.0, node_id=node_id, real_id=real_id, **STEP, **facts)


def started(**facts: Any) -> StepEvent:
    return event(StepStarted, reason="first run", **facts)


def progressed(value: float, total: float = 4, **facts: Any) -> StepEvent:
    return event(StepProgressed, value=value, total=total, preview=None, **facts)


def finished(**facts: Any) -> StepEvent:
    return event(StepFinished, source="ran", seconds=1.0, **facts)


def failed(**facts: Any) -> StepEvent:
    return event(
        StepFailed, sentence="", exception_type="", message="", traceback=(), inputs={}, is_expected=True,
        error=ValueError(), **facts,
    )  # fmt: skip


class Clock:
    """A monotonic clock that is moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=80)


def drawn(progress: Progress, width: int = 80) -> list[str]:
    """The live table as text."""
    console = Console(file=io.StringIO(), width=width)
    console.print(progress._table())
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.fixture
def live(console: Console) -> Progress:
    """A progress whose table is looked at, as on a terminal."""
    progress = Progress(console, {"3": "Sampler"})
    progress._live = object()  # type: ignore[assignment]
    return progress


def test_a_node_that_tells_how_far_it_is_gets_a_bar(live: Progress, at: Clock) -> None:
    live(started())
    live(progressed(1))
    at.now = 2.0
    (line,) = drawn(live)
    assert line.startswith("Sampler ")
    assert line.endswith("1/4 2.0 s < 6.0 s")


def test_the_bar_stays_when_the_node_is_done(live: Progress, at: Clock) -> None:
    live(started())
    live(progressed(4))
    at.now = 2.0
    live(finished())
    at.now = 9.0
    assert drawn(live)[0].endswith("4/4 2.0 s")


def test_quick_nodes_are_not_shown(live: Progress, at: Clock) -> None:
    for index in range(1000):
        live(started(real_id=str(index)))
        live(finished(real_id=str(index)))
    assert drawn(live) == []
    assert live.nodes == {}


def test_a_slow_node_that_tells_nothing_is_shown_after_a_moment(live: Progress, at: Clock) -> None:
    live(started())
    assert drawn(live) == []
    at.now = 0.5
    assert drawn(live)[0].startswith("Sampler ")
    live(finished())
    assert live.nodes == {}


def test_a_node_that_took_long_stays(live: Progress, at: Clock) -> None:
    live(started())
    at.now = 75.0
    live(finished())
    assert drawn(live)[0].split() == ["Sampler", "done", "1:15"]


def test_what_a_node_expands_into_counts_as_its_own(live: Progress, at: Clock) -> None:
    live(started())
    live(started(node_id="3.0.0.1"))
    live(progressed(2, node_id="3.0.0.1"))
    live(finished(node_id="3.0.0.1"))
    assert len(drawn(live)) == 1
    assert live.nodes["3"].ended is None


def test_a_failure_is_shown(live: Progress, at: Clock) -> None:
    live(started())
    live(failed())
    assert "failed" in drawn(live)[0]


def test_long_titles_are_cut_and_lines_fit(console: Console, at: Clock) -> None:
    progress = Progress(console, {"3": "A very long title " * 5})
    progress(started())
    progress(progressed(1))
    at.now = 2.0
    for width in (40, 80, 120):
        (line,) = drawn(progress, width)
        assert len(line) <= width
        assert "…" in line


def test_without_a_terminal_a_node_that_is_done_is_one_line(console: Console, at: Clock) -> None:
    with Progress(console, {"3": "Sampler"}) as progress:
        progress(started())
        progress(progressed(4))
        at.now = 1.5
        progress(finished())
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "Sampler: 4 of 4 in 1.5 s\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (8.23, "8.2 s"), (59.94, "59.9 s"), (65, "1:05"), (7209, "2:00:09")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_what_a_node_says_of_itself_stands_beside_its_count(console: Console, at: Clock) -> None:
    progress = Progress(console, {})
    progress(event(StepStarted, reason=""))
    progress(event(StepProgressed, value=3, total=4, preview=None, text="loss 0.12"))
    at.now = 2.0
    assert any("loss 0.12  3/4" in line for line in drawn(progress))
    progress(finished())
    assert console.file.getvalue().endswith(", loss 0.12\n")  # type: ignore[attr-defined]
