"""The parts that need no server: the outbox, the queue, the history, JSON."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest

from mezzotint.engine.validation import Validation
from mezzotint.engine.workflow import Workflow
from mezzotint.server.job import Job
from mezzotint.server.json_body import to_json
from mezzotint.server.outbox import BACKLOG, Outbox, OutboxFullError


def job(number: float, name: str) -> Job:
    return Job(number, name, Workflow(), Validation([], [], {}), {}, {})


async def taken(outbox: Outbox) -> list[Any]:
    outbox.close()
    payloads: list[Any] = []
    while (payload := await outbox.get()) is not None:
        payloads.append(payload)
    return payloads


async def test_an_outbox_gives_what_was_put_in_order() -> None:
    outbox = Outbox(max_nbytes=10_000)
    for number in range(10):
        outbox.put(str(number), topic="progress")
    assert await taken(outbox) == [str(number) for number in range(10)]


async def test_while_much_waits_a_later_payload_takes_the_place_of_one_of_its_topic() -> None:
    outbox = Outbox(max_nbytes=10_000)
    for number in range(1000):
        outbox.put(f"step {number}")
        outbox.put(f"progress {number}", topic="progress")
    payloads = await taken(outbox)
    assert [payload for payload in payloads if payload.startswith("step")] == [f"step {n}" for n in range(1000)]
    progress = [payload for payload in payloads if payload.startswith("progress")]
    assert len(progress) <= BACKLOG
    assert payloads[-1] == "progress 999"


async def test_an_outbox_holds_no_more_bytes_than_its_bound() -> None:
    outbox = Outbox(max_nbytes=100)
    outbox.put("x" * 60)
    with pytest.raises(OutboxFullError):
        outbox.put(b"y" * 60)


async def test_an_outbox_wakes_who_waits() -> None:
    outbox = Outbox(max_nbytes=10_000)
    waiting = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    outbox.put("late")
    assert await waiting == "late"


def test_json_is_standard_whatever_a_node_shows() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = 0
    for _ in range(5000):
        deep = [deep]
    for value in (math.nan, {"a": [-math.inf]}, {(1, 2): b""}, {1.5: object()}, circle, deep, {math.nan: 1}):
        json.loads(to_json(value), parse_constant=pytest.fail)


def test_a_job_knows_its_owner_and_hides_its_secrets() -> None:
    owned = Job(0, "a", Workflow(), Validation([], [], {}), {}, {"client_id": "me"}, {"api_key_comfy_org": "key"})
    assert owned.client_id == "me"
    assert "key" not in repr(owned)
    assert job(0, "a").client_id is None
