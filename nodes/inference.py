"""How torch runs in node bodies: without gradients, unless a node declares `autograd=True`, and with threads to match.

Only the device's lane computes with several threads. A second thread that did would have a second pool of them, and
OpenMP, seeing more threads than cores, then lets all of them sleep between operations: measured on two cores, sampling
with the embedded model took 2.5 times as long.
"""

from __future__ import annotations

import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from mezzotint.engine.node import LaneName, NodeSpec

_NOTHING = nullcontext()
_settled = threading.local()
_lock = threading.Lock()


def inference_scope(spec: NodeSpec) -> AbstractContextManager[Any]:
    """The context that a body of this node runs in.

    Torch is imported for bodies on the device's lane only; elsewhere there is nothing to switch off until something
    else has imported it.
    """
    if spec.lane == "cpu" and "torch" not in sys.modules:
        return _NOTHING
    import torch

    if getattr(_settled, "lane", None) != spec.lane:
        settle_threads(spec.lane)
    return _NOTHING if spec.autograd else torch.inference_mode()


def settle_threads(lane: LaneName) -> None:
    """Say how many threads torch uses on this one: what it would use on the device's lane, elsewhere one."""
    import torch

    with _lock:
        usual = torch.get_num_threads()
        if lane == "cpu":
            torch.set_num_threads(1)
            # The setting is also the default of threads yet to come; a passing thread puts that back.
            passing = threading.Thread(target=torch.set_num_threads, args=(usual,))
            passing.start()
            passing.join()
    _settled.lane = lane
