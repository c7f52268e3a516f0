"""The fixtures, as pytest gives them to anybody beside Mezzotint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from mezzotint import Host
from mezzotint.client import Client
from mezzotint.testing.golden import GoldenImages
from mezzotint.testing.recorded_run import RecordedRun
from mezzotint.testing.served import ServerUnderTest, serving


@pytest.fixture
def plugins_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables as a user may have them; asked for before the host."""
    monkeypatch.setenv("MEZZOTINT_PLUGINS", str(tmp_path / "mine"))
    monkeypatch.setenv("MEZZOTINT_MODELS", str(tmp_path / "models"))


@pytest.mark.usefixtures("plugins_of_the_user")
def test_the_host_has_a_home_of_its_own(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    host: Host = request.getfixturevalue("mezzotint_host")
    assert host.folders.home == tmp_path / "mezzotint-home" == Path(os.environ["MEZZOTINT_HOME"])
    assert not {"MEZZOTINT_PLUGINS", "MEZZOTINT_MODELS"} & {*os.environ}


def test_the_workflow_is_valid_names_the_tiny_model_and_is_the_test_s_own(
    mezzotint_host: Host, text_to_image: dict[str, Any], tiny_model: str
) -> None:
    assert text_to_image["1"]["inputs"]["ckpt_name"] == tiny_model
    workflow = mezzotint_host.load(text_to_image)
    assert mezzotint_host.engine.validate(workflow).problems == []


def test_the_server_answers_and_knows_the_host_s_nodes(mezzotint_server: ServerUnderTest) -> None:
    with urlopen(f"{mezzotint_server.url}/object_info/KSampler") as answer:
        assert "KSampler" in json.load(answer)


async def test_a_client_s_job_runs_and_the_host_runs_workflows_before_and_after(
    run_workflow: Callable[..., RecordedRun], mezzotint_server: ServerUnderTest
) -> None:
    graph = {
        "1": {"class_type": "PrimitiveString", "inputs": {"value": "hello"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    first = run_workflow(graph)
    async with Client(mezzotint_server.url) as client:
        job_id = await client.submit(graph)
        kinds = [event.kind async for event in client.events(job_id)]
        assert kinds[-1] == "run_finished"
        assert (await client.job(job_id)).outputs == first.outputs
    assert run_workflow(graph).outputs == first.outputs


def test_the_server_is_gone_when_it_was_closed(mezzotint_host: Host) -> None:
    with serving(mezzotint_host) as server:
        pass
    with pytest.raises(URLError):
        urlopen(server.url)


def test_golden_pictures_lie_beside_the_test(golden_image: GoldenImages) -> None:
    assert golden_image.folder == Path(__file__).parent / "golden"
    assert not golden_image.is_updating


def test_pytest_loads_the_kit_by_itself_and_nothing_heavy_with_it(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(
        "import sys\n"
        "HEAVY = {'torch', 'numpy', 'PIL', 'aiohttp', 'pydantic', 'mezzotint.engine', 'mezzotint.plugins'}\n"
        "def test_light(request):\n"
        "    assert 'mezzotint.testing.plugin' in sys.modules\n"
        "    assert not HEAVY & {*sys.modules}\n"
        "def test_golden(golden_image):\n"
        "    import numpy\n"
        "    golden_image(numpy.zeros((2, 2, 3)), 'black.png')\n",
        encoding="utf-8",
    )
    code, said = pytest_in(tmp_path)
    assert code == 1, said
    assert "1 failed, 1 passed" in said
    assert pytest_in(tmp_path, "--update-golden")[0] == 0
    assert (tmp_path / "golden" / "black.png").is_file()


def pytest_in(folder: Path, *options: str) -> tuple[int, str]:
    """Run the tests in a folder in a process of its own, with the plugins that are installed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:hypothesispytest", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
