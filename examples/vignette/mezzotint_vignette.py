"""A node that darkens pictures towards their corners, with Pillow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mezzotint import Image, Widget, node


@node("ExampleVignette", title="Vignette", category="image/filter")
def vignette(image: Image, strength: Annotated[float, Field(ge=0, le=1), Widget(step=0.05)] = 0.5) -> Image:
    """Darken a picture towards its corners, which lose the share `strength` of their light."""
    import numpy as np
    import PIL.Image
    import torch

    height, width = image.shape[1:3]
    gradient = PIL.Image.radial_gradient("L").resize((width, height), PIL.Image.Resampling.BILINEAR)
    light = 1 - strength * torch.from_numpy(np.array(gradient, np.float32) / 255) ** 2
    dark = image.clone()  # what a node is given, it never changes
    dark[..., :3] *= light[..., None]  # a fourth channel is how opaque the picture is
    return dark
