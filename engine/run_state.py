"""The state of a run: which steps are waiting, ready, running, done, failed or cancelled.

All decisions are here, synchronous and without I/O; `run.py` carries them out. Each method is one thing that
happened and returns `Moves`: what is to be done about it.

    waiting ──> ready ──> running ──> done
       ^                   │  │  └──> failed ──> its dependents: failed (skipped)
       └── parked ─────────┘  └─────> cancelled
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["waiting", "ready", "running", "done", "failed", "cancelled"]
Reuse = Literal["memory", "disk"]

TERMINAL = ("done", "failed", "cancelled")


@dataclass(slots=True)
class Moves:
    """What follows from something that happened.

    Attributes:
        ready: steps to start. reused: steps whose value is in memory already. skipped: steps that cannot run any more.
        freed: steps whose value nobody here waits for.
    """

    ready: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    freed: list[str] = field(default_factory=list)


class RunState:
    """Decides what a run does next.

    Args:
        parents: the steps that a step needs first. reuse: where a finished value of the step is, if anywhere; called
            when the step is first needed, and again when it is needed after its value was let go.
        spent: of these steps, those whose state this step took when it ran before; they are run again as well.
    """

    def __init__(
        self,
        parents: Callable[[str], Sequence[str]],
        reuse: Callable[[str], Reuse | None],
        spent: Callable[[str, Iterable[str]], Iterable[str]] = lambda step_id, parents: (),
    ) -> None:
        self.status: dict[str, Status] = {}
        self._spent = spent
        self._parents = parents
        self._reuse = reuse
        self._unmet: dict[str, int] = {}
        self._dependents: defaultdict[str, list[str]] = defaultdict(list)
        self._consumers: defaultdict[str, int] = defaultdict(int)
        self._needs: dict[str, Sequence[str]] = {}
        self._freed: set[str] = set()
        self._again: set[str] = set()
        self._parked: set[str] = set()
        self.suspended: set[str] = set()  # running steps that themselves await steps
        self._open = 0
        self._active = 0
        self._is_cancelled = False

    @property
    def is_finished(self) -> bool:
        """Whether every needed step has come to its end."""
        return self._open == 0

    @property
    def is_stalled(self) -> bool:
        """Steps wait, but nothing runs that they could wait for: a circle made while running."""
        return self._open > 0 and self._active == len(self.suspended)

    def waiting(self) -> list[str]:
        """The steps that wait for others."""
        return [step_id for step_id, status in self.status.items() if status == "waiting"]

    def dependents(self, step_id: str) -> list[str]:
        """The steps not begun yet that wait for this one."""
        dependents = self._dependents.get(step_id)
        if not dependents:
            return []
        return [other for other in dependents if other in self._unmet and other not in self._parked]

    def unmet_count(self, step_id: str) -> int:
        """How many steps a waiting one waits for."""
        return self._unmet[step_id]

    # what happened

    def require(self, step_ids: Iterable[str], by: str = "") -> Moves:
        """These steps are needed, and so are the steps they need. `by`: the step that asks while it runs."""
        moves = Moves()
        if by in self._again:
            self._freed.update(self._spent(by, step_ids))
        for step_id in self._discover(step_ids, moves):
            self._await_parents(step_id, self._needs[step_id], moves)
        return moves

    def started(self, step_id: str) -> None:
        """A ready step was handed over to be run."""
        self._move(step_id, "ready", "running")

    def done(self, step_id: str) -> Moves:
        """A running step has its value."""
        moves = Moves()
        self._move(step_id, "running", "done")
        self._active -= 1
        self._close(step_id, moves)
        for dependent in self._dependents.pop(step_id, ()):
            unmet = self._unmet.get(dependent, 0) - 1  # not one that has failed meanwhile
            if unmet > 0:
                self._unmet[dependent] = unmet
            elif unmet == 0:
                self._make_ready(dependent, moves)
        return moves

    def failed(self, step_id: str) -> Moves:
        """A step raised; all that waits for it, directly or not, cannot run."""
        moves = Moves()
        pending = [step_id]
        while pending:
            current = pending.pop()
            if self.status[current] in TERMINAL:
                continue
            if current != step_id:
                moves.skipped.append(current)
            self._end(current, "failed", moves)
            pending.extend(self._dependents.pop(current, ()))
        return moves

    def parked(self, step_id: str, needs: Iterable[str]) -> Moves:
        """A running step waits for further steps; it becomes ready again when they are done."""
        self._move(step_id, "running", "waiting")
        self._active -= 1
        self._parked.add(step_id)
        wanted = list(dict.fromkeys(needs))
        moves = self.require(wanted, step_id)
        self._needs[step_id] = [*self._needs[step_id], *wanted]
        self._register(wanted)
        self._await_parents(step_id, wanted, moves)
        return moves

    def cancel(self) -> list[str]:
        """Nothing new starts, what runs is left to report; returns the steps that will not start."""
        self._is_cancelled = True
        stopped = [step_id for step_id, status in self.status.items() if status in ("waiting", "ready")]
        for step_id in stopped:
            self._active -= self.status[step_id] == "ready"
            self._open -= 1
            self.status[step_id] = "cancelled"
        self._unmet.clear()
        return stopped

    def cancelled(self, step_id: str) -> None:
        """A running step stopped because the run was cancelled."""
        if self.status[step_id] not in TERMINAL:
            self._end(step_id, "cancelled", Moves())

    # how

    def _discover(self, step_ids: Iterable[str], moves: Moves) -> list[str]:
        """Mark as waiting all steps that become needed; returns them."""
        found: list[str] = []
        pending = list(step_ids)
        while pending:
            step_id = pending.pop()
            if step_id in self.status and step_id not in self._freed:
                continue
            is_again = step_id in self._freed
            self._freed.discard(step_id)
            if self._is_cancelled:
                self.status[step_id] = "cancelled"
                continue
            source = self._reuse(step_id)
            if source == "memory":
                self.status[step_id] = "done"
                moves.reused.append(step_id)
                continue
            self.status[step_id] = "waiting"
            self._open += 1
            self._needs[step_id] = parents = () if source == "disk" else self._parents(step_id)
            self._register(parents)
            if is_again:
                self._again.add(step_id)
                self._freed.update(self._spent(step_id, parents))
            pending.extend(parents)
            found.append(step_id)
        return found

    def _register(self, parents: Iterable[str]) -> None:
        """These have one more consumer, until it ends."""
        for parent in parents:
            self._consumers[parent] += 1

    def _await_parents(self, step_id: str, parents: Iterable[str], moves: Moves) -> None:
        unmet = 0
        for parent in parents:
            status = self.status[parent]
            if status == "failed" or status == "cancelled":
                self._fail_waiting(step_id, moves)
                return
            if status != "done":
                self._dependents[parent].append(step_id)
                unmet += 1
        if unmet:
            self._unmet[step_id] = unmet
        else:
            self._make_ready(step_id, moves)

    def _fail_waiting(self, step_id: str, moves: Moves) -> None:
        later = self.failed(step_id)
        moves.skipped.extend([step_id, *later.skipped])
        moves.freed.extend(later.freed)

    def _make_ready(self, step_id: str, moves: Moves) -> None:
        self._move(step_id, "waiting", "ready")
        self._active += 1
        self._unmet.pop(step_id, None)
        self._parked.discard(step_id)
        moves.ready.append(step_id)

    def _move(self, step_id: str, before: Status, after: Status) -> None:
        if self.status.get(step_id) != before:
            raise RuntimeError(f"step '{step_id}' is {self.status.get(step_id)}, not {before}, and cannot be {after}")
        self.status[step_id] = after

    def _end(self, step_id: str, status: Status, moves: Moves) -> None:
        self._active -= self.status[step_id] in ("ready", "running")
        self.status[step_id] = status
        self._unmet.pop(step_id, None)
        self._parked.discard(step_id)
        self._close(step_id, moves)

    def _close(self, step_id: str, moves: Moves) -> None:
        """The step has come to its end and consumes no more."""
        self._open -= 1
        consumers, status = self._consumers, self.status
        for parent in self._needs.pop(step_id, ()):
            consumers[parent] -= 1
            if not consumers[parent] and status[parent] == "done":
                moves.freed.append(parent)

    def detach(self) -> None:
        """All is decided: let go of those who were asked. What is known of the steps stays."""
        del self._parents, self._reuse, self._spent

    def free(self, step_id: str) -> None:
        """The value of a done step was let go; should it be needed again, it is looked up or run again."""
        self._freed.add(step_id)
