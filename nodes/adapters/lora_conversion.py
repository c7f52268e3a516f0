"""LoRAs with names of the original code of transformers, by the conversion that diffusers has for each pipeline."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..models.network_names import DENOISER
from ..models.weights_file import TensorInfo, WeightsHeader, read_tensors
from .lora_file import LoraFile
from .lora_layers import find_layers

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ConvertedLora(LoraFile):
    """A LoRA file whose tensors got other names, and were maybe cut: an original network has fewer, larger layers."""

    held: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def header(self) -> WeightsHeader:
        return WeightsHeader({name: TensorInfo("F32", tuple(each.shape), 0, 0) for name, each in self.held.items()})

    def tensors(self, names: Collection[str]) -> Mapping[str, Tensor]:
        return self.held


def in_names_of(file: LoraFile, loaded: Any) -> LoraFile:
    """The file with names that a model has, where they are those of another code that diffusers knows.

    Args:
        loaded: the model; one that is called through its pipeline has the conversion.
    """
    pipeline = getattr(getattr(loaded, "call", None), "pipeline", None)
    convert = getattr(type(pipeline), "lora_state_dict", None)
    names = file.layers.get(DENOISER, {})
    if convert is None or not names or find_layers(names, loaded.networks[DENOISER]):
        return file
    try:
        converted = convert(read_tensors(file.path, "cpu"))
    except Exception:  # of no layout that it knows; what does not fit is told with the names of the file
        return file
    tensors, alphas = converted if isinstance(converted, tuple) else (converted, None)
    return ConvertedLora(file.path, file.name, {**tensors, **_as_tensors(alphas or {})})


def _as_tensors(alphas: Mapping[str, float]) -> dict[str, Tensor]:
    import torch

    return {name: torch.tensor(alpha) for name, alpha in alphas.items()}
