"""Nodes that bring pictures and captions to train with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from mezzotint import Context, Image, Vae, Widget, node
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.folders import Folders

from .caption_files import Captioned, captioned_pictures, folder_state
from .picture_set import Crop, LatentSet, PictureSet, TrainingDataError, ready_pixels
from .ports import Latents, Pictures

ENCODED_AT_ONCE = 16
MAX_PICTURES = 1_000_000

Size = Annotated[int, Field(ge=8, le=4096, multiple_of=8, description="The side of the squares trained on, in pixels.")]
Dropout = Annotated[
    float, Field(ge=0, le=1, description="The share of captions left out, for guidance."), Widget(step=0.05)
]
OnError = Annotated[
    Literal["stop", "skip"],
    Field(description="What an unreadable picture or a missing caption does: end the run, or be left out and counted."),
]


class LoadedPictures(NamedTuple):
    """The pictures, how many there are, and in words what was left out."""

    pictures: Pictures
    total: int
    report: str


def _folder(name: str, folders: Folders) -> Path:
    root = folders.input.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_dir():
        raise TrainingDataError(
            f"there is no folder '{name}' in the input folder ({folders.input}); put the pictures into one there"
        )
    return path


def folder_content(folder: str | None, folders: Folders) -> Any:
    """Stands for the files of the folder in cache keys; NaN when it is linked or not there."""
    try:
        return math.nan if folder is None else folder_state(_folder(folder, folders))
    except MezzotintError:
        return math.nan  # the node will say what is wrong


@node("LoadTrainingPictures", title="Load Training Pictures", category="training/data", fingerprint=folder_content)
def load_training_pictures(
    folder: str,
    size: Size = 512,
    crop: Crop = "center",
    flip: Annotated[bool, Field(description="Mirror half of the pictures, by chance.")] = False,
    caption_dropout: Dropout = 0.1,
    on_error: OnError = "stop",
    *,
    ctx: Context,
) -> LoadedPictures:
    """Take the pictures of a folder below the input folder, with captions in .txt files beside them.

    Captions may also be rows of a metadata.jsonl, captions.jsonl or metadata.csv, with `file_name` and `text`. Each
    picture is opened once to see that it can be read.

    Raises:
        TrainingDataError: the folder is missing or empty; with `stop`, a picture cannot be read or has no caption.
    """
    path = _folder(folder, ctx.folders)
    kept: list[Captioned] = []
    skipped: list[str] = []
    found = captioned_pictures(path)
    for number, picture in enumerate(found, 1):
        ctx.progress(number, len(found))
        problem = _problem(path, picture, size)
        if problem is None:
            kept.append(picture)
        elif on_error == "stop":
            raise TrainingDataError(f"{problem}, or set on_error to skip")
        else:
            skipped.append(problem)
    if not kept:
        raise TrainingDataError(
            f"the folder '{folder}' has no picture that can be used ({len(skipped)} left out); put pictures with "
            f"captions into it"
        )
    pictures = PictureSet(
        tuple(picture.caption or "" for picture in kept),
        size,
        str(path),
        tuple(picture.name for picture in kept),
        crop=crop,
        flip=flip,
        dropout=caption_dropout,
        skipped=tuple(skipped),
    )
    return LoadedPictures(pictures, len(kept), "\n".join([_counted(len(kept), len(skipped)), *skipped]))


def _problem(folder: Path, picture: Captioned, size: int) -> str | None:
    if picture.caption is None:
        return (
            f"'{picture.name}' has no caption; write one into '{Path(picture.name).with_suffix('.txt').name}' beside it"
        )
    try:
        ready_pixels(folder / picture.name, size)
    except TrainingDataError as error:
        return str(error)
    return None


def _counted(kept: int, skipped: int) -> str:
    alone = "; it is the only one, so every sample is this picture" if kept == 1 else ""
    return f"{kept} {'picture' if kept == 1 else 'pictures'} to train with, {skipped} left out{alone}"


@node("TrainingPicturesFromImages", title="Training Pictures from Images", category="training/data")
def training_pictures_from_images(
    images: Image,
    captions: Annotated[str, Widget(multiline=True, placeholder="one line for each picture")],
    flip: bool = False,
    caption_dropout: Dropout = 0.1,
) -> Pictures:
    """Take pictures of a batch, each with a line of the captions; one line is for all of them.

    Raises:
        TrainingDataError: the pictures are no squares in steps of 8 pixels, or the captions are not as many.
    """
    import torch

    lines = [" ".join(line.split()) for line in captions.splitlines()] or [""]
    if len(lines) == 1:
        lines *= len(images)
    if len(lines) != len(images):
        raise TrainingDataError(f"there are {len(images)} pictures and {len(lines)} captions; give one line for each")
    height, width = images.shape[1:3]
    if height != width or height % 8:
        raise TrainingDataError(f"the pictures are {width}×{height}; crop them to squares with a side in steps of 8")
    pixels = (images[..., :3].float().clamp(0, 1) * 255).round().to(torch.uint8)
    return PictureSet(tuple(lines), height, pixels=pixels, flip=flip, dropout=caption_dropout)


@node("TrainingShapes", title="Training Shapes", category="training/data")
def training_shapes(
    count: Annotated[int, Field(ge=1, le=100_000)] = 64,
    size: Size = 64,
    seed: Annotated[int, Field(ge=0, le=2**63)] = 0,
    caption_dropout: Dropout = 0.1,
) -> Pictures:
    """Draw coloured shapes with captions such as "a small red circle on a blue background", to try training with."""
    from .shapes import drawn_shapes

    pixels, captions = drawn_shapes(count, size, seed)
    return PictureSet(captions, size, pixels=pixels, dropout=caption_dropout)


@node("EncodeTrainingPictures", title="Encode Training Pictures", category="training/data", lane="device")
def encode_training_pictures(
    pictures: Pictures,
    vae: Vae,
    views: Annotated[int, Field(ge=1, le=64, description="Crops and mirrorings stored of each picture.")] = 1,
    seed: Annotated[int, Field(ge=0, le=2**63)] = 0,
    *,
    ctx: Context,
) -> Latents:
    """Turn pictures into latents once, so that training need not: the means of what the encoder gives.

    Raises:
        TrainingDataError: a picture cannot be read any more.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    encoded = []
    with ctx.models.borrow(vae) as autoencoder:
        total = len(pictures) * views
        for start in range(0, total, ENCODED_AT_ONCE):
            ctx.progress(start, total)
            indices = range(start, min(start + ENCODED_AT_ONCE, total))
            batch = torch.stack([pictures.picture(index // views, generator) for index in indices])
            encoded.append(autoencoder.encode(batch.movedim(1, -1).float() / 255))
        ctx.progress(total, total)
    samples = torch.cat(encoded)
    return LatentSet(
        samples.reshape(len(pictures), views, *samples.shape[1:]), pictures.captions, pictures.dropout, pictures.size
    )


@node("TrainingPicturePreview", title="Training Picture Preview", category="training/data")
def training_picture_preview(
    pictures: Pictures, count: Annotated[int, Field(ge=1, le=256)] = 8, seed: Annotated[int, Field(ge=0)] = 0
) -> Image:
    """Look at some of the pictures as training gets them: cropped and mirrored. Give the result to Preview Image."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(pictures), generator=generator)[:count].tolist()
    batch = torch.stack([pictures.picture(index, generator) for index in chosen])
    return batch.movedim(1, -1).float() / 255
