"""The networks of a training: copies of borrowed ones or new ones, each with its own weights, ready to be trained."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mezzotint.engine.context import Context

from ..autoencoders.autoencoder import Autoencoder
from ..models.model_source import recipe_source
from ..sampling.denoiser import Denoiser
from ..text.text_encoder import TextEncoder
from .network_plan import LoraPlan, NetworkPlan, NewNetworks, Part
from .new_configs import CLASS_NAMES
from .state import TrainingError

if TYPE_CHECKING:
    from ..models.recipe import Recipe

ADAPTER = "default"
"""peft's name of the low-rank weights."""


@dataclass(slots=True)
class Made:
    """Networks by part, and what belongs to them."""

    networks: dict[Part, nn.Module] = field(default_factory=dict)
    scheduler_config: dict[str, Any] = field(default_factory=dict)
    encoder: TextEncoder | None = None
    class_names: tuple[str, ...] = ()


def make_networks(plan: NetworkPlan, ctx: Context, checkpointing: bool, seed: int) -> Made:
    """The networks of a plan on the device of `ctx`, those that are trained in float32 and recording gradients.

    Args:
        checkpointing: compute activations again in the backward pass, to save memory. seed: of the low-rank weights.

    Raises:
        TrainingError: a model is of a family that cannot be trained here. What borrowing raises.
    """
    made = Made()
    _copy_borrowed(plan, ctx, made)
    if plan.new is not None:
        _add_new(plan.new, ctx.device, made)
    for network in made.networks.values():
        network.requires_grad_(False).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in plan.trained:
            if part in made.networks:
                _make_trainable(part, made.networks[part], plan)
    for part in plan.trained if checkpointing else ():
        _checkpoint_activations(made.networks[part])
    return made


def _copy_borrowed(plan: NetworkPlan, ctx: Context, made: Made) -> None:
    if plan.model is not None:
        denoiser = _copied(plan.model, ctx, Denoiser, "model")
        if getattr(denoiser.call, "embedding_width", 0):
            raise TrainingError(
                f"the model '{plan.model.source.name}' takes sizes and pooled texts, as Stable Diffusion XL does; that "
                f"is not trained here yet; use one of Stable Diffusion 1 or 2"
            )
        made.networks["unet"] = denoiser.network
        made.class_names = _class_names(plan.model, ctx)
        made.scheduler_config = dict(denoiser.sampling.scheduler_config)
    if plan.clip is not None:
        made.encoder = encoder = _copied(plan.clip, ctx, TextEncoder, "text encoder")
        made.networks["text_encoder"] = encoder.network
    if plan.vae is not None:
        made.networks["vae"] = _copied(plan.vae, ctx, Autoencoder, "VAE").network


def _class_names(model: Recipe, ctx: Context) -> tuple[str, ...]:
    """What the model's files call its classes; empty where they say nothing of them."""
    source = recipe_source(model.source, ctx.folders)
    files = getattr(source.family, "files", None)
    names: tuple[str, ...] = getattr(files(model, source.path, ctx.folders), "class_names", ()) if files else ()
    return names


def _copied(recipe: Recipe, ctx: Context, kind: type, what: str) -> Any:
    """A borrowed object whose network is a copy of its own."""
    if recipe.patches:
        raise TrainingError(f"the {what} '{recipe.source.name}' carries changes, such as a LoRA; train it without them")
    with ctx.models.borrow(recipe) as borrowed:
        if type(borrowed) is not kind:
            raise TrainingError(
                f"the {what} '{recipe.source.name}' is of a family ({type(borrowed).__name__}) that cannot be trained "
                f"here yet; use one of Stable Diffusion 1 or 2, or one made by New Diffusion Networks"
            )
        original: Any = borrowed
        shallow = copy.copy(original)
        object.__setattr__(shallow, "network", copy.deepcopy(original.network))
        return shallow


def _add_new(new: NewNetworks, device: str, made: Made) -> None:
    configs = dict(new.configs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(new.seed)
        for part, text in configs.items():
            config = json.loads(text)
            made.class_names = tuple(config.pop(CLASS_NAMES, made.class_names))
            made.networks[part] = _new_network(part, config).to(device)
    if new.scheduler_config:
        made.scheduler_config = dict(new.scheduler_config)
    if new.scaling_factor is not None:
        made.networks["vae"].register_to_config(scaling_factor=new.scaling_factor)  # type: ignore[operator]
    if new.tokenizer:
        made.encoder = _encoder(new.tokenizer, made.networks["text_encoder"], torch.device(device))


def _new_network(part: Part, config: dict[str, Any]) -> nn.Module:
    if part == "text_encoder":
        from transformers.models.clip.configuration_clip import CLIPTextConfig
        from transformers.models.clip.modeling_clip import CLIPTextModel

        encoder: nn.Module = CLIPTextModel(CLIPTextConfig.from_dict(config))
        return encoder
    if part == "unet":
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel as NetworkClass
    else:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL as NetworkClass
    try:
        network: nn.Module = NetworkClass(**config)
    except (ValueError, TypeError) as error:
        raise TrainingError(f"the new {part} cannot be made: {error}; change its widths") from None
    return network


def _encoder(tokenizer: str, network: Any, device: torch.device) -> TextEncoder:
    from tokenizers import Tokenizer

    from ..text.prompt_chunks import ChunkLayout

    config = network.config
    layout = ChunkLayout(config.bos_token_id, config.eos_token_id, config.pad_token_id, config.max_position_embeddings)
    return TextEncoder(network, Tokenizer.from_str(tokenizer), layout, device)


def _make_trainable(part: Part, network: nn.Module, plan: NetworkPlan) -> None:
    network.float()
    if plan.lora is not None:
        _add_lora(network, plan.lora)
    elif part == "vae" and plan.vae_part == "decoder":
        for child in (network.decoder, network.post_quant_conv):
            if isinstance(child, nn.Module):
                child.requires_grad_(True)
    else:
        network.requires_grad_(True)
    network.train()


def _add_lora(network: Any, lora: LoraPlan) -> None:
    """Put low-rank weights beside those of the layers named; only they are trained."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise TrainingError(
            "training a LoRA needs the package peft, which is not installed; install mezzotint with its extra "
            "'training': pip install 'mezzotint[training]'"
        ) from None
    alpha: Any = lora.alpha  # peft divides by the rank and takes any number
    config = LoraConfig(r=lora.rank, lora_alpha=alpha, target_modules=list(lora.targets), init_lora_weights=True)
    try:
        inject_adapter_in_model(config, network, adapter_name=ADAPTER)
    except ValueError as error:
        raise TrainingError(f"the LoRA fits no layer of the network: {error}; name other targets") from None


def _checkpoint_activations(network: Any) -> None:
    names = ("enable_gradient_checkpointing", "activation_checkpointing_enable", "gradient_checkpointing_enable")
    enable = next((getattr(network, name) for name in names if hasattr(network, name)), None)
    if enable is None:
        raise TrainingError("this network cannot compute its activations twice; turn gradient checkpointing off")
    enable()


def part_of(networks: dict[Part, nn.Module], part: Part, what: str) -> Any:
    """A network of a training.

    Raises:
        TrainingError: it is not there. what: who needs it, for the sentence.
    """
    if part not in networks:
        raise TrainingError(f"{what} needs a {part}, and this training has {', '.join(networks)}; connect one")
    return networks[part]
