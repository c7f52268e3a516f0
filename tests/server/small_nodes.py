"""Nodes without torch for the server's tests: loaded with `--plugin`."""

import math
import time
from typing import Annotated, Any, Literal

from pydantic import Field

from mezzotint import Blocked, Context, Expand, node


@node("SmallNumber")
def small_number(value: Annotated[int, Field(ge=0, le=1000)], kind: Literal["plain", "odd"] = "plain") -> int:
    """A number."""
    return value


@node("SmallSum")
def small_sum(a: int, b: int = 0) -> int:
    """Adds."""
    return a + b


@node("SmallShow", sink=True)
def small_show(source: Any, *, ctx: Context) -> None:
    """Shows what it gets."""
    ctx.show(text=[str(source)])


@node("SmallSilent", sink=True)
def small_silent(source: Any) -> None:
    """An output node that shows nothing."""


@node("SmallFail", sink=True)
def small_fail(source: Any, message: str = "no") -> None:
    """Fails."""
    raise ValueError(message)


@node("SmallSleep")
def small_sleep(ticks: int, seconds: float = 0.01, salt: str = "", *, ctx: Context) -> int:
    """Takes a while, telling how far it is."""
    for tick in range(ticks):
        ctx.progress(tick + 1, ticks)
        time.sleep(seconds)
    return ticks


@node("SmallSay")
def small_say(texts: str, salt: str = "", *, ctx: Context) -> int:
    """Says each word of itself, with time between."""
    words = texts.split()
    for number, word in enumerate(words, 1):
        ctx.progress(number, len(words), text=word)
        time.sleep(0.15)
    return len(words)


@node("SmallStubborn", sink=True)
def small_stubborn(seconds: float) -> None:
    """Takes a while and cannot be interrupted."""
    time.sleep(seconds)


@node("SmallPicture")
def small_picture(width: int, salt: str = "", *, ctx: Context) -> int:
    """Reports one step with a preview."""
    from PIL import Image

    preview = Image.new("RGB", (width, width // 2), (200, 100, 50)) if ctx.wants_previews else None
    ctx.progress(1, 1, preview)
    return width


@node("SmallExpand")
def small_expand(value: int, *, ctx: Context) -> int:
    """Replaces itself by two nodes."""
    graph = ctx.graph()
    first = graph.node("SmallSum", a=value, b=1)
    second = graph.node("SmallSum", a=first.out(0), b=1)
    return Expand(graph, second.out(0))  # type: ignore[return-value]


@node("SmallBlock")
def small_block(message: str) -> int:
    """Blocks what follows."""
    return Blocked(message)  # type: ignore[return-value]


@node("SmallOdd", sink=True)
def small_odd(salt: str, *, ctx: Context) -> None:
    """Shows what JSON cannot hold."""
    ctx.show(values=[math.nan, math.inf, {(1, 2): object}, b"bytes"])


@node("SmallIsWatched", sink=True)
def small_is_watched(salt: str, *, ctx: Context) -> None:
    """Shows whether previews are wanted."""
    ctx.show(text=[str(ctx.wants_previews)])
