"""`/queue`, `/history`, `/interrupt`, `/free` (wire protocol §1.2 to §1.4)."""

from __future__ import annotations

from typing import Any

from .serving import Client, labels


def stubborn(salt: int, seconds: float = 0.3) -> dict[str, Any]:
    return {"1": {"class_type": "SmallStubborn", "inputs": {"seconds": seconds + salt / 1e9}}}


async def test_the_history_tells_all_of_a_job(client: Client, chain: dict[str, Any]) -> None:
    extra = {"extra_pnginfo": {"workflow": {"nodes": []}}, "api_key_comfy_org": "secret", "mine": 1}
    job_id, _ = await client.run(chain, extra_data=extra, number=4)
    history = await client.get(f"/history/{job_id}")
    assert history.keys() == {job_id}
    entry = history[job_id]
    number, prompt_id, prompt, extra_data, outputs = entry["prompt"]
    assert (number, prompt_id, prompt, outputs) == (4, job_id, chain, ["3"])
    assert extra_data.pop("create_time") > 1_700_000_000_000
    assert extra_data == {"client_id": client.sid, "extra_pnginfo": {"workflow": {"nodes": []}}, "mine": 1}
    assert entry["outputs"] == {"3": {"text": [str(chain["1"]["inputs"]["a"] + 1)]}}
    assert entry["meta"] == {"3": {"node_id": "3", "display_node": "3", "parent_node": None, "real_node_id": "3"}}
    status = entry["status"]
    assert (status["status_str"], status["completed"]) == ("success", True)
    kinds = [kind for kind, _ in status["messages"]]
    assert kinds == ["execution_start", "execution_cached", "execution_success"]
    assert status["messages"][1][1] == {
        "nodes": [],
        "prompt_id": job_id,
        "timestamp": status["messages"][1][1]["timestamp"],
    }


async def test_a_failed_job_is_in_the_history_with_its_error(client: Client, salt: int) -> None:
    prompt = {"1": {"class_type": "SmallFail", "inputs": {"source": {"__value__": salt}}}}
    job_id, _ = await client.run(prompt)
    status = (await client.finished(job_id))["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    assert status["messages"][-1][0] == "execution_error"


async def test_outputs_are_there_when_the_end_is_heard(client: Client, chain: dict[str, Any]) -> None:
    job_id = await client.submit(chain)
    await client.until("execution_success", prompt_id=job_id)
    assert await client.get(f"/api/history/{job_id}") != {}


async def test_an_unknown_job_has_no_history(client: Client) -> None:
    assert await client.get("/history/unknown") == {}


async def test_a_part_of_the_history_is_the_newest_or_begins_where_asked(client: Client, chain: dict[str, Any]) -> None:
    await client.post("/history", {"clear": True})
    ids = [(await client.run(chain))[0] for _ in range(3)]
    assert [*await client.get("/history")] == ids
    assert [*await client.get("/history?max_items=2")] == ids[1:]
    assert [*await client.get("/history?max_items=1&offset=1")] == ids[1:2]
    assert [*await client.get("/history?offset=2")] == ids[2:]
    assert await client.get("/history?max_items=0") == {}
    assert [*await client.get(f"/history?max_items={10**30}&offset=-1")] == ids
    assert await client.get(f"/history?offset={10**30}") == {}
    assert await client.post("/history", {"delete": [ids[0], "unknown", 7]}) == (200, "")
    assert [*await client.get("/history")] == ids[1:]
    async with client.session.get("/history?max_items=many") as response:
        assert response.status == 400


async def test_waiting_jobs_are_dropped_by_id_or_all(client: Client, chain: dict[str, Any], salt: int) -> None:
    running = [await client.submit(stubborn(salt + index)) for index in range(2)]
    first, second = await client.submit(chain), await client.submit(chain)
    assert await client.get("/prompt") == {"exec_info": {"queue_remaining": 4}}
    assert await client.post("/queue", {"delete": [first, running[0], None]}) == (200, "")
    queue = await client.get("/queue")
    assert [item[1] for item in queue["queue_running"]] == running
    assert [item[1] for item in queue["queue_pending"]] == [second]
    assert await client.post("/queue", {"clear": True}) == (200, "")
    heard = [await client.until("executing", node=None) for _ in range(2)]
    told = [text for text in labels(heard[0] + heard[1]) if text.startswith("status")]
    assert told[-4:] == ["status 3", "status 2", "status 1", "status 0"]
    assert await client.get("/queue") == {"queue_running": [], "queue_pending": []}
    assert await client.get(f"/history/{second}") == {}
    assert (await client.get(f"/api/jobs/{second}"))["status"] == "cancelled"


async def test_what_is_to_be_deleted_must_be_a_list(client: Client) -> None:
    for path in ("/queue", "/history"):
        status, text = await client.post(path, {"delete": "all"})
        assert status == 400
        assert "list" in text


async def test_interrupting_when_nothing_runs_does_nothing(client: Client, chain: dict[str, Any]) -> None:
    assert await client.post("/interrupt") == (200, "")
    _, heard = await client.run(chain)
    assert "execution_success" in labels(heard)


async def test_free_lets_go_of_values_in_memory(client: Client, chain: dict[str, Any]) -> None:
    await client.run(chain)
    assert await client.post("/free", {"unload_models": True}) == (200, "")
    _, heard = await client.run(chain)
    assert "execution_cached 1 2 3" in labels(heard)
    assert await client.post("/free", {"free_memory": True}) == (200, "")
    _, heard = await client.run(chain)
    assert "executing 3" in labels(heard), "1 and 2 are on disk, where what output nodes showed is not"


async def test_what_json_cannot_hold_is_told_all_the_same(client: Client, salt: int) -> None:
    prompt = {"1": {"class_type": "SmallOdd", "inputs": {"salt": str(salt)}}}
    job_id, heard = await client.run(prompt)
    assert "execution_success" in labels(heard)
    values = (await client.finished(job_id))["outputs"]["1"]["values"]
    assert values[:2] == [None, None]
    assert [*values[2]] == ["(1, 2)"]
