"""Models for tests: the embedded one, materialised once, and copies of its folder to change or break."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.models.embedded_model import embedded_checkpoint_path

Change = dict[str, Any]


@pytest.fixture(scope="session")
def embedded_path() -> Path:
    return embedded_checkpoint_path()


@pytest.fixture(scope="session")
def model_context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A context on the CPU whose models stay materialised for the whole session."""
    folders = Folders(tmp_path_factory.mktemp("model-home"))
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture(scope="session")
def embedded(model_context: Context) -> Checkpoint:
    """The recipes of the embedded model."""
    return load_checkpoint(ctx=model_context)


@pytest.fixture
def own_context(tmp_path: Path) -> Context:
    """A context on the CPU with a models folder of its own, `tmp_path / "models"`, and a copy of the embedded model
    in there under the name `copy`."""
    folders = Folders(tmp_path / "home", models=[tmp_path / "models"])
    shutil.copytree(embedded_checkpoint_path(), tmp_path / "models" / "checkpoints" / "copy")
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture
def copy_path(own_context: Context) -> Path:
    """The folder of the checkpoint `copy` of `own_context`."""
    return own_context.folders.require("checkpoints", "copy")


@pytest.fixture
def change_config(copy_path: Path) -> Callable[[str, Change], None]:
    """Change entries of a JSON file of the checkpoint `copy`."""

    def change(name: str, changes: Change) -> None:
        path = copy_path / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change
