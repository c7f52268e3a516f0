"""The command as a process: signals, pipes, and what it loads before it has to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Save

Graph = dict[str, Any]
COMMAND = [sys.executable, "-m", "mezzotint"]
ON_WINDOWS = sys.platform == "win32"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "MEZZOTINT_HOME": str(tmp_path / "home")}


class Process:
    """A `mezzotint run --json` under way."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [*COMMAND, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, kind: str) -> None:
        """Read events until one of this kind comes."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if json.loads(line)["event"] == kind:
                return
        raise AssertionError(f"no {kind}: {self._process.communicate()[1]}")

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self, seconds: float = 20) -> tuple[int, str, str]:
        out, err = self._process.communicate(timeout=seconds)
        return self._process.returncode, out, err

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def slow_run(save: Save, toys: Path, tmp_path: Path, environment: dict[str, str]) -> Iterator[Any]:
    running: list[Process] = []

    def start(node: str = "Slow") -> Process:
        graph = {"1": {"class_type": node}, "2": {"class_type": "Write", "inputs": {"text": ["1", 0]}}}
        words = ["run", save(graph), "--plugin", str(toys), "--json", "--cache-dir", "cache"]
        running.append(Process(words, tmp_path, environment))
        running[-1].wait_for("step_progressed")
        return running[-1]

    yield start
    for process in running:
        process.kill()


@pytest.mark.skipif(ON_WINDOWS, reason="there a process cannot be sent Ctrl-C alone")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_stops_at_once_and_leaves_nothing_half_written(
    slow_run: Any, tmp_path: Path, number: int
) -> None:
    process = slow_run()
    began = time.monotonic()
    process.send(number)
    code, out, err = process.end()
    assert code == 130
    assert time.monotonic() - began < 5
    assert json.loads(out.splitlines()[-1])["status"] == "cancelled"
    assert "Stopping" in err
    assert "Traceback" not in err
    written = [path for folder in ("home", "cache") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert [path.name for path in written] in ([], ["last-steps.json"])


@pytest.mark.skipif(ON_WINDOWS, reason="there a process cannot be sent Ctrl-C alone")
def test_a_second_interrupt_leaves_what_cannot_be_stopped(slow_run: Any) -> None:
    process = slow_run("Stuck")
    process.send(signal.SIGINT)
    time.sleep(0.5)
    began = time.monotonic()
    process.send(signal.SIGINT)
    code, _, _ = process.end()
    assert code == 130
    assert time.monotonic() - began < 5


def run(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_exit_codes_reach_the_shell(
    save: Save, sampling: Graph, toys: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = ["run", save(sampling), "--plugin", str(toys)]
    done = run(words, tmp_path, environment)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    done = run([*words, "--set", "3.steps=0"], tmp_path, environment)
    assert (done.returncode, done.stdout) == (2, "")
    done = run([*words, "--set", "4.filename_prefix=../x"], tmp_path, environment)
    assert (done.returncode, done.stdout) == (1, "")


def test_nobody_reading_the_output_is_no_error_to_tell_of(
    save: Save, toys: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    graph = {"1": {"class_type": "Slow"}, "2": {"class_type": "Tell", "inputs": {"value": ["1", 0]}}}
    process = subprocess.Popen(
        [*COMMAND, "run", save(graph), "--plugin", str(toys), "--json"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=20) == 1
    err = process.stderr.read()
    process.stderr.close()
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


@pytest.mark.parametrize("words", [["--help"], ["nodes"], ["models"], ["validate", "text_to_image"]])
def test_torch_is_not_loaded_where_it_is_not_needed(words: list[str], environment: dict[str, str]) -> None:
    script = (
        "import sys\nfrom mezzotint.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as left:\n    code = left.code\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'PIL', 'scipy', 'aiohttp'} & set(sys.modules)\n"
        "sys.exit(code or ', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_output_in_a_pipe_has_no_colours(tmp_path: Path, environment: dict[str, str]) -> None:
    done = run(
        ["nodes", "KSampler"], tmp_path, {key: value for key, value in environment.items() if key != "FORCE_COLOR"}
    )
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
