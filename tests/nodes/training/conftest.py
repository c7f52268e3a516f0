"""Trainings of tiny networks, in folders of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.training.begin import begin_training
from mezzotint.nodes.training.network_plan import NetworkPlan
from mezzotint.nodes.training.optimiser_plan import OptimiserPlan
from mezzotint.nodes.training.state import TrainingState

from .tiny_training import Begin, tiny_plan


@pytest.fixture
def context(tmp_path: Path) -> Context:
    folders = Folders(tmp_path / "home", models=[tmp_path / "models"])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture
def begin(context: Context) -> Begin:
    """`begin(plan, seed=, precision=, checkpointing=, **optimiser)`: a training of tiny networks."""

    def make(
        plan: NetworkPlan | None = None,
        seed: int = 7,
        precision: Any = "float32",
        checkpointing: bool = False,
        **options: Any,
    ) -> TrainingState:
        return begin_training(
            plan or tiny_plan(), OptimiserPlan(**{"learning_rate": 1e-3, **options}), seed, precision, checkpointing,
            context,
        )  # fmt: skip

    return make
