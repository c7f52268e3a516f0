"""Choosing, stopping and repeating branches of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, cast

from pydantic import Field

from mezzotint.engine.blocked import Blocked
from mezzotint.engine.context import Context
from mezzotint.engine.errors import GraphError, MezzotintError
from mezzotint.engine.expansion import Expand
from mezzotint.engine.node import node
from mezzotint.engine.port import Lazy, Port
from mezzotint.engine.request import Need, Requests
from mezzotint.engine.value_type import value_type
from mezzotint.engine.widget import Widget

from .loop_body import BEGIN, unroll

MAX_TURNS = 100_000


class BranchError(MezzotintError):
    """A branch is chosen that gives no value."""


@value_type("mezzotint.Loop")
@dataclass(frozen=True, slots=True)
class Loop:
    """What a RepeatBegin tells its RepeatEnd: how many turns there are."""

    count: int


Flow = Annotated[Loop, Port("FLOW")]


class LoopStart(NamedTuple):
    """What a turn of a loop begins with: the turn's index and the values. `flow` leads to the RepeatEnd."""

    flow: Flow
    index: int  # type: ignore[assignment]  # the name of the output matters more than tuple.index
    value_1: Any
    value_2: Any
    value_3: Any
    value_4: Any


class LoopResult(NamedTuple):
    """The values of a loop after its last turn."""

    value_1: Any
    value_2: Any
    value_3: Any
    value_4: Any


@node("Switch", category="logic", output_names=("value",), aliases=("if", "else", "choose"))
def switch(switch: bool = False, on_false: Lazy[Any] | None = None, on_true: Lazy[Any] | None = None) -> Requests[Any]:
    """Choose one of two branches. Only the chosen one is computed.

    Raises:
        BranchError: nothing is connected to the chosen branch.
    """
    name = "on_true" if switch else "on_false"
    value = yield Need(name)
    if value is None:
        raise BranchError(f"'{name}' is chosen, and nothing is connected to it; connect a value")
    return value


@node("Gate", category="logic", output_names=("value",), aliases=("block", "stop"))
def gate(
    value: Any,
    is_open: Annotated[bool, Widget(label_on="open", label_off="closed")] = True,
    message: Annotated[str, Field(description="Reported when the gate is closed; nothing when empty.")] = "",
) -> Any:
    """Let a value pass, or stop the branch behind it: what needs the value is not run, the rest of the workflow is."""
    return value if is_open else Blocked(message or None)


@node("RepeatBegin", title="Repeat: Begin", category="logic/loop", aliases=("loop", "for"))
def repeat_begin(
    count: Annotated[int, Field(ge=0, le=MAX_TURNS, description="How many turns.")] = 1,
    value_1: Any | None = None,
    value_2: Any | None = None,
    value_3: Any | None = None,
    value_4: Any | None = None,
) -> LoopStart:
    """Begin a loop: the nodes between this and its Repeat: End are run `count` times.

    A turn begins with the values that the turn before gave to Repeat: End; the first one with those given here.
    Loops may be nested. Nodes that use values of the loop, but that Repeat: End does not need, are run once, with the
    values of the first turn.

    Returns:
        flow: link it to Repeat: End. index: the turn's, from 0. value_1 to value_4: what the turn begins with.
    """
    return LoopStart(Loop(count), 0, value_1, value_2, value_3, value_4)


@node("RepeatEnd", title="Repeat: End", category="logic/loop")
def repeat_end(
    flow: list[Flow],
    value_1: Lazy[Any] | None = None,
    value_2: Lazy[Any] | None = None,
    value_3: Lazy[Any] | None = None,
    value_4: Lazy[Any] | None = None,
    *,
    ctx: Context,
) -> Requests[LoopResult]:
    """End a loop, and give its values after the last turn; with a count of 0 the initial ones.

    A value that is not connected here stays what it was at Repeat: Begin. Lists run through a loop whole: each turn
    maps over them.

    Raises:
        GraphError: `flow` does not come from a Repeat: Begin, or a list of counts was given to it.
    """
    counts = {loop.count for loop in flow}
    if len(counts) != 1:
        raise GraphError(f"{BEGIN} was given the counts {sorted(counts)}; one loop takes one count")
    unrolled = unroll(ctx.prompt, ctx.node_id, counts.pop(), ctx.graph().prefix)
    yield from ()  # only a body that may yield can leave its values uncomputed
    return cast(LoopResult, Expand(unrolled.nodes, *unrolled.values))
