"""Networks of diffusers and transformers from the files of a checkpoint: what a family materialises for each kind.

A network is built with no weights and then given those of the file, so nothing is initialised or copied for nothing,
and no library gets to print or to look on the network.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from ..models.component_weights import CheckpointFiles, Components, one_line
from ..models.dtype_policy import AUTO, computation_dtype, powers_of
from ..models.recipe import Recipe
from ..models.weight_placement import JoinedPlacement, WeightPlacement, least_nbytes
from ..models.weight_scales import FILE_SCALE, parted, scaled
from ..sampling.model_sampling import read_sampling
from ..sampling.network_call import UNetCall

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..sampling.picture_vector import PictureVector

log = logging.getLogger("mezzotint.nodes")

UNKNOWN_INPUTS = ("encoder_hid_dim_type", "time_cond_proj_dim")
"""Options of a U-Net by which it wants something that no conditioning has."""
SMALL_NBYTES = 256 << 20
"""Weights that take no more than this in the dtype of computation are turned into it when they are loaded."""


def load_denoiser(files: CheckpointFiles, recipe: Recipe, residency: Residency) -> Loaded:
    """The `Denoiser` of a model recipe.

    Raises:
        MissingModelError, ModelFileError: its files are gone, damaged or not known. OutOfMemoryError: it does not fit.
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from ..sampling.denoiser import ActivationShape, Denoiser

    config = files.config("unet")
    call = _unet_call(files, config)
    with loading_weights():
        loading = Loading(files, "unet", recipe, residency)
        network = loading.network(lambda: from_config(UNet2DConditionModel, config))
        shape = ActivationShape(tuple(network.config.block_out_channels), _most(network.config.layers_per_block))
        sampling = read_sampling(files, recipe.source.digest)
        width = network.config.cross_attention_dim if network.config.encoder_hid_dim_type is None else None
        width = width if isinstance(width, int) else None  # a list: one for each block
        return loading.loaded(Denoiser(network, sampling, loading.device, loading.dtype, shape, width, call))


def load_autoencoder(files: CheckpointFiles, recipe: Recipe, residency: Residency) -> Loaded:
    """The `Autoencoder` of a VAE recipe. Raises what `load_denoiser` does."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from ..autoencoders.autoencoder import Autoencoder

    config = files.config("vae")
    with loading_weights():
        # Half precision overflows in a VAE that asks to be upcast.
        loading = Loading(files, "vae", recipe, residency, avoids_half=config.get("force_upcast", True))
        network = loading.network(lambda: from_config(AutoencoderKL, config))
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
        return loading.loaded(vae)


def load_text_encoder(files: CheckpointFiles, recipe: Recipe, residency: Residency) -> Loaded:
    """The `TextEncoder` of a CLIP recipe, or the `DualTextEncoder`. Raises what `load_denoiser` does."""
    from ..text.dual_text_encoder import DualTextEncoder

    if not files.text_encoders:
        raise ModelFileError(
            f"the checkpoint '{files.name}' holds no text encoder; load one of its family with CLIPLoader, or "
            f"DualCLIPLoader for SDXL and Flux, or TripleCLIPLoader for SD3"
        )
    with loading_weights():
        loaded = [_text_encoder(files, component, recipe, residency) for component in files.text_encoders]
    return loaded[0] if len(loaded) == 1 else joined(DualTextEncoder(loaded[0].object, loaded[1].object), loaded)


def joined(made: Any, parts: Sequence[Loaded]) -> Loaded:
    """What was made of several networks, for the residency manager."""
    whole = [part.whole_nbytes or part.nbytes for part in parts]
    movable = [part.movable for part in parts if part.movable is not None]
    placement = JoinedPlacement(movable, whole) if len(movable) == len(parts) else None
    return Loaded(made, sum(part.nbytes for part in parts), placement, sum(whole))


def _text_encoder(files: CheckpointFiles, component: str, recipe: Recipe, residency: Residency) -> Loaded:
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

    from ..text.text_encoder import TextEncoder

    config = files.config(component)
    reading = files.reading(component)
    # SDXL's pooled output is that of its second one, projected.
    is_projected = component == "text_encoder_2" or (not reading.is_normed and len(files.text_encoders) == 1)
    network_class = CLIPTextModelWithProjection if is_projected else CLIPTextModel
    loading = Loading(files, component, recipe, residency)
    network = loading.network(lambda: network_class(CLIPTextConfig.from_dict(dict(config))))
    tokenizer, layout = files.tokenizer(component, int(network.config.max_position_embeddings))
    return loading.loaded(TextEncoder(network, tokenizer, layout, loading.device, reading))


LOADERS: dict[str, Callable[[Any, Recipe, Residency], Loaded]] = {
    "model": load_denoiser,
    "clip": load_text_encoder,
    "vae": load_autoencoder,
}


@contextmanager
def loading_weights() -> Iterator[None]:
    """Weights are ordinary tensors also when they are loaded inside inference mode: a training node may borrow them."""
    import torch

    with torch.inference_mode(False):
        yield


def _unet_call(files: CheckpointFiles, config: Mapping[str, Any]) -> UNetCall:
    """How a U-Net of a configuration is called. Raises ModelFileError: it wants what it cannot be given."""
    wanted = next((name for name in UNKNOWN_INPUTS if config.get(name) is not None), None)
    if config.get("addition_embed_type") not in (None, "text_time"):
        wanted = "addition_embed_type"
    if config.get("class_embed_type") not in (None, "projection"):
        wanted = "class_embed_type"
    if wanted:
        raise ModelFileError(
            f"the unet of the checkpoint '{files.name}' wants more than text ({wanted}: {config[wanted]!r}), "
            f"which is not supported yet"
        )
    channels = config.get("out_channels", 4)
    further = config.get("in_channels", 4) - channels
    if further not in (0, channels, channels + 1):
        raise ModelFileError(
            f"the unet of the checkpoint '{files.name}' takes {config['in_channels']} channels and gives {channels}; "
            f"known are {channels} more, for editing, and {channels + 1} more, for inpainting"
        )
    if config.get("class_embed_type") is not None:
        return UNetCall(further_channels=further, pictures=_picture_vector(files, config))
    class_count = int(config.get("num_class_embeds") or 0)
    if config.get("addition_embed_type") is None:
        return UNetCall(further_channels=further, class_count=class_count)
    width = int(config.get("projection_class_embeddings_input_dim") or 0)
    return UNetCall(width, int(config.get("addition_time_embed_dim") or 256), further, class_count)


def _picture_vector(files: CheckpointFiles, config: Mapping[str, Any]) -> PictureVector:
    """What an unCLIP U-Net is told of pictures. Raises ModelFileError: it is of another kind."""
    import torch
    from diffusers import DDPMScheduler

    from ..sampling.picture_vector import PictureVector

    width, odd = divmod(int(config.get("projection_class_embeddings_input_dim") or 0), 2)
    levels = from_config(DDPMScheduler, files.config("image_noising_scheduler"))
    statistics = files.picture_statistics() or {"mean": torch.zeros(1, width), "std": torch.ones(1, width)}
    mean, deviation = statistics["mean"], statistics["std"]
    if odd or mean.numel() != width:
        raise ModelFileError(
            f"the unet of the checkpoint '{files.name}' takes {2 * width + odd} numbers in place of a class, and its "
            f"pictures come to {mean.numel()} and as many for their noise; known are unCLIP models, which take both"
        )
    return PictureVector(mean.reshape(1, -1), deviation.reshape(1, -1), levels.alphas_cumprod)


def _most(value: int | list[int] | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else max(value)


def from_config(network_class: Any, config: Mapping[str, Any]) -> Any:
    """A network of diffusers by what its class knows of a configuration."""
    accepted = inspect.signature(network_class.__init__).parameters
    return network_class(**{name: value for name, value in config.items() if name in accepted})


class Loading:
    """One component on its way to the device.

    Raises:
        ModelFileError: it has no weights, or they are damaged. OutOfMemoryError: they do not fit.

    Attributes:
        device: where it goes. dtype: what it computes in. nbytes: what its weights take there, if there is room for
            all of them; else the rest stays in main memory, `placement` knows which.
    """

    def __init__(
        self, files: Components, component: str, recipe: Recipe, residency: Residency, avoids_half: bool = False
    ) -> None:
        import torch

        self.files, self.component = files, component
        self.weights = files.weights(component)
        self.device = torch.device(residency.device)
        self.found: torch.dtype = getattr(torch, self.weights.header.dtype)
        is_stored_in = recipe.dtype.startswith("float8")
        named = AUTO if is_stored_in else recipe.dtype
        wanted = residency.dtypes.get(recipe.kind, AUTO) if named == AUTO else named
        header_dtype, powers = self.weights.header.dtype, powers_of(self.device)
        dtype = computation_dtype(header_dtype, powers, wanted, avoids_half=avoids_half)
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.stored = self.found if self._keeps(named) else self.dtype
        if is_stored_in:
            self.stored = getattr(torch, recipe.dtype)
        self.nbytes = self.weights.header.count() * self.stored.itemsize
        least = least_nbytes(self.weights.header, self.stored.itemsize, self.dtype.itemsize)
        what = f"loading the {component} of the checkpoint '{files.name}'"
        self.granted_nbytes = residency.reserve_part(self.nbytes, least, what)
        self.placement: WeightPlacement | None = None

    @property
    def read_device(self) -> torch.device:
        """Where the weights are read to."""
        import torch

        return self.device if self.granted_nbytes >= self.nbytes else torch.device("cpu")

    def placed(self, network: nn.Module) -> int:
        """Have the weights of a network where they are to be; what they take on the device."""
        turned_to = self.dtype if self.stored != self.dtype else None
        self.placement = WeightPlacement(network, self.device, self.nbytes, turned_to)
        if self.granted_nbytes < self.nbytes:
            self.granted_nbytes = self.placement.to_device(self.granted_nbytes)
            log.info(
                "the %s of '%s' does not fit on %s: %.0f%% of its weights stay in main memory, fetched when used",
                self.component, self.files.name, self.device, 100 * (1 - self.granted_nbytes / self.nbytes),
            )  # fmt: skip
        return self.granted_nbytes

    def loaded(self, made: Any) -> Loaded:
        """What was made of the network, for the residency manager."""
        return Loaded(made, self.granted_nbytes, self.placement, self.nbytes)

    def _keeps(self, named: str) -> bool:
        """Whether the weights stay as they are in the file, and are turned layer by layer."""
        is_narrow = self.found.itemsize < self.dtype.itemsize
        is_large = self.weights.header.count() * self.dtype.itemsize > SMALL_NBYTES
        return named == AUTO and is_narrow and is_large

    def network(self, build: Callable[[], nn.Module], is_whole: bool = False) -> Any:
        """The network with the weights of its file, ready to be used; it records no gradients.

        Args:
            is_whole: whether it may have more than what is in the file, which it computes when it is built.
        """
        import torch

        from ..models.weight_casting import compute_in
        from ..models.weightless import WithoutDrawing

        try:
            with WithoutDrawing() if is_whole else torch.device("meta"):
                network = build()
        except (TypeError, ValueError, AttributeError, NotImplementedError, RuntimeError) as error:
            raise self._error("config.json cannot be used", error) from None
        try:
            weights = self._give(network, self.weights.read(network, str(self.read_device)))
        except (RuntimeError, KeyError, AttributeError) as error:
            raise self._error("weights do not fit its configuration", error) from None
        _share(network, weights)
        if is_whole:
            network.to(self.read_device)
        else:
            _fill_positions(network, self.device)
        network.requires_grad_(False).eval()
        if self.stored != self.dtype:
            compute_in(network, self.dtype)
        self.placed(network)
        return network

    def _give(self, network: nn.Module, named: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Have a network's tensors be these, as they are to lie on the device; what is kept has its scale.

        Returns:
            the tensors without scales.
        """
        weights, scales = parted(named)
        stored = {id(each): self._stored(each, scales.get(name)) for name, each in weights.items()}
        network.load_state_dict({name: stored[id(each)] for name, each in weights.items()}, assign=True)
        for name, scale in scales.items():
            if self._keeps_tensor(weights[name]):
                layer = network.get_submodule(name.removesuffix(".weight"))
                layer.register_buffer(FILE_SCALE, scale.to(self.read_device), persistent=False)
        return weights

    def _stored(self, tensor: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
        """As it is to lie on the device."""
        if self._keeps_tensor(tensor):
            return tensor
        return tensor.to(self.stored) if scale is None else scaled(tensor, scale, self.dtype).to(self.stored)

    def _keeps_tensor(self, tensor: torch.Tensor) -> bool:
        """Whether it stays as it is in the file, which may have several dtypes."""
        if not tensor.is_floating_point():
            return True
        return self.stored != self.dtype and self.stored in (self.found, tensor.dtype)

    def _error(self, what: str, error: Exception) -> ModelFileError:
        return ModelFileError(
            f"the {self.component} of the checkpoint '{self.files.name}': its {what} ({one_line(error)}); fetch it "
            f"again, or use another model"
        )


def _share(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Let what is one tensor under several names be one parameter, so that it is moved and counted once."""
    first: dict[int, str] = {}
    for name, tensor in weights.items():
        if (known := first.setdefault(id(tensor), name)) != name:
            module, _, last = name.rpartition(".")
            network.get_submodule(module)._parameters[last] = network.get_parameter(known)


def _fill_positions(network: nn.Module, device: torch.device) -> None:
    """Give a text encoder the one buffer that no file holds: its positions 0, 1, 2, ..."""
    import torch

    for module in network.modules():
        positions = getattr(module, "position_ids", None)
        if isinstance(positions, torch.Tensor):
            module.position_ids = torch.arange(positions.shape[-1], device=device)[None]
