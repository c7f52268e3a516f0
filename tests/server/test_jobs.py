"""Jobs as people look at them and steer them, and their events: over HTTP and the websocket of a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import websockets

from .serving import Client, Server, labels, of_kind


def sleeping(salt: int, ticks: int = 3000) -> dict[str, Any]:
    return {
        "1": {"class_type": "SmallSleep", "inputs": {"ticks": ticks, "salt": str(salt)}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }


@asynccontextmanager
async def paused(client: Client) -> AsyncIterator[None]:
    await client.post("/api/queue/pause")
    try:
        yield
    finally:
        await client.post("/api/queue/resume")


async def status_of(client: Client, job_id: str) -> str:
    return str((await client.get(f"/api/jobs/{job_id}"))["status"])


async def waiting(client: Client) -> list[str]:
    return [item[1] for item in (await client.get("/queue"))["queue_pending"]]


async def test_one_request_tells_what_became_of_a_job(client: Client, chain: dict[str, Any], salt: int) -> None:
    async with client.session.get("/api/jobs/unknown") as response:
        assert (response.status, await response.json()) == (404, {"error": "Job not found"})
    running = await client.submit(sleeping(salt))
    await client.until("progress", node="1")
    detail = await client.get(f"/api/jobs/{running}")
    assert detail["status"] == "in_progress"
    assert (detail["progress"]["steps_done"], detail["progress"]["steps_total"]) == (0, 2)
    assert detail["progress"]["nodes"]["1"]["max"] == 3000
    async with paused(client):
        pending = await client.submit(chain)
        assert await status_of(client, pending) == "pending"
    done = await client.finished(pending)
    assert done["status"]["completed"] is True
    detail = await client.get(f"/api/jobs/{pending}")
    assert (detail["status"], detail["outputs"]) == ("completed", done["outputs"])
    assert detail["workflow"]["prompt"] == chain
    assert await client.post(f"/api/jobs/{running}/cancel") == (200, {"cancelled": True})
    await client.finished(running)
    assert await status_of(client, running) == "cancelled"
    assert await client.post(f"/api/jobs/{running}/cancel") == (200, {"cancelled": False})
    failing = {"1": {"class_type": "SmallFail", "inputs": {"source": {"__value__": salt}, "message": "too much"}}}
    failed = await client.submit(failing)
    await client.finished(failed)
    detail = await client.get(f"/api/jobs/{failed}")
    assert detail["status"] == "failed"
    assert detail["execution_error"]["exception_message"] == "too much\n"


async def test_of_many_jobs_that_come_at_once_no_more_begin_than_there_is_room_for(client: Client, salt: int) -> None:
    ids = await asyncio.gather(*(client.submit(sleeping(salt + number)) for number in range(5)))
    statuses = [await status_of(client, job_id) for job_id in ids]
    assert sorted(statuses) == ["in_progress"] * 2 + ["pending"] * 3
    assert sorted(await waiting(client)) == sorted(
        job_id for job_id, status in zip(ids, statuses, strict=True) if status == "pending"
    )
    assert (await client.post("/api/jobs/cancel", {"job_ids": ids}))[0] == 200
    for job_id, status in zip(ids, statuses, strict=True):
        if status == "in_progress":
            await client.finished(job_id)
        assert await status_of(client, job_id) == "cancelled"


async def test_a_refused_submission_takes_nobodys_room(client: Client, chain: dict[str, Any]) -> None:
    job_id, _ = await client.run(chain)
    for _ in range(3):
        async with client.session.post("/prompt", json={"prompt": chain, "prompt_id": job_id}) as response:
            assert (response.status, (await response.json())["error"]["type"]) == (400, "invalid_prompt_id")
    again, _ = await client.run(chain)
    assert await status_of(client, again) == "completed"


async def test_jobs_are_listed_by_status_and_in_parts(client: Client, chain: dict[str, Any], salt: int) -> None:
    workflow = {"extra_pnginfo": {"workflow": {"id": f"document {salt}"}}}
    ids = [(await client.run(chain, extra_data=workflow))[0] for _ in range(3)]
    path = f"/api/jobs?status=completed,failed&workflow_id=document%20{salt}"
    listed = await client.get(f"{path}&limit=2")
    assert [job["id"] for job in listed["jobs"]] == [ids[2], ids[1]]
    assert listed["pagination"] == {"offset": 0, "limit": 2, "total": 3, "has_more": True}
    rest = await client.get(f"{path}&limit=2&offset=2&sort_order=desc")
    assert [job["id"] for job in rest["jobs"]] == ids[:1]
    assert rest["pagination"]["has_more"] is False
    assert all(isinstance(job["create_time"], int) for job in listed["jobs"])
    assert len((await client.get(f"{path}&sort_by=execution_duration"))["jobs"]) == 3
    for wrong in ("status=done", "sort_by=name", "sort_order=up", "limit=-1", "offset=x"):
        async with client.session.get(f"/api/jobs?{wrong}") as response:
            assert response.status == 400
            assert isinstance((await response.json())["error"], str)


async def test_waiting_jobs_are_moved_and_given_priorities(client: Client, chain: dict[str, Any]) -> None:
    async with paused(client):
        first, second, third = [await client.submit(chain) for _ in range(3)]
        assert (await client.post(f"/api/jobs/{third}/move", {"to": "front"}))[0] == 200
        assert await waiting(client) == [third, first, second]
        assert (await client.post(f"/api/jobs/{third}/move", {"after": first}))[0] == 200
        assert await waiting(client) == [first, third, second]
        assert (await client.post(f"/api/jobs/{second}/move", {"before": third}))[0] == 200
        assert (await client.post(f"/api/jobs/{first}/move", {"to": "back"}))[0] == 200
        assert await waiting(client) == [second, third, first]
        async with client.session.patch(f"/api/jobs/{first}", json={"priority": -1e6}) as response:
            assert (await response.json())["priority"] == -1e6
        assert await waiting(client) == [first, second, third]
        assert (await client.post(f"/api/jobs/{first}/move", {"to": "side"}))[0] == 400
        assert (await client.post(f"/api/jobs/{first}/move", {"before": "unknown"}))[0] == 404
        assert (await client.post("/api/jobs/unknown/move", {"to": "front"}))[0] == 404
        assert await client.post("/api/jobs/cancel", {"job_ids": [second, "unknown", 7]}) == (
            200, {"cancelled": True, "job_ids": [second]},
        )  # fmt: skip
        assert (await client.post("/api/jobs/cancel", {"job_ids": first}))[0] == 400
    heard = await client.until("executing", node=None, prompt_id=third)
    assert [start["prompt_id"] for start in of_kind(heard, "execution_start")] == [first, third]
    await client.finished(first)  # the two run side by side
    status, body = await client.post(f"/api/jobs/{first}/move", {"to": "front"})
    assert (status, body) == (409, {"error": "The job does not wait: it is completed"})


async def test_a_job_that_ended_is_repeated_as_a_new_one(client: Client, chain: dict[str, Any], salt: int) -> None:
    running = await client.submit(sleeping(salt))
    assert (await client.post(f"/api/jobs/{running}/retry"))[0] == 409
    await client.post(f"/api/jobs/{running}/cancel")
    job_id = await client.submit(chain)
    await client.finished(job_id)
    status, body = await client.post(f"/api/jobs/{job_id}/retry")
    assert (status, body["node_errors"]) == (200, {})
    again = await client.finished(body["prompt_id"])
    assert again["outputs"] == (await client.finished(job_id))["outputs"]
    assert (await client.get(f"/api/jobs/{body['prompt_id']}"))["retry_of"] == job_id
    assert (await client.post("/api/jobs/unknown/retry"))[0] == 404


async def test_jobs_are_deleted_unless_they_run(client: Client, chain: dict[str, Any], salt: int) -> None:
    done, _ = await client.run(chain)
    running = await client.submit(sleeping(salt))
    await client.until("progress", node="1")
    async with paused(client):
        pending = await client.submit(chain)
        for job_id, expected in ((done, 204), (pending, 204), (running, 409), (done, 404)):
            async with client.session.delete(f"/api/jobs/{job_id}") as response:
                assert response.status == expected
        assert await waiting(client) == []
    assert await client.get(f"/history/{done}") == {}
    await client.post(f"/api/jobs/{running}/cancel")
    await client.finished(running)


async def test_a_paused_queue_lets_none_begin_and_what_runs_go_on(client: Client, salt: int) -> None:
    running = await client.submit(sleeping(salt, ticks=40))
    await client.until("progress", node="1")
    async with paused(client):
        waits = await client.submit(sleeping(salt + 10**6, ticks=1))
        await client.until("executing", node=None, prompt_id=running)
        assert await client.get("/api/queue/state") == {"paused": True, "pending": 1, "running": 0}
        assert await status_of(client, waits) == "pending"
    assert (await client.finished(waits))["status"]["completed"] is True


async def test_two_jobs_run_at_once_and_each_is_told_in_order(client: Client, server: Server, salt: int) -> None:
    async with Client.of(server, f"{client.sid}-other") as other:
        mine, theirs = await client.submit(sleeping(salt, 30)), await other.submit(sleeping(salt + 10**6, 30))
        await client.until("progress", node="1")
        assert (await client.get("/api/queue/state"))["running"] == 2
        for who, job_id in ((client, mine), (other, theirs)):
            heard = await who.until("executing", node=None, prompt_id=job_id)
            assert {frame["data"]["prompt_id"] for frame in heard if "prompt_id" in frame["data"]} == {job_id}
            told = [text for text in labels(heard) if not text.startswith(("ps", "progress", "status"))]
            assert told[-4:] == ["executing 2", "executed 2", "execution_success", "executing None"]
    assert (await client.get("/api/queue/state"))["running"] == 0


async def test_interrupting_without_an_id_stops_the_job_that_runs_longest(client: Client, salt: int) -> None:
    old, new = await client.submit(sleeping(salt)), await client.submit(sleeping(salt + 10**6))
    await client.until("executing", node="1", prompt_id=new)
    await client.post("/interrupt")
    await client.finished(old)
    assert (await status_of(client, old), await status_of(client, new)) == ("cancelled", "in_progress")
    await client.post("/interrupt", {"prompt_id": new})
    await client.finished(new)


def sequences(messages: list[Any]) -> list[int]:
    return [message["sequence"] for message in messages if isinstance(message, dict) and "sequence" in message]


async def test_what_is_told_of_a_job_is_numbered_and_can_be_asked_for(client: Client, chain: dict[str, Any]) -> None:
    job_id, heard = await client.run(chain)
    numbers = sequences(heard)
    assert numbers == sorted(set(numbers))
    numbered = [message for message in heard if "sequence" in message]
    kept = await client.get(f"/api/jobs/{job_id}/events")
    assert kept == {"events": [{**message} for message in numbered], "last": numbers[-1]}
    rest = await client.get(f"/api/jobs/{job_id}/events?after={numbers[1]}&limit=2")
    assert sequences(rest["events"]) == numbers[2:4]
    end = await client.get(f"/api/jobs/{job_id}/events?after={numbers[-1]}")
    assert end == {"events": [], "last": numbers[-1]}
    unnumbered = {message["type"] for message in heard if "sequence" not in message}
    assert unnumbered <= {"status", "progress_state", "progress"}


async def test_a_job_without_a_client_has_events_too(client: Client, server: Server, chain: dict[str, Any]) -> None:
    async with Client.of(server) as script:
        job_id = await script.submit(chain)
        await script.finished(job_id)
        kinds = [event["type"] for event in (await script.get(f"/api/jobs/{job_id}/events"))["events"]]
    assert (kinds[0], kinds[-2:]) == ("execution_start", ["execution_success", "executing"])


async def test_a_client_that_comes_back_is_told_what_it_missed_with_no_gap_and_nothing_twice(
    client: Client, server: Server, chain: dict[str, Any], salt: int
) -> None:
    _, heard = await client.run(chain)
    last = sequences(heard)[3]
    assert client.socket is not None
    await client.socket.close()
    job_id = await client.submit(sleeping(salt, 60))
    chain["2"]["inputs"]["b"] = 5
    quick = await client.submit(chain)
    await client.finished(quick)
    address = f"ws://{server.address}/ws?clientId={client.sid}&after={last}"
    async with websockets.connect(address, max_size=None) as socket:
        client.socket = socket
        again = await client.until("executing", node=None, prompt_id=job_id)
    assert again[0]["data"]["sid"] == client.sid
    before = (await client.get(f"/api/jobs/{heard[-1]['data']['prompt_id']}/events?after={last}"))["events"]
    others = [event for each in (job_id, quick) for event in (await client.get(f"/api/jobs/{each}/events"))["events"]]
    assert sequences(again) == sorted(sequences([*before, *others]))


async def test_a_wrong_number_to_go_on_after_is_refused(server: Server) -> None:
    async with Client.of(server) as client, client.session.get("/ws?after=soon") as response:
        assert response.status == 400


async def test_what_is_told_while_a_client_comes_back_is_told_once(client: Client, server: Server, salt: int) -> None:
    """It connects again and again while a job is told of, each time from the last number that it heard."""
    assert client.socket is not None
    await client.socket.close()
    prompt: dict[str, Any] = {"0": {"class_type": "SmallSum", "inputs": {"a": salt}}}
    for number in range(1, 40):
        prompt[str(number)] = {"class_type": "SmallSleep", "inputs": {"ticks": [str(number - 1), 0], "seconds": 0.0}}
    prompt["0"]["inputs"]["a"] = 3
    prompt["show"] = {"class_type": "SmallShow", "inputs": {"source": ["39", 0]}}
    for number in range(1, 40):
        prompt[str(number)]["inputs"]["salt"] = f"{salt} {number}"
    job_id = await client.submit(prompt)
    heard: list[int] = []
    is_over = False
    while not is_over:
        address = f"ws://{server.address}/ws?clientId={client.sid}&after={heard[-1] if heard else 0}"
        # With a queue of its own it would stop reading when that is full, and then wait for the end for ten seconds.
        async with websockets.connect(address, max_size=None, max_queue=None) as socket:
            client.socket = socket
            for _ in range(6):
                message = await client.next()
                heard += sequences([message])
                is_over = message["type"] == "executing" and message["data"] == {"node": None, "prompt_id": job_id}
                if is_over:
                    break
    kept = await client.get(f"/api/jobs/{job_id}/events")
    assert heard == sequences(kept["events"])
