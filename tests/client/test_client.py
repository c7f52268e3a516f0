"""The library against the real server."""

from __future__ import annotations

import asyncio
import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from mezzotint import GraphBuilder, MezzotintError
from mezzotint.client import (
    AccessDeniedError,
    Client,
    JobNotFoundError,
    RequestRefusedError,
    ServerError,
    ServerUnreachableError,
)
from mezzotint.engine.errors import InvalidWorkflowError, WorkflowError
from mezzotint.engine.event import Event, StepProgressed

from ..server.serving import Server
from .cut_line import CutLine

Graph = dict[str, Any]
UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def heard(client: Client, job_id: str) -> list[Event]:
    async with asyncio.timeout(20):
        return [event async for event in client.events(job_id)]


def left_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


async def test_a_job_is_submitted_followed_and_asked_for(client: Client, chain: Graph, salt: int) -> None:
    job_id = await client.submit(chain)
    events = await heard(client, job_id)
    assert kinds(events)[0] == "run_started"
    assert kinds(events)[-1] == "run_finished"
    assert kinds(events).count("step_finished") == 3
    job = await client.job(job_id)
    assert (job.status, job.outputs, job.has_ended) == ("completed", {"3": {"text": [str(salt + 1)]}}, True)
    assert job.workflow == chain
    assert job.ended is not None
    assert job.started is not None
    assert job.ended >= job.started >= 1e9


async def test_events_can_be_asked_for_when_all_is_over(client: Client, chain: Graph) -> None:
    job_id = await client.submit(chain)
    await heard(client, job_id)
    again = await heard(client, job_id)
    assert kinds(again)[0] == "run_started"
    assert kinds(again)[-1] == "run_finished"
    assert kinds(again).count("step_shown") == 1


async def test_two_follow_one_job(client: Client, slow: Graph) -> None:
    job_id = await client.submit(slow)
    one, other = await asyncio.gather(heard(client, job_id), heard(client, job_id))
    assert kinds(one)[-1] == kinds(other)[-1] == "run_finished"
    assert kinds(one).count("step_finished") == kinds(other).count("step_finished") == 2


async def test_a_job_of_another_client_is_followed(server: Server, client: Client, slow: Graph) -> None:
    job_id = await client.submit(slow)
    async with Client(server.url) as other:
        events = await heard(other, job_id)
    assert kinds(events)[-1] == "run_finished"
    assert kinds(events).count("step_shown") == 1


async def test_progress_and_previews_are_told(client: Client, salt: int) -> None:
    graph = {
        "1": {"class_type": "SmallPicture", "inputs": {"width": 64, "salt": str(salt)}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    told = [event.to_json() | {"preview": getattr(event, "preview", None)}
            for event in await heard(client, await client.submit(graph, previews=True))]  # fmt: skip
    pictures = [event["preview"] for event in told if event["preview"]]
    assert pictures
    from PIL import Image

    assert Image.open(io.BytesIO(pictures[0])).size == (64, 32)
    without = await heard(client, await client.submit({**graph, "1": _resized(graph["1"])}))
    assert not [event for event in without if getattr(event, "preview", None)]


async def test_what_a_node_says_of_itself_is_told(client: Client, salt: int) -> None:
    graph = {
        "1": {"class_type": "SmallSay", "inputs": {"texts": "one two three", "salt": str(salt)}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    told = await heard(client, await client.submit(graph))
    texts = [event.text for event in told if isinstance(event, StepProgressed) and event.text]
    assert [*dict.fromkeys(texts)] == ["one", "two", "three"]


def _resized(node: dict[str, Any]) -> dict[str, Any]:
    return {**node, "inputs": {**node["inputs"], "width": 32}}


async def test_every_form_of_a_workflow_is_taken(client: Client, chain: Graph, tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(chain))
    builder = GraphBuilder()
    builder.node("SmallShow", source=builder.node("SmallSum", a=1, b=2))
    ui = {
        "version": 0.4,
        "nodes": [
            {"id": 1, "type": "SmallSum", "mode": 0, "inputs": [], "widgets_values": [4, 5],
             "outputs": [{"name": "INT", "type": "INT", "links": [1]}]},
            {"id": 2, "type": "SmallShow", "mode": 0, "inputs": [{"name": "source", "type": "*", "link": 1}],
             "outputs": [], "widgets_values": []},
        ],
        "links": [[1, 1, 0, 2, 0, "*"]],
    }  # fmt: skip
    for form in (path, str(path), json.dumps(chain), builder, ui):
        job = await client.wait(await client.submit(form))
        assert job.status == "completed"
    assert job.outputs == {"2": {"text": ["9"]}}


async def test_what_is_no_workflow_is_told(client: Client, tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match="There is no file"):
        await client.submit(tmp_path / "nosuch.json")


async def test_an_invalid_workflow_has_the_problems_of_a_local_run(client: Client, chain: Graph) -> None:
    chain["4"] = {"class_type": "SmallNumber", "inputs": {"value": 2000}, "_meta": {"title": "Mine"}}
    chain["3"]["inputs"]["source"] = ["4", 0]
    with pytest.raises(InvalidWorkflowError) as raised:
        await client.submit(chain)
    assert str(raised.value) == (
        "Node 4 (SmallNumber “Mine”), input 'value': 2000 is not allowed; allowed is a whole number from 0 to 1000."
    )
    assert raised.value.problems[0].dependent_outputs == ("3",)


async def test_an_unknown_node_is_told(client: Client, chain: Graph) -> None:
    chain["1"]["class_type"] = "SmallSun"
    with pytest.raises(InvalidWorkflowError, match=r"^Node 1 \(SmallSun\): there is no node type.*did you mean"):
        await client.submit(chain)


async def test_a_partly_invalid_workflow_runs_only_if_that_is_wanted(
    client: Client, chain: Graph, caplog: pytest.LogCaptureFixture
) -> None:
    chain["4"] = {"class_type": "SmallNumber", "inputs": {"value": 2000}}
    chain["5"] = {"class_type": "SmallShow", "inputs": {"source": ["4", 0]}}
    with pytest.raises(InvalidWorkflowError, match="2000 is not allowed"):
        await client.submit(chain)
    job = await client.wait(await client.submit(chain, partial=True))
    assert [*job.outputs] == ["3"]
    assert "2000 is not allowed" in caplog.text


async def test_a_failing_job_tells_the_sentence_and_what_could_not_run(client: Client, chain: Graph) -> None:
    chain["4"] = {"class_type": "SmallFail", "inputs": {"source": ["2", 0], "message": "too bright"}}
    job_id = await client.submit(chain)
    result = await client.result(job_id)
    assert result.status == "failed"
    assert [failure.sentence for failure in result.failures] == ["Node 4 (SmallFail): ValueError: too bright"]
    assert "3" in result.outputs
    assert (await client.job(job_id)).failure == "Node 4 (SmallFail): too bright"


async def test_a_running_and_a_waiting_job_are_cancelled(client: Client, slow: Graph, chain: Graph) -> None:
    running = await client.submit(slow)
    events = client.events(running)
    while (await anext(events)).kind != "step_progressed":
        pass
    assert (await client.pause()).is_paused
    waiting = await client.submit(chain)
    waiting_events = asyncio.create_task(heard(client, waiting))
    await asyncio.sleep(0.05)
    assert await client.cancel(waiting)
    assert await client.cancel(running)
    assert not (await client.resume()).is_paused
    rest = [event async for event in events]
    assert rest[-1].to_json()["status"] == "cancelled"
    assert (await waiting_events)[-1].to_json()["status"] == "cancelled"
    assert not await client.cancel(running)
    with pytest.raises(JobNotFoundError):
        await client.cancel(UNKNOWN)


async def test_waiting_jobs_are_moved_given_priorities_and_deleted(client: Client, chain: Graph) -> None:
    await client.pause()
    try:
        first, second, third = [await client.submit(chain) for _ in range(3)]
        await client.move(third, "front")
        assert await _waiting(client) == [third, first, second]
        await client.move(third, after=first)
        assert await _waiting(client) == [first, third, second]
        await client.move(second, before=first)
        assert await _waiting(client) == [second, first, third]
        assert (await client.prioritise(second, 1e6)).priority == 1e6
        assert await _waiting(client) == [first, third, second]
        await client.delete(third)
        assert await _waiting(client) == [first, second]
        assert (await client.queue()).pending == 2
        with pytest.raises(MezzotintError, match="say one place"):
            await client.move(first)
        with pytest.raises(RequestRefusedError) as refused:
            await client.retry(first)
        assert refused.value.status == 409
    finally:
        await client.resume()
    assert (await client.wait(second)).status == "completed"
    again = await client.retry(second)
    job = await client.wait(again)
    assert (job.status, job.retry_of) == ("completed", second)
    assert [found.id for found in await client.jobs(["completed"], limit=1)] == [again]
    await client.delete(again)
    with pytest.raises(JobNotFoundError):
        await client.job(again)


async def _waiting(client: Client) -> list[str]:
    jobs = await client.jobs(["pending"])
    return [job.id for job in sorted(jobs, key=lambda job: job.priority)]


async def test_events_go_on_over_a_restart_of_the_server(tmp_path: Path, slow: Graph, salt: int) -> None:
    server, was_killed = Server(tmp_path), False
    slow["3"] = {"class_type": "SmallSum", "inputs": {"a": salt}}
    slow["4"] = {"class_type": "SmallShow", "inputs": {"source": ["3", 0]}}
    try:
        async with CutLine(server.address) as line, Client(line.url) as client:
            job_id = await client.submit(slow)
            events: list[Event] = []
            async with asyncio.timeout(40):
                async for event in client.events(job_id):
                    events.append(event)
                    if event.kind == "step_progressed" and not was_killed:
                        was_killed = True
                        await asyncio.to_thread(server.stop, signal.SIGKILL)
                        server = await asyncio.to_thread(Server, tmp_path)
                        line.target = server.address
            assert (await client.job(job_id)).status == "completed"
    finally:
        server.stop()
    assert kinds(events).count("run_finished") == 1
    assert kinds(events).count("run_started") == 2
    assert {event.to_json()["node_id"] for event in events if event.kind == "step_shown"} == {"2", "4"}


async def test_an_unknown_job_is_told(client: Client) -> None:
    for asked in (client.job(UNKNOWN), client.wait(UNKNOWN)):
        with pytest.raises(JobNotFoundError, match=f"the server has no job '{UNKNOWN}'"):
            await asked


async def test_a_server_that_is_not_there_is_told() -> None:
    async with Client("http://127.0.0.1:9", patience_s=1) as client:
        for asked in (client.object_info(), client.submit({"1": {"class_type": "A", "inputs": {}}})):
            with pytest.raises(ServerUnreachableError, match=r"http://127\.0\.0\.1:9"):
                await asked


@pytest.mark.parametrize("text", ["", "ftp://a", "http://", "a b:c:d", "http://user:secret@a"])
def test_an_address_that_is_none_is_told(text: str) -> None:
    with pytest.raises(MezzotintError, match=r"cannot be read; write it as in http://127\.0\.0\.1:8188"):
        Client(text)


def test_an_address_may_be_short() -> None:
    assert [str(Client(text).address) for text in ("localhost", "a:1", "http://a:1/", "https://a/b", "[::1]:5")] == [
        "http://localhost:8188", "http://a:1", "http://a:1", "https://a/b", "http://[::1]:5",
    ]  # fmt: skip


async def test_files_go_up_and_come_down(client: Client, tmp_path: Path, salt: int) -> None:
    content = f"{salt}".encode() * 1000
    up = await client.upload(content, f"{salt}.bin", subfolder="sub")
    assert up.value == f"sub/{salt}.bin"
    other = await client.upload(content + b"!", f"{salt}.bin", subfolder="sub")
    assert other.value == f"sub/{salt} (1).bin"
    entry = {"filename": f"{salt}.bin", "subfolder": "sub", "type": "input"}
    path = await client.download(entry, tmp_path)
    assert path == tmp_path / "sub" / f"{salt}.bin"
    assert path.read_bytes() == content
    assert await client.download(entry, tmp_path) == path
    path.write_bytes(b"mine")
    assert await client.download(entry, tmp_path) == tmp_path / "sub" / f"{salt} (1).bin"
    assert path.read_bytes() == b"mine"
    assert sorted(found.name for found in path.parent.iterdir()) == [f"{salt} (1).bin", f"{salt}.bin"]


async def test_a_mask_goes_into_the_alpha_of_its_picture(client: Client, tmp_path: Path, salt: int) -> None:
    from PIL import Image

    def png(picture: Image.Image) -> bytes:
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return stream.getvalue()

    await client.upload(png(Image.new("RGB", (4, 4), "red")), f"{salt}.png")
    mask = png(Image.new("RGBA", (4, 4), (0, 0, 0, 90)))
    original = {"filename": f"{salt}.png", "subfolder": "", "type": "input"}
    up = await client.upload(mask, f"{salt}-mask.png", mask_of=original)
    path = await client.download({"filename": up.name, "subfolder": up.subfolder, "type": up.folder_type}, tmp_path)
    assert Image.open(path).getpixel((0, 0)) == (255, 0, 0, 90)


@pytest.mark.parametrize(
    "entry",
    [
        {"filename": "../a.png"}, {"filename": "a.png", "subfolder": "../b"}, {"filename": "a.png", "subfolder": "/b"},
        {"filename": ""}, {"filename": "..\\a.png"}, {"filename": "C:a.png"}, {"filename": ".."},
    ],
)  # fmt: skip
async def test_a_server_cannot_name_a_file_outside_the_folder(client: Client, tmp_path: Path, entry: Graph) -> None:
    with pytest.raises(MezzotintError, match="would leave the folder"):
        await client.download(entry, tmp_path / "here")
    assert left_in(tmp_path) == []


async def test_a_link_in_the_folder_does_not_lead_out(client: Client, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "out").symlink_to(tmp_path)
    with pytest.raises(MezzotintError, match="would leave the folder"):
        await client.download({"filename": "a.png", "subfolder": "out"}, tmp_path / "here")


async def test_a_file_that_is_not_there_leaves_nothing(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ServerError):
        await client.download({"filename": "nosuch.png"}, tmp_path)
    assert left_in(tmp_path) == []


async def test_a_token_is_wanted(tmp_path: Path, chain: Graph) -> None:
    server = Server(tmp_path, "--token", "secret")
    try:
        for token, sentence in ((None, "wants a token"), ("wrong", "does not take this token")):
            async with Client(server.url, token) as client:
                for asked in (client.object_info(), client.submit(chain)):
                    with pytest.raises(AccessDeniedError, match=sentence):
                        await asked
        async with Client(server.url, "secret") as client:
            assert (await client.wait(await client.submit(chain))).status == "completed"
    finally:
        server.stop()


async def test_a_lost_answer_does_not_submit_twice(server: Server, chain: Graph) -> None:
    async with CutLine(server.address) as line, Client(line.url) as client:
        before = await _job_count(client)
        line.swallow_answer_to = b"POST /prompt"
        job = await client.wait(await client.submit(chain))
        assert job.status == "completed"
        assert line.swallowed == 1
        assert await _job_count(client) == before + 1


async def _job_count(client: Client) -> int:
    return len(await client.jobs(limit=None))


async def test_events_go_on_over_a_connection_that_breaks(server: Server, slow: Graph) -> None:
    async with CutLine(server.address) as line, Client(line.url) as client:
        events: list[Event] = []
        async for event in client.events(await client.submit(slow)):
            events.append(event)
            if event.kind == "step_progressed" and kinds(events).count("step_progressed") in (1, 20):
                line.cut()
    found = kinds(events)
    assert found[0] == "run_started"
    assert found[-1] == "run_finished"
    assert [found.count(kind) for kind in ("run_started", "step_started", "step_shown", "step_finished")] == [
        1,
        2,
        1,
        2,
    ]
    assert events[-1].to_json()["status"] == "done"


async def test_a_job_that_ends_while_the_line_is_cut_is_told(server: Server, chain: Graph, slow: Graph) -> None:
    async with CutLine(server.address) as line, Client(line.url) as client:
        job_id = await client.submit(slow)
        events = client.events(job_id)
        assert (await anext(events)).kind == "run_started"
        target, line.target = line.target, "127.0.0.1:9"
        line.cut()
        async with Client(server.url) as other:
            await other.wait(job_id)
        line.target = target
        rest = [event async for event in events]
    assert rest[-1].kind == "run_finished"
    assert rest[-1].to_json()["status"] == "done"
    assert kinds(rest).count("step_shown") == 1
