"""Calls a node's body: once, or once for each item when a list is linked to it.

Pure but for the body itself: inputs in, outputs out; what a body asks for on the way is yielded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, Protocol

from .blocked import Blocked
from .consumed_state import holds_state
from .context import Context
from .current_job import CURRENT_JOB
from .errors import GraphError
from .expansion import Expand
from .memory_cache import StepValue
from .node import NodeSpec
from .port import Lazy
from .request import Await, Need, Request

Bound = dict[str, list[Any]]
"""Input name → all its values; a constant is one value."""


class Calls(Protocol):
    """What the calls of a step have to do with the run they belong to."""

    @property
    def job_id(self) -> str: ...

    def context(self, call_index: int) -> Context:
        """What call number `call_index` may touch."""

    def lazy_inputs(self, call_index: int) -> dict[str, Lazy[Any]]:
        """The lazy inputs that a call is given, to be asked for."""

    def blocked(self, message: str) -> None:
        """A call was not made."""

    def check(self) -> None:
        """Raises Cancelled when the run was."""

    def lazy_links(self) -> list[str]:
        """The lazy inputs that are linked. `Need` gives their values, all of each list, to an `Invocation`."""

    def interrupt(self) -> None:
        """Cancel the run, as if a person had."""


class Invocation(Protocol):
    """Makes all calls of a step in another way than `invoke`, yielding what it needs on the way.

    `bound` has every present input with all its values, constants of lazy inputs too; `Need` is answered with a dict
    of such lists, `Expand` with a list of values for each output. Of an async body it runs on the event loop, and may
    also yield `Await`.
    """

    def __call__(self, spec: NodeSpec, bound: Bound, run: Calls) -> Generator[Request, Any, StepValue]: ...


def bind(spec: NodeSpec, literals: Mapping[str, Any]) -> Bound:
    """Constants as the lists of their values."""
    bound = {name: [value] for name, value in literals.items()} if literals else {}
    for name in spec.list_inputs:
        if isinstance(literals.get(name), list):
            bound[name] = literals[name]
    return bound


def calls(spec: NodeSpec, bound: Bound) -> list[dict[str, Any]]:
    """The arguments of each call.

    Call k takes item k of each mapped list, or the last item of a shorter one; a list input takes its whole list.
    An empty list maps to no calls.

    Raises:
        GraphError: one consumed state for several calls.
    """
    mapped = bound
    whole: Bound = {}
    if spec.list_inputs:
        whole = {name: values for name, values in bound.items() if name in spec.list_inputs}
        mapped = {name: values for name, values in bound.items() if name not in whole}
    try:
        only = {name: value for name, (value,) in mapped.items()}
        return [{**whole, **only} if whole else only]
    except ValueError:  # there is a list of another length than one
        lengths = {len(values) for values in mapped.values()}
    count = 0 if 0 in lengths else max(lengths)
    for name, values in mapped.items():
        if len(values) < count and holds_state(values):
            raise GraphError(
                f"'{name}' is state that one call changes in place, and lists make {count} calls; give the node single "
                f"values beside it, or a list of {count} states"
            )
    return [
        {**whole, **{name: values[min(k, len(values) - 1)] for name, values in mapped.items()}} for k in range(count)
    ]


class Collected:
    """The outputs of a step's calls, list by list, and what they showed."""

    __slots__ = ("outputs", "shown", "spec")

    def __init__(self, spec: NodeSpec) -> None:
        self.spec = spec
        self.outputs: tuple[list[Any], ...] = tuple([[] for _ in spec.outputs])
        self.shown: dict[str, list[Any]] | None = None

    def add(self, result: Any, context: Context | None = None) -> None:
        """Take up what one call returned."""
        if context is not None and context.shown:
            self.shown = self.shown or {}
            for name, items in context.shown.items():
                self.shown.setdefault(name, []).extend(items)
        outputs = self.spec.outputs
        if len(outputs) == 1 and not outputs[0].is_list:
            self.outputs[0].append(result)
            return
        for values_so_far, output, value in zip(self.outputs, outputs, self._values(result), strict=True):
            if output.is_list and isinstance(value, list | tuple):
                values_so_far.extend(value)
            else:
                values_so_far.append(value)

    def splice(self, slots: tuple[list[Any], ...]) -> None:
        """Take up the values of a sub-graph, whole lists at a time.

        Raises:
            GraphError: they are not one for each output.
        """
        if len(slots) != len(self.outputs):
            raise GraphError(
                f"the expansion of {self.spec.name} gives {len(slots)} results and the node has {len(self.outputs)} "
                f"outputs; give Expand one result for each"
            )
        for values_so_far, values in zip(self.outputs, slots, strict=True):
            values_so_far.extend(values)

    def value(self) -> StepValue:
        return StepValue(self.outputs, self.shown)

    def _values(self, result: Any) -> tuple[Any, ...]:
        count = len(self.outputs)
        if isinstance(result, Blocked):
            return (result,) * count
        if count == 0:
            return ()
        if count == 1:
            return (result,)
        if not isinstance(result, tuple | list) or len(result) != count:
            given = f"{len(result)} values" if isinstance(result, tuple | list) else type(result).__name__
            names = ", ".join(output.name for output in self.spec.outputs)
            raise TypeError(f"the body of {self.spec.name} must return {count} values ({names}), and returned {given}")
        return tuple(result)


def blocked_in(arguments: Mapping[str, Any], spec: NodeSpec) -> Blocked | None:
    """The blocked value among a call's arguments, if there is one."""
    if Blocked in map(type, arguments.values()):
        return next(value for value in arguments.values() if type(value) is Blocked)
    for name in spec.list_inputs:
        found = next((item for item in arguments.get(name, ()) if type(item) is Blocked), None)
        if found is not None:
            return found
    return None


def invoke(spec: NodeSpec, bound: Bound, run: Calls) -> Generator[Request, Any, StepValue]:
    """Make all calls of a plain or generator body, yielding what they ask for."""
    collected = Collected(spec)
    for index, arguments in enumerate(calls(spec, bound)):
        if index:  # before the first, the lane has looked
            run.check()
        context = None
        blocked = blocked_in(arguments, spec)
        if blocked is not None:
            result: Any = blocked_result(blocked, run)
        else:
            if spec.takes_services:
                context = _add_services(spec, arguments, run, index)
            result = spec.body(**arguments)
            if spec.kind == "generator":
                result = yield from _answering_needs(spec, result, index)
        if isinstance(result, Expand):
            collected.splice((yield result))
        else:
            collected.add(result, context)
    return collected.value()


def _add_services(spec: NodeSpec, arguments: dict[str, Any], run: Calls, index: int) -> Context | None:
    """Give a call what it gets beside its values; returns its context, if it takes one."""
    if spec.lazy_inputs:
        arguments.update(run.lazy_inputs(index))
    if spec.context_parameter is None:
        return None
    context = arguments[spec.context_parameter] = run.context(index)
    return context


def _answering_needs(spec: NodeSpec, body: Generator[Request, Any, Any], index: int) -> Generator[Request, Any, Any]:
    """Passes a body's requests on; of lazy inputs and sub-graphs, picks the values of this call."""
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            request = body.throw(error) if error is not None else body.send(answer)
        except StopIteration as end:
            return end.value
        answer = error = None
        try:
            answer = yield request
        except Exception as raised:
            error = raised
            continue
        if isinstance(request, Need):
            picked = tuple(pick(spec, name, answer[name], index) for name in request.names)
            answer = picked[0] if len(picked) == 1 else picked
        elif isinstance(request, Expand):
            answer = tuple(values[0] if len(values) == 1 else values for values in answer)


def pick(spec: NodeSpec, name: str, values: list[Any], index: int) -> Any:
    """What call number `index` gets of a lazy input's values; None when the input is not connected."""
    if spec.inputs[name].is_list:
        return values
    return values[min(index, len(values) - 1)] if values else None


def blocked_result(blocked: Blocked | None, run: Calls) -> Blocked | None:
    """What the outputs of a call become that this value reached, the message reported and used up."""
    if blocked is not None and blocked.message is not None:
        run.blocked(blocked.message)
        return Blocked()
    return blocked


async def invoke_async(
    spec: NodeSpec,
    bound: Bound,
    run: Calls,
    answer: Callable[[Request], Awaitable[Any]],
) -> StepValue:
    """Make all calls of an async body, those over a list concurrently; `answer` meets what they ask for."""
    if spec.invocation is not None:
        return await _driven(spec.invocation(spec, bound, run), answer)

    async def call(index: int, arguments: dict[str, Any]) -> tuple[Any, Context | None]:
        CURRENT_JOB.set(run.job_id)  # of this task alone
        run.check()
        blocked = blocked_result(blocked_in(arguments, spec), run)
        if blocked is not None:
            return blocked, None
        context = _add_services(spec, arguments, run, index)
        return await spec.body(**arguments), context

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call(index, arguments)) for index, arguments in enumerate(calls(spec, bound))]
    collected = Collected(spec)
    for result, context in (task.result() for task in tasks):
        if isinstance(result, Expand):
            collected.splice(await answer(result))
        else:
            collected.add(result, context)
    return collected.value()


async def _driven(body: Generator[Request, Any, StepValue], answer: Callable[[Request], Awaitable[Any]]) -> StepValue:
    """Run an invocation to its end on the event loop."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            request = body.send(value) if error is None else body.throw(error)
        except StopIteration as end:
            made: StepValue = end.value
            return made
        value = error = None
        try:
            value = await (_all(request) if isinstance(request, Await) else answer(request))
        except (Exception, asyncio.CancelledError) as raised:
            error = raised


async def _all(request: Await) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in request.coroutines]
    return [task.result() for task in tasks]
