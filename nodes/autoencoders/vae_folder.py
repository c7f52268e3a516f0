"""Makes the `Autoencoder` of a VAE in the diffusers layout: `config.json` and one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded

from ..models.weight_placement import WeightPlacement
from ..models.weights_source import weights_path
from .autoencoder import Autoencoder
from .vae_recipe import BESIDE, CONFIG_NAME

if TYPE_CHECKING:
    from mezzotint.engine.residency import Residency

    from ..models.recipe import Source

VAE_CLASS = "AutoencoderKL"


def vae_config(path: Path) -> dict[str, Any]:
    """What the config.json beside a weights file says.

    Raises:
        ModelFileError: there is none, or it is of something else.
    """
    try:
        config = json.loads((path.parent / CONFIG_NAME).read_bytes())
    except FileNotFoundError:
        raise ModelFileError(
            f"'{path}' has no {CONFIG_NAME} beside it; a VAE is read in the diffusers layout, from a folder with both"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"'{path.parent / CONFIG_NAME}' cannot be read ({error}); fetch it again") from None
    found = config.get("_class_name") if isinstance(config, dict) else None
    if found != VAE_CLASS:
        raise ModelFileError(f"'{path.parent}' holds a model of class {found}, and a VAE is an {VAE_CLASS}")
    return dict(config)


def load_vae(source: Source, residency: Residency) -> Loaded:
    """The `Autoencoder` on the device of `residency`, in float32 if the user wants no other.

    Raises:
        MissingModelError, ModelFileError, OutOfMemoryError: as `VaeRecipe.load` says.
    """
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = weights_path(source, residency.folders, BESIDE)
    config = vae_config(path)
    residency.reserve(path.stat().st_size * 2, f"loading the VAE '{source.name}'")
    device, dtype = torch.device(residency.device), getattr(torch, residency.dtypes.get("vae", "float32"))
    with torch.inference_mode(False):
        try:
            network = AutoencoderKL.from_config(config)
            network.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelFileError(f"'{path}' cannot be used as a VAE ({reason}); fetch it again") from None
        network.to(device, dtype).requires_grad_(False).eval()
    widths = network.config.block_out_channels
    vae = Autoencoder(
        network,
        device,
        dtype,
        latent_channels=network.config.latent_channels,
        downscale=2 ** (len(widths) - 1),
        encoder_width=widths[0],
        decoder_width=max(widths[:2]),
    )
    nbytes = sum(tensor.nbytes for tensor in network.state_dict().values())
    return Loaded(vae, nbytes, WeightPlacement(network, device, nbytes, None))
