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
    "models.checkpoints",
    "adapters.lora",
    "adapters.hypernetwork",
    "adapters.control_net",
    "adapters.clip_vision",
    "adapters.unclip",
    "adapters.ip_adapter",
    "adapters.style_model",
    "adapters.gligen",
    "merging.merge_nodes",
    "merging.save_nodes",
    "conditioning.conditioning",
    "conditioning.sdxl_prompts",
    "conditioning.transformer_prompts",
    "conditioning.conditioning_scope",
    "conditioning.inpainting",
    "conditioning.reference_latent",
    "sampling.sampling_nodes",
    "sampling.sampler_parts",
    "sampling.dual_guidance",
    "sampling.noise_levels",
    "sampling.sampling_change",
    "sampling.rescaled_guidance",
    "sampling.frame_guidance",
    "patches.free_u",
    "patches.deep_shrink",
    "patches.hyper_tile",
    "patches.token_merging",
    "patches.perturbed_attention",
    "patches.self_attention_guidance",
    "patches.skip_layer_guidance",
    "sampling.denoise_step",
    "autoencoders.vae",
    "autoencoders.vae_loader",
    "latents.latent",
    "latents.latent_file",
    "latents.latent_transform",
    "latents.latent_arithmetic",
    "images.batch",
    "images.image",
    "images.image_layout",
    "images.image_upscale",
    "images.image_filter",
    "images.image_edges",
    "images.image_file",
    "images.animation",
    "images.composite",
    "images.mask",
    "images.mask_edit",
    "images.alpha",
    "basics.primitive",
    "basics.maths",
    "basics.logic",
    "training.picture_nodes",
    "training.noise_nodes",
    "training.network_nodes",
    "training.loop_nodes",
    "training.perceptual_nodes",
    "training.autoencoder_nodes",
    "training.train_nodes",
    "training.save_nodes",
)
"""The modules that hold nodes, in the order of the menu."""
VALUE_MODULES = (
    "models.recipe",
    "adapters.lora_patch",
    "adapters.hypernetwork_patch",
    "merging.merge",
    "adapters.control_net_recipe",
    "images.upscale_model",
    "adapters.control_chain",
    "adapters.clip_vision_recipe",
    "adapters.ip_adapter_patch",
    "adapters.gligen_patch",
    "tensor_value",
    "sampling.sampler_value",
    "sampling.noise_value",
    "sampling.guidance",
    "sampling.dual_guidance",
    "sampling.sampling_change",
    "sampling.rescaled_guidance",
    "sampling.frame_guidance",
    "patches.free_u",
    "patches.deep_shrink",
    "patches.hyper_tile",
    "patches.token_merging",
    "patches.perturbed_attention",
    "patches.self_attention_guidance",
    "patches.skip_layer_guidance",
    "autoencoders.vae_recipe",
    "training.picture_set",
    "training.perceptual_recipe",
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
    from .samplers import sampler_names

    sampler_names.register_samplers(register)


@hookimpl
def register_schedules(register: Register) -> None:
    from .samplers import sampler_names

    sampler_names.register_schedules(register)


@hookimpl
def register_guiders(register: Register) -> None:
    from .samplers import sampler_names

    sampler_names.register_guiders(register)


@hookimpl
def register_model_families(register: Register) -> None:
    from .models import model_source

    model_source.register_model_families(register)


@hookimpl
def register_nodes(register: Callable[[Callable[..., Any]], NodeSpec]) -> None:
    for name in MODULES:
        for function in nodes_in(import_module(f".{name}", __name__)):
            register(function)


@hookimpl
def register_models(models: Residency) -> None:
    from .models.model_source import register_loaders

    register_loaders(models)


@hookimpl
def surround_bodies() -> Scope:
    from .inference import inference_scope

    return inference_scope
