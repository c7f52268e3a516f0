"""`mezzotint run --server`: as if it ran here."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mezzotint.client import Client, Job

from ..server.serving import Server

if TYPE_CHECKING:
    from .conftest import Command, Outcome, Save

Graph = dict[str, Any]
TOYS = Path(__file__).with_name("toy_nodes.py")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("served"), "--plugin", str(TOYS))
    yield server
    assert server.stop() == 0, "".join(server.said)


@pytest.fixture
def there(plain_mezzotint: Command, server: Server) -> Command:
    """`there("run", ...)`: the command on the server."""

    def call(*words: object, stdin: bytes | None = None) -> Outcome:
        return plain_mezzotint(*words, "--server", server.url, stdin=stdin)

    return call


def jobs_of(server: Server) -> list[Job]:
    async def ask() -> list[Job]:
        async with Client(server.url) as client:
            return await client.jobs()

    return asyncio.run(ask())


def without_progress(text: str) -> list[str]:
    """What is said, without what depends on how quick each step was."""
    return [line for line in text.splitlines() if not line.startswith(("Done", "Sample:"))]


def test_it_looks_and_writes_as_a_local_run(
    there: Command, mezzotint: Command, save: Save, sampling: Graph, tmp_path: Path
) -> None:
    words = ("run", save(sampling), "--prompt", "a dog", "--seed", 7, "--set", "Sample.steps=2", "--count", 2)
    far = there(*words, "--output-dir", "far")
    near = mezzotint(*words, "--output-dir", "near")
    assert (far.code, near.code) == (0, 0), far.err
    assert [path.read_text() for path in far.files] == [path.read_text() for path in near.files]
    assert {path.parent for path in far.files} == {tmp_path / "far"}
    assert without_progress(far.err) == without_progress(near.err)


TIMED = ("step_started", "step_progressed")
"""What a server need not tell of steps that are quick."""

Told = set[tuple[str, str | None]]


def told(outcome: Outcome) -> tuple[Told, Told]:
    """Which events there were, of which node: what is always told, and what is told of slow steps alone."""
    events = {(event["event"], event.get("node_id")) for event in outcome.events}
    timed = {event for event in events if event[0] in TIMED}
    return events - timed, timed


def test_its_events_are_those_of_a_local_run(there: Command, mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["5"] = {"class_type": "Slow", "inputs": {"seconds": 0.2}}
    sampling["6"] = {"class_type": "Write", "inputs": {"text": ["5", 0]}}
    words = ("run", save(sampling), "--json", "--seed", 11, "--prompt", "new", "--negative", "as new")
    far, near = there(*words), mezzotint(*words)
    (always_far, timed_far), (always_near, timed_near) = told(far), told(near)
    assert always_far == always_near
    assert {(kind, "5") for kind in TIMED} <= timed_far <= timed_near
    assert far.events[-1]["status"] == near.events[-1]["status"] == "done"


def test_files_that_lie_here_are_sent(there: Command, save: Save, tmp_path: Path) -> None:
    graph = {
        "1": {"class_type": "Read", "inputs": {"name": "sub/note.txt"}},
        "2": {"class_type": "Write", "inputs": {"text": ["1", 0]}},
    }
    (tmp_path / "pictures" / "sub").mkdir(parents=True)
    (tmp_path / "pictures" / "sub" / "note.txt").write_text("from the input folder")
    assert there("run", save(graph), "--input-dir", "pictures").text == "from the input folder"
    other = tmp_path / "note.txt"
    other.write_text("from a path")
    assert there("run", save(graph), "--set", f"Read.name={other}").text == "from a path"


def test_a_failure_is_told_as_here(there: Command, mezzotint: Command, save: Save) -> None:
    graph = {
        "1": {"class_type": "Complain", "inputs": {}},
        "2": {"class_type": "Write", "inputs": {"text": ["1", 0]}},
    }
    far, near = (call("run", save(graph)) for call in (there, mezzotint))
    assert (far.code, near.code) == (1, 1)
    assert far.err.splitlines()[:2] == near.err.splitlines()[:2]
    assert "Error: Node 1 (Complain): that cannot be; use another number." in far.err


def test_an_invalid_workflow_is_told_as_here(there: Command, mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["3"]["inputs"]["steps"] = 1000
    far, near = (call("run", save(sampling)) for call in (there, mezzotint))
    assert (far.code, far.err) == (2, near.err)


def test_options_of_the_place_where_it_runs_are_refused(there: Command, save: Save, sampling: Graph) -> None:
    outcome = there("run", save(sampling), "--device", "cpu")
    assert outcome.code == 2
    assert "--device: a server has settings of its own" in outcome.err


def test_a_server_that_is_not_there_is_told(plain_mezzotint: Command, save: Save, sampling: Graph) -> None:
    outcome = plain_mezzotint("run", save(sampling), "--server", "127.0.0.1:9")
    assert outcome.code == 2
    assert outcome.err == (
        "Error: there is no server at http://127.0.0.1:9: nothing listens there; start one with 'mezzotint serve', or "
        "name another.\n"
    )


def test_ctrl_c_cancels_the_job(server: Server, save: Save, tmp_path: Path) -> None:
    graph = {"1": {"class_type": "Slow", "inputs": {}}, "2": {"class_type": "Write", "inputs": {"text": ["1", 0]}}}
    process = subprocess.Popen(
        [sys.executable, "-m", "mezzotint", "run", save(graph), "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env={**os.environ, "MEZZOTINT_SERVER": server.url, "MEZZOTINT_HOME": str(tmp_path / "home")},
        text=True,
    )
    assert process.stdout is not None
    while "step_progressed" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert '"status": "cancelled"' in out.splitlines()[-1]
    assert jobs_of(server)[0].status == "cancelled"
