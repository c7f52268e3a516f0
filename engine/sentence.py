"""Parts of the sentences in which problems are told."""

from __future__ import annotations

from typing import Any

SHOWN_CHOICES = 20
"""How many choices a sentence lists."""


def list_of(allowed: list[str], near: str | None) -> str:
    if not allowed:
        return "nothing yet, because the list is empty"
    hint = f"; did you mean '{near}'?" if near else ""
    if len(allowed) > SHOWN_CHOICES:
        return f"one of {len(allowed)} choices{hint}"
    return "one of " + ", ".join(f"'{choice}'" for choice in allowed) + hint


def suggestion(near: str | None, otherwise: str) -> str:
    return f"did you mean '{near}'?" if near else otherwise


def short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # a number of more digits than Python writes, say
        return f"a value of type {type(value).__name__} ({error})"
    return text if len(text) <= 80 else text[:77] + "..."
