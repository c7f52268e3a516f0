"""Jobs as the server tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JobStatus = Literal["pending", "in_progress", "completed", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Job:
    """A job, as it was when the server was asked.

    Attributes:
        status: "pending", "in_progress", "completed", "failed" or "cancelled".
        priority: its place in the queue; the lowest runs first.
        created, started, ended: seconds since the epoch, None for what has not happened.
        outputs: what each output node showed, by node id. workflow: the graph in API format; None in a list of jobs.
        steps_done, steps_total: how far it is; 0 unless it is in progress. failure: why it failed, or "".
        retry_of: the job that it repeats. raw: all that the server said.
    """

    id: str
    status: JobStatus
    priority: float = 0.0
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    workflow: dict[str, Any] | None = None
    client_id: str | None = None
    steps_done: int = 0
    steps_total: int = 0
    failure: str = ""
    retry_of: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Job:
        """A job of `/api/jobs`."""
        progress, workflow = found.get("progress") or {}, found.get("workflow") or {}
        return cls(
            id=str(found["id"]),
            status=found["status"],
            priority=found.get("priority") or 0.0,
            created=_seconds(found.get("create_time")),
            started=_seconds(found.get("execution_start_time")),
            ended=_seconds(found.get("execution_end_time")),
            outputs=found.get("outputs") or {},
            workflow=workflow.get("prompt"),
            client_id=(workflow.get("extra_data") or {}).get("client_id"),
            steps_done=progress.get("steps_done") or 0,
            steps_total=progress.get("steps_total") or 0,
            failure=failure_of(found.get("execution_error")),
            retry_of=found.get("retry_of"),
            raw=found,
        )

    @classmethod
    def from_history(cls, job_id: str, entry: Mapping[str, Any]) -> Job:
        """A job that has ended, of the older `/history`."""
        status = entry.get("status") or {}
        kinds = dict(status.get("messages") or ())
        word: JobStatus = "completed" if status.get("completed") else "failed"
        if "execution_interrupted" in kinds:
            word = "cancelled"
        times = [data["timestamp"] for data in kinds.values() if "timestamp" in data]
        return cls(
            **_of_item(entry["prompt"], job_id),
            status=word,
            started=_seconds(min(times, default=None)),
            ended=_seconds(max(times, default=None)),
            outputs=entry.get("outputs") or {},
            failure=failure_of(kinds.get("execution_error")),
            raw=entry,
        )

    @classmethod
    def from_queue(cls, item: list[Any], *, is_running: bool) -> Job:
        """A job that waits or runs, of the older `/queue`."""
        return cls(**_of_item(item, str(item[1])), status="in_progress" if is_running else "pending", raw={})


def _of_item(item: list[Any], job_id: str) -> dict[str, Any]:
    extra = item[3] if isinstance(item[3], dict) else {}
    return {
        "id": job_id,
        "priority": item[0],
        "workflow": item[2],
        "client_id": extra.get("client_id"),
        "created": _seconds(extra.get("create_time")),
    }


def _seconds(milliseconds: Any) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else None


def failure_of(error: Mapping[str, Any] | None) -> str:
    """An `execution_error` in a sentence."""
    if not error:
        return ""
    message = str(error.get("exception_message") or "").strip()
    node_id, node_type = error.get("node_id"), error.get("node_type")
    return f"Node {node_id} ({node_type}): {message}" if node_id else message


@dataclass(frozen=True, slots=True)
class QueueState:
    """Whether the queue is paused, and how many jobs wait and run."""

    is_paused: bool
    pending: int
    running: int

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> QueueState:
        return cls(bool(found["paused"]), int(found["pending"]), int(found["running"]))
