"""Makes pictures for viewing out of picture files: smaller formats, single channels, masks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_QUALITY = 90
MAX_PIXELS = 2 * 89_478_485
"""A picture of more is refused, since decoding it could take all memory: what Pillow holds for an attack."""
Made = tuple[bytes, str]
"""The bytes of a picture, and their content type."""


class PictureError(ValueError):
    """A picture cannot be used; the text says why."""


def check_size(content: bytes) -> None:
    """Refuse a file that is a picture of too many pixels. Nothing is decoded but its head.

    Raises:
        PictureError: it is one.
    """
    with contextlib.suppress(_UnreadableError), _opened(BytesIO(content)):
        pass


class _UnreadableError(Exception):
    """A file is no picture, or a broken one."""


@contextlib.contextmanager
def _opened(source: Path | BytesIO) -> Iterator[Image]:
    """A picture file, open. Raises PictureError: it has too many pixels; _UnreadableError: it is none, or broken."""
    from PIL import Image

    try:
        with Image.open(source) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield picture
    except Image.DecompressionBombError:
        raise PictureError(f"The picture has more than {MAX_PIXELS:,} pixels; scale it down") from None
    except PictureError:
        raise
    except Exception as error:  # decoders raise anything at broken data
        raise _UnreadableError(str(error)) from error


def transcode(source: Path | BytesIO, preview: str | None, channel: str) -> Made | None:
    """A picture file as clients want to see it; None when it is no picture that can be read.

    Args:
        preview: `"webp;90"` or `"jpeg;80"`, format and quality.
        channel: `"rgb"` or `"a"`; of a preview, any word with an "a" in it asks for a format that has alpha.

    Raises:
        PictureError: it has too many pixels.
    """
    try:
        with _opened(source) as picture:
            if preview is not None:
                return _preview(picture, preview, channel)
            return _without_alpha(picture) if channel == "rgb" else _alpha_alone(picture)
    except _UnreadableError:
        return None


def _preview(picture: Image, preview: str, channel: str) -> Made:
    kind, _, quality = preview.partition(";")
    if kind != "jpeg" or "a" in channel:
        kind = "webp"
    has_modes = picture.mode in ("RGB", "RGBA")
    if kind == "jpeg" or channel == "rgb" or not has_modes:
        picture = picture.convert("RGBA" if kind == "webp" and picture.has_transparency_data else "RGB")
    if channel == "rgb":
        picture = picture.convert("RGB")
    number = min(int(quality), 100) if quality.isascii() and quality.isdigit() else DEFAULT_QUALITY
    return _encoded(picture, kind, quality=number)


def _without_alpha(picture: Image) -> Made:
    return _encoded(picture.convert("RGB"), "png")


def _alpha_alone(picture: Image) -> Made:
    from PIL import Image

    alpha = picture.convert("RGBA").getchannel("A")
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    black.putalpha(alpha)
    return _encoded(black, "png")


def with_alpha_of(original: Path, mask: bytes) -> bytes:
    """A picture file with its alpha replaced by that of another picture, as PNG with the original's texts.

    Raises:
        PictureError: one of them is no picture or has too many pixels, or they differ in size.
    """
    from PIL.PngImagePlugin import PngInfo

    try:
        with _opened(original) as picture, _opened(BytesIO(mask)) as masking:
            if picture.size != masking.size:
                sizes = [f"{width}×{height}" for width, height in (picture.size, masking.size)]
                raise PictureError(f"The picture is {sizes[0]} and its mask {sizes[1]}; they must be equal")
            texts = PngInfo()
            for name, text in _texts(picture).items():
                texts.add_text(name, text)
            painted = picture.convert("RGBA")
            painted.putalpha(masking.convert("RGBA").getchannel("A"))
    except _UnreadableError as error:
        raise PictureError(f"The picture or its mask cannot be read: {error}") from None
    file = BytesIO()
    painted.save(file, "PNG", pnginfo=texts, compress_level=4)
    return file.getvalue()


def _texts(picture: Image) -> dict[str, str]:
    found = getattr(picture, "text", {})
    return {name: text if isinstance(text, str) else json.dumps(text) for name, text in found.items()}


def _encoded(picture: Image, kind: str, **options: int) -> Made:
    file = BytesIO()
    picture.save(file, kind.upper(), **options)
    return file.getvalue(), f"image/{kind}"
