"""What a host is told of models in memory reaches them, and the names of values."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from mezzotint.engine.workflow import Workflow
from mezzotint.plugins.host import Host, Settings

GRAPH = {"1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}}


def key_with(home: Path, **settings: Any) -> str | None:
    with Host(Settings(home=home, **settings)) as host:
        run = asyncio.run(host.engine.prepare(Workflow.from_api(GRAPH), targets=["1"]))
        return run.plan.steps["1"].key


def test_settings_reach_the_residency_manager(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, vram_budget_nbytes=1000, dtype="bfloat16", text_encoder_dtype="float16")
    with Host(settings) as host:
        assert host.models.budget_nbytes == 1000
        assert host.models.dtypes == {"model": "bfloat16", "clip": "float16"}


def test_values_of_another_dtype_have_other_names_and_those_of_another_budget_the_same(tmp_path: Path) -> None:
    usual = key_with(tmp_path)
    assert key_with(tmp_path, vram_budget_nbytes=1000) == usual
    names = {usual, key_with(tmp_path, dtype="bfloat16"), key_with(tmp_path, vae_dtype="bfloat16")}
    assert len(names) == 3
