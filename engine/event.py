"""What happened in a run: typed, immutable, in the past tense, numbered from 1 in each job.

One stream that the command line, the server, the job log, plugins and tests all read.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

RunStatus = Literal["done", "failed", "cancelled"]
Source = Literal["ran", "memory", "disk", "shared", "attempt"]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events. `sequence` counts up within the job; `time` is in seconds since the epoch."""

    job_id: str
    sequence: int
    time: float

    @property
    def kind(self) -> str:
        """The event's name in snake case: `step_started`."""
        return _snake(type(self).__name__)

    def to_json(self) -> dict[str, Any]:
        """The event as plain JSON values, its kind first. Pictures are left out."""
        pairs = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {"event": self.kind, **{name: value for name, value in pairs if name not in ("preview", "error")}}


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A run began. `step_count`: steps planned; `reused`: ids whose values are there already."""

    step_count: int
    reused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkflowUpgraded(Event):
    """Nodes of the workflow were saved by older versions. `sentences` say which, and what became of them."""

    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepEvent(Event):
    """Base of what happens to one step.

    Attributes:
        node_id: the step. node_type: its class_type. display_id: the node that shows it in an editor.
        parent_id: the step that expanded into it, or None. real_id: the node of the workflow it stems from.
    """

    node_id: str
    node_type: str
    display_id: str
    parent_id: str | None
    real_id: str


@dataclass(frozen=True, slots=True)
class StepStarted(StepEvent):
    """A step's body was called. `reason` says why its value could not be reused."""

    reason: str


@dataclass(frozen=True, slots=True)
class StepProgressed(StepEvent):
    """A body told how far it is; `preview` is a picture or None, `text` what it says beside ("loss 0.12")."""

    value: float
    total: float
    preview: Any
    text: str = ""


@dataclass(frozen=True, slots=True)
class StepShown(StepEvent):
    """An output node reported what it made (`shown`: lists by name), or a kept report was repeated (`is_reused`)."""

    shown: dict[str, list[Any]]
    is_reused: bool


@dataclass(frozen=True, slots=True)
class StepFinished(StepEvent):
    """A step's value is there.

    Attributes:
        source: "ran", "memory", "disk", "shared" (another run or node computed it) or "attempt" (an output node that
            had finished in an earlier attempt at the job).
    """

    source: Source
    seconds: float


@dataclass(frozen=True, slots=True)
class StepBlocked(StepEvent):
    """A call of the step was not made, because a blocked value reached it. Reported once for each message."""

    message: str


@dataclass(frozen=True, slots=True)
class StepFailed(StepEvent):
    """A step raised. `error` is the exception; `sentence` is what a person should read.

    Attributes:
        is_expected: a `MezzotintError`, whose text says it all; otherwise a bug, and the traceback helps.
        inputs: the inputs' names with short descriptions of their values.
    """

    sentence: str
    exception_type: str
    message: str
    traceback: tuple[str, ...]
    inputs: dict[str, list[Any]]
    is_expected: bool
    error: BaseException


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """A run ended. `skipped`: steps that could not run because one before them failed."""

    status: RunStatus
    seconds: float
    skipped: tuple[str, ...]
