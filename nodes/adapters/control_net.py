"""Nodes that steer sampling with a picture: ControlNets and T2I-Adapters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field

from mezzotint import Conditioning, Context, Image, Mask, Model, Port, Vae, Widget, model_files, node
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders

from ..conditioning.conditioning_scope import RunShare
from ..images.mask import batched
from ..models.weights_source import weights_identity, weights_source
from ..tensor_value import tensor_value
from .control_chain import AppliedControl, ControlChain
from .control_net_recipe import ControlNetRecipe

KIND = "controlnet"
BESIDE = ("config.json",)
"""Files of diffusers that belong to the weights which they lie beside."""

if TYPE_CHECKING:
    from .control_net_file import ControlNetFile

    ControlNet = Annotated[ControlNetRecipe, Port("CONTROL_NET")]
else:
    ControlNet = Annotated[Any, Port("CONTROL_NET")]
ControlStrength = Annotated[float, Field(ge=0, le=10, description="1 is as it was trained."), Widget(step=0.01)]
UnionType = Literal[
    "auto",
    "openpose",
    "depth",
    "hed/pidi/scribble/ted",
    "canny/lineart/anime_lineart/mlsd",
    "normal",
    "segment",
    "tile",
    "repaint",
]
UNION_TYPES = get_args(UnionType)
"""In the order in which unions were trained, behind "auto"."""


class Steered(NamedTuple):
    positive: Conditioning
    negative: Conditioning


def control_net_identity(control_net_name: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced."""
    return weights_identity(KIND, control_net_name, folders, BESIDE)


@node(
    "ControlNetLoader",
    title="Load ControlNet Model",
    category="loaders",
    fingerprint=control_net_identity,
    quick_fingerprint=True,
)
def load_control_net(control_net_name: Annotated[str, model_files(KIND)], *, ctx: Context) -> ControlNet:
    """Open a ControlNet for Stable Diffusion 1, 2, XL or 3, or Flux, or a T2I-Adapter for Stable Diffusion 1, 2 or XL.

    Raises:
        MissingModelError: the file is missing. ModelFileError: it is damaged, or of no known layout.
    """
    from .control_net_file import ControlNetFile

    file = ControlNetFile(ctx.folders.require(KIND, control_net_name), control_net_name)
    file.check()
    if file.is_difference:
        raise ModelFileError(
            f"'{control_net_name}' holds a ControlNet's differences from a model; load it with DiffControlNetLoader"
        )
    return _recipe(file, ctx)


def diff_control_net_identity(model: Any, control_net_name: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced."""
    return weights_identity(KIND, control_net_name, folders, BESIDE)


@node(
    "DiffControlNetLoader",
    title="Load ControlNet Model (diff)",
    category="loaders",
    fingerprint=diff_control_net_identity,
)
def load_diff_control_net(
    model: Model, control_net_name: Annotated[str, model_files(KIND)], *, ctx: Context
) -> ControlNet:
    """Open a ControlNet whose file holds differences from a model, which are added to the weights of this one.

    Args:
        model: without what patches it. control_net_name: one that holds no differences is opened as it is.

    Raises:
        MissingModelError: the file is missing. ModelFileError: it is damaged, or of no known layout.
    """
    from .control_net_file import ControlNetFile

    file = ControlNetFile(ctx.folders.require(KIND, control_net_name), control_net_name)
    file.check()
    return replace(_recipe(file, ctx), base=replace(model, options=(), patches=()))


def _recipe(file: ControlNetFile, ctx: Context) -> ControlNetRecipe:
    source, layout = weights_source(KIND, file.name, ctx, BESIDE), file.layout
    return ControlNetRecipe(source, sees_latents=layout.sees_latents, sees_mask=layout.sees_mask)


@node("SetUnionControlNetType", category="conditioning/controlnet")
def set_union_type(control_net: ControlNet, type: UnionType = "auto") -> ControlNet:
    """Say what kind of picture a union of ControlNets is going to be steered by. Others take no notice."""
    return control_net.with_type(UNION_TYPES.index(type) - 1)


@node("ControlNetApply", title="Apply ControlNet (OLD)", category="conditioning/controlnet")
def apply_control_net(
    conditioning: Conditioning, control_net: ControlNet, image: Image, strength: ControlStrength = 1.0
) -> Conditioning:
    """Steer with a picture what a prompt draws, and what is guided away from, too."""
    if strength == 0:
        return conditioning
    link = _link(control_net, image, strength)
    return _steered(conditioning, link, control_apply_to_uncond=True)


@node("ControlNetApplyAdvanced", title="Apply ControlNet", category="conditioning/controlnet")
def apply_control_net_advanced(
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    image: Image,
    strength: ControlStrength = 1.0,
    start_percent: RunShare = 0.0,
    end_percent: RunShare = 1.0,
    vae: Vae | None = None,
) -> Steered:
    """Steer with a picture, in a part of sampling, what two prompts draw. Several one after another add up.

    Args:
        image: its middle is cut out in the proportions of the latent. vae: that of the model, for networks that are
            shown the picture as a latent: most of those for Stable Diffusion 3 and Flux.

    Raises:
        ConditioningError: the network needs a VAE or a mask, which it has not.
    """
    if strength == 0:
        return Steered(positive, negative)
    return _both(positive, negative, _link(control_net, image, strength, start_percent, end_percent, vae))


@node("ControlNetApplySD3", title="Apply Controlnet with VAE", category="conditioning/controlnet", deprecated=True)
def apply_control_net_with_vae(
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    vae: Vae,
    image: Image,
    strength: ControlStrength = 1.0,
    start_percent: RunShare = 0.0,
    end_percent: RunShare = 1.0,
) -> Steered:
    """Steer with a picture as ControlNetApplyAdvanced does.

    Args:
        vae: that of the model, for networks that are shown the picture as a latent.
    """
    return apply_control_net_advanced(positive, negative, control_net, image, strength, start_percent, end_percent, vae)


@node("ControlNetInpaintingAliMamaApply", category="conditioning/controlnet")
def apply_inpainting_control_net(
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    vae: Vae,
    image: Image,
    mask: Mask,
    strength: ControlStrength = 1.0,
    start_percent: RunShare = 0.0,
    end_percent: RunShare = 1.0,
) -> Steered:
    """Have a ControlNet that was made for it fill in what a mask selects, seeing what is around it.

    Args:
        vae: that of the model. mask: in any size; it is cut as the picture is, and selects where it is above a half.
            ControlNets that take no mask are applied as ControlNetApplyAdvanced does.
    """
    if strength == 0:
        return Steered(positive, negative)
    link = _link(control_net, image, strength, start_percent, end_percent, vae, mask)
    return _both(positive, negative, link)


def _link(
    net: ControlNetRecipe,
    image: Image,
    strength: float,
    start_percent: float = 0.0,
    end_percent: float = 1.0,
    vae: Any = None,
    mask: Mask | None = None,
) -> AppliedControl:
    """A network with what it is shown: of VAE and mask what it has a use for.

    Raises:
        ConditioningError: it lacks one of these.
    """
    from ..sampling.network_call import ConditioningError

    if net.sees_mask and mask is None:
        raise ConditioningError(
            f"the ControlNet '{net.source.name}' fills in what a mask selects, and has none; apply it with "
            f"ControlNetInpaintingAliMamaApply"
        )
    if net.sees_latents and vae is None:
        raise ConditioningError(
            f"the ControlNet '{net.source.name}' is shown its picture as a latent, and no VAE is linked; link that of "
            f"the model to 'vae' of ControlNetApplyAdvanced"
        )
    return AppliedControl(
        net,
        tensor_value(image),
        strength,
        start_percent,
        end_percent,
        vae if net.sees_latents else None,
        tensor_value(batched(mask)) if mask is not None and net.sees_mask else None,
    )


def _both(positive: Conditioning, negative: Conditioning, link: AppliedControl) -> Steered:
    return Steered(*(_steered(given, link, control_apply_to_uncond=False) for given in (positive, negative)))


def _steered(conditioning: Conditioning, link: AppliedControl, **options: Any) -> Conditioning:
    """The same items, each with one more link in its chain."""
    return [
        [tokens, {**given, "control": _longer(given.get("control"), link), **options}] for tokens, given in conditioning
    ]


def _longer(chain: ControlChain | None, link: AppliedControl) -> ControlChain:
    return ControlChain((*(chain.links if chain else ()), link))
