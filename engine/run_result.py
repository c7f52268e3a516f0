"""How a run ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .errors import Cancelled, RunFailedError
from .event import RunStatus, StepFailed
from .memory_cache import StepValue


@dataclass(slots=True)
class RunResult:
    """How a run ended, and what it made.

    Attributes:
        outputs: what each output node showed, by node id. values: the values of the wanted nodes, by node id.
        failures: an event for each step that raised. skipped: steps that could not run because of them.
    """

    job_id: str
    status: RunStatus = "done"
    outputs: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    values: dict[str, StepValue] = field(default_factory=dict)
    failures: list[StepFailed] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def value(self, node_id: str, slot: int = 0) -> Any:
        """The value of a wanted node's output; a list when it has several.

        Raises:
            KeyError: the node was not wanted, or did not finish.
        """
        values = self.values[node_id].outputs[slot]
        return values[0] if len(values) == 1 else values

    def raise_for_status(self) -> RunResult:
        """This result, if the run is done.

        Raises:
            RunFailedError: steps failed. Cancelled: the run was cancelled.
        """
        if self.status == "failed":
            raise RunFailedError(self.failures)
        if self.status == "cancelled":
            raise Cancelled
        return self
