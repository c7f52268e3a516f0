"""Nodes that bring pictures and captions to train with."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from mezzotint import Context, Image, Vae, Widget, node
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.folders import Folders

from .caption_files import Captioned, folder_state
from .found_pictures import Classes, Classification, Found, find_pictures
from .picture_set import Crop, PictureSet, TrainingDataError, read_ready
from .picture_shards import Columns, is_shard
from .ports import Latents, Pictures

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


def _place(name: str, folders: Folders) -> Path:
    root = folders.input.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not (path.is_dir() or (is_shard(path) and path.is_file())):
        raise TrainingDataError(
            f"there is no folder '{name}' in the input folder ({folders.input}), nor a .parquet or .tar file of that "
            f"name; put the pictures there"
        )
    return path


def folder_content(folder: str | None, folders: Folders) -> Any:
    """Stands for the files of the folder in cache keys; NaN when it is linked or not there."""
    try:
        return math.nan if folder is None else folder_state(_place(folder, folders))
    except MezzotintError:
        return math.nan  # the node will say what is wrong


@node("LoadTrainingPictures", title="Load Training Pictures", category="training/data", fingerprint=folder_content)
def load_training_pictures(
    folder: Annotated[str, Field(description="Below the input folder; or one .parquet or .tar file there.")],
    size: Size = 512,
    crop: Crop = "center",
    flip: Annotated[bool, Field(description="Mirror half of the pictures, by chance.")] = False,
    caption_dropout: Dropout = 0.1,
    on_error: OnError = "stop",
    classes: Annotated[
        Classes, Field(description="Where each picture's class is: nowhere, its folder's name, or `class_column`.")
    ] = "none",
    image_column: Annotated[str, Field(min_length=1, description="Of parquet files.")] = "image",
    caption_column: Annotated[
        str, Field(description="Of parquet files and of .json in shards; when empty, text or caption.")
    ] = "",
    class_column: Annotated[
        str, Field(min_length=1, description="Of parquet files and tables; in shards cls counts, too.")
    ] = "label",
    *,
    ctx: Context,
) -> LoadedPictures:
    """Take the pictures of a folder below the input folder: files, those in parquet files, and in webdataset's shards.

    Captions are in .txt files beside the pictures, or rows of a metadata.jsonl, captions.jsonl or metadata.csv, with
    `file_name` and `text`. Each picture is opened once to see that it can be read. Where there are classes, captions
    may be missing. Parquet files need the extra `datasets` (pyarrow).

    Raises:
        TrainingDataError: the folder is missing or empty; with `stop`, a picture cannot be read or has no caption.
    """
    path = _place(folder, ctx.folders)
    root = path if path.is_dir() else path.parent
    found = find_pictures(
        path, Columns(image_column, caption_column, class_column if classes == "column" else None), on_error == "stop"
    )
    kept, skipped = _usable(found, classes != "none", partial(read_ready, root, image_column, size=size), on_error, ctx)
    if not kept:
        raise TrainingDataError(
            f"the folder '{folder}' has no picture that can be used ({len(skipped)} left out); put pictures with "
            f"captions into it"
        )
    classification = Classification(kept if classes != "none" else (), found.class_names)
    pictures = PictureSet(
        tuple(picture.caption or "" for picture in kept),
        size,
        str(root),
        tuple(picture.name for picture in kept),
        tuple(picture.place for picture in kept),
        image_column,
        crop=crop,
        flip=flip,
        dropout=caption_dropout,
        labels=tuple(
            classification.number(each.label) for each in kept if classes != "none" and each.label is not None
        ),
        class_names=classification.names if classes != "none" else (),
        skipped=tuple(skipped),
    )
    return LoadedPictures(pictures, len(kept), "\n".join([_counted(len(kept), len(skipped)), *skipped]))


def _usable(
    found: Found, has_classes: bool, read: Callable[..., object], on_error: str, ctx: Context
) -> tuple[list[Captioned], list[str]]:
    """The pictures that can be used, and what is wrong with the others."""
    kept: list[Captioned] = []
    skipped = list(found.damages)
    for number, picture in enumerate(found.pictures, 1):
        ctx.progress(number, len(found.pictures))
        problem = _lack(picture, has_classes) or _damage(picture, read)
        if problem is None:
            kept.append(picture)
        elif on_error == "stop":
            raise TrainingDataError(f"{problem}, or set on_error to skip")
        else:
            skipped.append(problem)
    return kept, skipped


def _lack(picture: Captioned, has_classes: bool) -> str | None:
    if has_classes:
        cure = "put it into a folder called so, or fill its column of classes"
        return f"'{picture.name}' has no class; {cure}" if picture.label is None else None
    if picture.caption is not None:
        return None
    beside = f"write one into '{Path(picture.name).with_suffix('.txt').name}' beside it"
    return f"'{picture.name}' has no caption; {beside if picture.place is None else 'give it one, or name its column'}"


def _damage(picture: Captioned, read: Callable[..., object]) -> str | None:
    try:
        read(picture.name, picture.place)
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
    """Draw coloured shapes with captions such as "a small red circle on a blue background", to try training with.

    The shapes are their classes: circle 0, square 1, triangle 2, star 3, ring 4, diamond 5, cross 6, bar 7.
    """
    from .shapes import SHAPES, drawn_shapes, shape_of

    pixels, captions = drawn_shapes(count, size, seed)
    labels = tuple(shape_of(caption) for caption in captions)
    return PictureSet(captions, size, pixels=pixels, dropout=caption_dropout, labels=labels, class_names=SHAPES)


@node("EncodeTrainingPictures", title="Encode Training Pictures", category="training/data", lane="device")
def encode_training_pictures(
    pictures: Pictures,
    vae: Vae,
    views: Annotated[int, Field(ge=1, le=64, description="Crops and mirrorings stored of each picture.")] = 1,
    seed: Annotated[int, Field(ge=0, le=2**63)] = 0,
    masks: Annotated[
        bool, Field(description="For inpainting: to each view a mask drawn by chance, and what it leaves.")
    ] = False,
    *,
    ctx: Context,
) -> Latents:
    """Turn pictures into latents once, so that training need not: the means of what the encoder gives.

    Masks are rectangles, bands or the whole picture; with them, networks learn to fill what a mask selects.

    Raises:
        TrainingDataError: a picture cannot be read any more.
    """
    from .stored_latents import encode_pictures

    with ctx.models.borrow(vae) as autoencoder:
        return encode_pictures(pictures, autoencoder, views, seed, masks, ctx)


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
