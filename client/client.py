"""The client of one server."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal, Self

from mezzotint.engine.errors import InvalidWorkflowError, MezzotintError
from mezzotint.engine.event import Event, RunFinished, StepFailed, StepShown
from mezzotint.engine.event_stream import OnEvent
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.workflow import Workflow

from . import transfer
from .address import ServerAddress
from .document import Definitions, WorkflowLike, read_workflow
from .errors import RequestRefusedError, ServerError
from .feed import Feed
from .follower import Follower
from .job import Job, JobStatus, QueueState
from .job_queries import JobQueries, job_error
from .listener import Listener
from .submission import check_converted, post_prompt, request_body
from .transfer import UploadedFile
from .transport import Transport

EARLY_FEEDS = 256
"""Of how many jobs that nobody follows yet what is heard is kept: previews, say, which the server does not keep."""

log = logging.getLogger("mezzotint.client")


class Client:
    """Talks to one server. An async context manager; used on one event loop.

        async with Client("127.0.0.1:8188") as client:
            job_id = await client.submit("saved.json")
            async for event in client.events(job_id):
                print(event)

    Every method may raise a `ServerError`: nobody answers, the server wants a token, or it refuses what was asked.

    Args:
        url: where the server is: `127.0.0.1:8188`, a host alone, or an `https://` address.
        token: what the server was started with, if it asks for one.
        patience_s: how long to wait, in seconds, for a server that was there and is not any more.

    Attributes:
        client_id: what the server knows this client by.

    Raises:
        MezzotintError: the address cannot be read.
    """

    def __init__(self, url: str, token: str | None = None, *, patience_s: float = 300.0) -> None:
        self.address = ServerAddress.parse(url)
        self.client_id = uuid.uuid4().hex
        self._token, self._patience_s = token or None, patience_s
        self._definitions: Definitions | None = None
        self._early: OrderedDict[str, Feed] = OrderedDict()

    async def __aenter__(self) -> Self:
        self._transport = Transport(self.address, self._token)
        self._queries = JobQueries(self._transport)
        headers = self._transport.headers
        self._listener = Listener(self.address, headers, self.client_id, patience_s=self._patience_s)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.close()
        await self._transport.close()

    # running workflows

    async def submit(
        self,
        workflow: WorkflowLike,
        *,
        targets: Collection[str] | None = None,
        priority: float | None = None,
        front: bool = False,
        previews: bool = False,
        partial: bool = False,
        extra_data: Mapping[str, Any] | None = None,
    ) -> str:
        """Queue a workflow and return the job's id. It is queued once, however often the connection breaks.

        Args:
            workflow: a path, JSON text, a dict in API or UI format, a `Workflow` or a `GraphBuilder`.
            targets: ids of the output nodes to run; all when None.
            priority: the lowest runs first; behind what waits when None. front: before what waits.
            previews: ask for pictures while it samples; `events` has them in `StepProgressed`.
            partial: run what can run when some outputs cannot; what is wrong is logged as warnings.
            extra_data: what else the server is to know, in the wire's words.

        Raises:
            WorkflowError: it cannot be read. InvalidWorkflowError: it does not pass the server's validation.
        """
        document = await self.load(workflow)
        check_converted(document)
        extra = {"preview_method": "auto" if previews else "none", **(extra_data or {})}
        body = request_body(
            document, self.client_id, targets=targets, priority=priority, front=front, extra_data=extra
        )  # fmt: skip
        await self._listener.start()
        job_id = str(body["prompt_id"])
        self._keep_messages_of(job_id)
        problems = await post_prompt(self._transport, self._queries, body, document, self._patience_s)
        for problem in problems if partial else ():
            log.warning("%s", problem)
        if problems and not partial:
            await self.cancel(job_id)
            raise InvalidWorkflowError(problems)
        return job_id

    async def events(self, job_id: str) -> AsyncGenerator[Event]:
        """Everything that happens to a job, from its beginning to its `RunFinished`, as a local run tells it.

        Broken connections and restarts of the server are bridged: nothing is missed, nothing comes twice. Jobs of
        other clients can be followed too, though with progress only twice a second.

        Raises:
            JobNotFoundError: there is no such job.
        """
        await self._listener.start()
        early = self._early.pop(job_id, None)
        with self._listener.feed(job_id, early) as feed:
            follower = Follower(
                self._queries, self.client_id, job_id, feed, is_whole=early is not None, patience_s=self._patience_s
            )
            async with aclosing(follower.events()) as events:
                async for event in events:
                    yield event

    async def result(self, job_id: str, on_event: OnEvent | None = None) -> RunResult:
        """Wait for a job's end and say how it went, as `mezzotint.run` does, but without values."""
        result = RunResult(job_id)
        async with aclosing(self.events(job_id)) as events:
            async for event in events:
                _note(event, result)
                if on_event is not None:
                    on_event(event)
        return result

    async def wait(self, job_id: str) -> Job:
        """Wait for a job's end and return it, whatever became of it. Raises JobNotFoundError."""
        await self.result(job_id)
        return await self.job(job_id)

    async def load(self, source: WorkflowLike) -> Workflow:
        """Any form of a workflow, as one; an editor's document is converted by the server's definitions.

        Raises:
            WorkflowError: it is none.
        """
        return await read_workflow(source, self.object_info)

    # jobs

    async def job(self, job_id: str) -> Job:
        """A job as it is now. Raises JobNotFoundError."""
        return await self._queries.job(job_id)

    async def jobs(
        self,
        statuses: Iterable[JobStatus] = (),
        *,
        limit: int | None = 100,
        order: Literal["asc", "desc"] = "desc",
    ) -> list[Job]:
        """The jobs in one of these states, or in any; by when they were submitted, the newest first ("desc")."""
        return await self._queries.jobs(tuple(statuses), limit, order)

    async def cancel(self, job_id: str) -> bool:
        """Stop a job that runs, or drop one that waits. False when it had ended already. Raises JobNotFoundError."""
        if not await self._queries.is_durable():
            return await self._cancel_old(job_id)
        found = await self._steer("POST", job_id, "/cancel")
        self._listener.note_gap(job_id)
        return bool(found["cancelled"])

    async def _cancel_old(self, job_id: str) -> bool:
        job = await self.job(job_id)
        if job.status == "in_progress":
            await self.interrupt(job_id)
        elif job.status == "pending":
            await self._transport.ask("POST", "/queue", {"delete": [job_id]})
        return not job.has_ended

    async def retry(self, job_id: str) -> str:
        """Queue a job that has ended once more; returns the new job's id. Raises RequestRefusedError if it has not."""
        return str((await self._steer("POST", job_id, "/retry"))["prompt_id"])

    async def move(
        self, job_id: str, to: Literal["front", "back"] | None = None, *, before: str = "", after: str = ""
    ) -> float:
        """Move a job that waits, and return its new priority: `to="front"`, or before or after another's id."""
        named = {"to": to, "before": before, "after": after}
        body = {name: value for name, value in named.items() if value}
        if len(body) != 1:
            raise MezzotintError("say one place to move the job to: 'to', 'before' or 'after'")
        return float((await self._steer("POST", job_id, "/move", body))["number"])

    async def prioritise(self, job_id: str, priority: float) -> Job:
        """Give a job that waits another priority; the lowest runs first."""
        return Job.read(await self._steer("PATCH", job_id, "", {"priority": priority}))

    async def delete(self, job_id: str) -> None:
        """Forget a job that has ended, or drop one that waits; its files stay."""
        await self._steer("DELETE", job_id)

    async def _steer(self, method: str, job_id: str, action: str = "", body: Any = None) -> Any:
        await self._queries.need_jobs()
        try:
            return await self._transport.ask(method, f"/api/jobs/{job_id}{action}", body)
        except RequestRefusedError as refused:
            raise job_error(refused, job_id) from None

    # the queue and the server

    async def queue(self) -> QueueState:
        """Whether the queue is paused, and how many jobs wait and run."""
        return await self._queue_state("GET", "state")

    async def pause(self) -> QueueState:
        """Let the running job go on, and start no other, until `resume`."""
        return await self._queue_state("POST", "pause")

    async def resume(self) -> QueueState:
        """Start jobs again."""
        return await self._queue_state("POST", "resume")

    async def _queue_state(self, method: str, action: str) -> QueueState:
        await self._queries.need_jobs()
        return QueueState.read(await self._transport.ask(method, f"/api/queue/{action}"))

    async def interrupt(self, job_id: str | None = None) -> None:
        """Stop the running job; with an id, only if it is that one."""
        await self._transport.ask("POST", "/interrupt", {} if job_id is None else {"prompt_id": job_id})

    async def free(self, *, models: bool = True, values: bool = False) -> None:
        """Let the server let go of loaded models, or of models and kept values."""
        await self._transport.ask("POST", "/free", {"unload_models": models, "free_memory": values})

    async def object_info(self, *, refresh: bool = False) -> Definitions:
        """The definitions of the server's nodes, by type; fetched once, or again with `refresh`."""
        if self._definitions is None or refresh:
            found = await self._transport.ask("GET", "/object_info")
            if not isinstance(found, dict):
                raise ServerError(f"what answers at {self.address} is no such server: it does not list its nodes")
            self._definitions = found
        return self._definitions

    # files

    async def upload(
        self,
        file: str | Path | bytes,
        name: str = "",
        *,
        subfolder: str = "",
        folder_type: Literal["input", "output", "temp"] = "input",
        overwrite: bool = False,
        mask_of: Mapping[str, str] | None = None,
    ) -> UploadedFile:
        """Put a file into a folder of the server; its `value` is what an input such as LoadImage's takes.

        A file of that name with other content is kept, and the new one gets a number, unless `overwrite` says else.

        Args:
            file: a path, or the content. name: its name there; the path's when empty.
            mask_of: the file is a mask: its alpha is put into this picture of the server, a copy of which is saved.

        Raises:
            MezzotintError: the file cannot be read, or content has no name.
        """
        if not isinstance(file, bytes):
            name = name or Path(file).name
            file = await asyncio.to_thread(_content, Path(file))
        if not name:
            raise MezzotintError("give the name that the file is to have on the server")
        return await transfer.upload(
            self._transport,
            file,
            name,
            subfolder=subfolder,
            folder_type=folder_type,
            overwrite=overwrite,
            mask_of=mask_of,
        )

    async def download(self, file: Mapping[str, Any], folder: str | Path = ".") -> Path:
        """Fetch a file that an output node shows into a local folder, and return its path.

        It appears whole or not at all. Nothing is overwritten: a file of that name with the same content stands for
        it, else the new one gets a number.

        Args:
            file: an entry of a job's outputs, `{"filename": ..., "subfolder": ..., "type": ...}`.

        Raises:
            OutputError: the folder cannot be written, or the name would leave it.
        """
        return await transfer.download(self._transport, file, Path(folder))

    def _keep_messages_of(self, job_id: str) -> None:
        self._early[job_id] = self._listener.open(job_id)
        if len(self._early) > EARLY_FEEDS:
            self._listener.drop(*self._early.popitem(last=False))


def _note(event: Event, result: RunResult) -> None:
    if isinstance(event, StepShown):
        result.outputs[event.node_id] = event.shown
    elif isinstance(event, StepFailed):
        result.failures.append(event)
    elif isinstance(event, RunFinished):
        result.status, result.seconds, result.skipped = event.status, event.seconds, [*event.skipped]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MezzotintError(f"'{path}' cannot be read: {error.strerror or error}") from None
