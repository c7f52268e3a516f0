"""The process dies at any moment: no job is lost, none is done twice, and what it dies of is set aside."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from .serving import Client, Server

NODES = Path(__file__).with_name("crash_nodes.py")
JOBS, KILLS, COPIES = 40, 10, 2


def job(number: int, log: Path | None = None) -> dict[str, Any]:
    """Three steps, and two outputs that save two files each."""
    noted = {"log": str(log)} if log else {}
    step = {"class_type": "CrashStep", "inputs": {"salt": f"{number}a", "value": "start", **noted}}
    return {
        "1": step,
        "2": {"class_type": "CrashStep", "inputs": {"salt": f"{number}b", "value": ["1", 0], **noted}},
        "3": {"class_type": "CrashStep", "inputs": {"salt": f"{number}c", "value": ["2", 0], **noted}},
        "4": {"class_type": "CrashSave", "inputs": {"text": ["2", 0], "prefix": "half"}},
        "5": {"class_type": "CrashSave", "inputs": {"text": ["3", 0], "prefix": "whole"}},
    }


def contents(number: int) -> list[str]:
    return [f"start/{number}a/{number}b{rest} {copy}" for rest in ("", f"/{number}c") for copy in range(COPIES)]


def start(home: Path) -> Server:
    return Server(home, "--plugin", str(NODES), "--grace", "0")


def kill(server: Server) -> None:
    server.process.send_signal(signal.SIGKILL)
    server.ended()


async def test_40_jobs_are_done_once_each_though_the_process_is_killed_ten_times(tmp_path: Path) -> None:
    chance = random.Random(7)
    server = await asyncio.to_thread(start, tmp_path)
    async with Client.of(server) as client:
        await client.post("/api/queue/pause")
        ids = [await client.submit(job(number)) for number in range(JOBS)]
    kill(server)
    for number in range(KILLS):
        server = await asyncio.to_thread(start, tmp_path)
        async with Client.of(server) as client:
            if number == 0:
                waiting = await client.get("/queue")
                assert [item[1] for item in waiting["queue_pending"]] == ids
                await client.post("/api/queue/resume")
            await asyncio.sleep(chance.uniform(0.02, 0.3))
        kill(server)
    server = await asyncio.to_thread(start, tmp_path)
    async with Client.of(server) as client:
        entries = {job_id: await client.finished(job_id) for job_id in ids}
        history = await client.get("/history")
        assert (await client.get("/api/queue/state"))["running"] == 0
    server.stop()

    assert history.keys() == set(ids)
    assert all(entry["status"]["completed"] for entry in entries.values())
    saved = [path for path in (tmp_path / "output").iterdir() if path.name[0] != "."]
    expected = Counter(text for number in range(JOBS) for text in contents(number))
    assert Counter(path.read_text() for path in saved) == expected
    for number, job_id in enumerate(ids):
        shown = [file for node in ("4", "5") for file in entries[job_id]["outputs"][node]["files"]]
        assert [(tmp_path / "output" / file["filename"]).read_text() for file in shown] == contents(number)
    assert [path for path in (tmp_path / "output").iterdir() if path.name[0] == "."] == []


async def test_a_job_that_is_taken_up_again_repeats_no_step_whose_value_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    prompt = job(1, log)
    prompt["3"]["inputs"]["seconds"] = 60.0
    server = await asyncio.to_thread(start, tmp_path)
    async with Client.of(server, "me") as client:
        job_id = await client.submit(prompt)
        await client.until("executing", node="3", prompt_id=job_id)
        await client.until("executed", node="4", prompt_id=job_id)
        await asyncio.sleep(0.3)  # values go to disk a moment after the step
    kill(server)
    server = await asyncio.to_thread(start, tmp_path)
    async with Client.of(server, "me") as client:
        detail = await client.get(f"/api/jobs/{job_id}")
        for _ in range(100):
            if detail["status"] == "in_progress" and detail.get("progress", {}).get("steps_done") == 2:
                break
            await asyncio.sleep(0.05)
            detail = await client.get(f"/api/jobs/{job_id}")
        assert detail["progress"]["steps_done"] == 2, "2 from disk, 4 from the attempt before; 1 is not needed"
        assert await client.post(f"/api/jobs/{job_id}/cancel") == (200, {"cancelled": True})
    kill(server)  # its node sleeps, and stopping would wait for it
    assert log.read_text().split() == ["1a", "1b", "1c", "1c"]
    assert len([*(tmp_path / "output").glob("half*")]) == COPIES


async def test_a_job_that_the_process_dies_of_is_set_aside_and_the_rest_finish(tmp_path: Path) -> None:
    poison = {
        "1": {"class_type": "CrashStep", "inputs": {"salt": "p", "value": "start"}},
        "2": {"class_type": "CrashExit", "inputs": {"value": ["1", 0]}},
        "3": {"class_type": "CrashSave", "inputs": {"text": ["2", 0], "prefix": "never"}},
    }
    server = await asyncio.to_thread(start, tmp_path)
    async with Client.of(server) as client:
        await client.post("/api/queue/pause")
        ids = [await client.submit(job(number)) for number in range(3)]
        fatal = await client.submit(poison, number=-5)
        await client.post("/api/queue/resume")
    deaths = 0
    while await died(server, fatal):
        deaths += 1
        assert deaths < 6
        server = await asyncio.to_thread(start, tmp_path)
    async with Client.of(server) as client:
        for job_id in ids:
            assert (await client.finished(job_id))["status"]["completed"] is True
        detail = await client.get(f"/api/jobs/{fatal}")
        others = [await client.get(f"/api/jobs/{job_id}") for job_id in ids]
    server.stop()
    last_end = max(other["execution_end_time"] for other in others)
    assert last_end <= detail["execution_end_time"], "after the second death it went behind the others"
    assert deaths in (3, 4)  # a step may have finished in the first attempt after what was last written down
    assert detail["status"] == "failed"
    assert "step 2 (CrashExit)" in detail["execution_error"]["exception_message"]
    assert [path.read_text() for path in (tmp_path / "output").glob("whole*")] != []


def everything_in(folder: Path) -> str:
    return "".join(path.read_text("latin-1") for path in folder.rglob("*") if path.is_file())


async def died(server: Server, fatal: str) -> bool:
    """Whether the process ends by itself before the job that it dies of is set aside."""
    while server.process.poll() is None:
        with suppress(aiohttp.ClientError):
            async with Client.of(server) as client:
                if (await client.get(f"/api/jobs/{fatal}"))["status"] == "failed":
                    return False
        await asyncio.sleep(0.05)
    server.ended()
    return True


@pytest.mark.parametrize("wanted", ["cancel", "interrupt"])
async def test_what_was_cancelled_is_not_taken_up_again(tmp_path: Path, wanted: str) -> None:
    server = await asyncio.to_thread(start, tmp_path)
    stubborn = {"1": {"class_type": "SmallStubborn", "inputs": {"seconds": 30.0}}}
    async with Client.of(server, "me") as client:
        job_id = await client.submit(stubborn)
        await client.until("executing", node="1")
        if wanted == "cancel":
            assert await client.post(f"/api/jobs/{job_id}/cancel") == (200, {"cancelled": True})
        else:
            await client.post("/interrupt")
    kill(server)
    server = await asyncio.to_thread(start, tmp_path)
    async with Client.of(server) as client:
        assert (await client.get(f"/api/jobs/{job_id}"))["status"] == "cancelled"
        assert (await client.get(f"/history/{job_id}"))[job_id]["status"]["messages"][-1][0] == "execution_interrupted"
    server.stop()


async def test_a_secret_is_not_on_disk_and_its_job_fails_with_a_sentence_after_a_restart(tmp_path: Path) -> None:
    server = await asyncio.to_thread(start, tmp_path)
    async with Client.of(server) as client:
        await client.post("/api/queue/pause")
        job_id = await client.submit(job(1), extra_data={"api_key_comfy_org": "open-sesame"})
        other = await client.submit(job(2))
    kill(server)
    assert "open-sesame" not in everything_in(tmp_path)
    server = await asyncio.to_thread(start, tmp_path)
    async with Client.of(server) as client:
        await client.post("/api/queue/resume")
        entry = await client.finished(job_id)
        assert (await client.finished(other))["status"]["completed"] is True
    server.stop()
    assert "api_key_comfy_org" in entry["status"]["messages"][-1][1]["exception_message"]
    assert "submit the job again" in entry["status"]["messages"][-1][1]["exception_message"]
