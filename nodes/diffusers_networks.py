"""Networks from the files of a diffusers folder: what its family materialises for each kind of recipe.

A network is built with no weights and then given those of the file, so nothing is initialised or copied for nothing,
and no library gets to print or to look on the network.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from .diffusers_folder import DiffusersFolder
from .model_sampling import folder_sampling
from .recipe import Recipe
from .weights_file import read_headers, read_weights

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from .prompt_chunks import ChunkLayout

MORE_INPUTS = (
    "addition_embed_type",
    "class_embed_type",
    "encoder_hid_dim_type",
    "num_class_embeds",
    "time_cond_proj_dim",
)
"""Options of a U-Net by which it wants more than a latent, a timestep and a text."""
OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Names in the VAE files of early Stable Diffusion → those of today."""


def load_denoiser(folder: DiffusersFolder, recipe: Recipe, residency: Residency) -> Loaded:
    """The `Denoiser` of a model recipe.

    Raises:
        MissingModelError, ModelFileError: its files are gone, damaged or not known. OutOfMemoryError: it does not fit.
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from .denoiser import ActivationShape, Denoiser

    config = folder.config("unet")
    _check_inputs(folder, config)
    with _loading():
        loading = _Loading(folder, "unet", recipe, residency)
        network = loading.network(lambda: _from_config(UNet2DConditionModel, config))
        shape = ActivationShape(tuple(network.config.block_out_channels), _most(network.config.layers_per_block))
        sampling = folder_sampling(folder, recipe.source.digest)
        width = network.config.cross_attention_dim if network.config.encoder_hid_dim_type is None else None
        width = width if isinstance(width, int) else None  # a list: one for each block
        return Loaded(Denoiser(network, sampling, loading.device, loading.dtype, shape, width), loading.nbytes)


def load_autoencoder(folder: DiffusersFolder, recipe: Recipe, residency: Residency) -> Loaded:
    """The `Autoencoder` of a VAE recipe. Raises what `load_denoiser` does."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from .autoencoder import Autoencoder

    config = folder.config("vae")
    with _loading():
        # Half precision overflows in a VAE that asks to be upcast.
        loading = _Loading(folder, "vae", recipe, residency, avoids_half=config.get("force_upcast", True))
        network = loading.network(lambda: _from_config(AutoencoderKL, config))
        widths = network.config.block_out_channels
        vae = Autoencoder(
            network,
            loading.device,
            loading.dtype,
            latent_channels=network.config.latent_channels,
            downscale=2 ** (len(widths) - 1),
            encoder_width=widths[0],
            decoder_width=max(widths[:2]),
        )
        return Loaded(vae, loading.nbytes)


def load_text_encoder(folder: DiffusersFolder, recipe: Recipe, residency: Residency) -> Loaded:
    """The `TextEncoder` of a CLIP recipe. Raises what `load_denoiser` does."""
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel

    from .text_encoder import TextEncoder

    config = folder.config("text_encoder")
    with _loading():
        loading = _Loading(folder, "text_encoder", recipe, residency)
        network = loading.network(lambda: CLIPTextModel(CLIPTextConfig.from_dict(config)))
        tokenizer, layout = _tokenizer(folder, int(network.config.max_position_embeddings))
        return Loaded(TextEncoder(network, tokenizer, layout, loading.device), loading.nbytes)


LOADERS: dict[str, Callable[[DiffusersFolder, Recipe, Residency], Loaded]] = {
    "model": load_denoiser,
    "clip": load_text_encoder,
    "vae": load_autoencoder,
}


@contextmanager
def _loading() -> Iterator[None]:
    """Weights are ordinary tensors also when they are loaded inside inference mode: a training node may borrow them."""
    import torch

    with torch.inference_mode(False):
        yield


def _check_inputs(folder: DiffusersFolder, config: Mapping[str, Any]) -> None:
    wanted = next((name for name in MORE_INPUTS if config.get(name) is not None), None)
    if wanted:
        raise ModelFileError(
            f"the unet of the checkpoint '{folder.name}' wants more than text ({wanted}: {config[wanted]!r}), "
            f"which is not supported yet"
        )
    if config.get("in_channels", 4) != config.get("out_channels", 4):
        raise ModelFileError(
            f"the unet of the checkpoint '{folder.name}' takes {config['in_channels']} channels and gives "
            f"{config.get('out_channels', 4)}: a model for inpainting or editing, which is not supported yet"
        )


def _most(value: int | list[int] | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else max(value)


def _from_config(network_class: Any, config: Mapping[str, Any]) -> Any:
    accepted = inspect.signature(network_class.__init__).parameters
    return network_class(**{name: value for name, value in config.items() if name in accepted})


class _Loading:
    """One component on its way to the device.

    Attributes:
        device, dtype: where it goes and what its weights become. nbytes: what they take there.
    """

    def __init__(
        self, folder: DiffusersFolder, component: str, recipe: Recipe, residency: Residency, avoids_half: bool = False
    ) -> None:
        import torch

        self.folder, self.component = folder, component
        self.paths = folder.weights(component)
        self.header = read_headers(self.paths)
        self.device = torch.device(residency.device)
        self.dtype: torch.dtype = getattr(torch, self._dtype_name(recipe.dtype, avoids_half))
        self.nbytes = self.header.count() * self.dtype.itemsize
        residency.reserve(self.nbytes, f"loading the {component} of the checkpoint '{folder.name}'")

    def _dtype_name(self, wanted: str, avoids_half: bool) -> str:
        if wanted != "auto":
            return wanted
        found = self.header.dtype if self.device.type == "cuda" else "float32"
        return "float32" if found == "float64" or (avoids_half and found == "float16") else found

    def network(self, build: Callable[[], nn.Module]) -> Any:
        """The network with the weights of its file, ready to be used; it records no gradients."""
        import torch

        try:
            with torch.device("meta"):
                network = build()
        except (TypeError, ValueError, AttributeError, NotImplementedError, RuntimeError) as error:
            raise self._error("config.json cannot be used", error) from None
        weights = read_weights(self.paths, str(self.device), self.dtype)
        try:
            network.load_state_dict(_named_for(network, weights), strict=True, assign=True)
        except RuntimeError as error:
            raise self._error("weights do not fit its config.json", error) from None
        _fill_positions(network, self.device)
        return network.requires_grad_(False).eval()

    def _error(self, what: str, error: Exception) -> ModelFileError:
        return ModelFileError(
            f"the {self.component} of the checkpoint '{self.folder.name}': its {what} ({_one_line(error)})"
        )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}..."


def _named_for(network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names that the network has for them; those that it computes itself are left out.

    Early VAE files name attention otherwise, and transformers 4 and 5 differ in the prefix of text encoders.
    """
    wanted = network.state_dict().keys()
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        known = next((other for other in _other_names(name) if other in wanted), name)
        if not known.endswith("position_ids"):
            named[known] = tensor
    return named


def _other_names(name: str) -> Iterator[str]:
    yield name
    yield f"text_model.{name}"
    yield name.removeprefix("text_model.")
    for old, new in OLD_ATTENTION.items():
        yield name.replace(old, new)


def _fill_positions(network: nn.Module, device: torch.device) -> None:
    """Give a text encoder the one buffer that no file holds: its positions 0, 1, 2, ..."""
    import torch

    for module in network.modules():
        positions = getattr(module, "position_ids", None)
        if isinstance(positions, torch.Tensor):
            module.position_ids = torch.arange(positions.shape[-1], device=device)[None]


def _tokenizer(folder: DiffusersFolder, length: int) -> tuple[Tokenizer, ChunkLayout]:
    from transformers import CLIPTokenizerFast

    from .prompt_chunks import ChunkLayout

    path = folder.path / "tokenizer"
    try:
        made = CLIPTokenizerFast.from_pretrained(path, local_files_only=True)
    except Exception as error:  # the tokenizers library raises the bare class for what it cannot read
        raise ModelFileError(
            f"the tokenizer of the checkpoint '{folder.name}' cannot be read from '{path}' ({_one_line(error)}); "
            f"fetch it again"
        ) from None
    tokenizer = made.backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, ChunkLayout(made.bos_token_id, made.eos_token_id, made.pad_token_id, length)
