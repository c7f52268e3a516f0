"""What every test shares: no test reads or writes the user's own folders, none asks the network for a model."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mezzotint.engine.engine import Engine
    from mezzotint.engine.expansion import GraphBuilder
    from mezzotint.engine.run_result import RunResult

    from .server.serving import Server

_numbers = itertools.count(100_000)

# Two torch processes on two cores otherwise spin at each other's barriers, 20 times slower; and with a thread
# each, for which no other waits, a training takes a third of the time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests start many processes, and without compiled modules each would compile ours first.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("MEZZOTINT_MODELS", raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(autouse=True, scope="session")
def _settled_heap() -> None:
    """What is loaded by now stays: collections, which some tests ask for, need not look at it. A host does so too."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def make_engine(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """`make_engine(*node_functions, **options)`: an engine of its own, with its folders below `tmp_path`."""
    from mezzotint.engine.engine import Engine
    from mezzotint.engine.folders import Folders
    from mezzotint.engine.registry import Registry

    made: list[Engine] = []

    def make(*functions: Callable[..., Any], **options: Any) -> Engine:
        registry = Registry()
        for function in functions:
            registry.register(function)
        made.append(Engine(registry, **{"folders": Folders(tmp_path / "home"), **options}))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def run() -> Callable[..., RunResult]:
    """`run(engine, graph, **options)`: run a `GraphBuilder` or a graph in API format to its end."""
    from mezzotint.engine.workflow import Workflow

    def run_graph(engine: Engine, graph: GraphBuilder | Mapping[str, Any], **options: Any) -> RunResult:
        nodes = graph if isinstance(graph, Mapping) else graph.finalize()
        return asyncio.run(engine.run(Workflow.from_api(nodes), **options))

    return run_graph


@pytest.fixture
def heard() -> list[Any]:
    """A list to collect events in: `on_event=heard.append`."""
    return []


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One real server for all tests that need none of their own: each uses values of its own (`salt`)."""
    from .server.serving import Server

    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    assert server.stop() == 0, "".join(server.said)


@pytest.fixture
def salt() -> int:
    """A number that no other test has."""
    return next(_numbers)


@pytest.fixture
def chain(salt: int) -> dict[str, Any]:
    """Two steps and an output: 1 → 2 → 3."""
    return {
        "1": {"class_type": "SmallSum", "inputs": {"a": salt}},
        "2": {"class_type": "SmallSum", "inputs": {"a": ["1", 0], "b": 1}},
        "3": {"class_type": "SmallShow", "inputs": {"source": ["2", 0]}},
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _cuda_is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


def _cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()
