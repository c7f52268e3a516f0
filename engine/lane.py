"""Lanes: the threads that run node bodies. A device is a lane with one thread; the CPU pool is a lane of several.

A lane does what the earliest run wants first. It interleaves the generator bodies it has and answers their requests,
equal ones of several prompts together.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from queue import Empty, PriorityQueue
from typing import Any, NamedTuple, Protocol

from .collector import COLLECTOR
from .context import Context
from .current_job import CURRENT_JOB
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
    def job_id(self) -> str: ...

    @property
    def is_cancelled(self) -> bool: ...

    @property
    def rank(self) -> int:
        """Where several owners share a lane, the lowest goes first."""

    def will_begin(self, step_id: str) -> None:
        """Called right before a step's body is, on its thread."""

    def began(self, task: Task) -> None:
        """Hear that a task which may take long begins. Any thread."""

    def report(self, task: Task, is_urgent: bool) -> None:
        """Take back a task that ended, that asks for something only the executor can give, or that may not begin."""


class Task:
    """A body being run on a lane, and in the end its result.

    Attributes:
        start: makes the generator, on the lane's thread. request: what the body asks for, if anything.
        answer, error: what to resume with. result: the body's value. failure: what it raised.
        urgency: which of an owner's tasks goes first, the lowest.
        is_quick: known to take less than `SLOW_SECONDS`, so that its beginning need not be told at once.
        after: tasks of the same batch that must have succeeded before.
    """

    __slots__ = (
        "_generator", "after", "answer", "context", "error", "failure", "is_done", "is_quick", "owner", "request",
        "result", "seconds", "spec", "start", "started_at", "step_id", "urgency",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        step_id: str,
        spec: NodeSpec,
        start: Callable[[], Generator[Request, Any, Any]],
        context: Context | None = None,
        is_quick: bool = False,
        urgency: int = 0,
    ) -> None:
        self.owner, self.step_id, self.spec, self.start, self.context = owner, step_id, spec, start, context
        self.is_quick, self.urgency = is_quick, urgency
        self.after: Sequence[Task] = ()
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

    @property
    def may_begin(self) -> bool:
        """Whether the tasks before it in its batch went well."""
        for task in self.after:  # noqa: SIM110 (asked for every step, where a generator costs more than the answer)
            if not task.is_done or task.failure is not None:
                return False
        return True

    def advance(self, scope: Scope | None, is_alone: Callable[[], bool] | None = None) -> Request | None:
        """Run the body until it asks for something (returned) or ends (None).

        As long as `is_alone` says that nobody else waits for the thread, what the lane can answer is answered here.
        """
        began = time.perf_counter()
        self.request = None
        if CURRENT_JOB.get() != self.owner.job_id:
            CURRENT_JOB.set(self.owner.job_id)  # stays until the thread takes up another
        try:
            if self.owner.is_cancelled:
                raise Cancelled
            if self._generator is None:
                self.started_at = time.time()
                self.owner.will_begin(self.step_id)
                if not self.is_quick:
                    self.owner.began(self)
                self._generator = self.start()
            if scope is None:
                request = self._resume(self._generator, is_alone)
            else:
                with scope(self.spec):
                    request = self._resume(self._generator, is_alone)
            if not isinstance(request, Request):
                kind = type(request).__name__
                raise TypeError(f"the body yields {kind}; it may yield Need, Expand and other requests")
            self.request = request
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

    def _answered(self, generator: Generator[Request, Any, Any], request: Request) -> Request:
        """Answer a request and run on to the next. Little else is done, since after a forward caches are cold."""
        if self.owner.is_cancelled:
            raise Cancelled
        try:
            (answer,) = type(request).answer((request,), self.context or Context())
        except Exception as error:
            return generator.throw(error)
        return generator.send(answer)

    def _resume(self, generator: Generator[Request, Any, Any], is_alone: Callable[[], bool] | None) -> Request:
        answer, error = self.answer, self.error
        self.answer = self.error = None
        request = generator.send(answer) if error is None else generator.throw(error)
        while is_alone is not None and is_alone() and isinstance(request, Request) and not request.is_for_executor:
            request = self._answered(generator, request)
        return request


class Waiting(NamedTuple):
    """A batch that waits: those of the first owner come first, of one owner's the most urgent, and then the earlier."""

    rank: float
    urgency: int
    order: int
    batch: list[Task]


class Lane:
    """Threads that take tasks from one queue, those of the owner with the lowest rank first.

    Args:
        threads: how many. width: how many generator bodies one thread interleaves, or a function that
            says so when the first is there.
        scope: surrounds each stretch of a body.
    """

    def __init__(
        self, name: str, threads: int = 1, width: int | Callable[[], int] = 1, scope: Scope | None = None
    ) -> None:
        self.name, self._width = name, width
        self.is_pool = threads > 1
        self._scope = scope
        self._queue: PriorityQueue[Waiting] = PriorityQueue()
        self._count = itertools.count()
        self._threads = [
            threading.Thread(target=self._serve, name=f"mezzotint-{name}-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def width(self) -> int:
        if callable(self._width):
            self._width = self._width()
        return self._width

    def submit(self, batch: list[Task]) -> None:
        """Hand over tasks, to be run one after another on the next free thread."""
        self._queue.put(Waiting(batch[0].owner.rank, batch[0].urgency, next(self._count), batch))

    def close(self) -> None:
        """Stop the threads when they have done what they were given."""
        for _ in self._threads:
            self._queue.put(Waiting(math.inf, 0, next(self._count), []))
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=5)

    def _serve(self) -> None:
        active: list[Task] = []
        held: list[Waiting] = []
        while True:
            batch = self._next(active, held)
            if batch is None:
                self._answer(active)
            elif not batch:
                return
            else:
                self._run_batch(batch, active)
            del batch  # while this waits for the next one, it keeps no run alive

    def _next(self, active: list[Task], held: list[Waiting]) -> list[Task] | None:
        """The next batch; None when bodies wait for answers that go first; an empty one at the end."""
        if not active and not held:
            return self._queue.get().batch
        if not self.is_pool:
            self._drain(held)
            if held and self._may_join(held[0], active):
                return heapq.heappop(held).batch
        return None

    def _drain(self, held: list[Waiting]) -> None:
        """Take over what waits, so that it can be looked at."""
        while True:
            try:
                heapq.heappush(held, self._queue.get_nowait())
            except Empty:
                return

    def _may_join(self, waiting: Waiting, active: list[Task]) -> bool:
        """Whether a batch may run while bodies are under way.

        One of an earlier owner may: it goes first. One of a later owner waits, unless the lane has room to merge.
        """
        rank = min((task.owner.rank for task in active), default=math.inf)
        if not active or waiting.rank < rank:
            return True
        first = waiting.batch[0] if waiting.batch else None
        if first is None or (waiting.rank > rank and self.width == 1):
            return False
        return first.spec.kind != "generator" or first.has_begun or len(active) < self.width

    def _run_batch(self, batch: list[Task], active: list[Task]) -> None:
        """Run tasks one after another; when one proves slow, the rest goes back for any thread to take."""
        for index, task in enumerate(batch, 1):
            is_last = index == len(batch)
            if task.after and not task.may_begin:
                task.owner.report(task, is_urgent=is_last)
            elif self._run(task, active, is_last) and not is_last:
                self.submit(batch[index:])
                return

    def _run(
        self, task: Task, active: list[Task], is_last: bool = True, is_alone: Callable[[], bool] | None = None
    ) -> bool:
        """Advance a task; returns whether that took long."""
        before = task.seconds
        if task.is_quick:
            request = task.advance(self._scope, is_alone)
        else:
            with COLLECTOR.usual():
                request = task.advance(self._scope, is_alone)
        is_slow = task.seconds - before > SLOW_SECONDS
        if request is not None and not request.is_for_executor:
            active.append(task)
        else:
            task.owner.report(task, is_urgent=is_slow or is_last)
        return is_slow

    def _answer(self, active: list[Task]) -> None:
        """Answer the oldest request of the first owner, and all that may be answered with it."""
        first = min(active, key=lambda task: task.owner.rank)
        oldest = first.request
        assert oldest is not None
        group = oldest.group()
        chosen = [first]
        if group is not None and self.width > 1:
            chosen = [t for t in active if type(t.request) is type(oldest) and t.request.group() == group]
        for task in chosen:
            active.remove(task)
        self._resolve(chosen)
        is_alone = None if active or len(chosen) > 1 else self._is_idle
        for task in chosen:
            self._run(task, active, is_alone=is_alone)

    def _is_idle(self) -> bool:
        """Whether nothing waits. (The queue's own `empty` takes its lock, which is dear after every forward.)"""
        return not self._queue.queue

    def _resolve(self, tasks: list[Task]) -> None:
        live = [task for task in tasks if not task.owner.is_cancelled]
        if not live:
            return
        requests = [task.request for task in live if task.request is not None]
        began = time.perf_counter()
        try:
            with COLLECTOR.usual(), self._scope(live[0].spec) if self._scope is not None else nullcontext():
                answers = type(requests[0]).answer(requests, live[0].context or Context())
            for task, answer in zip(live, answers, strict=True):
                task.answer = answer
        except Exception as error:
            for task in live:
                task.error = error
        spent = time.perf_counter() - began
        for task in live:
            task.seconds += spent
