"""Nodes that draw after the example of a picture: IP-Adapters. Names and inputs are those that workflows have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mezzotint import Context, Image, Mask, Model, Port, Widget, model_files, node
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.folders import Folders

from ..conditioning.conditioning_scope import RunShare
from ..models.weights_source import weights_identity, weights_source
from ..tensor_value import tensor_value
from .clip_vision import ClipVision
from .clip_vision_recipe import ClipVisionOutput
from .ip_adapter_patch import IPAdapterFile, IPAdapterPatch

if TYPE_CHECKING:
    from torch import Tensor

    IPAdapter = Annotated[IPAdapterFile, Port("IPADAPTER")]
else:
    IPAdapter = Annotated[Any, Port("IPADAPTER")]

KIND = "ipadapter"
Weight = Annotated[float, Field(ge=-1, le=5, description="1 is as it was trained."), Widget(step=0.05)]


class IPAdapterError(MezzotintError):
    """An IP-Adapter is asked for something that is not done, or lacks what reads its picture."""


def ip_adapter_identity(ipadapter_file: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced."""
    return weights_identity(KIND, ipadapter_file, folders)


@node(
    "IPAdapterModelLoader",
    title="IPAdapter Model Loader",
    category="ipadapter/loaders",
    fingerprint=ip_adapter_identity,
    quick_fingerprint=True,
)
def load_ip_adapter(ipadapter_file: Annotated[str, model_files(KIND)], *, ctx: Context) -> IPAdapter:
    """Open an IP-Adapter for Stable Diffusion 1 or XL: a plain, plus or full-face one.

    Raises:
        MissingModelError: the file is missing. ModelFileError: it is damaged, or no such IP-Adapter.
    """
    from .ip_adapter_network import reads_layers

    path = ctx.folders.require(KIND, ipadapter_file)
    return IPAdapterFile(weights_source(KIND, ipadapter_file, ctx), reads_layers(path, ipadapter_file))


@node("IPAdapterAdvanced", title="IPAdapter Advanced", category="ipadapter", lane="device")
def apply_ip_adapter(
    model: Model,
    ipadapter: IPAdapter,
    image: Image,
    weight: Weight = 1.0,
    weight_type: Literal["linear"] = "linear",
    combine_embeds: Literal["concat", "average"] = "concat",
    start_at: RunShare = 0.0,
    end_at: RunShare = 1.0,
    embeds_scaling: Literal["V only"] = "V only",
    image_negative: Image | None = None,
    attn_mask: Mask | None = None,
    clip_vision: ClipVision | None = None,
    *,
    ctx: Context,
) -> Model:
    """Draw after the example of pictures, beside the prompt.

    Args:
        combine_embeds: whether several pictures are seen side by side, or as their mean. image_negative: what is guided
            away from; nothing in particular without. clip_vision: reads the pictures.

    Raises:
        IPAdapterError: there is no `clip_vision`, or there is an `attn_mask`. Whether it fits the model is seen when
            the model is used.
    """
    if clip_vision is None:
        raise IPAdapterError("IPAdapterAdvanced reads its picture with clip_vision; connect a CLIPVisionLoader to it")
    if attn_mask is not None:
        raise IPAdapterError("IPAdapterAdvanced does not know attn_mask yet; leave it unconnected")
    if weight == 0:
        return model
    with ctx.models.borrow(clip_vision) as network:
        seen = _read(network.encode(image, "center"), ipadapter, combine_embeds)
        if image_negative is not None:
            contrast = _read(network.encode(image_negative, "center"), ipadapter, combine_embeds)
        else:
            contrast = _nothing(network.encode(image[:1], "center"), ipadapter).expand_as(seen)
    values = (tensor_value(seen), tensor_value(contrast))
    return model.with_patch(IPAdapterPatch(ipadapter.source, weight, start_at, end_at, *values))


def _read(output: ClipVisionOutput, ipadapter: IPAdapterFile, combine: str) -> Tensor:
    """What an adapter takes of pictures, [1, pictures, ...]."""
    read = output.penultimate_hidden_states if ipadapter.reads_layers else output.image_embeds
    return (read.mean(0, keepdim=True) if combine == "average" else read)[None]


def _nothing(output: ClipVisionOutput, ipadapter: IPAdapterFile) -> Tensor:
    """What stands for no picture, [1, 1, ...]."""
    return (output.blank if ipadapter.reads_layers else output.image_embeds[:1] * 0)[None]
