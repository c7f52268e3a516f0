"""Lanes: the threads that run node bodies. A device is a lane with one thread; the CPU pool is a lane of several.

A lane interleaves the generator bodies it has and answers their requests, equal ones of several prompts together.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from .context import Context
from .errors import Cancelled
from .node import NodeSpec
from .request import Request

Scope = Callable[[NodeSpec], AbstractContextManager[Any]]
"""Surrounds each stretch of a body (torch's inference mode, say)."""

SLOW_SECONDS = 0.001
"""A task that took longer is told of at once; quicker ones are told of together."""


class Owner(Protocol):
    """Who a task belongs to: a run."""

    @property
    def is_cancelled(self) -> bool: ...

    def began(self, task: Task) -> None:
        """Hear that a task which may take long begins. Any thread."""

    def report(self, task: Task, is_urgent: bool) -> None:
        """Take back a task that ended or that asks for something only the executor can give. Any thread."""


class Task:
    """A body being run on a lane, and in the end its result.

    Attributes:
        start: makes the generator, on the lane's thread. request: what the body asks for, if anything.
        answer, error: what to resume with. result: the body's value. failure: what it raised.
        is_quick: known to take less than `SLOW_SECONDS`, so that its beginning need not be told at once.
        then: a task to run next on the same thread, if this one succeeds.
    """

    __slots__ = (
        "_generator", "answer", "context", "error", "failure", "is_done", "is_quick", "owner", "request", "result",
        "seconds", "spec", "start", "started_at", "step_id", "then",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        step_id: str,
        spec: NodeSpec,
        start: Callable[[], Generator[Request, Any, Any]],
        context: Context | None = None,
        is_quick: bool = False,
    ) -> None:
        self.owner, self.step_id, self.spec, self.start, self.context = owner, step_id, spec, start, context
        self.is_quick = is_quick
        self.then: Task | None = None
        self.answer: Any = None
        self.error: BaseException | None = None
        self.result: Any = None
        self.failure: BaseException | None = None
        self.request: Request | None = None
        self.is_done = False
        self.started_at = 0.0
        self.seconds = 0.0
        self._generator: Generator[Request, Any, Any] | None = None

    @property
    def has_begun(self) -> bool:
        return self._generator is not None

    def advance(self, scope: Scope) -> Request | None:
        """Run the body until it asks for something (returned) or ends (None)."""
        began = time.perf_counter()
        self.request = None
        try:
            if self.owner.is_cancelled:
                raise Cancelled
            if self._generator is None:
                self.started_at = time.time()
                if not self.is_quick:
                    self.owner.began(self)
                self._generator = self.start()
            with scope(self.spec):
                self.request = self._resume(self._generator)
        except StopIteration as end:
            self.result, self.is_done = end.value, True
        except BaseException as raised:
            self.failure, self.is_done = raised, True
            self.close()
        self.seconds += time.perf_counter() - began
        return self.request

    def close(self) -> None:
        """Drop a suspended body; its `finally` clauses run."""
        if self._generator is not None:
            self._generator.close()

    def _resume(self, generator: Generator[Request, Any, Any]) -> Request:
        answer, error = self.answer, self.error
        self.answer = self.error = None
        return generator.send(answer) if error is None else generator.throw(error)


class Lane:
    """Threads that take tasks from one queue.

    Args:
        threads: how many. width: how many generator bodies one thread interleaves.
        scope: surrounds each stretch of a body.
    """

    def __init__(self, name: str, threads: int = 1, width: int = 1, scope: Scope | None = None) -> None:
        self.name, self.width = name, width
        self.is_pool = threads > 1
        self._scope: Scope = scope or (lambda spec: nullcontext())
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"mezzotint-{name}-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, tasks: list[Task]) -> None:
        """Hand tasks over, to be run in this order as threads become free."""
        for task in tasks:
            self._queue.put(task)

    def close(self) -> None:
        """Stop the threads when they have done what they were given."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=5)

    def _serve(self) -> None:
        active: deque[Task] = deque()
        backlog: deque[Task] = deque()
        while True:
            while backlog and len(active) < self.width:
                self._run(backlog.popleft(), active)
            task = self._next(active)
            if task is STOP:
                return
            if task is None:
                self._answer(active)
            elif task.spec.kind == "generator" and not task.has_begun and len(active) >= self.width:
                backlog.append(task)
            else:
                self._run(task, active)

    def _next(self, active: deque[Task]) -> Task | None:
        """The next task; None when there is none and bodies wait for answers; STOP at the end."""
        if not active:
            task = self._queue.get()
            return STOP if task is None else task
        if self.is_pool:
            return None
        try:
            task = self._queue.get_nowait()
        except Empty:
            return None
        if task is None:
            self._queue.put(None)
        return task

    def _run(self, task: Task, active: deque[Task]) -> None:
        """Advance a task, and the tasks chained to it while they are quick."""
        following: Task | None = task
        since_report = 0.0
        while following is not None:
            task = following
            request = task.advance(self._scope)
            if request is not None and not request.is_for_executor:
                active.append(task)
                return
            following = task.then if task.is_done and task.failure is None else None
            since_report += task.seconds
            is_slow = since_report > SLOW_SECONDS
            task.owner.report(task, is_urgent=following is None or is_slow)
            if is_slow and following is not None:
                self._queue.put(following)
                return

    def _answer(self, active: deque[Task]) -> None:
        """Answer the oldest request, and all that may be answered with it."""
        oldest = active[0].request
        assert oldest is not None
        group = oldest.group()
        chosen = [active[0]]
        if group is not None and self.width > 1:
            chosen = [t for t in active if type(t.request) is type(oldest) and t.request.group() == group]
        for task in chosen:
            active.remove(task)
        self._resolve(chosen)
        for task in chosen:
            self._run(task, active)

    def _resolve(self, tasks: list[Task]) -> None:
        live = [task for task in tasks if not task.owner.is_cancelled]
        if not live:
            return
        requests = [task.request for task in live if task.request is not None]
        try:
            with self._scope(live[0].spec):
                answers = type(requests[0]).answer(requests, live[0].context or Context())
            for task, answer in zip(live, answers, strict=True):
                task.answer = answer
        except Exception as error:
            for task in live:
                task.error = error


STOP: Any = object()
