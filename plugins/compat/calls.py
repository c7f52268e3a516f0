"""Makes the calls of a pack's node: lists, lazy inputs, blockers, sub-graphs, as packs expect them.

A generator that yields what it needs, for plain and for async functions alike; see `engine.invocation.Invocation`.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mezzotint.engine.blocked import Blocked
from mezzotint.engine.errors import Cancelled, GraphError
from mezzotint.engine.invocation import Bound, Calls, blocked_result
from mezzotint.engine.memory_cache import StepValue
from mezzotint.engine.node import NodeSpec
from mezzotint.engine.request import Await, Need, Request

from .coroutine import finished
from .dynamic_prompt import hidden_value
from .outcome import Outcomes, read_outcome
from .pack_value import as_pack_value
from .surroundings import RunningCall, running_as

if TYPE_CHECKING:
    from .node_class import NodeClass

Arguments = dict[str, Any]


class StepCalls:
    """The calls of one step."""

    def __init__(self, node: NodeClass, spec: NodeSpec, bound: Bound, run: Calls) -> None:
        self._node, self._spec, self._run = node, spec, run
        context = run.context(0)
        hidden = {name: hidden_value(kind, context) for name, kind in node.hidden.items()}
        self._receiver = node.receiver(context, hidden)
        given = {name: as_pack_value(values) for name, values in bound.items()}
        self._inputs: Bound = {**given, **{name: [value] for name, value in node.passed(hidden).items()}}

    def make(self) -> Generator[Request, Any, StepValue]:
        """Make them all."""
        yield from self._await_lazy()
        is_async = self._spec.kind == "async"
        results = (yield from self._concurrently()) if is_async else [*self._one_by_one()]
        outcomes = Outcomes(self._spec)
        for result in results:
            outcome = read_outcome(result, self._spec)
            slots = None if outcome.expand is None else tuple((yield outcome.expand))
            outcomes.add(outcome, slots)
        return StepValue(outcomes.outputs, outcomes.shown)

    # lazy inputs

    def _await_lazy(self) -> Generator[Request, Any, None]:
        """Have computed what the node asks for, until it asks for nothing that is missing. The rest stays None."""
        missing = set(self._run.lazy_links())
        self._inputs.update({name: [None] for name in missing})
        if not hasattr(self._node.cls, "check_lazy_status"):
            return
        while asked := self._asked() & (missing | self._unknown):
            for name in asked & self._unknown:
                raise GraphError(f"check_lazy_status of {self._spec.name} asks for '{name}', which is not linked to "
                                 "anything; it may name lazy inputs that are")  # fmt: skip
            needed = yield Need(*sorted(asked))
            self._inputs.update({name: as_pack_value(values) for name, values in needed.items()})
            missing -= asked

    def _asked(self) -> set[str]:
        self._unknown: set[str] = set()
        names: set[str] = set()
        for index, arguments in enumerate(self._arguments()):
            if _blocked_in(arguments, self._node.takes_lists) is None:
                names.update(self._names(self._call("check_lazy_status", arguments, index)))
        self._unknown = names - self._inputs.keys()
        return names

    def _names(self, returned: Any) -> Iterable[str]:
        given = finished(returned) or ()
        return [name for name in ([given] if isinstance(given, str) else given) if isinstance(name, str)]

    # calls

    def _arguments(self) -> list[Arguments]:
        """The arguments of each call: item k of each list, or its last; or all lists whole."""
        if self._node.takes_lists:
            return [dict(self._inputs)]
        lengths = {len(values) for values in self._inputs.values()}
        count = 0 if 0 in lengths else max(lengths, default=1)
        return [{name: values[min(k, len(values) - 1)] for name, values in self._inputs.items()} for k in range(count)]

    def _one_by_one(self) -> Iterable[Any]:
        for index, arguments in enumerate(self._arguments()):
            self._run.check()
            blocked = self._blocked(arguments)
            yield finished(self._call(self._node.function, arguments, index)) if blocked is None else blocked

    def _concurrently(self) -> Generator[Request, Any, list[Any]]:
        coroutines = [self._awaited(arguments, index) for index, arguments in enumerate(self._arguments())]
        results: list[Any] = yield Await(*coroutines)
        return results

    async def _awaited(self, arguments: Arguments, index: int) -> Any:
        self._run.check()
        blocked = self._blocked(arguments)
        if blocked is not None:
            return blocked
        with running_as(self._running(index)):
            try:
                return await getattr(self._receiver, self._node.function)(**self._node.arguments(arguments))
            except Cancelled:
                self._run.interrupt()
                raise

    def _call(self, function: str, arguments: Arguments, index: int) -> Any:
        body = getattr(self._receiver, function)
        with running_as(self._running(index)):
            try:
                given = self._node.arguments(arguments)
                result = body(**(given if function == self._node.function else _taken(body, given)))
                return finished(result) if inspect.isawaitable(result) else result
            except Cancelled:  # a node may stop the run itself
                self._run.interrupt()
                raise

    def _running(self, index: int) -> RunningCall:
        return RunningCall(self._spec.name, self._run.context(index), self._run)

    def _blocked(self, arguments: Arguments) -> Blocked | None:
        return blocked_result(_blocked_in(arguments, self._node.takes_lists), self._run)


def _blocked_in(arguments: Mapping[str, Any], are_lists: bool) -> Blocked | None:
    values = arguments.values()
    items = (item for value in values for item in value) if are_lists else iter(values)
    return next((item for item in items if isinstance(item, Blocked)), None)


def _taken(function: Any, arguments: Arguments) -> Arguments:
    """The arguments that a function takes: check_lazy_status is not made to take all."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return arguments
    return {name: value for name, value in arguments.items() if name in parameters}
