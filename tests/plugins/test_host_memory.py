"""A host divides what the process may hold of the memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from mezzotint.engine.free_memory import PROCESS
from mezzotint.plugins.host import Host, Settings

MB = 1 << 20


def test_a_host_keeps_a_quarter_of_it_for_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROCESS, "limit_nbytes", None)
    with Host(Settings(home=tmp_path, max_memory_nbytes=1000 * MB)) as host:
        assert host.engine.memory.budget_nbytes == 250 * MB
        assert PROCESS.limit_nbytes == 1000 * MB
    with Host(Settings(home=tmp_path, max_memory_nbytes=1 << 40, memory_nbytes=7)) as host:
        assert host.engine.memory.budget_nbytes == 7
