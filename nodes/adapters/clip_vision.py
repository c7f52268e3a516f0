"""Nodes that let CLIP read pictures, for what is steered by what it sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from mezzotint import Context, Image, Port, model_files, node
from mezzotint.engine.folders import Folders

from ..models.weights_source import weights_identity, weights_source
from .clip_vision_recipe import ClipVisionOutput, ClipVisionRecipe

KIND = "clip_vision"
BESIDE = ("config.json",)
if TYPE_CHECKING:
    ClipVision = Annotated[ClipVisionRecipe, Port("CLIP_VISION")]
    VisionOutput = Annotated[ClipVisionOutput, Port("CLIP_VISION_OUTPUT")]
else:
    ClipVision = Annotated[Any, Port("CLIP_VISION")]
    VisionOutput = Annotated[Any, Port("CLIP_VISION_OUTPUT")]


def clip_vision_identity(clip_name: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced."""
    return weights_identity(KIND, clip_name, folders, BESIDE)


@node(
    "CLIPVisionLoader",
    title="Load CLIP Vision",
    category="loaders",
    fingerprint=clip_vision_identity,
    quick_fingerprint=True,
)
def load_clip_vision(clip_name: Annotated[str, model_files(KIND)], *, ctx: Context) -> ClipVision:
    """Open a CLIP model for pictures.

    Raises:
        MissingModelError: the file is missing. ModelFileError: it is damaged, or of no known layout.
    """
    from .clip_vision_network import read_config

    read_config(ctx.folders.require(KIND, clip_name), clip_name)
    return ClipVisionRecipe(weights_source(KIND, clip_name, ctx, BESIDE))


@node("CLIPVisionEncode", title="CLIP Vision Encode", category="conditioning", lane="device")
def encode_image(
    clip_vision: ClipVision, image: Image, crop: Literal["center", "none"] = "center", *, ctx: Context
) -> VisionOutput:
    """Let CLIP read pictures: their middle, or all of them, squeezed to a square."""
    with ctx.models.borrow(clip_vision) as network:
        read: ClipVisionOutput = network.encode(image, "center" if crop == "center" else "disabled")
        return read
