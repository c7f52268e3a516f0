"""What a client hears of a job, and in what order (wire protocol §2.3)."""

from __future__ import annotations

from typing import Any

from .serving import Client, Server, labels, of_kind


async def test_a_fresh_job_is_told_step_by_step(client: Client, chain: dict[str, Any]) -> None:
    job_id, heard = await client.run(chain)
    assert labels(heard, leaving_out="ps") == [
        "status 1", "status 1", "execution_start", "execution_cached",
        "executing 1", "executing 2", "executing 3", "executed 3",
        "execution_success", "status 0", "executing None",
    ]  # fmt: skip
    (executed,) = of_kind(heard, "executed")
    text = str(chain["1"]["inputs"]["a"] + 1)
    assert executed == {"node": "3", "display_node": "3", "output": {"text": [text]}, "prompt_id": job_id}


async def test_progress_snapshots_come_before_the_step_and_complete_before_the_end(
    client: Client, chain: dict[str, Any]
) -> None:
    job_id, heard = await client.run(chain)
    told = labels(heard)
    assert told[4:6] == ["ps ~1", "executing 1"]
    assert told[-4:-2] == ["ps 1 2 3", "execution_success"]
    assert of_kind(heard, "progress_state")[-1]["nodes"]["2"] == {
        "value": 1, "max": 1, "state": "finished", "node_id": "2", "prompt_id": job_id,
        "display_node_id": "2", "parent_node_id": None, "real_node_id": "2",
    }  # fmt: skip


async def test_a_fully_cached_job_executes_nothing_and_repeats_what_was_shown(
    client: Client, chain: dict[str, Any]
) -> None:
    await client.run(chain)
    _, heard = await client.run(chain)
    assert labels(heard)[2:] == [
        "execution_start", "execution_cached 1 2 3", "executed 3", "ps 3",
        "execution_success", "status 0", "executing None",
    ]  # fmt: skip


async def test_a_partly_cached_job_executes_what_changed(client: Client, chain: dict[str, Any]) -> None:
    await client.run(chain)
    chain["2"]["inputs"]["b"] = 2
    _, heard = await client.run(chain)
    assert labels(heard, leaving_out="ps")[2:] == [
        "execution_start", "execution_cached 1", "executing 2", "executing 3", "executed 3",
        "execution_success", "status 0", "executing None",
    ]  # fmt: skip


async def test_a_cached_output_that_shows_nothing_is_told_with_null(client: Client, salt: int) -> None:
    prompt = {
        "1": {"class_type": "SmallSum", "inputs": {"a": salt}},
        "2": {"class_type": "SmallSilent", "inputs": {"source": ["1", 0]}},
    }
    _, heard = await client.run(prompt)
    assert of_kind(heard, "executed") == []
    _, heard = await client.run(prompt)
    assert [executed["output"] for executed in of_kind(heard, "executed")] == [None]


async def test_a_failure_is_told_when_the_other_branch_has_ended(
    client: Client, server: Server, chain: dict[str, Any]
) -> None:
    chain["4"] = {"class_type": "SmallFail", "inputs": {"source": ["1", 0], "message": "too much"}}
    job_id, heard = await client.run(chain)
    told = labels(heard, leaving_out="ps")
    assert told[-3:] == ["execution_error", "status 0", "executing None"]
    assert "executed 3" in told
    assert "execution_success" not in told
    (error,) = of_kind(heard, "execution_error")
    assert (error["node_id"], error["node_type"], error["prompt_id"]) == ("4", "SmallFail", job_id)
    assert (error["exception_type"], error["exception_message"]) == ("ValueError", "too much\n")
    assert error["current_inputs"] == {"source": [chain["1"]["inputs"]["a"]], "message": ["too much"]}
    assert sorted(error["executed"]) == sorted(error["current_outputs"]) == ["1", "2", "3"]
    assert "too much" in "".join(error["traceback"])
    assert isinstance(error["timestamp"], int)


async def test_an_interrupted_job_says_where(client: Client, salt: int) -> None:
    prompt = {
        "1": {"class_type": "SmallSleep", "inputs": {"ticks": 2000, "salt": str(salt)}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    job_id = await client.submit(prompt)
    await client.until("progress", node="1")
    assert await client.post("/interrupt", {"prompt_id": "another"}) == (200, "")
    await client.until("progress", node="1", value=10)
    assert await client.post("/interrupt", {"prompt_id": job_id}) == (200, "")
    heard = await client.until("executing", node=None)
    assert labels(heard)[-3:] == ["execution_interrupted", "status 0", "executing None"]
    (interrupted,) = of_kind(heard, "execution_interrupted")
    assert interrupted.pop("timestamp") > 0
    assert interrupted == {"prompt_id": job_id, "node_id": "1", "node_type": "SmallSleep", "executed": []}
    status = (await client.finished(job_id))["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    assert status["messages"][-1][0] == "execution_interrupted"


async def test_steps_inside_a_node_are_told_each(client: Client, salt: int) -> None:
    prompt = {
        "1": {"class_type": "SmallSleep", "inputs": {"ticks": 3, "salt": str(salt)}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    job_id, heard = await client.run(prompt)
    assert of_kind(heard, "progress") == [
        {"value": value, "max": 3, "prompt_id": job_id, "node": "1"} for value in (1, 2, 3)
    ]


async def test_snapshots_are_ten_a_second_at_most(client: Client, salt: int) -> None:
    prompt = {
        "1": {"class_type": "SmallSleep", "inputs": {"ticks": 60, "seconds": 0.005, "salt": str(salt)}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    _, heard = await client.run(prompt)
    assert len(of_kind(heard, "progress")) == 60
    assert 2 <= len(of_kind(heard, "progress_state")) <= 12


async def test_a_node_that_expands_names_itself_as_the_place_of_its_steps(client: Client, salt: int) -> None:
    prompt = {
        "1": {"class_type": "SmallExpand", "inputs": {"value": salt}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    _, heard = await client.run(prompt)
    inner = {"node": "1.0.0.1", "display_node": "1"}
    assert any(inner.items() <= executing.items() for executing in of_kind(heard, "executing"))
    last = of_kind(heard, "progress_state")[-1]["nodes"]
    assert last["1.0.0.2"]["parent_node_id"] == last["1.0.0.2"]["real_node_id"] == "1"
    assert of_kind(heard, "executed")[0]["output"] == {"text": [str(salt + 2)]}


async def test_a_blocked_branch_is_told_without_failing_the_job(client: Client, salt: int) -> None:
    prompt = {
        "1": {"class_type": "SmallBlock", "inputs": {"message": f"closed {salt}"}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    job_id, heard = await client.run(prompt)
    told = labels(heard, leaving_out="ps")
    assert told.index("executing 2") < told.index("execution_error") < told.index("execution_success")
    assert "executed 2" not in told
    (error,) = of_kind(heard, "execution_error")
    assert error["exception_type"] == "ExecutionBlocked"
    assert "timestamp" not in error
    kinds = [kind for kind, _ in (await client.finished(job_id))["status"]["messages"]]
    assert kinds == ["execution_start", "execution_cached", "execution_success"]


async def test_other_clients_hear_of_the_queue_only(client: Client, server: Server, chain: dict[str, Any]) -> None:
    async with Client.of(server, f"{client.sid}-other") as other:
        await client.run(chain)
        heard = await other.until("status", status={"exec_info": {"queue_remaining": 0}})
        heard += await other.until("status", status={"exec_info": {"queue_remaining": 0}})
        assert labels(heard) == ["status 0", "status 1", "status 1", "status 0"]


async def test_a_job_without_a_client_tells_everybody_its_progress_only(
    client: Client, server: Server, chain: dict[str, Any]
) -> None:
    async with Client.of(server) as script:
        job_id = await script.submit(chain)
        await script.finished(job_id)
    heard = await client.until("status", status={"exec_info": {"queue_remaining": 0}})
    assert {text.split()[0] for text in labels(heard)} == {"status", "ps"}


async def test_whoever_connects_again_with_an_id_takes_the_place_of_the_one_before(
    client: Client, server: Server, salt: int
) -> None:
    prompt = {
        "1": {"class_type": "SmallSleep", "inputs": {"ticks": 2000, "salt": str(salt)}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    await client.submit(prompt)
    await client.until("progress", node="1")
    async with Client.of(server, client.sid) as again:
        assert labels([await again.next(), await again.next()]) == ["status 1", "executing 1"]
        await again.post("/interrupt")
        heard = await again.until("executing", node=None)
    assert "execution_interrupted" in labels(heard)
    assert client.socket is not None
    assert client.socket.close_code is None


async def test_previews_take_the_form_that_the_client_asked_for(client: Client, server: Server, salt: int) -> None:
    prompt = {
        "1": {"class_type": "SmallPicture", "inputs": {"width": 1024, "salt": str(salt)}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    asked = {"preview_method": "auto"}
    _, heard = await client.run(prompt, extra_data=asked)
    assert "binary 1" in labels(heard)
    assert client.socket is not None
    await client.socket.send('{"type":"feature_flags","data":{"supports_preview_metadata":true}}')
    flags = await client.until("feature_flags")
    assert flags[-1]["data"] == await client.get("/features")
    prompt["1"]["inputs"]["salt"] += "again"
    job_id, heard = await client.run(prompt, extra_data=asked)
    told = labels(heard)
    assert told.index("binary 4") < told.index("progress 1")
    (frame,) = [message for message in heard if isinstance(message, bytes)]
    assert_is_preview(frame, job_id)


def assert_is_preview(frame: bytes, job_id: str) -> None:
    import io
    import json

    from PIL import Image

    length = int.from_bytes(frame[4:8], "big")
    metadata = json.loads(frame[8 : 8 + length])
    assert (metadata["node_id"], metadata["prompt_id"]) == ("1", job_id)
    assert metadata["image_type"] == "image/jpeg"
    with Image.open(io.BytesIO(frame[8 + length :])) as picture:
        assert (picture.format, picture.size) == ("JPEG", (512, 256))


async def test_jobs_run_in_the_order_of_their_numbers(client: Client, salt: int) -> None:
    def job(name: str) -> dict[str, Any]:
        return {"1": {"class_type": "SmallShow", "inputs": {"source": {"__value__": f"{name} {salt}"}}}}

    await client.post("/api/queue/pause")
    late = await client.submit(job("late"), number=1e9)
    early = await client.submit(job("early"), number=-1e9)
    front = await client.submit(job("front"), front=True)
    queue = await client.get("/queue")
    assert {item[1] for item in queue["queue_pending"]} == {late, early, front}
    await client.post("/api/queue/resume")
    heard = await client.until("executing", node=None, prompt_id=late)
    assert [start["prompt_id"] for start in of_kind(heard, "execution_start")] == [early, front, late]
