"""Assertions on what happened in a run, by its events."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mezzotint.engine.event import Event, StepEvent

    from .recorded_run import RecordedRun


def assert_ran(run: RecordedRun | Iterable[Event], *nodes: str) -> None:
    """The bodies of these nodes, each an id or a node type, were called and came to their end.

    Raises:
        AssertionError: one did not; the sentence says what became of it.
    """
    _assert_finished(run, nodes, {"ran"}, "did not run")


def assert_reused(run: RecordedRun | Iterable[Event], *nodes: str) -> None:
    """The values of these nodes, each an id or a node type, came from a cache or another run, not from their bodies.

    Raises:
        AssertionError: one ran, or has no value; the sentence says what became of it.
    """
    _assert_finished(run, nodes, {"memory", "disk", "shared", "attempt"}, "was not reused")


def assert_failed(run: RecordedRun | Iterable[Event], node: str, match: str = "") -> None:
    """A node, given by its id or its node type, raised, with a text in which the regular expression is found.

    Raises:
        AssertionError: it did not raise, or said something else.
    """
    from mezzotint.engine.event import StepFailed

    said = [event.message for event in _of(_events(run), node) if isinstance(event, StepFailed)]
    if not said:
        raise AssertionError(f"node '{node}' did not fail: {_fate(_events(run), node)}")
    if not any(re.search(match, text) for text in said):
        raise AssertionError(f"node '{node}' failed, but {match!r} is not in what it said: {'; '.join(said)}")


def _assert_finished(run: RecordedRun | Iterable[Event], nodes: tuple[str, ...], sources: set[str], what: str) -> None:
    events = _events(run)
    for node in nodes:
        seen = _sources(events, node)
        if not seen or not seen <= sources:
            raise AssertionError(f"node '{node}' {what}: {_fate(events, node)}")


def _events(run: RecordedRun | Iterable[Event]) -> list[Event]:
    from .recorded_run import RecordedRun

    return run.events if isinstance(run, RecordedRun) else list(run)


def _of(events: list[Event], node: str) -> list[StepEvent]:
    from mezzotint.engine.event import StepEvent

    steps = [event for event in events if isinstance(event, StepEvent)]
    return [event for event in steps if node in (event.node_id, event.real_id, event.node_type)]


def _sources(events: list[Event], node: str) -> set[str]:
    """Where its values came from. Values that were in memory when the run began have no event of their own."""
    from mezzotint.engine.event import RunStarted, StepFinished

    finished: set[str] = {event.source for event in _of(events, node) if isinstance(event, StepFinished)}
    was_there = any(node in event.reused for event in events if isinstance(event, RunStarted))
    return finished or ({"memory"} if was_there else set())


def _fate(events: list[Event], node: str) -> str:
    from mezzotint.engine.event import RunFinished, StepEvent, StepFailed

    if failed := [event.sentence for event in _of(events, node) if isinstance(event, StepFailed)]:
        return failed[0]
    if any(node in event.skipped for event in events if isinstance(event, RunFinished)):
        return "it was skipped, since a node before it failed"
    if sources := _sources(events, node):
        return f"its value came from: {', '.join(sorted(sources))}"
    known = sorted({f"{event.node_id} ({event.node_type})" for event in events if isinstance(event, StepEvent)})
    return f"the run has no event of it; it has events of {', '.join(known) or 'no node'}"
