"""Gradients are off in node bodies, except in those that declare `autograd=True`."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from mezzotint.engine.node import NodeSpec

_NOTHING = nullcontext()


def inference_scope(spec: NodeSpec) -> AbstractContextManager[Any]:
    """The context that a body of this node runs in.

    Torch is imported for bodies on the device's lane only; elsewhere there is nothing to switch off until something
    else has imported it.
    """
    if spec.autograd or (spec.lane == "cpu" and "torch" not in sys.modules):
        return _NOTHING
    import torch

    return torch.inference_mode()
