"""What the family of pipelines materialises for each kind of recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from ..models.component_weights import one_line
from ..models.recipe import Recipe
from ..models.weight_casting import compute_in
from .diffusers_networks import Loading, from_config, joined, loading_weights
from .pipeline_call import OneStep, PipelineCall, bare_pipeline
from .pipeline_family import pipeline_sampling
from .pipeline_folder import TRANSFORMER, PipelineFolder
from .pipeline_text import PipelineTextEncoder, gives_lists

if TYPE_CHECKING:
    from ..autoencoders.autoencoder import Autoencoder
    from .transformer_file import TransformerFile

USUAL_WIDTH, USUAL_VAE_WIDTH = 320, 256
"""For estimates of memory, where a configuration names no widths."""


def load_transformer(folder: PipelineFolder | TransformerFile, recipe: Recipe, residency: Residency) -> Loaded:
    """The `Denoiser` of a pipeline's transformer.

    Raises:
        ModelFileError: its files are damaged, or of a class that is not known. OutOfMemoryError: it does not fit.
    """
    from ..sampling.denoiser import ActivationShape, Denoiser

    network_class, config = folder.component_class(TRANSFORMER), folder.config(TRANSFORMER)
    with loading_weights():
        loading = Loading(folder, TRANSFORMER, recipe, residency)
        network = loading.network(lambda: from_config(network_class, config), is_whole=True)
        pipeline_class = folder.pipeline()
        made = bare_pipeline(pipeline_class, loading.device, vae=_shape_of_vae(folder))
        made.register_modules(transformer=network, scheduler=OneStep(folder.config("scheduler")))
        call = PipelineCall(made, gives_lists(pipeline_class), bool(config.get("guidance_embeds")))
        width = int(config.get("num_attention_heads", 5)) * int(config.get("attention_head_dim", 64))
        sampling = pipeline_sampling(folder, recipe.source.digest)
        shape = ActivationShape((width or USUAL_WIDTH,), 1)
        return loading.loaded(Denoiser(network, sampling, loading.device, loading.dtype, shape, None, call))


def load_vae(folder: PipelineFolder, recipe: Recipe, residency: Residency) -> Loaded:
    """The `Autoencoder` of a pipeline. Raises what `load_transformer` does."""
    from .diffusers_networks import load_autoencoder

    if folder.parts["vae"].class_name == "AutoencoderKL":
        return load_autoencoder(folder, recipe, residency)
    network_class, config = folder.component_class("vae"), folder.config("vae")
    with loading_weights():
        loading = Loading(folder, "vae", recipe, residency, avoids_half=True)
        network = loading.network(lambda: from_config(network_class, config), is_whole=True)
        return loading.loaded(_autoencoder(folder, network, loading))


def _autoencoder(folder: PipelineFolder, network: Any, loading: Loading) -> Autoencoder:
    from ..autoencoders.video_autoencoder import VideoAutoencoder

    config, sampled = folder.config("vae"), folder.sampling_config()
    width = int(config.get("base_dim") or USUAL_VAE_WIDTH)
    statistics = [torch.tensor(config[name]) for name in ("latents_mean", "latents_std") if config.get(name)]
    mean, deviation = statistics if len(statistics) == 2 else (torch.zeros(1), torch.ones(1))
    return VideoAutoencoder(
        network,
        loading.device,
        loading.dtype,
        latent_channels=sampled["latent_channels"],
        downscale=sampled["downscale"],
        encoder_width=width,
        decoder_width=width,
        mean=mean.reshape(1, -1, 1, 1),
        deviation=deviation.reshape(1, -1, 1, 1),
        has_frames="z_dim" in config,
    )


def load_text_encoders(folder: PipelineFolder, recipe: Recipe, residency: Residency) -> Loaded:
    """The `PipelineTextEncoder`. Raises what `load_transformer` does."""
    device, parts = torch.device(residency.device), {}
    loaded: list[Loaded] = []
    with loading_weights():
        for component in folder.text_parts:
            if component.startswith("text_encoder"):
                loading = Loading(folder, component, recipe, residency)
                parts[component] = _text_encoder(folder, component, loading)
                loaded.append(loading.loaded(parts[component]))
            else:
                parts[component] = _from_files(folder, component)
        made = bare_pipeline(folder.pipeline(), device)
        made.register_modules(**parts)
        return joined(PipelineTextEncoder(made, device), loaded)


def _text_encoder(folder: PipelineFolder, component: str, loading: Loading) -> Any:
    """A text encoder on the device, ready to be used."""
    name = folder.weights_paths(component)[0].name
    variant = {"variant": "fp16"} if ".fp16" in name else {}
    network = _from_files(folder, component, dtype=loading.stored, **variant).to(loading.read_device).eval()
    network.requires_grad_(False)
    if loading.stored != loading.dtype:
        compute_in(network, loading.dtype)
    loading.placed(network)
    return network


def _from_files(folder: PipelineFolder, component: str, **options: Any) -> Any:
    """A text encoder or tokenizer by its own class, which knows what its files are called."""
    from transformers.utils import logging

    wanted = folder.component_class(component)
    logging.disable_progress_bar()
    try:
        return wanted.from_pretrained(folder.path / component, local_files_only=True, **options)
    except Exception as error:  # the tokenizers library raises the bare class for what it cannot read
        raise ModelFileError(
            f"the {component} of the checkpoint '{folder.name}' cannot be read ({one_line(error)}); fetch it again"
        ) from None


def _shape_of_vae(folder: PipelineFolder | TransformerFile) -> Any:
    """The VAE with no weights: pipelines look at its configuration."""
    with torch.device("meta"):
        return from_config(folder.component_class("vae"), folder.config("vae"))


LOADERS: dict[str, Callable[[PipelineFolder, Recipe, Residency], Loaded]] = {
    "model": load_transformer,
    "clip": load_text_encoders,
    "vae": load_vae,
}
