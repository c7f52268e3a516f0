"""Pictures as arrays, and how far two are apart."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 0.02
"""Of the whole range of a channel: about five of 255 steps. Other processors and threads round otherwise."""


def assert_images_close(image: Any, expected: Any, *, tolerance: float = TOLERANCE, outliers: float = 0.0) -> None:
    """Two pictures are the same, but for small differences.

    Args:
        image, expected: each a path, a Pillow picture, or an array or tensor [H, W], [H, W, C] or [1, H, W, C], of
            floats in 0..1 or of bytes.
        tolerance: the largest difference of a channel, in 0..1.
        outliers: the share of all values, in 0..1, that may differ more.

    Raises:
        AssertionError: the sizes differ, or the values do; the sentence says by how much.
        ValueError: one of them is no single picture.
    """
    if difference := difference_of(picture_of(image), picture_of(expected), tolerance, outliers):
        raise AssertionError(difference)


def difference_of(
    image: NDArray[np.float32], expected: NDArray[np.float32], tolerance: float, outliers: float
) -> str | None:
    """What is wrong with a picture [H, W, C], in a sentence; None if it is close enough."""
    import numpy as np

    if image.shape != expected.shape:
        return f"the picture has the shape {list(image.shape)} [H, W, C], expected was {list(expected.shape)}"
    apart = np.abs(image - expected)
    apart = np.where(np.isnan(apart), np.inf, apart)
    share = float(np.mean(apart > tolerance))
    if share <= outliers:
        return None
    row, column, channel = map(int, np.unravel_index(int(np.argmax(apart)), apart.shape))
    return (
        f"{share:.2%} of the values differ by more than {tolerance:g} ({outliers:.2%} may); the largest difference is "
        f"{float(apart.max()):.3f}, at row {row}, column {column}, channel {channel}"
    )


def picture_of(source: Any) -> NDArray[np.float32]:
    """A picture, in any of the forms of `assert_images_close`, as floats [H, W, C] in 0..1.

    Raises:
        ValueError: it is no single picture.
    """
    import numpy as np

    values = _array_of(source)
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or not values.size:
        raise ValueError(
            f"a picture is [H, W], [H, W, C] or [1, H, W, C], and the shape given is {list(values.shape)}; "
            f"of a batch, compare one after the other"
        )
    scale = 255 if values.dtype == np.uint8 else 1
    return values.astype(np.float32) / np.float32(scale)


def _array_of(source: Any) -> NDArray[Any]:
    import numpy as np

    if isinstance(source, str | Path):
        from PIL import Image

        with Image.open(source) as opened:
            return np.asarray(opened if opened.mode in ("L", "RGB", "RGBA") else opened.convert("RGB"))
    if hasattr(source, "detach"):
        return np.asarray(source.detach().cpu().float().numpy())
    return np.asarray(source)


def save_picture(image: NDArray[np.float32], path: Path) -> None:
    """Write a picture [H, W, C] as PNG, whole or not at all; its folder is made."""
    import numpy as np
    from PIL import Image

    from mezzotint.engine.atomic_file import write_atomically

    data = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    encoded = BytesIO()
    Image.fromarray(data[:, :, 0] if data.shape[2] == 1 else data).save(encoded, format="PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, encoded.getvalue())
