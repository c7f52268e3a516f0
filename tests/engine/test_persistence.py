"""What survives the process: values on disk, and the answer to "why did this run again?"."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from mezzotint.engine import event as events
from mezzotint.engine.context import Context
from mezzotint.engine.engine import Engine
from mezzotint.engine.expansion import GraphBuilder
from mezzotint.engine.node import node
from mezzotint.engine.run_result import RunResult

Run = Callable[..., RunResult]
Make = Callable[..., Engine]


@node
def Noise(seed: int, size: int = 4) -> numpy.ndarray:
    return numpy.random.default_rng(seed).standard_normal(size)


@node
def Scale(noise: numpy.ndarray, by: float = 1.0) -> numpy.ndarray:
    return noise * by


@node
def Opaque(a: int) -> object:
    return threading.Lock()


@node(sink=True)
def Show(ctx: Context, value: Any) -> None:
    ctx.show(values=[numpy.asarray(value).tolist() if not isinstance(value, type(threading.Lock())) else "lock"])


NODES = (Noise, Scale, Opaque, Show)


def graph(seed: int = 1, by: float = 2.0) -> GraphBuilder:
    g = GraphBuilder()
    g.node(Show, value=g.node(Scale, noise=g.node(Noise, seed=seed), by=by))
    return g


def started(heard: list[Any]) -> dict[str, str]:
    return {event.node_type: event.reason for event in heard if isinstance(event, events.StepStarted)}


def sources(heard: list[Any]) -> dict[str, str]:
    return {event.node_type: event.source for event in heard if isinstance(event, events.StepFinished)}


@pytest.fixture
def fresh_run(make_engine: Make, run: Run, tmp_path: Path) -> Run:
    """Runs a graph on an engine of its own, as another process with the same cache folder would."""

    def go(g: GraphBuilder, **options: Any) -> RunResult:
        engine = make_engine(*NODES, cache_dir=tmp_path / "cache")
        result = run(engine, g, **options)
        engine.close()
        return result

    return go


def test_values_survive_the_process_and_only_the_output_node_runs_again(fresh_run: Run, heard: list[Any]) -> None:
    first = fresh_run(graph())
    second = fresh_run(graph(), on_event=heard.append)
    assert first.outputs == second.outputs
    assert list(started(heard)) == ["Show"]
    assert sources(heard) == {"Scale": "disk", "Show": "ran"}


def test_a_change_reruns_only_what_depends_on_it_and_says_why(fresh_run: Run, heard: list[Any]) -> None:
    fresh_run(graph(by=2.0))
    fresh_run(graph(by=3.0), on_event=heard.append)
    assert started(heard) == {"Scale": "changed: 'by'", "Show": "changed: 'value' (from node 2)"}
    assert sources(heard)["Noise"] == "disk"


def test_a_torn_file_is_a_miss_and_what_it_needs_is_computed(fresh_run: Run, heard: list[Any], tmp_path: Path) -> None:
    first = fresh_run(graph())
    for path in (tmp_path / "cache").glob("??/*.safetensors"):
        path.write_bytes(path.read_bytes()[:-5])
    second = fresh_run(graph(), on_event=heard.append)
    assert second.outputs == first.outputs
    assert set(started(heard)) == {"Noise", "Scale", "Show"}
    third: list[Any] = []
    fresh_run(graph(), on_event=third.append)
    assert sources(third) == {"Scale": "disk", "Show": "ran"}


def test_a_value_of_an_unknown_class_stays_in_memory(fresh_run: Run, heard: list[Any]) -> None:
    g = GraphBuilder()
    g.node(Show, value=g.node(Opaque, a=1))
    fresh_run(g)
    fresh_run(g, on_event=heard.append)
    assert "Opaque" in started(heard)


def test_another_output_folder_makes_output_nodes_write_again(make_engine: Make, run: Run, tmp_path: Path) -> None:
    from mezzotint.engine.folders import Folders

    def events_of(engine: Engine) -> list[Any]:
        heard: list[Any] = []
        run(engine, graph(), on_event=heard.append)
        return heard

    engine = make_engine(*NODES)
    events_of(engine)
    assert started(events_of(engine)) == {}
    engine.folders = Folders(tmp_path / "home", output=tmp_path / "elsewhere")
    assert list(started(events_of(engine))) == ["Show"]


def test_a_cache_that_cannot_be_written_does_not_fail_the_run(
    make_engine: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mezzotint.engine.disk_cache.write_atomically", no_space)
    engine = make_engine(*NODES, cache_dir=tmp_path / "cache")
    assert run(engine, graph()).status == "done"
    engine.close()
    assert caplog.text.count("No space left on device") == 1, "told once, not for each of the values"
    assert not list((tmp_path / "cache").glob("??/*"))
