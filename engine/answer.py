"""How the executor answers bodies: which steps must be done first, and how their values are then read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .consumed_state import take
from .context import Place, Prompt
from .errors import GraphError
from .expansion import Expand
from .invocation import Bound, bind
from .lane import Task
from .memory_cache import StepValue
from .plan import Plan, Step, raw_links
from .registry import Registry
from .request import Need, Request
from .workflow import Link, as_link, unwrap_value

Slots = tuple[list[Any], ...]
"""For each output the list of its values."""


class Parked(NamedTuple):
    """A suspended body, and what it gets when the steps it waits for are done."""

    task: Task
    answer: Callable[[], Any]


class Answers:
    """The answers of one run.

    Args:
        values: what the steps made that are done, by id.
    """

    def __init__(self, plan: Plan, registry: Registry, prompt: Prompt, values: Mapping[str, StepValue]) -> None:
        self._plan, self._registry, self._prompt, self._values = plan, registry, prompt, values

    def bound(self, step: Step) -> Bound:
        """The values of a step's inputs, lazy ones apart. Raw links bring themselves.

        Of lazy inputs, those that are linked are left out, and constants are there for an `Invocation` only.
        """
        spec, literals, links = step.spec, step.literals, step.links
        lazy = spec.lazy_inputs
        if lazy:
            links = {name: link for name, link in links.items() if name not in lazy}
            if spec.invocation is None:
                literals = {name: value for name, value in literals.items() if name not in lazy}
        bound = bind(spec, literals)
        for name, link in links.items():
            bound[name] = self._taken(step, link)
        if spec.raw_link_inputs:
            bound.update({name: [raw] for name, raw in raw_links(spec, step.links).items()})
        return bound

    def _taken(self, step: Step, link: Link) -> list[Any]:
        """The values of an output for a step, which takes consumed state away."""
        value = self._values[link.node_id]
        values = value.at(link.slot)
        return take(values, link.node_id, step.id) if value.holds_state else values

    def spent(self, step_id: str, parents: Iterable[str]) -> list[str]:
        """Of these steps, those whose state a step took when it ran before: they may be there still when it is not."""
        there = [(parent, self._values[parent]) for parent in parents if parent in self._values]
        return [parent for parent, value in there if value.holds_state and value.was_taken_by(step_id)]

    def known(self, step: Step) -> dict[str, list[Any]]:
        """The inputs of a step whose values are there."""
        there = ((name, link) for name, link in step.links.items() if link.node_id in self._values)
        linked = {name: self._values[link.node_id].at(link.slot) for name, link in there}
        return {**{name: [value] for name, value in step.literals.items()}, **linked}

    def to(self, step: Step, request: Request | None) -> tuple[list[str], Callable[[], Any]]:
        """The steps that must be done, and the answer then.

        Raises:
            GraphError: the request cannot be met.
        """
        if isinstance(request, Need):
            return self.inputs(step, request.names)
        if isinstance(request, Expand):
            return self.graph(step, request)
        raise GraphError(f"the executor has no answer to {type(request).__name__}")

    def inputs(self, step: Step, names: Iterable[str]) -> tuple[list[str], Callable[[], dict[str, list[Any]]]]:
        """For `Need`: the steps behind lazy inputs; their values by name, empty for what is not connected.

        Raises:
            GraphError: the node declares no such input.
        """
        for name in names:
            if name not in step.spec.inputs:
                raise GraphError(f"{step.spec.name} asks for the input '{name}', which it does not declare")
        links = {name: step.links[name] for name in names if name in step.links}

        def answer() -> dict[str, list[Any]]:
            literals = {name: [step.literals[name]] for name in names if name in step.literals}
            linked = {name: self._taken(step, link) for name, link in links.items()}
            return {**{name: [] for name in names}, **literals, **linked}

        return [link.node_id for link in links.values()], answer

    def graph(self, step: Step, request: Expand) -> tuple[list[str], Callable[[], Slots]]:
        """For `Expand`: takes the sub-graph up; the steps behind its result, and its output nodes; the result's values.

        Raises:
            GraphError: the graph is wrong.
        """
        added = self._plan.expand(step, request, self._registry)
        self._prompt.add(request.graph, {new.id: Place(new.parent_id, new.display_id, new.real_id) for new in added})
        links = [as_link(value) for value in request.result]

        def answer() -> Slots:
            return tuple(
                [unwrap_value(value)] if link is None else self._taken(step, link)
                for link, value in zip(links, request.result, strict=True)
            )

        sinks = [new.id for new in added if new.spec.is_sink]
        return [*(link.node_id for link in links if link is not None), *sinks], answer
