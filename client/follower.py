"""Follows a job to its end, over broken connections and restarts of the server."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from mezzotint.engine.event import Event, RunStatus
from mezzotint.engine.workflow import Workflow

from .errors import ServerUnreachableError
from .event_reader import EventReader
from .feed import Feed
from .job import Job, JobStatus
from .job_queries import JobQueries
from .transport import backing_off

SILENCE_SECONDS, MAX_SILENCE_SECONDS = 5.0, 60.0
"""How long nothing may be heard of a job before the server is asked; each time twice as long."""
POLL_SECONDS = 0.5
"""How often the server is asked about a job whose messages go to another client."""
ENDS: dict[JobStatus, RunStatus] = {"completed": "done", "failed": "failed", "cancelled": "cancelled"}


class Follower:
    """Reads a job's past from the server, and what comes from a feed.

    Args:
        client_id: whose messages the feed gets. is_whole: the feed has heard all since before the job was submitted.
    """

    def __init__(
        self, queries: JobQueries, client_id: str, job_id: str, feed: Feed, *, is_whole: bool, patience_s: float
    ) -> None:
        self._queries, self._client_id, self._job_id, self._feed = queries, client_id, job_id, feed
        self._is_whole, self._patience_s = is_whole, patience_s

    async def events(self) -> AsyncGenerator[Event]:
        """The events of the job from its beginning to its end.

        Raises:
            JobNotFoundError: there is no such job, or it was deleted meanwhile. ServerError: the server is lost.
        """
        job: Job | None = await self._first()
        assert job is not None
        reader = EventReader(self._job_id, Workflow.from_api(job.workflow or {}))
        is_own = job.client_id == self._client_id
        silence = SILENCE_SECONDS if is_own else POLL_SECONDS
        if self._is_whole and self._feed.has_news:
            job = None  # what the feed holds tells more than the server keeps
        while not reader.is_done:
            if job is not None:
                async with aclosing(self._past(job, reader)) as past:
                    async for event in past:
                        yield event
            while not reader.is_done and (message := await self._feed.get(silence)) is not None:
                silence = SILENCE_SECONDS if is_own else POLL_SECONDS
                for event in reader.read(message, time.time()):
                    yield event
            if reader.is_done:
                return
            silence = min(silence * 2, MAX_SILENCE_SECONDS) if is_own else POLL_SECONDS
            job = await self._again()

    async def _first(self) -> Job:
        lost: ServerUnreachableError | None = None
        async for _ in backing_off(self._patience_s):
            try:
                return await self._queries.job(self._job_id)
            except ServerUnreachableError as error:
                lost = error
        raise lost or ServerUnreachableError("the server cannot be reached")

    async def _again(self) -> Job | None:
        """The job; None when the server cannot be reached: whether to give up is for the websocket to say."""
        try:
            return await self._queries.job(self._job_id)
        except ServerUnreachableError:
            return None

    async def _past(self, job: Job, reader: EventReader) -> AsyncGenerator[Event]:
        """What the server knows and was not read yet."""
        try:
            if not await self._queries.is_durable():
                entry = await self._queries.history(self._job_id)
                for event in reader.read_history(entry, time.time()) if entry else ():
                    yield event
                return
            async for message in self._queries.events_after(self._job_id, reader.last):
                for event in reader.read(message, time.time()):
                    yield event
        except ServerUnreachableError:
            return
        for event in self._from_job(job, reader):
            yield event

    def _from_job(self, job: Job, reader: EventReader) -> list[Event]:
        """What the job itself says beyond its messages. It was asked for before them, so none can be missing."""
        if job.has_ended:
            return reader.finish(ENDS[job.status], time.time())
        nodes = (job.raw.get("progress") or {}).get("nodes")
        if not nodes or not reader.has_begun:  # how far it is can be known before its beginning is on disk, and told
            return []
        data = {"prompt_id": self._job_id, "nodes": nodes}
        return reader.read({"type": "progress_state", "data": data}, time.time())
