"""Options about models in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mezzotint.cli.host import VRAM_VARIABLE, local_folders, open_host
from mezzotint.cli.option import Dtype, model_options
from mezzotint.cli.terminal import Terminal
from mezzotint.cli.usage import UsageError


def budget(home: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> int:
    monkeypatch.setenv("MEZZOTINT_HOME", str(home))
    with open_host(Terminal(is_quiet=True), device="cpu", **options) as host:
        return host.models.budget_nbytes


def test_the_budget_is_of_the_option_and_else_of_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VRAM_VARIABLE, "1G")
    assert budget(tmp_path, monkeypatch, **model_options(None, None, None, "512M")) == 512 << 20
    assert budget(tmp_path, monkeypatch, **model_options(None, None, None, None)) == 1 << 30
    assert budget(tmp_path, monkeypatch) > 1 << 30  # commands that run no models don't ask


def test_a_budget_that_is_no_size_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VRAM_VARIABLE, "lots")
    with pytest.raises(UsageError, match="MEZZOTINT_VRAM_BUDGET: 'lots' is no size"):
        open_host(Terminal(), vram_budget=None)
    with pytest.raises(UsageError, match="--vram-budget: 1M is too little; give at least 16M"):
        open_host(Terminal(), vram_budget="1M")


@pytest.mark.parametrize(
    ("given", "option"),
    [((Dtype.FLOAT16, None, None, None), "--dtype"), ((None, None, None, "6G"), "--vram-budget")],
)
def test_a_server_has_such_settings_of_its_own(given: Any, option: str) -> None:
    with pytest.raises(UsageError, match=option):
        local_folders(model_options(*given))
    local_folders(model_options(None, None, None, None))
