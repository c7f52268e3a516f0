"""Which networks a training has, where their first weights come from, and which of them it changes. No weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mezzotint.engine.value_type import value_type

if TYPE_CHECKING:
    from ..models.recipe import Recipe

Part = Literal["unet", "text_encoder", "vae"]
PARTS: tuple[Part, ...] = ("unet", "text_encoder", "vae")


@value_type("mezzotint.LoraPlan")
@dataclass(frozen=True, slots=True)
class LoraPlan:
    """Low-rank changes of weights, trained in their place. Hu et al. 2021: W + (alpha / rank) B A.

    Attributes:
        targets: ends of the names of the layers that get one: `to_q`, `to_k`, ...
    """

    rank: int = 8
    alpha: float = 8.0
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")


@value_type("mezzotint.NewNetworks")
@dataclass(frozen=True, slots=True)
class NewNetworks:
    """Networks that begin with random weights.

    Attributes:
        configs: of each part, its name and the JSON of its diffusers or transformers configuration; in that of a U-Net
            conditioned by class, `_class_names` are for saving.
        tokenizer: the JSON of a `tokenizers` tokeniser; empty where there is no text encoder.
        scheduler_config: pairs of a diffusers scheduler configuration, sorted. seed: of the weights.
        scaling_factor: what the VAE's latents are multiplied by for the new U-Net; None for what the VAE says.
    """

    configs: tuple[tuple[Part, str], ...]
    tokenizer: str = ""
    scheduler_config: tuple[tuple[str, Any], ...] = ()
    seed: int = 0
    scaling_factor: float | None = None


@value_type("mezzotint.NetworkPlan")
@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """The networks of a training.

    Attributes:
        trained: the parts that change. model, clip, vae: recipes whose networks are copied. new: the parts made anew.
        lora: what is trained in place of whole weights. vae_part: of a VAE in training, all of it or its decoder.
    """

    trained: tuple[Part, ...]
    model: Recipe | None = None
    clip: Recipe | None = None
    vae: Recipe | None = None
    new: NewNetworks | None = None
    lora: LoraPlan | None = None
    vae_part: Literal["all", "decoder"] = "all"
