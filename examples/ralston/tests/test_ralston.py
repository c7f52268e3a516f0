from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import mezzotint_ralston
import pytest
import torch

from mezzotint import Host, Settings

VARIANCE = 0.25
"""Of normally distributed numbers about 0, whose denoiser and path are known in closed form."""


def arrives_at(steps: int) -> float:
    """Where the sampler comes to from 8 at the noise level 10, down to 0.1."""
    sigmas = torch.logspace(1, -1, steps + 1, dtype=torch.float64)
    run = mezzotint_ralston.ralston(torch.tensor([8.0], dtype=torch.float64), sigmas, None, None)
    x, sigma = next(run)
    while True:
        try:
            x, sigma = run.send(x * (VARIANCE / (VARIANCE + sigma**2)))
        except StopIteration as end:
            return float(end.value)


def test_twice_the_steps_leave_a_quarter_of_the_error() -> None:
    exact = 8 * math.sqrt((VARIANCE + 0.01) / (VARIANCE + 100))
    errors = [abs(arrives_at(steps) - exact) for steps in (40, 80, 160)]
    assert [before / after for before, after in pairwise(errors)] == pytest.approx([4, 4], rel=0.1)


def test_k_sampler_offers_it(tmp_path: Path) -> None:
    with Host(Settings(plugins=(mezzotint_ralston,), home=tmp_path)) as host:
        assert host.definitions["KSampler"]["input"]["required"]["sampler_name"][0][-1] == "ralston"
