"""`comfy.comfy_types.node_typing`: names for type checkers of packs."""

from __future__ import annotations

from typing import Any


class _AnyType(str):
    """A type that differs from none."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return False

    __eq__ = str.__eq__
    __hash__ = str.__hash__


class IO:
    """The names of the types."""

    STRING, IMAGE, MASK, LATENT, BOOLEAN, INT, FLOAT = "STRING", "IMAGE", "MASK", "LATENT", "BOOLEAN", "INT", "FLOAT"
    CONDITIONING, SAMPLER, SIGMAS, GUIDER, NOISE = "CONDITIONING", "SAMPLER", "SIGMAS", "GUIDER", "NOISE"
    CLIP, CONTROL_NET, VAE, MODEL, STYLE_MODEL = "CLIP", "CONTROL_NET", "VAE", "MODEL", "STYLE_MODEL"
    CLIP_VISION, CLIP_VISION_OUTPUT, UPSCALE_MODEL, AUDIO = (
        "CLIP_VISION",
        "CLIP_VISION_OUTPUT",
        "UPSCALE_MODEL",
        "AUDIO",
    )
    VIDEO, COMBO, NUMBER, PRIMITIVE = "VIDEO", "COMBO", "FLOAT,INT", "STRING,FLOAT,INT,BOOLEAN"
    ANY = _AnyType("*")


class ComfyNodeABC:
    """The base that packs may give their classes."""


CheckLazyMixin = ComfyNodeABC
InputTypeDict = dict[str, Any]
