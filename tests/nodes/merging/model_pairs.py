"""Small random checkpoints of several families, two of each, with the networks that they were written from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.models.recipe import Recipe

from .. import single_files

Tensors = Mapping[str, Tensor]


class Models:
    """Checkpoints of several families, two of each, with the networks that they were written from."""

    def __init__(self, root: Path) -> None:
        folders = Folders(root / "home", models=[root / "models"])
        self.context = Context(folders=folders, models=Residency("cpu", folders=folders))
        self.folder = root / "models"
        self.families: dict[str, single_files.Family] = {}

    def family(self, name: str) -> single_files.Family:
        """`sd1`, or `sd1-b` for another one of the same sizes."""
        if name not in self.families:
            kind = name.removesuffix("-b")
            torch.manual_seed(len(self.families))
            self.families[name] = single_files.FAMILIES[kind]()
            self.families[name].write(self.folder / "checkpoints" / f"{name}.safetensors")
        return self.families[name]

    def load(self, name: str) -> Checkpoint:
        self.family(name)
        return load_checkpoint(f"{name}.safetensors", ctx=self.context)

    def pair(self, name: str) -> tuple[Checkpoint, Checkpoint]:
        return self.load(name), self.load(f"{name}-b")

    def state(self, recipe: Recipe) -> dict[str, Tensor]:
        with self.context.models.borrow(recipe) as loaded:
            return dict(loaded.network.state_dict())

    def unets(self, name: str) -> tuple[Tensors, Tensors]:
        ours, theirs = (self.family(each).unet.state_dict() for each in (name, f"{name}-b"))
        return ours, theirs


def assert_close(actual: Tensors, expected: Tensors, tolerance: float = 1e-6) -> None:
    assert actual.keys() == expected.keys()
    wrong = [name for name in expected if not torch.allclose(actual[name], expected[name], rtol=0, atol=tolerance)]
    assert wrong == []
