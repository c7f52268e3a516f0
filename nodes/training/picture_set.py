"""Pictures with captions: where they are and how they are made ready. Reading is left to whoever needs one.

A picture is ready as uint8 [3, size, size]: upright, on white where it is transparent, scaled so that its shorter side
is `size` (Lanczos), and cropped. Which part is cropped and whether it is mirrored is drawn by the caller's generator.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.value_type import value_type

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Crop = Literal["center", "random"]
Where = tuple[str, int, int]
"""A file that a picture is inside, and where there (`picture_shards`)."""


class TrainingDataError(MezzotintError):
    """Pictures or captions to train with are missing or cannot be used."""


@value_type("mezzotint.PictureSet")
@dataclass(frozen=True, slots=True)
class PictureSet:
    """Pictures and their captions.

    Attributes:
        captions: of each picture. size: its side when ready, in pixels. folder, names: the files, if `pixels` is None.
        places: of each picture that is inside another file where it is there; None for a file of its own.
        image_column: of parquet files. pixels: the pictures themselves, uint8 [N, size, size, 3].
        crop: which square of a longer picture. flip: whether half of them, by chance, are mirrored.
        dropout: the share of captions, and of the classes with them, that training leaves out.
        labels: the class of each picture, 0 to len(class_names) - 1; empty where there are none.
        skipped: sentences about what was left out.
    """

    captions: tuple[str, ...]
    size: int
    folder: str = ""
    names: tuple[str, ...] = ()
    places: tuple[Where | None, ...] = ()
    image_column: str = "image"
    pixels: Any = None
    crop: Crop = "center"
    flip: bool = False
    dropout: float = 0.0
    labels: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.captions)

    def picture(self, index: int, generator: torch.Generator) -> Tensor:
        """A picture, ready: uint8 [3, size, size].

        Args:
            generator: on the CPU; drawn from twice, whatever the settings, so that they change no other choice.

        Raises:
            TrainingDataError: it cannot be read.
        """
        import torch

        place, mirror = torch.rand(2, generator=generator).tolist()
        ready = self.pixels[index] if self.pixels is not None else self._read(index, place)
        ready = ready.movedim(-1, 0)
        return ready.flip(-1) if self.flip and mirror < 0.5 else ready

    def _read(self, index: int, place: float) -> Tensor:
        where = self.places[index] if self.places else None
        place = place if self.crop == "random" else 0.5
        folder = Path(self.folder)
        return read_ready(folder, self.image_column, self.names[index], where, size=self.size, place=place)

    def __repr__(self) -> str:
        return f"PictureSet({len(self)} pictures of {self.size}×{self.size})"


def read_ready(
    folder: Path, image_column: str, name: str, where: Where | None, *, size: int, place: float = 0.5
) -> Tensor:
    """A picture of a folder, ready: uint8 [size, size, 3].

    Args:
        image_column: of parquet files. name: of its file, or for sentences where it is inside another one.
        where: inside which, and where there.
        place: where along the longer side the square is cut out, 0..1.

    Raises:
        TrainingDataError: it cannot be read.
    """
    if where is None:
        return ready_pixels(folder / name, size, place)
    from .picture_shards import picture_bytes

    try:
        content = io.BytesIO(picture_bytes(folder, where, image_column))
    except (OSError, ValueError, LookupError, NotImplementedError, TrainingDataError) as error:
        raise _unreadable(name, error) from None
    return ready_pixels(content, size, place, name)


def ready_pixels(file: Path | BinaryIO, size: int, place: float = 0.5, name: str = "") -> Tensor:
    """A picture file as uint8 [size, size, 3].

    Args:
        place: where along the longer side the square is cut out, 0..1. name: of it, for sentences.

    Raises:
        TrainingDataError: it cannot be read.
    """
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            picture = _on_white(ImageOps.exif_transpose(opened))
    except Exception as error:  # decoders raise anything at broken data
        raise _unreadable(name or getattr(file, "name", ""), error) from None
    ratio = size / min(picture.size)
    scaled = [max(size, round(side * ratio)) for side in picture.size]
    if picture.size != tuple(scaled):
        picture = picture.resize((scaled[0], scaled[1]), Image.Resampling.LANCZOS)
    left, top = (round((side - size) * place) for side in scaled)
    return torch.from_numpy(np.array(picture.crop((left, top, left + size, top + size))))


def _unreadable(name: str, error: Exception) -> TrainingDataError:
    return TrainingDataError(f"'{name}' cannot be read as a picture ({error}); mend or remove it")


def _on_white(picture: Any) -> Any:
    from PIL import Image

    if not picture.has_transparency_data:
        return picture.convert("RGB")
    rgba = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


@value_type("mezzotint.LatentSet")
@dataclass(frozen=True, slots=True)
class LatentSet:
    """Pictures as an autoencoder's latents, stored.

    Attributes:
        samples: float32 [N, views, C, h, w], unscaled, on the CPU; the views of a picture differ by crop and mirroring.
        captions: of each picture. dropout: the share of captions, and classes, that training leaves out.
        size: of the pictures.
        masks, masked: for inpainting, of each view a mask [N, views, 1, h, w] of zeros and ones (1 is to be drawn), and
            the latent of the picture with grey there [N, views, C, h, w], unscaled; else None.
        labels: the class of each picture, 0 to len(class_names) - 1; empty where there are none.
    """

    samples: Any
    captions: tuple[str, ...]
    dropout: float = 0.0
    size: int = 0
    masks: Any = None
    masked: Any = None
    labels: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def further_channels(self) -> int:
        """How many channels are joined to those of the latents."""
        return 0 if self.masks is None else 1 + int(self.masked.shape[2])

    def view(self, index: int, generator: torch.Generator) -> int:
        """Any of the views of a picture. Draws once."""
        import torch

        return int(torch.randint(self.samples.shape[1], (1,), generator=generator))

    def condition(self, index: int, generator: torch.Generator) -> tuple[str, int]:
        """The caption and the class (-1 for none) of a picture, or by chance an empty one and -1. Draws once."""
        import torch

        if torch.rand(1, generator=generator).item() < self.dropout:
            return "", -1
        return self.captions[index], self.labels[index] if self.labels else -1

    def __repr__(self) -> str:
        return f"LatentSet({list(self.samples.shape)})"


@dataclass(slots=True)
class DataOrder:
    """The order in which a set is gone through: each epoch another permutation, made from the seed alone.

    Attributes:
        position: how many samples were given out. So it is all that a checkpoint has to keep.
    """

    count: int
    seed: int
    position: int = 0
    _epoch: int = -1
    _permutation: list[int] | None = None

    def take(self, number: int) -> list[int]:
        """The indices of the next samples; a batch may reach over the end of an epoch."""
        return list(self._take(number))

    def _take(self, number: int) -> Iterator[int]:
        for _ in range(number):
            epoch, place = divmod(self.position, self.count)
            if epoch != self._epoch or self._permutation is None:
                self._epoch, self._permutation = epoch, self._permuted(epoch)
            self.position += 1
            yield self._permutation[place]

    def _permuted(self, epoch: int) -> list[int]:
        import torch

        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % (1 << 63))
        order: list[int] = torch.randperm(self.count, generator=generator).tolist()
        return order
