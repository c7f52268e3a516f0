"""`comfy.sd` and `comfy.controlnet`: models from files."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mezzotint.engine.errors import FolderError
from mezzotint.plugins.compat import surroundings
from mezzotint.plugins.compat.native_call import call_node
from mezzotint.plugins.compat.refusal import refusal
from mezzotint.plugins.compat.vae_value import VaeValue as _VaeValue

from .tensors import LoadedWeights


def load_checkpoint_guess_config(
    ckpt_path: str, output_vae: bool = True, output_clip: bool = True, output_clipvision: bool = False,
    embedding_directory: Any = None, output_model: bool = True, model_options: Any = None, **_: Any,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """Model, text encoder, VAE and picture encoder of a checkpoint; None for what is not wanted.

    Raises:
        FolderError: the file lies in no models folder.
    """
    made = _called("CheckpointLoaderSimple", ckpt_name=_name_of("checkpoints", ckpt_path))
    wanted = (output_model, output_clip, output_vae)
    model, clip, vae = (value if is_wanted else None for value, is_wanted in zip(made[:3], wanted, strict=True))
    return model, clip, vae, None


def load_lora_for_models(
    model: Any, clip: Any, lora: Any, strength_model: float, strength_clip: float
) -> tuple[Any, Any]:
    """Model and text encoder with a LoRA that `comfy.utils.load_torch_file` read.

    Raises:
        ValueError: it is not from a file, so it cannot be named.
    """
    name = _name_of("loras", _path_of(lora, "load_lora_for_models(lora=...)"))
    if clip is None:
        (made,) = _called("LoraLoaderModelOnly", model=model, lora_name=name, strength_model=strength_model)
        return made, None
    strengths = {"strength_model": strength_model, "strength_clip": strength_clip}
    made, made_clip = _called("LoraLoader", model=model, clip=clip, lora_name=name, **strengths)
    return made, made_clip


def load_diffusion_model(unet_path: str, model_options: Any = None) -> Any:
    """A diffusion model that lies in a file of its own."""
    (model,) = _called("UNETLoader", unet_name=_name_of("diffusion_models", unet_path), weight_dtype="default")
    return model


load_unet = load_diffusion_model


class CLIPType(enum.Enum):
    """What a text encoder is for, by the names that the nodes that load them have."""

    STABLE_DIFFUSION = "stable_diffusion"
    SD3 = "sd3"
    FLUX = "flux"


def load_clip(ckpt_paths: Sequence[str], embedding_directory: Any = None, clip_type: Any = CLIPType.STABLE_DIFFUSION,
              model_options: Any = None) -> Any:  # fmt: skip
    """A text encoder that lies in a file of its own, or that of SDXL in two."""
    names = [_name_of("text_encoders", path) for path in ckpt_paths]
    kind = str(getattr(clip_type, "value", clip_type))
    if len(names) == 1:
        return _called("CLIPLoader", clip_name=names[0], type=kind)[0]
    first, second, *_ = names
    is_usual = clip_type is CLIPType.STABLE_DIFFUSION
    return _called("DualCLIPLoader", clip_name1=first, clip_name2=second, type="sdxl" if is_usual else kind)[0]


def load_controlnet(ckpt_path: str, *_: Any, **__: Any) -> Any:
    """A control net, for the nodes that apply one."""
    return _called("ControlNetLoader", control_net_name=_name_of("controlnet", ckpt_path))[0]


class _VaeMaker(type):
    """`isinstance(value, VAE)` is true of every VAE; making one wants its file."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _VaeValue)

    def __call__(cls, sd: Any = None, **_: Any) -> Any:
        (vae,) = _called("VAELoader", vae_name=_name_of("vae", _path_of(sd, "VAE(sd=...)")))
        return vae


class VAE(metaclass=_VaeMaker):
    """A VAE from a file."""


def _path_of(weights: Any, taker: str) -> Path:
    """The file that weights were read from: models are named by their files here, and made when they are needed."""
    if not isinstance(weights, LoadedWeights):
        raise ValueError(f"{taker} takes what comfy.utils.load_torch_file gave, unchanged: Mezzotint names models by "
                         "their files")  # fmt: skip
    return weights.path


def _called(node_type: str, **inputs: Any) -> tuple[Any, ...]:
    spec = surroundings.host().registry.get(node_type)
    if spec is None:
        _refuse(node_type)
    return call_node(spec, inputs=inputs).outputs


def _refuse(node_type: str) -> NoReturn:
    raise NotImplementedError(f"{refusal('comfy.sd')}; it would need the node {node_type}, which is not there")


def _name_of(kind: str, path: str | Path) -> str:
    """What a file is called below the models folders of a kind."""
    wanted = Path(path).absolute()
    folders = surroundings.folders()
    for folder in folders.search_path(kind):
        if wanted.is_relative_to(folder.absolute()):
            return wanted.relative_to(folder.absolute()).as_posix()
    bundled = next((model.name for model in folders.located(kind) if model.path == wanted), None)
    if bundled is None:
        raise FolderError(f"'{path}' lies in no models folder ({kind}), so it has no name; put it into one")
    return bundled
