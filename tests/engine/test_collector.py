"""The cycle collector looks less often while quick steps run, and as often as ever while others do."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mezzotint.engine.collector import SPARING_THRESHOLD, Collector
from mezzotint.engine.engine import Engine
from mezzotint.engine.node import node
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.workflow import Workflow

USUAL = (700, 10, 10)


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    yield
    gc.set_threshold(*before)


def test_it_is_sparing_while_a_run_is_under_way_and_no_slow_body() -> None:
    collector = Collector()
    with collector.sparing():
        assert gc.get_threshold() == (SPARING_THRESHOLD, 10, 10)
        with collector.sparing(), collector.usual():
            assert gc.get_threshold() == USUAL
        assert gc.get_threshold() == (SPARING_THRESHOLD, 10, 10)
    assert gc.get_threshold() == USUAL
    with collector.usual():
        assert gc.get_threshold() == USUAL


def test_an_error_ends_it_too() -> None:
    with pytest.raises(ValueError, match="no"), Collector().sparing():
        raise ValueError("no")
    assert gc.get_threshold() == USUAL


@pytest.mark.parametrize("own", [(0, 10, 10), (SPARING_THRESHOLD + 1, 5, 5)])
def test_who_wants_fewer_collections_or_none_is_left_alone(own: tuple[int, int, int]) -> None:
    gc.set_threshold(*own)
    with Collector().sparing():
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own


def test_what_a_body_sets_meanwhile_stays() -> None:
    with Collector().sparing():
        gc.set_threshold(5000)
    assert gc.get_threshold()[0] == 5000


@node("Threshold")
def threshold(of: int) -> int:
    return gc.get_threshold()[0]


@node("Keep", sink=True)
def keep(value: int) -> None: ...


def test_a_body_that_is_not_known_to_be_quick_has_the_usual_threshold(
    make_engine: Callable[..., Engine], run: Callable[..., RunResult]
) -> None:
    engine = make_engine(threshold, keep)

    def found(of: int) -> Any:
        graph = {
            "1": {"class_type": "Threshold", "inputs": {"of": of}},
            "2": {"class_type": "Keep", "inputs": {"value": ["1", 0]}},
        }
        return run(engine, graph, targets=["1", "2"]).value("1")

    assert found(0) == USUAL[0]
    assert engine.is_quick(engine.registry["Threshold"])
    assert found(1) == SPARING_THRESHOLD
    assert gc.get_threshold() == USUAL


def test_a_run_and_its_values_go_at_its_end_without_the_collector(make_engine: Callable[..., Engine]) -> None:
    class Picture:
        """A value that may be large."""

    seen: list[weakref.ref[Any]] = []

    @node("Paint")
    def paint() -> Any:
        seen.append(weakref.ref(picture := Picture()))
        return picture

    @node("Look", sink=True)
    def look(picture: Any) -> None:
        """An end."""

    async def run() -> None:
        running = await make_engine(paint, look, memory_nbytes=0).prepare(Workflow.from_api(graph))
        seen.append(weakref.ref(running))
        await running.execute()

    graph = {"1": {"class_type": "Paint", "inputs": {}}, "2": {"class_type": "Look", "inputs": {"picture": ["1", 0]}}}
    gc.disable()
    try:
        asyncio.run(run())
        deadline = time.monotonic() + 5  # the lane's thread may be about to drop its batch
        while any(one() is not None for one in seen) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        gc.enable()
    assert [one() for one in seen] == [None, None]


def test_it_is_sparing_while_a_document_is_read() -> None:
    seen: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        seen.append(gc.get_threshold()[0])

    document = {str(i): {"class_type": "Threshold", "inputs": {"of": [str(i), 0]}} for i in range(5_000)}
    gc.callbacks.append(note)
    try:
        workflow = Workflow.from_api(document)
    finally:
        gc.callbacks.remove(note)
    assert len(workflow.nodes) == 5_000
    assert len(seen) <= 4  # a beginning and an end each: of what was there before, and of what was read
