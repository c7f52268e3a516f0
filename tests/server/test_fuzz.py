"""Whatever is asked, the server answers, never with a 500, and goes on to do what it is asked properly.

The routes are those of the server's own router, so that new ones are asked too. `MEZZOTINT_FUZZ=20000` asks so many
times, and each time anew.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.client import BadStatusLine, HTTPException
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .fuzzing import PATIENCE_S, Fuzzed, frames, fuzzed_server, requests

_WANTED = os.environ.get("MEZZOTINT_FUZZ")
_QUIETLY = settings(
    deadline=None,
    database=None,
    derandomize=_WANTED is None,
    max_examples=int(_WANTED or 300),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    phases=[Phase.generate],  # to shrink a hang would take minutes
    print_blob=False,
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    home = tmp_path_factory.mktemp("fuzz")
    for name in ("input", "output", "temp"):
        (home / name).mkdir()
        (home / name / "a.png").write_bytes(b"no picture")
    with fuzzed_server(home) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_complaints(fuzzed: Fuzzed) -> Iterator[None]:
    fuzzed.complaints.clear()
    yield
    assert fuzzed.complaints == []


def works(server: Fuzzed) -> None:
    """A correct prompt runs to its end."""
    if any(route.path.endswith("/queue/resume") for route in server.routes):
        server.ask_json("POST", "/api/queue/resume")
    server.ask_json("POST", "/queue", {"clear": True})
    server.ask_json("POST", "/interrupt")
    prompt = {
        "1": {"class_type": "SmallSum", "inputs": {"a": time.time_ns()}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    job_id = server.ask_json("POST", "/prompt", {"prompt": prompt})["prompt_id"]
    assert _history(server, job_id)["status"]["status_str"] == "success"


def _history(server: Fuzzed, job_id: str) -> Any:
    for _ in range(int(PATIENCE_S / 0.02)):
        found = server.ask_json("GET", f"/history/{job_id}")
        if found:
            return found[job_id]
        time.sleep(0.02)
    raise AssertionError("a correct prompt never ended")


@pytest.mark.timeout(0 if _WANTED else 120)
def test_no_request_is_answered_with_500_or_not_at_all(fuzzed: Fuzzed) -> None:
    assert len(fuzzed.routes) > 30
    answers: Counter[int] = Counter()

    @_QUIETLY
    @given(requests(fuzzed.routes))
    def ask(request: bytes) -> None:
        try:
            status, body = fuzzed.ask(request)
        except (BadStatusLine, ConnectionError):  # no HTTP: closed without a word
            status, body = 0, b""
        except HTTPException as error:
            pytest.fail(f"half an answer: {error}")
        answers[status] += 1
        assert status < 500 or status == 503, body
        assert fuzzed.complaints == []

    ask()
    assert answers[200] > answers.total() / 10, "hardly anything gets through to the handlers"
    works(fuzzed)


@pytest.mark.timeout(0 if _WANTED else 120)
def test_no_frame_hurts_anybody_but_its_own_socket(fuzzed: Fuzzed) -> None:
    with fuzzed.listen("bystander") as bystander:

        @settings(_QUIETLY, max_examples=int(_WANTED or 100))
        @given(st.lists(frames(), min_size=1, max_size=4), st.integers(0, 300))
        def send(sent: list[bytes], torn: int) -> None:
            with fuzzed.listen("hostile") as connection, suppress(ConnectionError):
                payload = b"".join(sent)
                connection.sendall(payload if torn > len(payload) else payload[:-torn] if torn else payload)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
            assert fuzzed.complaints == []

        send()
        works(fuzzed)
        heard = b""
        while heard.count(b'"type":"status"') < 2:  # the first, and that of the prompt
            heard += bystander.recv(1 << 16)
    assert fuzzed.complaints == []
