"""A function of a pack in the place of an attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


class ReplacedAttention(TorchFunctionMode):
    """The first attention that is computed in here is what a function gives for its queries, keys and values.

    Later ones are as they are: those to the tokens of pictures, as of an IP-Adapter.

    Args:
        function: takes these, [B, T, heads * width] each, and `options`; gives [B, T, heads * width].
    """

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
        super().__init__()
        self._function, self._options, self._is_done = function, options, False

    def __torch_function__(self, called: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if called is not scaled_dot_product_attention or self._is_done:
            return called(*args, **(kwargs or {}))
        self._is_done = True
        heads = args[0].shape[1]
        output = self._function(*(each.transpose(1, 2).flatten(2) for each in args[:3]), self._options)
        return output.unflatten(-1, (heads, -1)).transpose(1, 2)
