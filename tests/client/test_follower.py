"""A job is followed in order, whatever the server has on disk when it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from mezzotint.client.feed import Feed
from mezzotint.client.follower import Follower
from mezzotint.client.job import Job
from mezzotint.client.job_queries import JobQueries

from .test_event_reader import FRESH, GRAPH, state


class LateQueries(JobQueries):
    """A server that knows how far a job is before it has told of its beginning."""

    def __init__(self) -> None:
        pass

    async def job(self, job_id: str) -> Job:
        raw = {"progress": {"nodes": state("2", "running")}}
        return Job(job_id, "in_progress", workflow=GRAPH, client_id="me", raw=raw)

    async def is_durable(self) -> bool:
        return True

    async def events_after(self, job_id: str, sequence: int) -> AsyncIterator[Mapping[str, Any]]:
        for message in FRESH[: len(FRESH) if sequence else 0]:
            yield message


async def test_a_run_has_begun_before_its_steps_do_though_the_server_tells_late_of_its_beginning() -> None:
    feed = Feed()
    follower = Follower(LateQueries(), "me", "job", feed, is_whole=True, patience_s=1.0)
    events = follower.events()
    heard = []
    told = asyncio.create_task(anext(events))
    await asyncio.sleep(0)
    for message in FRESH:
        feed.put(message)
    heard.append(await told)
    heard += [event async for event in events]
    assert heard[0].kind == "run_started"
    assert heard[-1].kind == "run_finished"
