"""Hypernetworks on the device of the model that they are for: x + strength * network(x) before keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation as activations

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from ..models.network_names import DENOISER
from ..models.network_overlay import shallow_copy, with_layers
from ..models.weights_source import weights_path
from .hypernetwork_file import Hypernetwork, Layer, read_hypernetwork

if TYPE_CHECKING:
    from ..models.recipe import Recipe, Source

INPUTS = "to_k", "to_v"
"""The layers of attention that keys and values come from, in the order in which files have their networks."""
TEXT_WIDTHS = {768, 1024}
"""Of the texts of Stable Diffusion 1 and 2: of a file with one of these, it says which models it is for."""
ACTIVATIONS = {name.lower(): getattr(activations, name) for name in activations.__all__} | {"swish": nn.Hardswish}
"""Names that files have: torch's, in lower case, and one that stands for another."""


@dataclass(frozen=True, eq=False)
class FittedHypernetwork:
    """Width → the networks for keys and for values, which record no gradients."""

    networks: Mapping[int, tuple[nn.Module, nn.Module]]


def load_hypernetwork(base: Recipe, source: Source, residency: Residency) -> Loaded:
    """A `FittedHypernetwork`. Raises what `HypernetworkWeights.load` says."""
    path = weights_path(source, residency.folders)
    residency.reserve(path.stat().st_size, f"loading the hypernetwork '{source.name}'")
    with residency.borrow(base) as loaded, torch.inference_mode(False):
        read = read_hypernetwork(path, source.name)
        _check(read, getattr(loaded, "networks", {}).get(DENOISER), source.name, base.source.name)
        made = {
            width: (_network(keys, read, source.name), _network(values, read, source.name))
            for width, (keys, values) in read.networks.items()
        }
        for pair in made.values():
            for network in pair:
                network.to(loaded.device, loaded.dtype).requires_grad_(False).eval()
    nbytes = sum(each.nbytes for pair in made.values() for network in pair for each in network.parameters())
    return Loaded(FittedHypernetwork(made), nbytes)


def with_hypernetwork(loaded: Any, fitted: FittedHypernetwork, strength: float) -> Any:
    """What a model became, with a hypernetwork; it shares the model's weights."""
    network = loaded.networks[DENOISER]
    layers = {}
    for name, layer in _inputs_of_attention(network):
        pair = fitted.networks.get(layer.in_features)
        if pair is not None:
            layers[name] = _behind(pair[INPUTS.index(name.rpartition(".")[2])], layer, strength)
    return loaded.with_networks({**loaded.networks, DENOISER: with_layers(network, layers)})


def _behind(network: nn.Module, layer: nn.Module, strength: float) -> nn.Module:
    """The layer, given what the network makes of its input."""
    made = shallow_copy(layer)
    made.register_forward_pre_hook(partial(_changed, network, strength))
    return made


def _changed(network: nn.Module, strength: float, _: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    x, *rest = args
    return torch.add(x, network(x), alpha=strength), *rest


def _inputs_of_attention(network: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in network.named_modules():
        if name.rpartition(".")[2] in INPUTS and isinstance(module, nn.Linear):
            yield name, module


def _check(read: Hypernetwork, network: Any, name: str, model: str) -> None:
    """Raises ModelFileError: it is for other models."""
    inputs = {} if network is None else {layer: each.in_features for layer, each in _inputs_of_attention(network)}
    wide, texts = {*inputs.values()}, {*read.networks} & TEXT_WIDTHS
    read_texts = {width for layer, width in inputs.items() if ".attn2." in layer}
    if not wide & {*read.networks} or (texts and not texts & read_texts):
        raise ModelFileError(
            f"the hypernetwork '{name}' is not for the model '{model}': it is for attention that reads "
            f"{_said(read.networks)} numbers, and the model's reads {_said(wide) if wide else 'others'}; use one that "
            f"was made for this kind of model, most of them for Stable Diffusion 1"
        )


def _said(widths: Any) -> str:
    return ", ".join(map(str, sorted(widths)))


def _network(layers: list[Layer], read: Hypernetwork, name: str) -> nn.Module:
    """Each linear layer, its activation, and the norm that follows; what is dropped in training is kept."""
    last = max(place for place, layer in enumerate(layers) if layer.is_linear)
    made: list[nn.Module] = []
    for place, layer in enumerate(layers):
        if not layer.is_linear:
            made.append(_with(nn.LayerNorm(len(layer.weight), device="meta"), layer))
            continue
        given, taken = layer.weight.shape
        made.append(_with(nn.Linear(taken, given, device="meta"), layer))
        if read.activation is not None and (place != last or read.activates_output):
            made.append(_activation(read.activation, name))
    return nn.Sequential(*made)


def _with(module: nn.Module, layer: Layer) -> nn.Module:
    module.weight, module.bias = nn.Parameter(layer.weight.float()), nn.Parameter(layer.bias.float())
    return module


def _activation(activation: str, name: str) -> nn.Module:
    try:
        made: nn.Module = ACTIVATIONS[activation]()
    except (KeyError, TypeError):
        raise ModelFileError(
            f"the hypernetwork '{name}' wants the activation '{activation}', which torch has not, or not without "
            f"further numbers; use another hypernetwork"
        ) from None
    return made
