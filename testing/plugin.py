"""The pytest plugin: fixtures for those who test plugins of Mezzotint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .golden import UPDATE_OPTION, GoldenImages

if TYPE_CHECKING:
    from mezzotint.plugins.host import Host, WorkflowLike

    from .recorded_run import RecordedRun
    from .served import ServerUnderTest

FOLDER_VARIABLES = ("MEZZOTINT_MODELS", "MEZZOTINT_PLUGINS", "MEZZOTINT_BLOCK_PLUGINS")
"""What would bring a user's own models and plugins into a test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes golden pictures."""
    parser.getgroup("mezzotint").addoption(
        UPDATE_OPTION, action="store_true", help="Write golden pictures that are missing or differ, and pass."
    )


@pytest.fixture
def mezzotint_settings() -> dict[str, Any]:
    """`Settings` of the host, by name. Override it in a test file: `return {"plugins": (MyPlugin(),)}`."""
    return {}


@pytest.fixture
def mezzotint_host(
    mezzotint_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Host]:
    """An engine with all that is installed, and a home of its own below `tmp_path`."""
    from mezzotint.plugins.host import Host, Settings

    home = tmp_path / "mezzotint-home"
    monkeypatch.setenv("MEZZOTINT_HOME", str(home))
    for variable in FOLDER_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    with Host(Settings(**{"home": home, **mezzotint_settings})) as host:
        yield host


@pytest.fixture
def run_workflow(mezzotint_host: Host) -> Callable[..., RecordedRun]:
    """`run_workflow(graph, *targets, check=True)`: run it to its end; a `RunResult` that has its `events` too.

    A graph is anything that `mezzotint.run` takes. Targets are ids of nodes whose values are wanted; without any, the
    output nodes are run. Steps that fail raise `RunFailedError`, or with `check=False` are in the result.
    """
    from .recorded_run import record_run

    def run(graph: WorkflowLike, *targets: str, check: bool = True) -> RecordedRun:
        done = record_run(mezzotint_host, graph, targets or None)
        if check:
            done.raise_for_status()
        return done

    return run


@pytest.fixture
def mezzotint_server(mezzotint_host: Host) -> Iterator[ServerUnderTest]:
    """A real server on a free port: `url`, `address`, and the `host`. It stops when the test is over."""
    from .served import serving

    with serving(mezzotint_host) as server:
        yield server


@pytest.fixture
def tiny_model() -> str:
    """The name of a checkpoint that is always there, and draws in a second: the one in the package."""
    from mezzotint.nodes.models.embedded_model import EMBEDDED_CHECKPOINT

    return EMBEDDED_CHECKPOINT


@pytest.fixture
def text_to_image() -> dict[str, Any]:
    """A workflow in API format, the test's own to change: the tiny model, two steps, a picture of 64 × 64.

    1 CheckpointLoaderSimple, 2 and 3 CLIPTextEncode, 4 EmptyLatentImage, 5 KSampler, 6 VAEDecode, 7 SaveImage.
    """
    import json

    from mezzotint.workflows import bundled_workflows

    graph: dict[str, Any] = json.loads(bundled_workflows()["text_to_image"])
    graph["5"]["inputs"]["steps"] = 2
    return graph


@pytest.fixture
def golden_image(request: pytest.FixtureRequest) -> GoldenImages:
    """`golden_image(image, "name.png", tolerance=0.02)`: compare with a picture in `golden/` beside the test file."""
    return GoldenImages(request.path.parent / "golden", bool(request.config.getoption(UPDATE_OPTION)))
