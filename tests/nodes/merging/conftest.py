"""Checkpoints that are merged and saved, made when they are first asked for."""

from __future__ import annotations

import pytest

from .model_pairs import Models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("merging"))
