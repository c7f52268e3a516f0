"""The built-in nodes, registered through the same hooks as anybody's."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mezzotint.engine.node import nodes_in
from mezzotint.plugins.hookimpl import hookimpl

if TYPE_CHECKING:
    from mezzotint.engine.catalogue import Register
    from mezzotint.engine.lane import Scope
    from mezzotint.engine.node import NodeSpec
    from mezzotint.engine.residency import Residency

MODULES = (
    "checkpoints",
    "lora",
    "control_net",
    "clip_vision",
    "ip_adapter",
    "conditioning",
    "sdxl_prompts",
    "transformer_prompts",
    "conditioning_scope",
    "inpainting",
    "sampling",
    "sampler_parts",
    "dual_guidance",
    "noise_levels",
    "sampling_change",
    "rescaled_guidance",
    "frame_guidance",
    "free_u",
    "deep_shrink",
    "hyper_tile",
    "token_merging",
    "perturbed_attention",
    "self_attention_guidance",
    "skip_layer_guidance",
    "denoise_step",
    "vae",
    "vae_loader",
    "latent",
    "latent_file",
    "latent_transform",
    "latent_arithmetic",
    "batch",
    "image",
    "image_layout",
    "image_upscale",
    "image_filter",
    "image_edges",
    "image_file",
    "animation",
    "composite",
    "mask",
    "mask_edit",
    "alpha",
    "primitive",
    "maths",
    "logic",
    "training.picture_nodes",
    "training.noise_nodes",
    "training.network_nodes",
    "training.loop_nodes",
    "training.autoencoder_nodes",
    "training.train_nodes",
    "training.save_nodes",
)
"""The modules that hold nodes, in the order of the menu."""
VALUE_MODULES = (
    "recipe",
    "lora_patch",
    "control_net_recipe",
    "upscale_model",
    "control_chain",
    "clip_vision_recipe",
    "ip_adapter_patch",
    "tensor_value",
    "sampler_value",
    "noise_value",
    "guidance",
    "dual_guidance",
    "sampling_change",
    "rescaled_guidance",
    "frame_guidance",
    "free_u",
    "deep_shrink",
    "hyper_tile",
    "token_merging",
    "perturbed_attention",
    "self_attention_guidance",
    "skip_layer_guidance",
    "vae_recipe",
    "training.picture_set",
    "training.noise_process",
    "training.network_plan",
    "training.optimiser_plan",
    "training.sample_plan",
)
"""The modules whose classes, all marked by `@value_type`, a value on disk may be of."""


@hookimpl
def register_value_types() -> None:
    for name in VALUE_MODULES:
        import_module(f".{name}", __name__)


@hookimpl
def register_samplers(register: Register) -> None:
    from . import sampler_names

    sampler_names.register_samplers(register)


@hookimpl
def register_schedules(register: Register) -> None:
    from . import sampler_names

    sampler_names.register_schedules(register)


@hookimpl
def register_guiders(register: Register) -> None:
    from . import sampler_names

    sampler_names.register_guiders(register)


@hookimpl
def register_model_families(register: Register) -> None:
    from . import model_source

    model_source.register_model_families(register)


@hookimpl
def register_nodes(register: Callable[[Callable[..., Any]], NodeSpec]) -> None:
    for name in MODULES:
        for function in nodes_in(import_module(f".{name}", __name__)):
            register(function)


@hookimpl
def register_models(models: Residency) -> None:
    from .model_source import register_loaders

    register_loaders(models)


@hookimpl
def surround_bodies() -> Scope:
    from .inference import inference_scope

    return inference_scope
