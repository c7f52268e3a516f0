"""The weights of a LoRA file, fitted to one model: what each of its layers gets."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from ..models.network_overlay import with_layers
from ..models.weight_placement import WholePlacement
from .layer_change import layer_change
from .lora_file import LoraFile
from .lora_layers import find_layers
from .patched_layer import Weighted, patched, stored_weight
from .weight_change import WeightChange

Change = tuple[WeightChange | None, Tensor | None]
"""Of a layer's weight and of its bias."""

log = logging.getLogger("mezzotint.nodes")


@dataclass(frozen=True, eq=False)
class FittedLora:
    """A LoRA on the device of the model that it is for.

    Attributes:
        changes: network → layer → change.
    """

    changes: Mapping[str, Mapping[str, Change]]

    def tensors(self) -> Iterator[Tensor]:
        """All that it is made of."""
        for change, bias in (pair for changes in self.changes.values() for pair in changes.values()):
            yield from () if change is None else change.tensors()
            yield from () if bias is None else (bias,)

    def apply(self, loaded: Any, strength: float) -> Any:
        """What a model became, with this; it shares the model's weights and copies none."""
        networks = dict(loaded.networks)
        for name, changes in self.changes.items():
            layers = {
                layer: patched(networks[name].get_submodule(layer), Weighted(*change, strength))
                for layer, change in changes.items()
            }
            networks[name] = with_layers(networks[name], layers)
        return loaded.with_networks(networks)


def fit_lora(file: LoraFile, networks: Mapping[str, nn.Module], model: str, residency: Residency) -> Loaded:
    """The `FittedLora` of a file for a model.

    Args:
        networks: of the model, by their names in `lora_keys`; those of others in the file are left out.
        model: what the user calls it, for messages.

    Raises:
        ModelFileError: it is for another model, or damaged. OutOfMemoryError: it does not fit.
    """
    residency.reserve(file.nbytes, f"loading the LoRA '{file.name}'")
    fitting = _Fitting(file, model, torch.device(residency.device))
    with torch.inference_mode(False):
        changes = {name: fitting.changes(name, network) for name, network in networks.items() if name in file.layers}
        fitted = FittedLora(changes)
        return Loaded(fitted, fitting.nbytes, WholePlacement(fitted.tensors(), fitting.device, fitting.nbytes))


class _Fitting:
    """A file on its way to a model.

    Attributes:
        nbytes: what its tensors take there so far.
    """

    def __init__(self, file: LoraFile, model: str, device: torch.device) -> None:
        self.file, self.model, self.device = file, model, device
        self.nbytes = 0

    def changes(self, name: str, network: nn.Module) -> dict[str, Change]:
        """The changes of one network's layers."""
        layers = self.file.layers[name]
        found = find_layers(layers, network)
        unknown = [layer for layer in layers if layer not in found]
        if not found:
            raise self._error(f"none of its {len(layers)} layers is in there (the first is '{unknown[0]}')")
        held = self.file.tensors([key for layer in found for key in layers[layer].values()])
        dtype = _widest_dtype(network)
        changes: dict[str, Change] = {}
        misfits: list[str] = []
        for layer, place in found.items():
            tensors = {role: held[key] for role, key in layers[layer].items()}
            try:
                changes[place] = self._change(name, tensors, place, stored_weight(network.get_submodule(place)), dtype)
            except ValueError as error:
                misfits.append(f"'{layer}' {error}")
            except KeyError as error:
                misfits.append(f"'{layer}' lacks {error}")
        if misfits:
            raise self._error(f"{len(misfits)} of its {len(layers)} layers do not fit ({misfits[0]})")
        if unknown:
            log.warning(
                "the LoRA '%s': %d of its %d layers are not in the model '%s' and are left out (the first is '%s')",
                self.file.name, len(unknown), len(layers), self.model, unknown[0],
            )  # fmt: skip
        return changes

    def _change(
        self, network: str, held: Mapping[str, Tensor], place: str, weight: Tensor, dtype: torch.dtype
    ) -> Change:
        tensors = {
            role: tensor.to(self.device, dtype) if tensor.is_floating_point() else tensor
            for role, tensor in held.items()
        }
        self.nbytes += sum(tensor.nbytes for tensor in tensors.values())
        rank = len(tensors["down"]) if "down" in tensors else 1
        change = layer_change(tensors, weight.detach(), self.file.alpha(network, place, rank))
        return change, tensors.get("diff_b")

    def _error(self, what: str) -> ModelFileError:
        family = self.file.looks_like()
        made_for = f"; it looks like one for {family}" if family else ""
        return ModelFileError(
            f"the LoRA '{self.file.name}' is not for the model '{self.model}': {what}{made_for}; use a LoRA that was "
            f"made for this kind of model"
        )


def _widest_dtype(network: nn.Module) -> torch.dtype:
    """What a network computes in, also where large weights are kept in a narrower dtype."""
    dtypes = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    return max(dtypes, key=lambda dtype: dtype.itemsize)
