"""A value that stops the branch it flows into."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Blocked:
    """Returned in place of a value (or of all values): calls that would receive it are not made.

    Their outputs are blocked in turn. With a message the first consumer reports it once; the run still succeeds.
    """

    message: str | None = None
