"""Turns the engine's events of one job into what clients are sent, and keeps what the history will say.

Pure: events in, frames out, in the orders of wire protocol §2.3. Where the engine goes on after a failure, in the
branches that do not depend on it, the errors are told when those have ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from mezzotint.engine import event as events
from mezzotint.engine.encoded_picture import EncodedPicture
from mezzotint.engine.errors import CircleError, OutOfMemoryError, UnknownNodeError
from mezzotint.engine.event import Event, StepEvent
from mezzotint.engine.failure import qualified_name

from .frame import AnyFrame, Frame, Preview, PreviewPicture
from .job import Job, JobStatus
from .job_record import Progress
from .job_store import Ending
from .progress_board import SNAPSHOT_SECONDS, ProgressBoard, place

INTERRUPTED = "execution_interrupted"
WIRE_TYPES: dict[type[BaseException], str] = {
    CircleError: "graph.DependencyCycleError",
    UnknownNodeError: "KeyError",
}
"""Errors that clients know by other names than their classes'."""
BLOCKED, NOT_RUN = "ExecutionBlocked", "JobError"
"""What is told of a value that blocks with a message, and of a job that cannot run any more."""


class JobReport:
    """What is known of a job that runs.

    Attributes:
        outputs: what nodes showed, by id. meta: where they stand in the workflow, by id.
        current_id: the step that began last of those under way, or None.
    """

    def __init__(self, job: Job) -> None:
        self.outputs: dict[str, dict[str, Any]] = {}
        self.meta: dict[str, dict[str, Any]] = {}
        self._job = job
        self._board = ProgressBoard(job.job_id)
        self._targets = frozenset(job.validation.outputs)
        self._messages: list[list[Any]] = []
        self._running: dict[str, StepEvent] = {}
        self._started: set[str] = set()
        self._executed: list[str] = []
        self._reused: tuple[str, ...] = ()
        self._failures: list[events.StepFailed] = []
        self._is_done = False
        self._step_count = self._done_count = 0
        self._finished: dict[str, Any] = {}

    @property
    def current_id(self) -> str | None:
        return next(reversed(self._running), None)

    @property
    def progress(self) -> dict[str, Any]:
        """How far the job is, for who asks."""
        return {"steps_done": self._done_count, "steps_total": self._step_count, "nodes": self._board.nodes}

    @property
    def is_interrupted(self) -> bool:
        """Whether it ended because it was stopped."""
        return bool(self._messages) and self._messages[-1][0] == INTERRUPTED

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether a step failed because something did not fit."""
        return any(isinstance(failure.error, OutOfMemoryError) for failure in self._failures)

    @property
    def is_behind(self) -> bool:
        """Whether something is held back that `catch_up` would tell."""
        return self._board.is_stale

    @property
    def pause(self) -> float:
        """Seconds after which `catch_up` is to be asked."""
        return self._board.pause

    def catch_up(self) -> list[AnyFrame]:
        """What was held back."""
        return self._board.snapshot(time.time())

    def take_progress(self) -> Progress:
        """What the next attempt must know, should this one not come to its end; of output nodes what is new."""
        finished, self._finished = self._finished, {}
        return Progress(self._done_count, tuple(self._running), finished)

    def snapshot(self) -> list[Frame]:
        """How far each step is, for a client that comes back."""
        return self._board.again()

    def ending(self) -> Ending:
        """How the job ended, for the history."""
        status: JobStatus = "completed" if self._is_done else "cancelled" if self.is_interrupted else "failed"
        return Ending(status, self.outputs, self.meta, self._messages)

    def hear(self, event: Event) -> list[AnyFrame]:
        """What to send because of an event."""
        return list(self._frames(event))

    def crashed(self, error: BaseException) -> list[AnyFrame]:
        """What to send when the engine itself failed, which is a bug."""
        return self.refused(f"Mezzotint itself failed: {error}", qualified_name(type(error)))

    def refused(self, sentence: str, exception_type: str = NOT_RUN) -> list[AnyFrame]:
        """What to send of a job that cannot run, or not any more."""
        facts = {
            "node_id": "",
            "node_type": "",
            "exception_message": f"{sentence}\n",
            "exception_type": exception_type,
            "traceback": [],
            "current_inputs": {},
        }
        return [self._note("execution_error", time.time(), **self._error(facts))]

    def interrupted_before_start(self) -> list[AnyFrame]:
        """What to send of a job that was interrupted before any of it ran."""
        now = time.time()
        return [
            self._note("execution_start", now),
            self._note("execution_cached", now, nodes=[]),
            self._interrupted(now),
        ]

    def _frames(self, event: Event) -> Iterator[AnyFrame]:
        match event:
            case events.RunStarted():
                self._reused, self._step_count = event.reused, event.step_count
                yield self._note("execution_start", event.time)
                yield self._note("execution_cached", event.time, nodes=[*event.reused])
            case events.StepStarted():
                yield from self._start(event)
            case events.StepProgressed():
                yield from self._start(event)
                yield from self._progressed(event)
            case events.StepShown():
                yield self._shown(event)
            case events.StepFinished():
                yield from self._finish(event)
            case events.StepBlocked():
                yield from self._start(event)
                yield self._blocked(event)
            case events.StepFailed():
                yield from self._start(event)
                self._running.pop(event.node_id, None)
                self._failures.append(event)
            case events.RunFinished():
                yield from self._end(event)

    def _start(self, event: StepEvent) -> Iterator[AnyFrame]:
        # A quick step is announced when it ends, so what it did may be told before its beginning.
        if event.node_id in self._started:
            return
        self._started.add(event.node_id)
        self._running[event.node_id] = event
        self._board.set(event, "running", 0, 1)
        yield from self._snapshot_if_due(event)
        yield self._frame("executing", node=event.node_id, display_node=event.display_id)

    def _progressed(self, event: events.StepProgressed) -> Iterator[AnyFrame]:
        self._board.set(event, "running", event.value, event.total)
        if event.text:
            self._board.say(event, event.text)
        yield from self._snapshot_if_due(event)
        picture = _picture(event.preview)
        job_id = self._job.job_id
        if picture is not None:
            metadata = {**place(event), "prompt_id": job_id, "image_type": picture.media_type}
            yield Preview(picture, job_id, metadata)
        progress = {"value": event.value, "max": event.total, "prompt_id": job_id, "node": event.node_id}
        yield Frame("progress", progress, is_for_all=True)
        if picture is not None:
            yield Preview(picture, job_id)

    def _shown(self, event: events.StepShown) -> Frame:
        self.outputs[event.node_id] = event.shown
        self.meta[event.node_id] = {
            "node_id": event.node_id,
            "display_node": event.display_id,
            "parent_node": event.parent_id,
            "real_node_id": event.real_id,
        }
        return self._frame("executed", node=event.node_id, display_node=event.display_id, output=event.shown)

    def _finish(self, event: events.StepFinished) -> Iterator[AnyFrame]:
        self._running.pop(event.node_id, None)
        self._done_count += 1
        self._step_count = max(self._step_count, self._done_count)
        if event.node_id in self._targets | self.outputs.keys():
            self._finished[event.node_id] = self.outputs.get(event.node_id)
        is_new = event.source == "ran"
        if is_new:
            self._executed.append(event.node_id)
        elif event.node_id in self._targets and event.node_id not in self.outputs:
            yield self._frame("executed", node=event.node_id, display_node=event.display_id, output=None)
        if is_new or event.node_id in self._started or event.node_id in self._targets | self.outputs.keys():
            self._board.finish(event)
        if event.seconds > SNAPSHOT_SECONDS:
            yield from self._board.snapshot(event.time)
        yield from self._snapshot_if_due(event)

    def _blocked(self, event: events.StepBlocked) -> Frame:
        facts = {
            "node_id": event.real_id,
            "node_type": self._type_of(event, event.real_id),
            "exception_message": f"Execution Blocked: {event.message}",
            "exception_type": BLOCKED,
            "traceback": [],
            "current_inputs": {},
        }
        return self._frame("execution_error", **self._error(facts))

    def _end(self, event: events.RunFinished) -> Iterator[AnyFrame]:
        yield from self._board.snapshot(event.time)
        if event.status == "done":
            self._is_done = True
            yield self._note("execution_success", event.time)
        elif event.status == "cancelled":
            yield self._interrupted(event.time)
        else:
            yield from [self._failed(failure, event.time) for failure in self._failures]

    def _failed(self, event: events.StepFailed, when: float) -> Frame:
        # Clients look for a circle at the node that shows it, and for all else at the submitted node.
        node_id = event.display_id if isinstance(event.error, CircleError) else event.real_id
        facts = {
            "node_id": node_id,
            "node_type": self._type_of(event, node_id),
            "exception_message": f"{event.message}\n",
            "exception_type": WIRE_TYPES.get(type(event.error), event.exception_type),
            "traceback": [*event.traceback],
            "current_inputs": event.inputs,
        }
        return self._note("execution_error", when, **self._error(facts))

    def _interrupted(self, when: float) -> Frame:
        step = next(reversed(self._running.values()), None)
        node_id = step.real_id if step else next(iter(self._job.validation.outputs), "")
        node = self._job.workflow.nodes.get(node_id)
        facts = {"node_id": node_id, "node_type": node.class_type if node else "", "executed": [*self._executed]}
        return self._note(INTERRUPTED, when, is_for_all=True, **facts)

    def _error(self, facts: dict[str, Any]) -> dict[str, Any]:
        current = [*dict.fromkeys([*self._reused, *self._executed])]
        return {**facts, "executed": [*self._executed], "current_outputs": current}

    def _type_of(self, event: StepEvent, node_id: str) -> str:
        node = self._job.workflow.nodes.get(node_id)
        return node.class_type if node else event.node_type

    def _snapshot_if_due(self, event: Event) -> list[AnyFrame]:
        return self._board.snapshot(event.time) if self._board.is_due(event.time) else []

    def _note(self, kind: str, when: float, *, is_for_all: bool = False, **facts: Any) -> Frame:
        """A message that the history keeps too."""
        data = {**facts, "prompt_id": self._job.job_id, "timestamp": int(when * 1000)}
        self._messages.append([kind, data])
        return Frame(kind, data, is_for_all)

    def _frame(self, kind: str, **facts: Any) -> Frame:
        return Frame(kind, {**facts, "prompt_id": self._job.job_id})


def _picture(preview: Any) -> PreviewPicture | EncodedPicture | None:
    if isinstance(preview, EncodedPicture):
        return preview
    return PreviewPicture(preview) if hasattr(preview, "thumbnail") else None
