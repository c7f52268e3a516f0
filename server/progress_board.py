"""How far each step of a job is: the cumulative snapshots that editors draw progress from."""

from __future__ import annotations

from typing import Any, Literal

from mezzotint.engine.event import StepEvent

from .frame import AnyFrame, Frame, ProgressText

SNAPSHOT_SECONDS = 0.1
"""Snapshots are sent no more often; a snapshot holds every step so far, so sending one a step would be quadratic."""
SNAPSHOT_NODES = 50
"""Of how many steps snapshots come that often; those of more come more rarely, since each holds all."""


class ProgressBoard:
    """The state of all steps of one job that began.

    Attributes:
        nodes: the steps as snapshots show them, by id.
    """

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self.nodes: dict[str, dict[str, Any]] = {}
        self._sent_at = float("-inf")
        self._texts: dict[str, str] = {}
        self.is_stale = False

    def set(self, event: StepEvent, state: Literal["running", "finished"], value: float, total: float) -> None:
        """A step got somewhere."""
        self.nodes[event.node_id] = {
            "value": value,
            "max": total,
            "state": state,
            **place(event),
            "prompt_id": self._job_id,
        }
        self.is_stale = True

    def say(self, event: StepEvent, text: str) -> None:
        """A step said something of itself. It is sent with the next snapshot, on the node that shows the step."""
        self._texts[event.display_id] = text

    def finish(self, event: StepEvent) -> None:
        """A step is done: its value is its maximum."""
        total = self.nodes.get(event.node_id, {"max": 1})["max"]
        self.set(event, "finished", total, total)

    @property
    def pause(self) -> float:
        """Seconds between two snapshots."""
        return SNAPSHOT_SECONDS * max(1.0, len(self.nodes) / SNAPSHOT_NODES)

    def is_due(self, now: float) -> bool:
        """Whether the last snapshot was sent long enough ago. `now` in seconds."""
        return self.is_stale and not 0 <= now - self._sent_at < self.pause

    def snapshot(self, now: float) -> list[AnyFrame]:
        """A snapshot to send, if anything changed since the last, and what steps said."""
        if not self.is_stale:
            return []
        self.is_stale, self._sent_at = False, now
        said, self._texts = self._texts, {}
        return [*self.again(), *(ProgressText(node_id, text, self._job_id) for node_id, text in said.items())]

    def again(self) -> list[Frame]:
        """A snapshot, whether or not it was sent already."""
        return [Frame("progress_state", {"prompt_id": self._job_id, "nodes": dict(self.nodes)}, is_for_all=True)]


def place(event: StepEvent) -> dict[str, Any]:
    """Which step an event is about, as progress snapshots and previews name it."""
    return {
        "node_id": event.node_id,
        "display_node_id": event.display_id,
        "parent_node_id": event.parent_id,
        "real_node_id": event.real_id,
    }
