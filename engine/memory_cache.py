"""The memory tier: step values by key, the least recently used dropped first when the bytes run out."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from .consumed_state import Taken, holds_state, holds_untaken_state
from .value_type import nbytes

ENTRY_NBYTES = 400
"""What an entry costs beside its values."""


@dataclass(slots=True)
class StepValue:
    """What a step made.

    Attributes:
        outputs: for each output the list of its values (one value unless a list was mapped).
        shown: what an output node reported, or None.
        holds_state: consumed state is or was among the outputs; such a value is of one run alone.
    """

    outputs: tuple[list[Any], ...]
    shown: dict[str, list[Any]] | None = None
    total_nbytes: int = 0
    holds_state: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        total_nbytes = ENTRY_NBYTES
        for values in self.outputs:
            total_nbytes += nbytes(values)
            if holds_state(values):
                self.holds_state = True
        self.total_nbytes = self.total_nbytes or total_nbytes

    def at(self, slot: int) -> list[Any]:
        """The values of an output; None alone where there is no such output."""
        return self.outputs[slot] if slot < len(self.outputs) else [None]

    @property
    def holds_untaken_state(self) -> bool:
        """Whether there is state that nobody took yet."""
        return self.holds_state and any(holds_untaken_state(values) for values in self.outputs)

    def was_taken_by(self, step_id: str) -> bool:
        """Whether that step took state of it."""
        return any(type(value) is Taken and value.by == step_id for values in self.outputs for value in values)


class MemoryCache:
    """Key → `StepValue`, bounded in bytes. A value larger than the whole budget is not kept."""

    def __init__(self, budget_nbytes: int = 1 << 30) -> None:
        self.budget_nbytes = budget_nbytes
        self.total_nbytes = 0
        self._entries: OrderedDict[str, StepValue] = OrderedDict()

    def get(self, key: str | None) -> StepValue | None:
        """The value under the key, now the most recently used one."""
        if key is None or key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: str, value: StepValue) -> None:
        """Keep a value; drop the least recently used ones until the budget holds."""
        if value.total_nbytes > self.budget_nbytes:
            return
        if key in self._entries:
            self.drop(key)
        self._entries[key] = value
        self.total_nbytes += value.total_nbytes
        while self.total_nbytes > self.budget_nbytes:
            self.drop(next(iter(self._entries)))

    def drop(self, key: str) -> None:
        """Forget one value, if it is there."""
        dropped = self._entries.pop(key, None)
        if dropped is not None:
            self.total_nbytes -= dropped.total_nbytes

    def clear(self) -> None:
        """Forget all values."""
        self._entries.clear()
        self.total_nbytes = 0

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)
