"""IP-Adapters on the device of the model that they are for, through diffusers' own projections and attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from ..models.network_names import DENOISER
from ..models.network_overlay import shallow_copy, with_layers
from ..models.weight_placement import WholePlacement
from ..models.weights_file import read_header, read_tensors
from ..models.weights_source import weights_path
from ..sampling.network_call import NamedTensors, NetworkCall, Target, for_each

if TYPE_CHECKING:
    from ..models.recipe import Recipe, Source
    from ..sampling.model_sampling import ModelSampling
    from .ip_adapter_patch import IPAdapterPatch

PROJECTION, ATTENTION = "image_proj.", "ip_adapter."
"""What names in the file begin with."""
TOKENS = "ip_tokens_"
"""What names of further inputs of the network begin with."""
PROJECTED = "proj.weight"
"""A file that has it takes the projection of a picture; others take a hidden state."""
KNOWN = {PROJECTED, "latents", "proj.3.weight"}
"""What plain, plus and full-face ones have, each."""


@dataclass(frozen=True, eq=False)
class FittedIPAdapter:
    """An IP-Adapter's layers.

    Attributes:
        projection: from what CLIP made of pictures to tokens. layers: attention module → its keys and values.
    """

    projection: nn.Module
    layers: Mapping[str, tuple[nn.Module, nn.Module]]
    dtype: torch.dtype

    def tensors(self) -> Iterator[Tensor]:
        """All that it is made of."""
        for module in (self.projection, *(layer for pair in self.layers.values() for layer in pair)):
            yield from module.parameters()
            yield from module.buffers()

    def tokens(self, read: Tensor) -> Tensor:
        """[1, pictures, ...] → [1, tokens, D], those of several pictures side by side."""
        device = next(self.projection.parameters()).device
        with torch.no_grad():
            made: Tensor = self.projection(read[0].to(device, self.dtype))
        return made.reshape(1, -1, made.shape[-1])


def reads_layers(path: Path, name: str) -> bool:
    """Whether a file's adapter takes a hidden state of each part of a picture, and not one projection of it.

    Raises:
        ModelFileError: it is damaged, or no IP-Adapter that is known.
    """
    names = {key.removeprefix(PROJECTION) for key in read_header(path).shapes if key.startswith(PROJECTION)}
    if not names or not any(key.startswith(ATTENTION) for key in read_header(path).shapes):
        raise ModelFileError(
            f"'{name}' is no IP-Adapter: it has no tensors that begin with '{PROJECTION}' and '{ATTENTION}'; use the "
            f".safetensors file of one for Stable Diffusion 1 or XL"
        )
    if not names & KNOWN:
        raise ModelFileError(
            f"the IP-Adapter '{name}' is of a kind that is not supported, such as FaceID, which wants a network for "
            f"faces; use a plain, plus or full-face one"
        )
    return PROJECTED not in names


def load_ip_adapter(base: Recipe, source: Source, residency: Residency) -> Loaded:
    """A `FittedIPAdapter`. Raises what `IPAdapterWeights.load` says."""
    path = weights_path(source, residency.folders)
    reads_layers(path, source.name)
    residency.reserve(path.stat().st_size, f"loading the IP-Adapter '{source.name}'")
    with residency.borrow(base) as loaded, torch.inference_mode(False):
        network = getattr(loaded, "networks", {}).get(DENOISER)
        if not hasattr(network, "_convert_ip_adapter_attn_to_diffusers"):
            raise _misfit(source.name, base.source.name, "it is for U-Nets of diffusers")
        tensors = read_tensors(path, str(loaded.device))
        parts = {prefix: _below(prefix, tensors, loaded.dtype) for prefix in (PROJECTION, ATTENTION)}
        try:
            fitted = _fitted(network, parts[PROJECTION], parts[ATTENTION], loaded.dtype)
        except (KeyError, RuntimeError) as error:
            raise _misfit(source.name, base.source.name, " ".join(str(error).split())[:200]) from None
    nbytes = sum(tensor.nbytes for part in parts.values() for tensor in part.values())
    return Loaded(fitted, nbytes, WholePlacement(fitted.tensors(), torch.device(residency.device), nbytes))


def _fitted(
    network: Any, projection: dict[str, Tensor], attention: dict[str, Tensor], dtype: torch.dtype
) -> FittedIPAdapter:
    """By diffusers' own conversion, which looks at the network and leaves it alone."""
    state = {"image_proj": projection, "ip_adapter": attention}
    processors = network._convert_ip_adapter_attn_to_diffusers([state], low_cpu_mem_usage=False)
    made = network._convert_ip_adapter_image_proj_to_diffusers(projection, low_cpu_mem_usage=False)
    device = next(network.parameters()).device
    layers = {
        name.removesuffix(".processor"): (processor.to_k_ip[0], processor.to_v_ip[0])
        for name, processor in processors.items()
        if hasattr(processor, "to_k_ip")
    }
    for layer in (layer for pair in layers.values() for layer in pair):
        layer.to(device, dtype).requires_grad_(False)
    return FittedIPAdapter(made.to(device, dtype).requires_grad_(False).eval(), layers, dtype)


def _below(prefix: str, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each.to(dtype) for name, each in tensors.items() if name.startswith(prefix)}


def _misfit(name: str, model: str, reason: str) -> ModelFileError:
    return ModelFileError(
        f"the IP-Adapter '{name}' is not for the model '{model}' ({reason}); use one that was made for this kind of "
        f"model"
    )


def with_ip_adapter(loaded: Any, fitted: FittedIPAdapter, patch: IPAdapterPatch) -> Any:
    """What a model became, with an IP-Adapter after those that it has; it shares the model's weights."""
    network, call = loaded.networks[DENOISER], loaded.call
    layers = {
        name: _with_tokens(network.get_submodule(name), keys, values, patch.weight)
        for name, (keys, values) in fitted.layers.items()
    }
    made: Any = with_layers(network, layers)
    made._internal_dict = type(made.config)({**made.config, "encoder_hid_dim_type": "ip_image_proj"})
    made.encoder_hid_proj = nn.Identity()
    image, contrast = fitted.tokens(patch.image.tensor), fitted.tokens(patch.contrast.tensor)
    part = _Part(image, contrast, *_timesteps(patch, loaded.sampling))
    earlier = call.parts if isinstance(call, IPAdapterCall) else ()
    base = call.base if isinstance(call, IPAdapterCall) else call
    patched = loaded.with_networks({**loaded.networks, DENOISER: made})
    patched.call = IPAdapterCall(base, (*earlier, part))
    return patched


def _with_tokens(attention: nn.Module, keys: nn.Module, values: nn.Module, weight: float) -> nn.Module:
    """An attention module with one more set of keys and values for the tokens of pictures."""
    from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0

    made: Any = shallow_copy(attention)
    old = made._modules.pop("processor", None)
    made.__dict__.pop("processor", None)
    scales, all_keys, all_values = ([*old.scale], [*old.to_k_ip], [*old.to_v_ip]) if old is not None else ([], [], [])
    with torch.device("meta"):
        processor = IPAdapterAttnProcessor2_0(1, 1, num_tokens=[1] * (len(scales) + 1), scale=[*scales, weight])
    processor.to_k_ip = nn.ModuleList([*all_keys, keys])
    processor.to_v_ip = nn.ModuleList([*all_values, values])
    made.processor = processor
    changed: nn.Module = made
    return changed


class _Part(NamedTuple):
    """Tokens [1, T, D] of pictures, for the first conditioning and for others, and the timesteps that they count at."""

    image: Tensor
    contrast: Tensor
    low: float
    high: float


def _timesteps(patch: IPAdapterPatch, sampling: ModelSampling) -> tuple[float, float]:
    levels = sampling.sigmas
    low = levels.preconditioning(levels.percent_to_sigma(patch.end_percent))[3] if patch.end_percent < 1 else -1.0
    high = levels.preconditioning(levels.percent_to_sigma(patch.start_percent))[3] if patch.start_percent > 0 else 1e9
    return low, high


@dataclass(frozen=True, eq=False)
class IPAdapterCall:
    """How a network with IP-Adapters is called: as without, and with the tokens of their pictures.

    Where an adapter does not count, its tokens are zeros: its values are then zeros, too, since they have no bias.
    """

    base: NetworkCall
    parts: tuple[_Part, ...]

    def inputs(self, options: Mapping[str, Any], target: Target) -> dict[str, Tensor]:
        tokens = {
            f"{TOKENS}{k}": for_each(part.image if target.column == 0 else part.contrast, target.shape[0])
            for k, part in enumerate(self.parts)
        }
        return {**self.base.inputs(options, target), **tokens}

    def forward(
        self,
        network: nn.Module,
        x: Tensor,
        timestep: Tensor,
        tokens: Tensor,
        inputs: NamedTensors,
        options: Mapping[str, Any],
    ) -> Tensor:
        rest: dict[str, Any] = {name: tensor for name, tensor in inputs.items() if not name.startswith(TOKENS)}
        rest["image_embeds"] = [
            inputs[f"{TOKENS}{k}"] * ((timestep >= part.low) & (timestep <= part.high)).to(x.dtype).view(-1, 1, 1)
            for k, part in enumerate(self.parts)
        ]
        return self.base.forward(network, x, timestep, tokens, rest, options)
