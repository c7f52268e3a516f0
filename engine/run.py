"""One run of a plan: the thin shell that carries out what `RunState` decides.

All of it happens on the event loop's thread, but for the methods that lanes call, which only use the mailbox.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from . import event as events
from .answer import Answers, Parked
from .batch import Batches
from .collector import COLLECTOR
from .context import Prompt
from .errors import Cancelled, CircleError, GraphError
from .event_stream import EventStream, OnEvent
from .failure import failure_facts, first_error
from .lane import Task
from .mailbox import Mailbox
from .memory_cache import StepValue
from .plan import LEAST_URGENT, Plan, Step
from .request import Request
from .run_record import RunRecord
from .run_result import RunResult
from .run_state import TERMINAL, Moves, Reuse, RunState
from .step_calls import StepCalls
from .waiters import UpstreamFailedError, Waiters

if TYPE_CHECKING:
    from .engine import Engine

PATIENCE_SECONDS = 10.0  # how long a cancelled `execute` waits for bodies that do not stop


class Run:
    """A run in progress. Made by `Engine.prepare`; `await execute()` once."""

    def __init__(
        self,
        engine: Engine,
        plan: Plan,
        job_id: str,
        prompt: Prompt,
        on_event: OnEvent | None = None,
        wants_previews: bool | Callable[[], bool] = False,
        record: RunRecord | None = None,
        rank: int = 0,
    ) -> None:
        self.engine, self.plan, self.job_id, self.prompt = engine, plan, job_id, prompt
        self.wants_previews, self.record, self.rank = wants_previews, record, rank
        self.is_cancelled, self.looks_ahead, self.result = False, False, RunResult(job_id)
        self.values: dict[str, StepValue] = {}
        self.events = EventStream(job_id, on_event, partial(engine.lineage.reason, plan))
        self.answers = Answers(plan, engine.registry.snapshot(), prompt, self.values)
        self.state = RunState(plan.parents, self._find, self.answers.spent)
        self._unreadable: set[str] = set()
        self._batches = Batches(plan, self.state, engine, self._task)
        self._ready: list[str] = []
        self._parked: dict[str, Parked] = {}
        self._coroutines: dict[str, asyncio.Task[None]] = {}
        self._finished: asyncio.Future[None] | None = None
        self._earlier = record.finished if record is not None else {}
        self._waiters = Waiters(self.state, self._settle)

    async def execute(self) -> RunResult:
        """Run to the end. What fails is in the result and in the events; nothing of it is raised."""
        with COLLECTOR.sparing(), self.engine.surroundings.run(self.job_id, self.prompt.workflow):
            return await self._execute()

    async def _execute(self) -> RunResult:
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        self._finished = loop.create_future()
        self._mailbox = Mailbox(loop, self._hear, self._settle)
        self.events.begin(len(self.plan.steps), self._reused, self.prompt.workflow.upgrades)
        if not self.is_cancelled:
            self._apply(self.state.require([*self.plan.targets, *self.plan.shown_again(self.engine.holds)]))
        self._settle()
        self._mailbox.look_now_and_then()
        try:
            await asyncio.shield(self._finished)
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.wait([self._finished], timeout=PATIENCE_SECONDS)
            raise
        finally:
            self._mailbox.close()
            self._abandon()
            self._conclude(time.perf_counter() - began)
            self._untie()
        return self.result

    def _reused(self) -> tuple[str, ...]:
        """The steps whose values are there already."""
        steps = self.plan.steps.values()
        return tuple(step.id for step in steps if step.id in self._earlier or self.engine.holds(step.key))

    def cancel(self) -> None:
        """Stop: running bodies at their next progress call, the rest now. Call it on the loop's thread."""
        if self.is_cancelled or (self._finished is not None and self._finished.done()):
            return
        self.is_cancelled = True
        if self._finished is None:
            return
        for step_id in self.state.cancel():
            self._drop(step_id)
        for coroutine in self._coroutines.values():
            coroutine.cancel()
        self._settle()

    def _abandon(self) -> None:
        """Leave bodies that did not stop to their threads: nothing more is heard of them, and nobody waits for them."""
        for step_id, status in self.state.status.items():
            if status == "running":
                self._drop(step_id)

    def _untie(self) -> None:
        """Drop what calls the run back: it and its values then go at once. A body that did not stop may still call."""
        if self.state.is_finished and not self._coroutines:
            self.state.detach()
            del self._batches, self._waiters

    # what lanes call, on their threads

    def will_begin(self, step_id: str) -> None:
        if self.record is not None:
            self.record.began(step_id, self.plan.parents(step_id))

    def began(self, task: Task) -> None:
        self._mailbox.put(partial(self.events.started, self.plan.steps[task.step_id], task.started_at))

    def report(self, task: Task, is_urgent: bool) -> None:
        if task.result is not None:
            self.values[task.step_id] = task.result
        self._mailbox.put(task, is_urgent)

    def blocked(self, step: Step, message: str) -> None:
        self.later(partial(self.events.emit_step, events.StepBlocked, step, message=message))

    def later(self, call: Callable[[], object]) -> None:
        self._mailbox.put(call)

    def progressed(self, node_id: str, value: float, total: float, preview: Any, text: str = "") -> None:
        kind, step = events.StepProgressed, self.plan.steps[node_id]
        tell = partial(self.events.emit_step, kind, step, value=value, total=total, preview=preview, text=text)
        self._mailbox.put(tell, is_urgent=False)

    def said(self, node_id: str, call: Callable[[], object]) -> bool:
        self._mailbox.put(partial(self.events.started, self.plan.steps[node_id]), is_urgent=False)
        return self._mailbox.put(call)

    # what they told, on the loop's thread

    def _hear(self, item: Any) -> None:
        if not isinstance(item, Task):
            item()
            return
        step = self.plan.steps[item.step_id]
        if item.has_begun:
            self.events.started(step, item.started_at)
        elif not item.is_done:
            self._drop(step.id)
            return
        if item.failure is not None:
            self._fail(step, item.failure)
        elif item.is_done:
            self.engine.note_seconds(step.spec, item.seconds)
            self._complete(step, item.result, "ran", item.seconds)
        elif item.request is not None and item.request.is_for_executor:
            self._take_request(step, item)

    # carrying out

    def _find(self, step_id: str) -> Reuse | None:
        """Where the value of a step is, if it need not be computed."""
        step = self.plan.steps[step_id]
        if step_id in self._earlier and not step.spec.outputs:
            self.values[step_id] = StepValue((), self._earlier[step_id])
            return "memory"
        key = step.key
        value = self.engine.memory.get(key)
        if value is not None:
            self.values[step_id] = value
            return "memory"
        return "disk" if step_id not in self._unreadable and self.engine.is_on_disk(key) else None

    def _apply(self, moves: Moves) -> None:
        for step_id in moves.reused:
            source: events.Source = "attempt" if step_id in self._earlier else "memory"
            self._tell_finished(self.plan.steps[step_id], self.values[step_id], source)
        for step_id in moves.freed:
            self._let_go(step_id)
        for step_id in moves.skipped:
            self._skip(step_id)
        for step_id in moves.ready:
            if self._batches.is_under_way(step_id):
                self.state.started(step_id)
            else:
                self._ready.append(step_id)

    def _dispatch(self) -> None:
        """Start what became ready since the last time, together."""
        ready, self._ready = self._ready, []
        resumed: list[list[Task]] = []
        begun: list[Step] = []
        for step_id in ready:
            if self.state.status[step_id] != "ready":
                continue
            self.state.started(step_id)
            if step_id in self._parked:
                resumed.append([self._resume(step_id)])
            elif self._must_compute(self.plan.steps[step_id]):
                begun.append(self.plan.steps[step_id])
        self.engine.submit(resumed + self._batches.make(begun), self)

    def _must_compute(self, step: Step) -> bool:
        """Have a step's value shared, read or awaited; True when a lane must compute it."""
        key = step.key
        value = self.engine.memory.get(key)
        if value is not None:
            self._mailbox.put(partial(self._complete, step, value, "shared"))
            return False
        if key is not None and self.engine.flights.join(key, partial(self._landed, step)):
            return False
        self.engine.flights.open(key, step)
        if step.id not in self._unreadable and self.engine.is_on_disk(key):
            self._spawn(step, self._read(step))
        elif step.spec.kind == "async":
            self.events.started(step)
            self._spawn(step, self._await_body(step))
        else:
            return True
        return False

    def _landed(self, step: Step, value: StepValue | None) -> None:
        """Whoever computed the value this step waits for has it, or gave up: then it is computed here."""
        if self.state.status[step.id] != "running":
            return
        if self.is_cancelled:
            self.state.cancelled(step.id)
        elif value is not None:
            self._complete(step, value, "shared")
        else:
            self.engine.submit(self._batches.make([step] if self._must_compute(step) else []), self)
        self._settle()

    def _task(self, step: Step) -> Task:
        calls = StepCalls(self, step)
        context = calls.context(0) if step.spec.kind == "generator" else None
        is_quick, urgency = self.engine.is_quick(step.spec), self.plan.urgency.get(step.id, LEAST_URGENT)
        return Task(self, step.id, step.spec, calls.invoke, context, is_quick, urgency)

    # requests of generator bodies

    def _take_request(self, step: Step, task: Task) -> None:
        request, task.request = task.request, None
        try:
            needs, answer = self.answers.to(step, request)
        except GraphError as error:
            task.error = error
            self.engine.submit([[task]], self)
            return
        self._parked[step.id] = Parked(task, answer)
        self._apply(self.state.parked(step.id, needs))

    def _resume(self, step_id: str) -> Task:
        task, answer = self._parked.pop(step_id)
        task.answer = answer()
        return task

    # async bodies and reading from disk

    def _spawn(self, step: Step, body: Coroutine[Any, Any, None]) -> None:
        self._coroutines[step.id] = asyncio.ensure_future(body)

    async def _read(self, step: Step) -> None:
        value = await self.engine.read(step.key)
        del self._coroutines[step.id]
        if value is not None:
            self._complete(step, value, "disk")
        else:
            self._unreadable.add(step.id)
            self.engine.flights.close(step.key, step, None)
            self._apply(self.state.parked(step.id, step.parents))
        self._settle()

    async def _await_body(self, step: Step) -> None:
        self.will_begin(step.id)
        began = time.perf_counter()
        failure: BaseException | None = None
        try:
            value = await StepCalls(self, step).invoke_async(partial(self.await_answer, step))
        except BaseExceptionGroup as group:
            failure = first_error(group)
        except (Exception, Cancelled, asyncio.CancelledError) as error:
            failure = error
        self._coroutines.pop(step.id, None)
        if failure is None:
            self._complete(step, value, "ran", time.perf_counter() - began)
        else:
            self._fail(step, failure)
        self._settle()

    async def await_answer(self, step: Step, request: Request) -> Any:
        """The answer to what an async body asks for, once the steps behind it are done."""
        needs, answer = self.answers.to(step, request)
        await self._have(step, needs)
        return answer()

    async def _have(self, step: Step, needs: list[str]) -> None:
        self._apply(self.state.require(needs, step.id))
        await self._waiters.wait(step.id, needs)

    # how steps end

    def _complete(self, step: Step, value: StepValue, source: events.Source, seconds: float = 0.0) -> None:
        if self.state.status[step.id] != "running":
            return
        self.values[step.id] = value
        self._tell_finished(step, value, source, seconds)
        if source in ("ran", "disk"):
            self.engine.keep(step, value, is_new=source == "ran")
            self.engine.flights.close(step.key, step, value)
        self._apply(self.state.done(step.id))
        self._waiters.wake(step.id)

    def _tell_finished(self, step: Step, value: StepValue, source: events.Source, seconds: float = 0.0) -> None:
        if value.shown is not None:
            self.result.outputs[step.id] = value.shown
        self.events.finished(step, value.shown, source, seconds)

    def _fail(self, step: Step, error: BaseException) -> None:
        self.state.suspended.discard(step.id)
        if self.state.status[step.id] in TERMINAL:
            return
        if self.is_cancelled:
            self.state.cancelled(step.id)
            moves = Moves()
        else:
            moves = self.state.failed(step.id)
            self._tell_failed(step, error)
        self.engine.flights.close(step.key, step, None)
        self._waiters.wake(step.id)
        self._apply(moves)

    def _tell_failed(self, step: Step, error: BaseException) -> None:
        if isinstance(error, UpstreamFailedError):
            self.result.skipped.append(step.id)
            return
        inputs = self.answers.known(step)
        failed = self.events.emit_step(events.StepFailed, step, **failure_facts(step, error, inputs))
        self.result.failures.append(failed)

    def _skip(self, step_id: str) -> None:
        self.result.skipped.append(step_id)
        self._drop(step_id)
        self._waiters.wake(step_id)

    def _drop(self, step_id: str) -> None:
        """Nothing more comes of a step that was waiting."""
        self._batches.drop(step_id)
        parked = self._parked.pop(step_id, None)
        if parked is not None:
            parked.task.close()
        step = self.plan.steps[step_id]
        self.engine.flights.close(step.key, step, None)

    def _let_go(self, step_id: str) -> None:
        """Free a value that nobody waits for. One without a key stays, since computed again it might differ."""
        value = self.values[step_id]
        is_wanted = step_id in self.plan.wanted or self._coroutines or (value.holds_state and value.holds_untaken_state)
        if self.plan.steps[step_id].key is not None and not is_wanted:
            del self.values[step_id]
            self.state.free(step_id)

    def _settle(self) -> None:
        """Start what can start; see whether the run is over, or can go no further."""
        self._dispatch()
        if self.state.is_stalled:
            waiting = self.state.waiting()
            waiting = [step_id for step_id in waiting if step_id in self._parked] or waiting
            stuck = self.plan.steps[(waiting or sorted(self.state.suspended))[0]]
            self._drop(stuck.id)
            self._fail(stuck, CircleError("it waits for itself: a sub-graph made while running closed a circle"))
            self._settle()
        elif self.state.is_finished and self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    def _conclude(self, seconds: float) -> None:
        result = self.result
        result.status = "cancelled" if self.is_cancelled else "failed" if result.failures else "done"
        result.seconds = seconds
        result.values = {step_id: self.values[step_id] for step_id in self.plan.targets if step_id in self.values}
        self.engine.remember(self.plan)
        self.events.emit(events.RunFinished, status=result.status, seconds=seconds, skipped=tuple(result.skipped))
