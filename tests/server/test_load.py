"""Many clients at once, one of them deaf: nothing is lost, everybody hears the own jobs' ends, memory is bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.load import load
from mezzotint.server.limits import DEFAULT_LIMITS

from .serving import Server

MOST_GROWTH_NBYTES = 150e6


@pytest.mark.parametrize(
    ("clients", "prompts"), [(20, 200), pytest.param(50, 2_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
async def test_every_client_hears_the_ends_of_its_own_jobs_once(tmp_path: Path, clients: int, prompts: int) -> None:
    server = Server(tmp_path)
    try:
        found = await load(server.address, server.process.pid, clients=clients, prompts=prompts)
    finally:
        assert server.stop() == 0, "".join(server.said)
    for user in found.users:
        assert len(user.submitted) == prompts // clients
        assert sorted(user.ended) == sorted(user.submitted)
    assert found.completed == prompts // clients * (clients + 1)
    assert found.most_unread_nbytes <= DEFAULT_LIMITS.outbox_nbytes
    assert found.peak_nbytes - found.idle_nbytes < MOST_GROWTH_NBYTES
