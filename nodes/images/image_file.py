"""Pictures from files and into files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from mezzotint.engine.context import Context
from mezzotint.engine.encoded_picture import EncodedPicture
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.folders import Folders
from mezzotint.engine.node import node
from mezzotint.engine.output_file import output_series, preview_prefix, workflow_texts
from mezzotint.engine.widget import Choices, Widget

from ..file_name import OutputPrefix, content_of, is_there
from ..ports import Image, Mask
from .mask import mask_to_image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture
    from torch import Tensor

NO_ALPHA_SIDE = 64
"""The side of the empty mask that comes with a picture without alpha."""
STEREO = "MPO"
"""Two or more views of one moment in a file of phones and cameras; the first is the picture."""


class ImageFileError(MezzotintError):
    """A file is no picture, or it is broken, or too large."""


class LoadedImage(NamedTuple):
    """A picture and what is transparent of it (1 = transparent). The names are those of saved workflows."""

    IMAGE: Image
    MASK: Mask


def _input_images(folders: Folders) -> list[str]:
    return folders.images("input")


def image_content(image: str | None, folders: Folders) -> str | float:
    """Stands for the picture in cache keys. Raises FolderError: there is no such file."""
    return content_of(image, folders)


@node("LoadImage", title="Load Image", category="image", fingerprint=image_content)
def load_image(
    image: Annotated[str, Choices(_input_images, accepts=is_there), Widget(image_upload=True)], *, ctx: Context
) -> LoadedImage:
    """Load a picture from the input folder.

    It is turned upright as its EXIF data say. Of an animation or a file of several pages, all frames that are as large
    as the first make a batch. 16-bit grey keeps its depth.

    Args:
        image: a path below the input folder, or "name [output]", "name [temp]".

    Returns:
        IMAGE float32 [frames, H, W, 3] in 0..1; MASK float32 [frames, H, W], 1 − alpha, or zeros [1, 64, 64] for a
        picture without alpha.

    Raises:
        FolderError: there is no such file. ImageFileError: it cannot be read as a picture.
        OutOfMemoryError: it does not fit into memory.
    """
    import torch

    frames = read_frames(ctx.folders.require_file(image))
    pixels = torch.stack([frame.pixels for frame in frames])
    if all(frame.alpha is None for frame in frames):
        return LoadedImage(pixels, torch.zeros(1, NO_ALPHA_SIDE, NO_ALPHA_SIDE))
    opaque = torch.ones(pixels.shape[1:3])
    return LoadedImage(pixels, 1.0 - torch.stack([opaque if f.alpha is None else f.alpha for f in frames]))


def _output_images(folders: Folders) -> list[str]:
    return [f"{name} [output]" for name in folders.images("output")]


@node("LoadImageOutput", title="Load Image (from Outputs)", category="image", fingerprint=image_content)
def load_image_output(
    image: Annotated[str, Choices(_output_images, accepts=is_there), Widget(image_upload=True, image_folder="output")],
    *,
    ctx: Context,
) -> LoadedImage:
    """Load a picture from the output folder; otherwise as Load Image.

    Raises:
        FolderError: there is no such file. ImageFileError: it cannot be read as a picture.
        OutOfMemoryError: it does not fit into memory.
    """
    return load_image(image, ctx=ctx)


@node("LoadImageMask", title="Load Image (as Mask)", category="mask", fingerprint=image_content)
def load_image_mask(
    image: Annotated[str, Choices(_input_images, accepts=is_there), Widget(image_upload=True)],
    channel: Literal["alpha", "red", "green", "blue"] = "alpha",
    *,
    ctx: Context,
) -> Mask:
    """Load one channel of a picture as a mask; of alpha, what is transparent is selected.

    Returns:
        float32 [frames, H, W]; zeros [1, 64, 64] for the alpha of a picture without any.

    Raises:
        FolderError: there is no such file. ImageFileError: it cannot be read as a picture.
        OutOfMemoryError: it does not fit into memory.
    """
    loaded = load_image(image, ctx=ctx)
    return loaded.MASK if channel == "alpha" else loaded.IMAGE[..., ("red", "green", "blue").index(channel)].clone()


class Frame(NamedTuple):
    """One frame of a file: float32 [H, W, 3], and alpha float32 [H, W] if it has any; both 0..1."""

    pixels: Tensor
    alpha: Tensor | None


def read_frames(path: Path) -> list[Frame]:
    """The frames of a picture file that are as large as the first.

    Raises:
        ImageFileError: the file is no picture, is broken, or is too large to be a picture.
        OutOfMemoryError: it does not fit into memory.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return _frames(picture, path.name)
    except MezzotintError:
        raise
    except UnidentifiedImageError:
        raise ImageFileError(f"'{path.name}' is no picture in a known format; save it as PNG, JPEG or WebP") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageFileError(f"'{path.name}' has more pixels than a picture may have; scale it down") from None
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error at broken data
        raise ImageFileError(f"'{path.name}' cannot be read as a picture: {error}; the file seems broken") from error


def _frames(picture: Picture, name: str) -> list[Frame]:
    from PIL import ImageSequence

    from ..resize import require_memory

    count = 1 if picture.format == STEREO else getattr(picture, "n_frames", 1)
    require_memory(f"the picture '{name}'", count, picture.height, picture.width, 4)
    frames: list[Frame] = []
    for index, each in enumerate(ImageSequence.Iterator(picture)):
        if index == count:
            break
        frame = _frame(_upright(each))
        if not frames or frame.pixels.shape == frames[0].pixels.shape:
            frames.append(frame)
    return frames


def _upright(picture: Picture) -> Picture:
    from PIL import ImageOps

    picture.load()
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # a broken orientation is no reason to refuse the pixels, which are there
        return picture


def _frame(picture: Picture) -> Frame:
    import numpy as np

    if picture.mode == "F" or picture.mode.startswith("I"):
        grey = np.asarray(picture).astype(np.float32)
        return _as_frame(np.stack([grey] * 3, -1), 1.0 if picture.mode == "F" else 65535.0)
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return _as_frame(np.asarray(picture.convert(mode)).astype(np.float32), 255.0)


def _as_frame(pixels: NDArray[np.float32], white: float) -> Frame:
    import torch

    tensor = torch.from_numpy(pixels).div_(white).clamp_(0, 1)
    has_alpha = tensor.shape[-1] == 4
    return Frame(tensor[..., :3].contiguous(), tensor[..., 3].contiguous() if has_alpha else None)


@node("SaveImage", title="Save Image", category="image", sink=True)
def save_image(
    images: Image,
    filename_prefix: OutputPrefix = "ComfyUI",
    *,
    ctx: Context,
) -> None:
    """Save pictures as PNG in the output folder, with the workflow inside.

    Files are numbered and never overwritten.

    Raises:
        OutputError: the prefix leaves the output folder, or a file cannot be written.
    """
    height, width = images.shape[-3:-1]
    outputs = ctx.outputs.series(filename_prefix, width=width, height=height)
    _save(images, lambda data, index: outputs.save(data, batch_index=index), ctx)


@node("PreviewImage", title="Preview Image", category="image", sink=True)
def preview_image(images: Image, *, ctx: Context) -> None:
    """Show pictures without keeping them: they are saved in the temp folder.

    Raises:
        OutputError: a file cannot be written.
    """
    series = output_series(ctx.folders.temp, preview_prefix(ctx.node_id), folder_type="temp")
    _save(images, lambda data, index: series.save(data, batch_index=index).shown(), ctx)


@node("MaskPreview", title="MaskPreview", category="mask", sink=True)
def mask_preview(mask: Mask, *, ctx: Context) -> None:
    """Show masks as grey pictures without keeping them.

    Raises:
        OutputError: a file cannot be written.
    """
    preview_image(mask_to_image(mask), ctx=ctx)


def _save(images: Tensor, save: Callable[[bytes, int], Mapping[str, str]], ctx: Context) -> None:
    from ..png import encode_png, to_uint8

    texts = workflow_texts(ctx.original_prompt, ctx.extra_pnginfo, metadata=ctx.save_metadata)
    shown: list[Mapping[str, Any]] = []
    for index, image in enumerate(images if images.ndim == 4 else images[None]):
        ctx.check()
        shown.append(save(encode_png(to_uint8(image), texts), index))
    ctx.show(images=shown)


def _never_equal() -> float:
    return math.nan


@node("SaveImageWebsocket", title="Save Image (Websocket)", category="api/image", sink=True, fingerprint=_never_equal)
def save_image_websocket(images: Image, *, ctx: Context) -> None:
    """Send pictures, whole and as PNG, to the client that queued the workflow. Nothing is kept; it runs each time."""
    from ..png import encode_png, to_uint8

    batch = images if images.ndim == 4 else images[None]
    for index, image in enumerate(batch):
        ctx.progress(index + 1, len(batch), EncodedPicture(encode_png(to_uint8(image), {})))
