"""Building networks whose weights come from a file: nothing is drawn for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

DRAWING = frozenset({torch.Tensor.uniform_, torch.Tensor.normal_})
"""What `torch.nn.init` fills weights with; it cuts normal numbers by drawing even ones."""


class WithoutDrawing(TorchFunctionMode):
    """While it lasts, on this thread, nothing is drawn for tensors; memory that nobody writes to is not taken.

    What a network computes when it is built, such as places of tokens, it has.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if func in DRAWING else func(*args, **(kwargs or {}))
