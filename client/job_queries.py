"""Questions about jobs. Of a server without `/api/jobs`, its queue and history are asked instead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from .errors import JobNotFoundError, RequestRefusedError, ServerError
from .job import Job, JobStatus
from .transport import Transport

PAGE = 1000
"""How many jobs or events are asked for at once."""


class JobQueries:
    """Asks one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._is_durable: bool | None = None

    async def is_durable(self) -> bool:
        """Whether the server numbers and keeps events; asked once."""
        if self._is_durable is None:
            try:
                await self._transport.ask("GET", "/api/queue/state")
                self._is_durable = True
            except RequestRefusedError as refused:
                if refused.status not in (404, 405):
                    raise
                self._is_durable = False
        return self._is_durable

    async def job(self, job_id: str) -> Job:
        """A job as it is now. Raises JobNotFoundError."""
        if not await self.is_durable():
            return await self._old_job(job_id)
        try:
            return Job.read(await self._transport.ask("GET", f"/api/jobs/{job_id}"))
        except RequestRefusedError as refused:
            raise job_error(refused, job_id) from None

    async def is_known(self, job_id: str) -> bool:
        """Whether the server has the job."""
        try:
            await self.job(job_id)
        except JobNotFoundError:
            return False
        return True

    async def jobs(self, statuses: Iterable[JobStatus], limit: int | None, order: str) -> list[Job]:
        """The jobs in one of these states; see `Client.jobs`."""
        await self.need_jobs()
        found: list[Job] = []
        while limit is None or len(found) < limit:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            query: dict[str, str | int] = {"limit": size, "offset": len(found), "sort_order": order}
            if chosen := ",".join(statuses):
                query["status"] = chosen
            page = await self._transport.ask("GET", "/api/jobs", query=query)
            found += map(Job.read, page["jobs"])
            if not page["jobs"] or not page["pagination"]["has_more"]:
                break
        return found

    async def need_jobs(self) -> None:
        """Raises ServerError when the server knows no more than queue and history."""
        if not await self.is_durable():
            raise ServerError(
                f"the server at {self._transport.address} cannot list or steer single jobs; it has no /api/jobs"
            )

    async def events_after(self, job_id: str, sequence: int) -> AsyncIterator[Mapping[str, Any]]:
        """The messages of a job that are numbered higher. Raises JobNotFoundError."""
        while True:
            try:
                query = {"after": sequence, "limit": PAGE}
                page = await self._transport.ask("GET", f"/api/jobs/{job_id}/events", query=query)
            except RequestRefusedError as refused:
                raise job_error(refused, job_id) from None
            for event in page["events"]:
                sequence = event["sequence"]
                yield event
            if len(page["events"]) < PAGE:
                return

    async def history(self, job_id: str) -> Mapping[str, Any] | None:
        """What the history says of a job; None while it waits or runs. Raises JobNotFoundError."""
        for _ in range(2):  # it may move from the queue into the history between both questions
            found = await self._transport.ask("GET", f"/history/{job_id}")
            if found:
                entry: Mapping[str, Any] = found[job_id]
                return entry
            if await self._queued(job_id) is not None:
                return None
        raise JobNotFoundError(job_id)

    async def _old_job(self, job_id: str) -> Job:
        for _ in range(2):
            found = await self._transport.ask("GET", f"/history/{job_id}")
            if found:
                return Job.from_history(job_id, found[job_id])
            queued = await self._queued(job_id)
            if queued is not None:
                return queued
        raise JobNotFoundError(job_id)

    async def _queued(self, job_id: str) -> Job | None:
        queue = await self._transport.ask("GET", "/queue")
        for kind in ("queue_running", "queue_pending"):
            for item in queue[kind]:
                if item[1] == job_id:
                    return Job.from_queue(item, is_running=kind == "queue_running")
        return None


def job_error(refused: RequestRefusedError, job_id: str) -> RequestRefusedError:
    """The refusal of a request about one job; a 404 is one of its own."""
    return JobNotFoundError(job_id) if refused.status == 404 else refused
