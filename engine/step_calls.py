"""What ties the calls of one step's body to the run they belong to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

from .context import Context
from .errors import Cancelled
from .invocation import invoke, invoke_async, pick
from .memory_cache import StepValue
from .plan import Step
from .port import Lazy
from .request import Need, Request

if TYPE_CHECKING:
    from .run import Run


class StepCalls:
    """The `invocation.Calls` of a step in a run."""

    __slots__ = ("_run", "_step")

    def __init__(self, run: Run, step: Step) -> None:
        self._run, self._step = run, step

    def invoke(self) -> Generator[Request, Any, StepValue]:
        make_calls = self._step.spec.invocation or invoke
        body = make_calls(self._step.spec, self._run.answers.bound(self._step), self)
        around = self._run.engine.surroundings
        return around.body(self._run.job_id, self._step, body) if around.steps else body

    @property
    def job_id(self) -> str:
        return self._run.job_id

    async def invoke_async(self, answer: Callable[[Request], Awaitable[Any]]) -> StepValue:
        with self._run.engine.surroundings.step(self._run.job_id, self._step):
            return await invoke_async(self._step.spec, self._run.answers.bound(self._step), self, answer)

    def context(self, call_index: int) -> Context:
        return self._run.engine.context(self._step.id, call_index, self._run.prompt, self._run)

    def lazy_inputs(self, call_index: int) -> dict[str, Lazy[Any]]:
        run, step = self._run, self._step

        async def fetch(name: str) -> Any:
            return pick(step.spec, name, (await run.await_answer(step, Need(name)))[name], call_index)

        declared, given = step.spec.inputs, (*step.literals, *step.links)
        return {name: Lazy(name, fetch) for name in given if name in declared and declared[name].is_lazy}

    def blocked(self, message: str) -> None:
        self._run.blocked(self._step, message)

    def check(self) -> None:
        if self._run.is_cancelled:
            raise Cancelled

    def lazy_links(self) -> list[str]:
        step = self._step
        return [name for name in step.links if name in step.spec.inputs and step.spec.inputs[name].is_lazy]

    def interrupt(self) -> None:
        self._run.later(self._run.cancel)
