"""Nodes that enlarge pictures with a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from mezzotint import Context, Image, Port, model_files, node
from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.engine.folders import Folders

from ..models.weights_file import read_header
from ..models.weights_source import weights_identity, weights_source
from ..resize import require_memory
from .image import three_channels
from .tiling import Tiling, blended
from .upscale_model import UpscaleModelRecipe, require_spandrel

if TYPE_CHECKING:
    from torch import Tensor

    from ..latents.box import Box
    from .upscale_model import Upscaler

    UpscaleModel = Annotated[UpscaleModelRecipe, Port("UPSCALE_MODEL")]
else:
    UpscaleModel = Annotated[Any, Port("UPSCALE_MODEL")]

KIND = "upscale_models"
TILE, SMALLEST_TILE, OVERLAP = 512, 128, 32
"""Sides of the tiles that are tried, and how far they overlap, in pixels."""


def upscale_model_identity(model_name: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced."""
    return weights_identity(KIND, model_name, folders)


@node("UpscaleModelLoader", title="Load Upscale Model", category="loaders", fingerprint=upscale_model_identity)
def load_upscale_model(model_name: Annotated[str, model_files(KIND)], *, ctx: Context) -> UpscaleModel:
    """Open a model that enlarges or repairs pictures, such as ESRGAN or SwinIR. Needs the extra `upscale` (spandrel).

    Raises:
        UpscaleModelError: the extra `upscale` is not installed. MissingModelError, ModelFileError: it is gone, a
            pickle, or damaged.
    """
    require_spandrel()
    read_header(ctx.folders.require(KIND, model_name))
    return UpscaleModelRecipe(weights_source(KIND, model_name, ctx))


@node("ImageUpscaleWithModel", title="Upscale Image (using Model)", category="image/upscaling", lane="device")
def image_upscale_with_model(upscale_model: UpscaleModel, image: Image, *, ctx: Context) -> Image:
    """Enlarge pictures with a model, in tiles, which are smaller where memory is short. Alpha is dropped.

    Raises:
        OutOfMemoryError: the result, or the smallest tile, does not fit.
    """
    import torch

    with ctx.models.borrow(upscale_model) as borrowed:
        upscaler: Upscaler = borrowed
        count, height, width = image.shape[:3]
        what = f"a picture of {width * upscaler.scale}x{height * upscaler.scale}, {count} times,"
        require_memory(what, count, 3, height * upscaler.scale, width * upscaler.scale)
        pictures = three_channels(image).movedim(-1, 1)
        made = [_enlarged(picture[None], upscaler, ctx) for picture in pictures]
    return torch.cat(made).clamp_(0, 1).movedim(1, -1).contiguous()


def _enlarged(picture: Tensor, upscaler: Upscaler, ctx: Context) -> Tensor:
    from torch import OutOfMemoryError as DeviceMemoryError

    def process(box: Box) -> Tensor:
        ctx.check()
        return upscaler.upscale(box.of(picture))

    height, width = picture.shape[-2:]
    size = TILE
    while True:
        try:
            return blended(height, width, Tiling(size, OVERLAP), upscaler.scale, process)
        except DeviceMemoryError:
            size //= 2
            if size < SMALLEST_TILE:
                raise OutOfMemoryError(
                    f"the memory of {ctx.device} was used up in enlarging a picture of {width}×{height} in tiles of "
                    f"{SMALLEST_TILE} pixels; free some memory, or take a smaller model"
                ) from None
