"""`mezzotint jobs`: looks at the jobs of a server and steers them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar, get_args

from rich.table import Table
from rich.text import Text

from mezzotint.client import Client, Job, QueueState
from mezzotint.client.job import JobStatus
from mezzotint.engine.registry import Registry

from .duration import clock
from .event_lines import EventLines
from .exit_code import DONE, FAILED, INTERRUPTED
from .progress import Progress
from .report import tell_failures
from .terminal import Terminal
from .usage import UsageError

DEFAULT_SERVER = "127.0.0.1:8188"
ID_LENGTH, SHORT_LENGTH = 36, 8
STYLES = {"in_progress": "cyan", "completed": "green", "failed": "red", "cancelled": "yellow"}
_ORDER: dict[str, int] = {"in_progress": 0, "pending": 1}
T = TypeVar("T")


class Jobs:
    """What one command does.

    Args:
        server: its address; this machine's own when None.
    """

    def __init__(self, server: str | None, token: str | None, *, as_json: bool = False) -> None:
        self._server, self._token, self._as_json = server or DEFAULT_SERVER, token, as_json
        self._terminal = Terminal()

    def list(self, statuses: Sequence[str], limit: int) -> int:
        """Show the jobs."""
        wanted = [_status(word) for word in statuses]

        async def ask(client: Client) -> tuple[QueueState, Sequence[Job]]:
            return await client.queue(), await client.jobs(wanted, limit=limit)

        state, found = self._ask(ask)
        if self._as_json:
            self._terminal.result(json.dumps([dict(job.raw) for job in found], indent=2))
            return DONE
        if found:
            self._terminal.show(job_table(found))
        self._tell(state)
        return DONE

    def show(self, prefix: str) -> int:
        """Show one job."""
        job = self._ask(lambda client: self._job(client, prefix))
        if self._as_json:
            self._terminal.result(json.dumps(dict(job.raw), indent=2))
            return DONE
        table = Table.grid(padding=(0, 2))
        for name, value in _facts(job):
            table.add_row(Text(name, style="dim"), value)
        self._terminal.show(table)
        return DONE

    def cancel(self, prefixes: Sequence[str]) -> int:
        """Stop or drop jobs."""

        async def act(client: Client, job: Job) -> str:
            return "cancelled" if await client.cancel(job.id) else "had ended already"

        return self._each(prefixes, act)

    def delete(self, prefixes: Sequence[str]) -> int:
        """Forget jobs."""

        async def act(client: Client, job: Job) -> str:
            await client.delete(job.id)
            return "deleted"

        return self._each(prefixes, act)

    def retry(self, prefixes: Sequence[str]) -> int:
        """Queue jobs again."""

        async def act(client: Client) -> Sequence[str]:
            return [await client.retry((await self._job(client, prefix)).id) for prefix in prefixes]

        for job_id in self._ask(act):
            self._terminal.result(job_id)
        return DONE

    def move(self, prefix: str, to: Literal["front", "back"] | None, before: str, after: str) -> int:
        """Give a job another place."""
        if sum(map(bool, (to, before, after))) != 1:
            raise UsageError("say one place: --to front, --to back, --before ID or --after ID")

        async def act(client: Client) -> None:
            other = (await self._job(client, before or after)).id if before or after else ""
            job = await self._job(client, prefix)
            await client.move(job.id, to, before=other if before else "", after=other if after else "")

        self._ask(act)
        return DONE

    def prioritise(self, prefix: str, number: float) -> int:
        """Give a job another priority."""

        async def act(client: Client) -> None:
            await client.prioritise((await self._job(client, prefix)).id, number)

        self._ask(act)
        return DONE

    def pause(self, is_paused: bool) -> int:
        """Pause or resume the queue."""
        self._tell(self._ask(lambda client: client.pause() if is_paused else client.resume()))
        return DONE

    def watch(self, prefix: str) -> int:
        """Follow a job to its end."""
        return self._ask(lambda client: self._watch(client, prefix))

    async def _watch(self, client: Client, prefix: str) -> int:
        job = await client.job((await self._job(client, prefix)).id)
        titles = {node_id: _title(node) for node_id, node in (job.workflow or {}).items()}
        if self._as_json:
            result = await client.result(job.id, EventLines(sys.stdout, lambda: None))
        else:
            with Progress(self._terminal.messages, titles) as progress:
                result = await client.result(job.id, progress)
            tell_failures(self._terminal, result, Registry(), with_traceback=False)
            self._terminal.say(f"{result.status} after {clock(result.seconds)}", style="dim")
        return {"done": DONE, "failed": FAILED, "cancelled": INTERRUPTED}[result.status]

    def _each(self, prefixes: Sequence[str], act: Callable[[Client, Job], Awaitable[str]]) -> int:
        async def work(client: Client) -> None:
            jobs = [await self._job(client, prefix) for prefix in prefixes]
            for job in jobs:
                self._terminal.say(f"{job.id[:SHORT_LENGTH]} {await act(client, job)}")

        self._ask(work)
        return DONE

    def _ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        async def work() -> T:
            async with Client(self._server, self._token) as client:
                return await question(client)

        return asyncio.run(work())

    async def _job(self, client: Client, prefix: str) -> Job:
        """The one job whose id begins so. Raises UsageError."""
        if len(prefix) == ID_LENGTH:
            return await client.job(prefix)
        found = [job for job in await client.jobs(limit=None) if prefix and job.id.startswith(prefix.lower())]
        if len(found) == 1:
            return await client.job(found[0].id)
        if not found:
            raise UsageError(f"there is no job whose id begins with '{prefix}'; 'mezzotint jobs' lists them")
        named = ", ".join(job.id for job in found[:SHORT_LENGTH])
        raise UsageError(f"'{prefix}' begins the ids of {len(found)} jobs, {named}; write more of the one you mean")

    def _tell(self, state: QueueState) -> None:
        paused = "Paused: " if state.is_paused else ""
        self._terminal.say(f"{paused}{state.running} running, {state.pending} waiting.", style="dim")


def job_table(jobs: Sequence[Job]) -> Table:
    """Jobs as a table: what runs, what waits in its order, what ended, the newest first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("ID", "STATUS", "PRIORITY", "AGE", "TOOK", ""):
        table.add_column(name, no_wrap=True, overflow="ellipsis", justify="right" if name in _NUMBERS else "left")
    length = _distinct_length([job.id for job in jobs])
    for job in sorted(jobs, key=lambda job: (_ORDER.get(job.status, 2), job.priority if not job.has_ended else 0)):
        age = clock(max(time.time() - job.created, 0)) if job.created else ""
        status = Text(job.status.replace("_", " "), style=STYLES.get(job.status, ""))
        table.add_row(job.id[:length], status, f"{job.priority:g}", age, _took(job), _note(job))
    return table


_NUMBERS = frozenset({"PRIORITY", "AGE", "TOOK"})


def _distinct_length(ids: Sequence[str]) -> int:
    """How much of the ids tells them apart."""
    return next((n for n in range(SHORT_LENGTH, ID_LENGTH) if len({i[:n] for i in ids}) == len(ids)), ID_LENGTH)


def _took(job: Job) -> str:
    if job.started is None:
        return ""
    return clock(max((job.ended or time.time()) - job.started, 0))


def _note(job: Job) -> Text:
    if job.failure:
        return Text(job.failure.split("\n")[0], style="red")
    if job.steps_total:
        return Text(f"step {job.steps_done} of {job.steps_total}")
    count = job.raw.get("outputs_count")
    return Text(f"{count} outputs" if count else "", style="dim")


def _facts(job: Job) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [("id", job.id), ("status", Text(job.status, style=STYLES.get(job.status, "")))]
    facts += [("priority", f"{job.priority:g}")]
    for name, when in (("submitted", job.created), ("started", job.started), ("ended", job.ended)):
        if when:
            facts.append((name, datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M:%S")))
    if job.started:
        facts.append(("took", _took(job)))
    if job.retry_of:
        facts.append(("retry of", job.retry_of))
    if job.failure:
        facts.append(("failed", Text(job.failure, style="red")))
    for node_id, shown in job.outputs.items():
        facts.append((f"node {node_id}", Text("; ".join(f"{name}: {_brief(items)}" for name, items in shown.items()))))
    return facts


def _brief(items: Any) -> str:
    listed = items if isinstance(items, list) else [items]
    names = [str(item.get("filename", item)) if isinstance(item, dict) else str(item) for item in listed]
    return ", ".join(names)[:200]


def _title(node: dict[str, Any]) -> str:
    return str((node.get("_meta") or {}).get("title") or node.get("class_type", ""))


def _status(word: str) -> JobStatus:
    allowed = get_args(JobStatus)
    if word not in allowed:
        raise UsageError(f"--status: '{word}' is not allowed; allowed are {', '.join(allowed)}")
    status: JobStatus = word  # type: ignore[assignment]
    return status
