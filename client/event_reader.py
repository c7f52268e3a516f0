"""Turns what a server sends of one job back into the engine's events. Pure: messages in, events out.

The wire says less than the engine knew. A step that expands is told by its place in the editor; why a step ran is not
told, so `reason` is empty; `step_count` is the number of the workflow's nodes; times are those of the messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mezzotint.engine import errors
from mezzotint.engine import event as events
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.event import Event, RunStatus
from mezzotint.engine.workflow import Workflow, as_link

from .errors import NodeFailedError
from .feed import AnyMessage, PreviewMessage, TextMessage

E = TypeVar("E", bound=Event)
Data = Mapping[str, Any]

_STATUSES: dict[str, RunStatus] = {"execution_success": "done", "execution_interrupted": "cancelled"}


@dataclass(slots=True)
class _Step:
    """What is known of a step.

    Attributes:
        place: its node_id, node_type, display_id, parent_id and real_id. told: value and total as told last.
        text: what it said last.
    """

    place: tuple[str, str, str, str | None, str]
    began: float
    told: tuple[float, float] = (0.0, 1.0)
    text: str = ""
    has_ended: bool = False


class EventReader:
    """Reads the messages of one job, in any number of pieces; what was read before is left out.

    Attributes:
        last: the sequence number of the newest message read; 0 if the server gives none.
        is_done: the run's end was read.
    """

    def __init__(self, job_id: str, workflow: Workflow) -> None:
        self.last = 0
        self.is_done = False
        self._job_id, self._workflow = job_id, workflow
        self._count = 0
        self._now = 0.0
        self._began: float | None = None
        self._status: RunStatus | None = None
        self._reused: set[str] = set()
        self._steps: dict[str, _Step] = {}
        self._shown: dict[str, None] = {}
        self._failed: list[str] = []

    @property
    def has_begun(self) -> bool:
        """Whether the run's beginning was read."""
        return self._began is not None

    def read(self, message: Mapping[str, Any] | AnyMessage, now: float) -> list[Event]:
        """The events that a message tells of; `now` in seconds since the epoch."""
        if self.is_done:
            return []
        if isinstance(message, PreviewMessage):
            return list(self._preview(message, now))
        if isinstance(message, TextMessage):
            return list(self._say(message, now))
        sequence = message.get("sequence")
        if isinstance(sequence, int):
            if sequence <= self.last:
                return []
            self.last = sequence
        data = message.get("data")
        if not isinstance(data, Mapping) or data.get("prompt_id") != self._job_id:
            return []
        timestamp = data.get("timestamp")
        self._now = timestamp / 1000 if isinstance(timestamp, int | float) else now
        return list(self._read(str(message.get("type")), data))

    def read_history(self, entry: Mapping[str, Any], now: float) -> list[Event]:
        """The events in a job's entry of `/history` that were not read yet, to the end."""
        found: list[Event] = []
        messages = [{"type": kind, "data": data} for kind, data in entry.get("status", {}).get("messages", ())]
        opening = [message for message in messages if message["type"] in ("execution_start", "execution_cached")]
        places = entry.get("meta") or {}
        shown = [
            {
                "type": "executed",
                "data": {**(places.get(node_id) or {}), "prompt_id": self._job_id, "node": node_id, "output": output},
            }
            for node_id, output in (entry.get("outputs") or {}).items()
            if node_id not in self._shown
        ]
        for message in [*([] if self._began else opening), *shown, *messages[len(opening) :]]:
            found += self.read(message, now)
        return found + self.finish(None, now)

    def finish(self, status: RunStatus | None, now: float) -> list[Event]:
        """The end of a job that is known to have ended; `status` if no message told it."""
        if self.is_done:
            return []
        self._now = now
        self._status = self._status or status or ("failed" if self._failed else "cancelled")
        return list(self._finished())

    def _read(self, kind: str, data: Data) -> Iterator[Event]:
        readers = {
            "execution_cached": self._open,
            "executing": self._executing,
            "progress": self._progress,
            "progress_state": self._states,
            "executed": self._show,
            "execution_error": self._error,
        }
        if kind == "execution_start":
            self._restart()
        elif kind in _STATUSES:
            self._status = _STATUSES[kind]
        elif kind in readers:
            yield from readers[kind](data)

    def _open(self, data: Data) -> Iterator[Event]:
        reused = tuple(map(str, data.get("nodes", ())))
        self._reused = set(reused)
        yield self._make(events.RunStarted, step_count=len(self._workflow.nodes), reused=reused)

    def _executing(self, data: Data) -> Iterator[Event]:
        if data.get("node") is None:
            yield from self._finished()
        else:
            yield from self._start(str(data["node"]), data)

    def _states(self, data: Data) -> Iterator[Event]:
        for node_id, state in data["nodes"].items():
            if state.get("state") == "finished":
                yield from self._state_finished(node_id, state)
            elif state.get("state") == "running":
                yield from self._progress({**state, "node": node_id})

    def _restart(self) -> None:
        """The job began, or began anew on a server that was started again."""
        self._began, self._status = self._now, None
        self._steps.clear()
        self._failed.clear()

    def _make(self, kind: type[E], **facts: Any) -> E:
        self._count += 1
        return kind(self._job_id, self._count, self._now, **facts)

    def _make_step(self, kind: type[E], step: _Step, **facts: Any) -> E:
        self._count += 1
        names = ("node_id", "node_type", "display_id", "parent_id", "real_id")
        return kind(self._job_id, self._count, self._now, **dict(zip(names, step.place, strict=True)), **facts)

    def _step(self, node_id: str, data: Data) -> _Step:
        """What is known of a step, which is made when it is new. `data` tells where it is, as far as it does."""
        found = self._steps.get(node_id)
        if found is None:
            display_id = str(data.get("display_node") or data.get("display_node_id") or node_id)
            real_id = node_id if node_id in self._workflow.nodes else str(data.get("real_node_id") or display_id)
            node = self._workflow.nodes.get(real_id)
            place = (node_id, node.class_type if node else "", display_id, data.get("parent_node_id"), real_id)
            found = self._steps[node_id] = _Step(place, self._now)
        return found

    def _start(self, node_id: str, data: Data) -> Iterator[Event]:
        if node_id in self._steps:
            return
        yield from self._parents(node_id)
        yield self._make_step(events.StepStarted, self._step(node_id, data), reason="")

    def _parents(self, node_id: str) -> Iterator[Event]:
        """The ends of the steps that a step takes values of, as far as they were not told."""
        node = self._workflow.nodes.get(node_id)
        links = map(as_link, node.inputs.values()) if node else ()
        for parent_id in dict.fromkeys(link.node_id for link in links if link):
            if parent_id in self._reused or parent_id in self._steps:
                yield from self._end(parent_id, {})

    def _end(self, node_id: str, data: Data) -> Iterator[Event]:
        was_started = node_id in self._steps
        step = self._step(node_id, data)
        if step.has_ended:
            return
        step.has_ended = True
        source, seconds = ("ran", self._now - step.began) if was_started else ("memory", 0.0)
        yield self._make_step(events.StepFinished, step, source=source, seconds=max(seconds, 0.0))

    def _state_finished(self, node_id: str, state: Data) -> Iterator[Event]:
        if node_id not in self._steps and node_id not in self._reused and node_id not in self._shown:
            yield from self._start(node_id, state)
        yield from self._end(node_id, state)

    def _progress(self, data: Data) -> Iterator[Event]:
        node_id, value, total = str(data["node"]), float(data["value"]), float(data["max"])
        yield from self._start(node_id, data)
        step = self._steps[node_id]
        if not step.has_ended and step.told != (value, total):
            step.told = (value, total)
            yield self._make_step(events.StepProgressed, step, value=value, total=total, preview=None, text=step.text)

    def _preview(self, message: PreviewMessage, now: float) -> Iterator[Event]:
        step = self._steps.get(message.node_id)
        if step is not None and not step.has_ended:
            self._now = now
            value, total = step.told
            yield self._make_step(
                events.StepProgressed, step, value=value, total=total, preview=message.image, text=step.text
            )

    def _say(self, message: TextMessage, now: float) -> Iterator[Event]:
        running = (step for step in self._steps.values() if step.place[2] == message.node_id and not step.has_ended)
        step = next(running, None)
        if step is not None:
            self._now, step.text = now, message.text
            value, total = step.told
            yield self._make_step(
                events.StepProgressed, step, value=value, total=total, preview=None, text=message.text
            )

    def _show(self, data: Data) -> Iterator[Event]:
        node_id, shown = str(data["node"]), data.get("output")
        if not isinstance(shown, Mapping):
            return
        is_reused = node_id in self._reused and node_id not in self._steps
        if not is_reused:
            yield from self._start(node_id, data)
        self._shown[node_id] = None
        place = self._steps[node_id] if node_id in self._steps else self._step_of_reused(node_id, data)
        yield self._make_step(events.StepShown, place, shown={**shown}, is_reused=is_reused)

    def _step_of_reused(self, node_id: str, data: Data) -> _Step:
        step = self._step(node_id, data)
        del self._steps[node_id]  # it was not started, so its end will say that its value was there
        return step

    def _error(self, data: Data) -> Iterator[Event]:
        node_id = str(data.get("node_id") or "")
        kind, message = str(data.get("exception_type", "")), str(data.get("exception_message", "")).rstrip()
        step = self._step(node_id, {})
        if kind == "ExecutionBlocked":
            yield self._make_step(events.StepBlocked, step, message=message.removeprefix("Execution Blocked: "))
            return
        step.has_ended = True
        self._failed.append(node_id)
        is_expected = _is_expected(kind, data)
        name = "" if is_expected else f"{kind.rpartition('.')[2]}: "
        node_type = step.place[1] or data.get("node_type", "")
        yield self._make_step(
            events.StepFailed,
            step,
            sentence=f"Node {node_id} ({node_type}): {name}{message}" if node_id else message,
            exception_type=kind,
            message=message,
            traceback=tuple(data.get("traceback") or ()),
            inputs=data.get("current_inputs") or {},
            is_expected=is_expected,
            error=NodeFailedError(message),
        )

    def _finished(self) -> Iterator[Event]:
        self.is_done = True
        seconds = 0.0 if self._began is None else max(self._now - self._began, 0.0)
        status = self._status or ("failed" if self._failed else "cancelled")
        for node_id in dict.fromkeys([*self._steps, *self._shown]) if status == "done" else ():
            yield from self._end(node_id, {})  # progress, which tells the ends, is not sent again after a gap
        yield self._make(events.RunFinished, status=status, seconds=seconds, skipped=self._skipped())

    def _skipped(self) -> tuple[str, ...]:
        """The nodes that could not run because one before them failed."""
        blocked = set(self._failed)
        dependents: dict[str, list[str]] = {}
        for node_id, node in self._workflow.nodes.items():
            for link in map(as_link, node.inputs.values()):
                if link is not None:
                    dependents.setdefault(link.node_id, []).append(node_id)
        pending = [*blocked]
        while pending:
            new = [node_id for node_id in dependents.get(pending.pop(), ()) if node_id not in blocked]
            blocked.update(new)
            pending += new
        return tuple(node_id for node_id in self._workflow.nodes if node_id in blocked and node_id not in self._failed)


def _is_expected(kind: str, data: Data) -> bool:
    """Whether an exception's text says it all: it is of the family of `MezzotintError`."""
    if "is_expected" in data:
        return bool(data["is_expected"])
    module, _, name = kind.rpartition(".")
    found = getattr(errors, name, None) if module == errors.__name__ else None
    return isinstance(found, type) and issubclass(found, MezzotintError)
