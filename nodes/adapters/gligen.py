"""Nodes that draw things in boxes, each with a text of its own: GLIGEN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mezzotint import Clip, Conditioning, Context, Port, Widget, model_files, node
from mezzotint.engine.folders import Folders

from ..models.weights_source import weights_identity, weights_source
from ..sampling.network_call import GLIGEN, POOLED, ConditioningError
from ..text.text_embedding import texts_identity, with_embeddings
from .gligen_patch import GligenPatch

if TYPE_CHECKING:
    GligenModel = Annotated[GligenPatch, Port("GLIGEN")]
else:
    GligenModel = Annotated[Any, Port("GLIGEN")]

KIND, POSITION = "gligen", "position"
CELL = 8
"""Pixels of a latent's cell."""
Side = Annotated[int, Field(ge=8, le=16384), Widget(step=8)]
Place = Annotated[int, Field(ge=0, le=16384), Widget(step=8)]


def gligen_identity(gligen_name: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced."""
    return weights_identity(KIND, gligen_name, folders)


@node("GLIGENLoader", category="loaders", fingerprint=gligen_identity, quick_fingerprint=True)
def load_gligen(gligen_name: Annotated[str, model_files(KIND)], *, ctx: Context) -> GligenModel:
    """Open a GLIGEN file, which lets models of Stable Diffusion 1 draw things in boxes.

    Raises:
        MissingModelError: the file is missing. ModelFileError: it is damaged, or no GLIGEN for boxes with texts.
    """
    from .gligen_network import check_gligen

    check_gligen(ctx.folders.require(KIND, gligen_name), gligen_name)
    return GligenPatch(weights_source(KIND, gligen_name, ctx))


def text_identity(text: str | None, folders: Folders) -> Any:
    """What changes when an embedding that the text names is written or replaced."""
    return texts_identity([text], folders)


@node(
    "GLIGENTextBoxApply",
    category="conditioning/gligen",
    lane="device",
    fingerprint=text_identity,
    quick_fingerprint=True,
)
def apply_text_box(
    conditioning_to: Conditioning,
    clip: Clip,
    gligen_textbox_model: GligenModel,
    text: Annotated[str, Widget(multiline=True, dynamic_prompts=True)],
    width: Side = 64,
    height: Side = 64,
    x: Place = 0,
    y: Place = 0,
    *,
    ctx: Context,
) -> Conditioning:
    """Have what a text says drawn in a box, in pixels from the upper left corner; nodes in a row make several boxes.

    Raises:
        ConditioningError: an earlier box is of another GLIGEN file; the text encoder is of another family.
    """
    with ctx.models.borrow(clip) as encoder:
        ((_, said),) = with_embeddings(encoder, [text], ctx).encode(text)
    if said.get(POOLED) is None:
        raise ConditioningError(
            "GLIGENTextBoxApply: this text encoder makes no one vector of a whole text, as GLIGEN wants it; use the "
            "CLIP of Stable Diffusion 1"
        )
    box = (said[POOLED], height // CELL, width // CELL, y // CELL, x // CELL)
    return [
        [tokens, {**options, GLIGEN: (POSITION, gligen_textbox_model, [*_boxes(options, gligen_textbox_model), box])}]
        for tokens, options in conditioning_to
    ]


def _boxes(options: dict[str, Any], model: GligenPatch) -> list[Any]:
    """The boxes that an item has already."""
    if GLIGEN not in options:
        return []
    _, earlier, boxes = options[GLIGEN]
    if earlier != model:
        raise ConditioningError(
            f"GLIGENTextBoxApply: an earlier box is of the GLIGEN file '{earlier.source.name}', and this one of "
            f"'{model.source.name}'; use one for all boxes"
        )
    return list(boxes)
