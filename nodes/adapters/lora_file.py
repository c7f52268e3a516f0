"""A LoRA file: what its header says, and its tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import ModelFileError

from ..models.network_names import DENOISER
from ..models.weights_file import WeightsHeader, read_header, read_tensors
from .lora_keys import Layers, read_keys

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER_METADATA = "lora_adapter_metadata"
"""Where diffusers notes the configuration of peft, which holds alpha and rank."""
DIFFUSERS_NAMES = {DENOISER: ("unet", "transformer")}
TEXT_WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}
NAMED_AFTER = {
    "double_blocks": "Flux",
    "single_transformer_blocks": "Flux",
    "joint_blocks": "Stable Diffusion 3",
    "add_q_proj": "Stable Diffusion 3 or Flux",
}


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file.

    Attributes:
        path: where it lies. name: what the user calls it, for messages.
    """

    path: Path
    name: str

    @cached_property
    def header(self) -> WeightsHeader:
        """Raises ModelFileError: it is damaged, or a pickle."""
        return read_header(self.path)

    @property
    def nbytes(self) -> int:
        """The size of the file."""
        return self.path.stat().st_size

    @cached_property
    def layers(self) -> dict[str, Layers]:
        """Network → layer → role → name of the tensor; see `lora_keys`.

        Raises:
            ModelFileError: it is damaged, or no LoRA.
        """
        layers = read_keys(self.header.shapes)
        if not layers:
            first = next(iter(self.header.shapes), "none")
            raise ModelFileError(
                f"'{self.name}' is no LoRA of a known layout: none of its {len(self.header.shapes)} tensors is named "
                f"like one (the first is '{first}'); a whole model belongs into another models folder"
            )
        return layers

    def tensors(self, names: Collection[str]) -> Mapping[str, Tensor]:
        """Some tensors by name, on the CPU. Raises ModelFileError: the file is damaged."""
        return read_tensors(self.path, "cpu", names)

    def alpha(self, network: str, layer: str, rank: int) -> float | None:
        """The alpha of a layer by the file's metadata; None if they name none.

        Args:
            layer: its name with '.', as diffusers has it. rank: of its factors.
        """
        for name in DIFFUSERS_NAMES.get(network, (network,)):
            if f"{name}.lora_alpha" in self._peft:
                patterns = self._peft.get(f"{name}.alpha_pattern") or {}
                alphas = (alpha for end, alpha in patterns.items() if re.search(rf"(^|\.){end}$", layer))
                alpha = float(next(alphas, self._peft[f"{name}.lora_alpha"]))
                return alpha * rank**0.5 if self._peft.get(f"{name}.use_rslora") else alpha  # arXiv 2312.03732
        return None

    @cached_property
    def _peft(self) -> dict[str, Any]:
        try:
            found = json.loads(self.header.metadata.get(ADAPTER_METADATA, "{}"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def looks_like(self) -> str | None:
        """The family of models that it was made for, as far as names and sizes tell."""
        for layer, roles in self.layers.get(DENOISER, {}).items():
            family = next((family for part, family in NAMED_AFTER.items() if part in layer), None)
            width = self.header.shapes[roles["down"]][1] if layer.endswith("attn2_to_k") and "down" in roles else 0
            if family := family or TEXT_WIDTHS.get(width):
                return family
        return None
