"""A picture that a node hands to whoever listens, as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """The bytes of a PNG or JPEG file. Given to `ctx.progress` it is a result: never scaled or dropped."""

    content: bytes
    media_type: Literal["image/png", "image/jpeg"] = "image/png"
