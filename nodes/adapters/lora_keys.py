"""What the names of tensors in LoRA files say: which network, which layer, and what part of its change.

| layout | a name |
|---|---|
| kohya | `lora_unet_down_blocks_0_attentions_0_..._to_q.lora_down.weight`, with `.alpha` beside it; `lora_te_...`, `lora_te1_...` |
| diffusers, peft | `unet.down_blocks.0.attentions.0. ... .to_q.lora_A.weight`, `text_encoder. ...`, `base_model.model. ...` |
| attention processors of old diffusers | `down_blocks.0. ... .attn1.processor.to_q_lora.down.weight` |
| original | `diffusion_model.input_blocks.1.1. ... .to_q.lora_A.weight`, `lora_unet_input_blocks_1_1_...` |
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..models.network_names import DENOISER, TEXT_ENCODERS

PREFIXES = {
    "lora_unet_": DENOISER,
    "lora_transformer_": DENOISER,
    "lycoris_": DENOISER,
    "unet.": DENOISER,
    "transformer.": DENOISER,
    "model.diffusion_model.": DENOISER,
    "diffusion_model.": DENOISER,
    "lora_te_": TEXT_ENCODERS[0],
    "lora_te1_": TEXT_ENCODERS[0],
    "lora_te2_": TEXT_ENCODERS[1],
    "lora_te3_": TEXT_ENCODERS[2],
    "text_encoder.": TEXT_ENCODERS[0],
    "text_encoder_2.": TEXT_ENCODERS[1],
    "text_encoder_3.": TEXT_ENCODERS[2],
    "text_model.": TEXT_ENCODERS[0],
}
"""How names begin → the network that they are about; others are about the denoiser."""
PEFT_PREFIX = "base_model.model."

_ROLE = re.compile(
    r"[._]lora(?:_linear_layer)?[._](?P<role>down|up|mid|A|B)(?:\.\w+)??\.weight$"
    r"|\.(?P<named>alpha|dora_scale|lora_magnitude_vector|hada_[wt][12](?:_[ab])?|lokr_[wt][12](?:_[ab])?|diff|diff_b)"
    r"(?:\.\w+)??(?:\.weight)?$"
)
_ROLES = {"A": "down", "B": "up", "lora_magnitude_vector": "dora_scale"}


class LoraKey(NamedTuple):
    """What a tensor is.

    Attributes:
        network: `"denoiser"`, `"text_encoder"`, `"text_encoder_2"` or `"text_encoder_3"`.
        layer: its name in the network, with '_' for '.'. role: `"down"`, `"up"`, `"alpha"`, `"hada_w1_a"`, ...
    """

    network: str
    layer: str
    role: str


def read_key(name: str) -> LoraKey | None:
    """What a tensor of a LoRA file is; None if it is of no known layout."""
    found = _ROLE.search(name)
    if not found:
        return None
    role = found["role"] or found["named"]
    rest = name[: found.start()].removeprefix(PEFT_PREFIX)
    prefix = next((prefix for prefix in PREFIXES if rest.startswith(prefix)), "")
    kept = rest if prefix == "text_model." else rest.removeprefix(prefix)
    layer = kept.removeprefix(PEFT_PREFIX).replace(".processor.", ".").replace(".", "_")
    return LoraKey(PREFIXES.get(prefix, DENOISER), layer, _ROLES.get(role, role))


Layers = dict[str, dict[str, str]]
"""Layer → role → name of the tensor."""


def read_keys(names: Iterable[str]) -> dict[str, Layers]:
    """The tensors of a file by network, layer and role; those of no known layout are left out."""
    networks: dict[str, Layers] = {}
    for name in names:
        if key := read_key(name):
            networks.setdefault(key.network, {}).setdefault(key.layer, {})[key.role] = name
    return networks
