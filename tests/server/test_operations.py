"""What those see who run the server: health, metrics, logs, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from .serving import Client, Server
from .test_metrics import samples


def sleeping(ticks: int, salt: str = "") -> dict[str, Any]:
    """A prompt that takes a hundredth of a second a tick."""
    return {
        "1": {"class_type": "SmallSleep", "inputs": {"ticks": ticks, "salt": salt}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }


async def metrics(client: Client) -> dict[Any, float]:
    async with client.session.get("/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        return samples(await response.read())


async def test_the_metrics_follow_what_happens(client: Client, chain: dict[str, Any], salt: int) -> None:
    before = await metrics(client)
    await client.run(chain)
    await client.run(chain)
    failing = {"1": {"class_type": "SmallFail", "inputs": {"source": salt}}}
    await client.run(failing)
    after = await metrics(client)
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    assert grown["runs_total", (("status", "done"),)] == 2
    assert grown["runs_total", (("status", "failed"),)] == 1
    assert grown["step_failures_total", ()] == 1
    assert grown["steps_total", (("source", "ran"),)] == 3
    assert grown["steps_total", (("source", "memory"),)] >= 1
    assert grown["step_seconds_count", (("node_type", "SmallSum"),)] == 2
    assert grown["memory_cache_bytes", ()] > 0
    assert after["websocket_clients", ()] >= 1
    assert after["queue_jobs", (("state", "pending"),)] == 0
    assert after["process_resident_bytes", ()] > 10_000_000
    assert {name for name, _ in after} >= {"models_bytes", "queue_paused", "previews_dropped"}


async def test_told_to_end_it_finishes_what_runs_and_turns_new_jobs_away(tmp_path: Path) -> None:
    server = Server(tmp_path, "--grace", "20", "--log-format", "json", "--max-memory", "64G")
    async with Client.of(server, "me") as client:
        assert (await client.get("/health")) == {"status": "ok"}
        job_id = await client.submit(sleeping(100))
        await client.until("executing", node="1")
        server.process.send_signal(signal.SIGTERM)
        async with client.session.get("/health") as response:
            while response.status == 200:
                response = await client.session.get("/health")  # noqa: PLW2901
            assert (response.status, await response.json()) == (503, {"status": "stopping"})
        status, text = await client.post("/api/prompt", {"prompt": sleeping(1)})
        assert (status, "stopping" in text) == (503, True)
        await client.until("execution_success", prompt_id=job_id)
    assert await asyncio.to_thread(server.ended) == 0
    lines = [json.loads(line) for line in server.said]
    assert all({"timestamp", "level", "message"} <= line.keys() for line in lines)
    assert [line["message"].split()[0] for line in lines if line.get("job_id") == job_id] == ["began:", "done"]


async def test_requests_are_logged_for_who_wants_to_know_with_their_job_and_without_what_may_be_secret(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path, "--log-format", "json", "--log-level", "debug", "--token", "open-sesame")
    async with aiohttp.ClientSession(server.url) as session:
        body = {"prompt": sleeping(1)}
        async with session.post("/prompt?token=open-sesame", json=body) as response:
            job_id = (await response.json())["prompt_id"]
        assert (await session.get("/api/jobs/none?token=open-sesame")).status == 404
        assert (await session.get("/queue")).status == 401
    assert await asyncio.to_thread(server.stop) == 0
    requests = [line for line in map(json.loads, server.said) if line["logger"] == "mezzotint.requests"]
    said = [(line["message"].split(" in ")[0], line.get("job_id")) for line in requests]
    assert said == [("POST /prompt: 200", job_id), ("GET /api/jobs/none: 404", "none"), ("GET /queue: 401", None)]
    assert "open-sesame" not in "".join(server.said)


async def test_a_log_that_nobody_reads_holds_up_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path, "--log-level", "debug")
    async with Client.of(server) as client:
        for _ in range(1500):  # each a line: more than a pipe takes
            await client.get("/prompt")
        job_id = await client.submit(sleeping(1))
        assert (await client.finished(job_id))["status"]["completed"] is True
    assert await asyncio.to_thread(server.stop) == 0
    assert sum("GET /prompt: 200" in line for line in server.said) > 500


async def test_told_twice_it_leaves_at_once(tmp_path: Path) -> None:
    server = Server(tmp_path, "--grace", "60")
    async with Client.of(server, "me") as client:
        await client.submit(sleeping(5000))
        await client.until("executing", node="1")
        server.process.send_signal(signal.SIGINT)
        while (await client.session.get("/health")).status == 200:
            pass
        server.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(server.ended) == 130


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-memory", "lots"], "is no size"),
        (["--max-memory", "8"], "at least 512M"),
        (["--log-format", "x"], "json"),
    ],
)
def test_what_cannot_be_is_refused(options: list[str], said: str) -> None:
    from .test_process import refusal

    assert said in refusal("--port", "0", *options)
