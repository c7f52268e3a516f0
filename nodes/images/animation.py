"""Batches of pictures saved as one animated file."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mezzotint.engine.context import Context
from mezzotint.engine.errors import OutputError
from mezzotint.engine.node import node
from mezzotint.engine.output_file import workflow_texts
from mezzotint.engine.widget import Widget

from ..file_name import OutputPrefix
from ..ports import Image

if TYPE_CHECKING:
    from PIL.Image import Exif
    from PIL.PngImagePlugin import PngInfo
    from torch import Tensor

METHODS = {"default": 4, "fastest": 0, "slowest": 6}
"""How hard WebP tries to save space."""
MODEL_TAG, MAKE_TAG = 0x0110, 0x010F
"""The EXIF tags that hold the graph and, downwards from the second, further texts, as other editors have it."""
PNG_TEXT = b"comf"
"""The PNG chunk of the field's own that holds a text of an animation, behind the first frame."""

FramesPerSecond = Annotated[float, Field(ge=0.01, le=1000, description="Frames a second."), Widget(step=0.01)]


@node("SaveAnimatedWEBP", category="image/animation", sink=True)
def save_animated_webp(
    images: Image,
    filename_prefix: OutputPrefix = "ComfyUI",
    fps: FramesPerSecond = 6.0,
    lossless: bool = True,
    quality: Annotated[int, Field(ge=0, le=100, description="Lossless, how hard it is tried.")] = 80,
    method: Literal["default", "fastest", "slowest"] = "default",
    *,
    ctx: Context,
) -> None:
    """Save a batch as an animated WebP in the output folder, with the workflow inside.

    Raises:
        OutputError: the prefix leaves the output folder, or the file cannot be written, or is beyond the format.
    """
    options = {"lossless": lossless, "quality": quality, "method": METHODS[method], "exif": _exif(_texts(ctx))}
    _save(images, filename_prefix, fps, "webp", options, ctx)


@node("SaveAnimatedPNG", category="image/animation", sink=True)
def save_animated_png(
    images: Image,
    filename_prefix: OutputPrefix = "ComfyUI",
    fps: FramesPerSecond = 6.0,
    compress_level: Annotated[int, Field(ge=0, le=9, description="9 is smallest and slowest.")] = 4,
    *,
    ctx: Context,
) -> None:
    """Save a batch as an animated PNG in the output folder, with the workflow inside.

    Raises:
        OutputError: the prefix leaves the output folder, or the file cannot be written.
    """
    options = {"compress_level": compress_level, "pnginfo": _png_texts(_texts(ctx))}
    _save(images, filename_prefix, fps, "png", options, ctx)


def _texts(ctx: Context) -> dict[str, str]:
    return workflow_texts(ctx.original_prompt, ctx.extra_pnginfo, metadata=ctx.save_metadata)


def _exif(texts: dict[str, str]) -> Exif:
    from PIL.Image import Exif

    exif = Exif()
    tags = (MODEL_TAG, *range(MAKE_TAG, 0, -1))
    for tag, (key, text) in zip(tags, texts.items(), strict=False):
        exif[tag] = f"{key}:{text}"
    return exif


def _png_texts(texts: dict[str, str]) -> PngInfo:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, text in texts.items():
        info.add(PNG_TEXT, key.encode("latin-1", "replace") + b"\0" + text.encode("latin-1"), after_idat=True)
    return info


def _save(images: Tensor, prefix: str, fps: float, kind: str, options: dict[str, Any], ctx: Context) -> None:
    height, width = images.shape[-3:-1]
    data = _encoded(images, kind, max(int(1000 / fps), 1), options, ctx)
    saved = ctx.outputs.series(prefix, width=width, height=height).save(data, f".{kind}")
    ctx.show(images=[saved], animated=[len(images) > 1])


def _encoded(images: Tensor, kind: str, milliseconds: int, options: dict[str, Any], ctx: Context) -> bytes:
    from PIL import Image as Pictures

    from ..png import to_uint8

    first, *others = (Pictures.fromarray(pixels) for pixels in to_uint8(images))
    ctx.check()
    file = BytesIO()
    try:
        first.save(file, kind, save_all=True, append_images=others, duration=milliseconds, loop=0, **options)
    except (ValueError, OSError) as error:
        raise OutputError(
            f"{len(images)} pictures of {first.width}×{first.height} cannot be saved as one {kind} file: {error}"
        ) from error
    return file.getvalue()
