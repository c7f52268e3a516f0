"""The model that comes with the package, so that something can be drawn on a machine that has no other."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from mezzotint.engine.folders import bundle_model

EMBEDDED_CHECKPOINT = "mezzotint-emoji"
"""Its name among the checkpoints, and the default of nodes that name one."""


def embedded_checkpoint_path() -> Path:
    """The diffusers folder of the embedded model. Packages are installed unpacked, so it is one."""
    return Path(str(files("mezzotint.nodes") / "embedded" / EMBEDDED_CHECKPOINT))


def bundle_embedded_checkpoint() -> None:
    """List the embedded model among the checkpoints, after the user's own."""
    bundle_model("checkpoints", EMBEDDED_CHECKPOINT, embedded_checkpoint_path())
