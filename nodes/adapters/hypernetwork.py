"""The node that adds a hypernetwork to a model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mezzotint import Context, Model, Widget, model_files, node
from mezzotint.engine.folders import Folders

from ..models.weights_source import weights_identity, weights_source
from .hypernetwork_patch import HypernetworkPatch

KIND = "hypernetworks"


def hypernetwork_identity(hypernetwork_name: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced."""
    return weights_identity(KIND, hypernetwork_name, folders)


@node("HypernetworkLoader", category="loaders", fingerprint=hypernetwork_identity, quick_fingerprint=True)
def load_hypernetwork(
    model: Model,
    hypernetwork_name: Annotated[str, model_files(KIND)],
    strength: Annotated[
        float, Field(ge=-10, le=10, description="1 is as it was trained."), Widget(step=0.01, round=0.01)
    ] = 1.0,
    *,
    ctx: Context,
) -> Model:
    """Add a hypernetwork to a model: small networks before the keys and values of its attention.

    Several one after another see each what the one before gives.

    Raises:
        MissingModelError: the file is missing. ModelFileError: it is damaged, no hypernetwork, or a pickle where these
        are refused. Whether it fits the model is seen when the model is used.
    """
    from .hypernetwork_file import read_hypernetwork

    if strength == 0:
        return model
    source = weights_source(KIND, hypernetwork_name, ctx)
    read_hypernetwork(ctx.folders.require(KIND, hypernetwork_name), hypernetwork_name)
    return model.with_patch(HypernetworkPatch(source, strength))
