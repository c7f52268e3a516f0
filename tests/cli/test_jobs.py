"""`mezzotint jobs` against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ..server.serving import Server

if TYPE_CHECKING:
    from .conftest import Command, Outcome, Save


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("jobs"))
    yield server
    assert server.stop() == 0, "".join(server.said)


@pytest.fixture
def jobs(plain_mezzotint: Command, server: Server, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`jobs("cancel", ...)`."""
    monkeypatch.setenv("MEZZOTINT_SERVER", server.url)
    return lambda *words, stdin=None: plain_mezzotint("jobs", *words)


def listed(outcome: Outcome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(outcome.out)
    return found


def run(call: Command, save: Save, name: str, **inputs: Any) -> str:
    """Run one node on the server; returns the job's id."""
    graph = {
        "1": {"class_type": name, "inputs": inputs},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    call("run", save(graph), "--quiet")
    return str(listed(call("jobs", "--json", "--limit", 1))[0]["id"])


def test_jobs_are_listed_shown_repeated_followed_and_deleted(
    jobs: Command, plain_mezzotint: Command, save: Save
) -> None:
    job_id = run(plain_mezzotint, save, "SmallSum", a=31, b=1)
    table = jobs()
    assert job_id[:8] in table.out
    assert "completed" in table.out
    assert table.err == "0 running, 0 waiting.\n"
    shown = jobs("show", job_id[:8])
    assert job_id in shown.out
    assert "text: 32" in shown.out
    assert listed(jobs("--json", "--status", "failed")) == []
    again = jobs("retry", job_id).out.strip()
    assert again != job_id
    watched = jobs("watch", again)
    assert watched.code == 0
    assert "done after" in watched.err
    events = [json.loads(line) for line in jobs("watch", again, "--json").out.splitlines()]
    assert events[-1]["status"] == "done"
    assert jobs("delete", job_id, again).err.splitlines() == [f"{job_id[:8]} deleted", f"{again[:8]} deleted"]
    gone = jobs("show", job_id)
    assert (gone.code, gone.err) == (2, f"Error: the server has no job '{job_id}'.\n")


def test_waiting_jobs_are_moved_and_cancelled(jobs: Command, plain_mezzotint: Command, save: Save) -> None:
    job_id = run(plain_mezzotint, save, "SmallSum", a=41, b=1)
    assert jobs("pause").err == "Paused: 0 running, 0 waiting.\n"
    first, second = jobs("retry", job_id, job_id).out.split()
    assert jobs("move", second, "--before", first).code == 0
    assert [line.split()[0] for line in jobs("--status", "pending").out.splitlines()[1:]] == [second[:8], first[:8]]
    assert jobs("priority", second, 1000).code == 0
    assert [line.split()[0] for line in jobs("--status", "pending").out.splitlines()[1:]] == [first[:8], second[:8]]
    assert jobs("cancel", first).err == f"{first[:8]} cancelled\n"
    assert jobs("resume").err.endswith("waiting.\n")
    assert jobs("watch", second).code == 0
    assert jobs("watch", first).code == 130
    assert jobs("cancel", second).err == f"{second[:8]} had ended already\n"


def test_a_job_that_failed_says_why(jobs: Command, plain_mezzotint: Command, save: Save) -> None:
    graph = {"1": {"class_type": "SmallFail", "inputs": {"source": 1, "message": "too bright"}}}
    assert plain_mezzotint("run", save(graph)).code == 1
    (job,) = listed(jobs("--json", "--status", "failed"))
    assert "Node 1 (SmallFail): too bright" in jobs().out
    watched = jobs("watch", job["id"])
    assert watched.code == 1
    assert "Node 1 (SmallFail): ValueError: too bright" in watched.err


def test_mistakes_are_told(jobs: Command) -> None:
    assert "there is no job whose id begins with 'zz'" in jobs("show", "zz").err
    assert "say one place" in jobs("move", "zz").err
    assert "--status: 'done' is not allowed; allowed are pending" in jobs("--status", "done").err
