"""Weights in prompt text: `a (red:1.3) apple` → pieces of text with the weight of each.

| written | means |
|---|---|
| `(text)` | × 1.1; nesting multiplies |
| `(text:w)` | the weight w, whatever surrounds it; w follows the last colon, which is not the first character |
| `(text:)`, `(a:b)` | no number follows the last colon: × 1.1, and the colon is text |
| `\\(` and `\\)` | parentheses as text |
| a parenthesis with no partner | text |

Brackets, `BREAK`, `AND` and `<lora:...>` have no meaning and stay text.
"""

from __future__ import annotations

import math
from typing import NamedTuple

EMPHASIS = 1.1


class WeightedText(NamedTuple):
    """A piece of a prompt."""

    text: str
    weight: float


class _Group(NamedTuple):
    """The inside of a pair of parentheses: the weight there, where its text ends, and where it closes."""

    weight: float
    end: int
    close: int


def parse_weights(prompt: str) -> list[WeightedText]:
    """The pieces of a prompt in order, each with its weight; pieces without text are left out. Never fails."""
    partners = _partners(prompt)
    pieces: list[WeightedText] = []
    groups = [_Group(1.0, len(prompt), len(prompt))]
    text: list[str] = []
    i = 0
    while groups:
        group = groups[-1]
        if i >= group.end:
            _add(pieces, text, group.weight)
            groups.pop()
            i = group.close + 1
        elif i in partners:
            _add(pieces, text, group.weight)
            groups.append(_group(prompt, i, partners[i], group.weight))
            i += 1
        else:
            i += _is_escaped(prompt, i)
            text.append(prompt[i])
            i += 1
    return pieces


def _add(pieces: list[WeightedText], text: list[str], weight: float) -> None:
    if text:
        pieces.append(WeightedText("".join(text), weight))
        text.clear()


def _is_escaped(prompt: str, i: int) -> bool:
    """Whether a backslash stands here that makes the next character an ordinary one."""
    return prompt[i] == "\\" and prompt[i + 1 : i + 2] in ("(", ")")


def _partners(prompt: str) -> dict[int, int]:
    """Opening parentheses that are closed → where."""
    partners: dict[int, int] = {}
    opened: list[int] = []
    i = 0
    while i < len(prompt):
        if _is_escaped(prompt, i):
            i += 1
        elif prompt[i] == "(":
            opened.append(i)
        elif prompt[i] == ")" and opened:
            partners[opened.pop()] = i
        i += 1
    return partners


def _group(prompt: str, start: int, close: int, outer_weight: float) -> _Group:
    colon = prompt.rfind(":", start + 1, close)
    weight = _number(prompt[colon + 1 : close]) if colon > start + 1 else None
    if weight is None:
        return _Group(outer_weight * EMPHASIS, close, close)
    return _Group(weight, colon, close)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
