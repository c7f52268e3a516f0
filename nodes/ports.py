"""The types that links between the built-in nodes carry. Torch-free names; a type checker sees what is behind them.

Image         float32 [B, H, W, C], 0..1, C 3 (or 4 with alpha)
Mask          float32 [B, H, W], 1 = selected
Latent        {"samples": float32 [B, C, h, w], unscaled, "noise_mask"?: [B, 1, H, W], "batch_index"?: [int]}
Conditioning  [[float32 [1, T, D], options], ...]; every item is one evaluation of the model
Sigmas        float32 [steps + 1], descending, normally ending in 0
Model, Clip, Vae  `Recipe`: what the weights are, not the weights
Sampler, Noise, Guider  small frozen descriptions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from mezzotint.engine.port import Port

if TYPE_CHECKING:
    from torch import Tensor

    from .models.recipe import Recipe

    Image = Annotated[Tensor, Port("IMAGE")]
    Mask = Annotated[Tensor, Port("MASK")]
    Latent = Annotated[dict[str, Any], Port("LATENT")]
    Conditioning = Annotated[list[Any], Port("CONDITIONING")]
    Sigmas = Annotated[Tensor, Port("SIGMAS")]
    Model = Annotated[Recipe, Port("MODEL")]
    Clip = Annotated[Recipe, Port("CLIP")]
    Vae = Annotated[Recipe, Port("VAE")]
else:
    Image = Annotated[Any, Port("IMAGE")]
    Mask = Annotated[Any, Port("MASK")]
    Latent = Annotated[Any, Port("LATENT")]
    Conditioning = Annotated[Any, Port("CONDITIONING")]
    Sigmas = Annotated[Any, Port("SIGMAS")]
    Model = Annotated[Any, Port("MODEL")]
    Clip = Annotated[Any, Port("CLIP")]
    Vae = Annotated[Any, Port("VAE")]

Sampler = Annotated[Any, Port("SAMPLER")]
Noise = Annotated[Any, Port("NOISE")]
Guider = Annotated[Any, Port("GUIDER")]
