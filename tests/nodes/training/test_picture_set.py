"""Pictures with captions: found, made ready, gone through in the order of a seed; and what may be wrong with them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.nodes.training.picture_nodes import (
    encode_training_pictures,
    folder_content,
    load_training_pictures,
    training_picture_preview,
    training_pictures_from_images,
    training_shapes,
)
from mezzotint.nodes.training.picture_set import DataOrder, LatentSet, TrainingDataError
from mezzotint.nodes.training.stored_latents import random_mask

Colour = tuple[int, ...]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "input" / "set"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(folders=Folders(tmp_path / "home"))


def put(folder: Path, name: str, caption: str | None = "a thing", size: tuple[int, int] = (20, 30),
        colour: Colour = (200, 10, 20), mode: str = "RGB") -> None:  # fmt: skip
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption)


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pictures_and_the_texts_beside_them_are_found(pictures: Path, context: Context) -> None:
    put(pictures, "b.png", "  a red\n thing ")
    put(pictures, "deep/a.jpg", "another")
    loaded = load_training_pictures("set", 16, ctx=context)
    assert loaded.total == 2
    assert loaded.pictures.names == ("b.png", "deep/a.jpg")
    assert loaded.pictures.captions == ("a red thing", "another")
    assert loaded.report == "2 pictures to train with, 0 left out"
    ready = loaded.pictures.picture(0, drawn())
    assert ready.shape == (3, 16, 16)
    assert ready.dtype == torch.uint8
    assert ready[:, 0, 0].tolist() == [200, 10, 20]


@pytest.mark.parametrize(("name", "text"), [
    ("metadata.jsonl", '{"file_name": "a.png", "text": "from a row"}\n'),
    ("captions.jsonl", '{"file_name": "a.png", "caption": "from a row"}\n\n'),
    ("metadata.csv", 'file_name,text\na.png,"from a row"\n'),
])  # fmt: skip
def test_captions_may_stand_in_a_table(pictures: Path, context: Context, name: str, text: str) -> None:
    put(pictures, "a.png", None)
    (pictures / name).write_text(text)
    assert load_training_pictures("set", 16, ctx=context).pictures.captions == ("from a row",)


def test_a_table_with_a_row_that_says_nothing_is_told(pictures: Path, context: Context) -> None:
    put(pictures, "a.png", None)
    (pictures / "metadata.jsonl").write_text('{"file": "a.png"}')
    with pytest.raises(TrainingDataError, match=r"row 1 of 'metadata.jsonl' has no file_name with a text or caption"):
        load_training_pictures("set", 16, ctx=context)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_an_unreadable_picture_and_a_missing_caption(pictures: Path, context: Context, on_error: Any) -> None:
    put(pictures, "good.png")
    put(pictures, "silent.png", None)
    put(pictures, "torn.png")
    (pictures / "torn.png").write_bytes((pictures / "torn.png").read_bytes()[:40])
    if on_error == "stop":
        with pytest.raises(TrainingDataError, match=r"'silent.png' has no caption; write one into 'silent.txt'"):
            load_training_pictures("set", 16, on_error=on_error, ctx=context)
        return
    loaded = load_training_pictures("set", 16, on_error=on_error, ctx=context)
    assert loaded.total == 1
    lines = loaded.report.splitlines()
    assert lines[0] == "1 picture to train with, 2 left out; it is the only one, so every sample is this picture"
    assert lines[1].startswith("'silent.png' has no caption")
    assert lines[2].startswith("'torn.png' cannot be read as a picture")


def test_a_folder_that_is_missing_empty_or_outside_is_told(pictures: Path, context: Context) -> None:
    with pytest.raises(TrainingDataError, match="has no picture that can be used"):
        load_training_pictures("set", 16, ctx=context)
    for name in ("nosuch", "../.."):
        with pytest.raises(TrainingDataError, match=r"there is no folder '.*' in the input folder"):
            load_training_pictures(name, 16, ctx=context)


def test_tables_count_from_their_own_folder_and_hidden_files_are_left_out(pictures: Path, context: Context) -> None:
    put(pictures, "train/a.png", None)
    put(pictures, ".cache/b.png", "hidden")
    (pictures / "train" / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "from a row"}')
    loaded = load_training_pictures("set", 16, ctx=context).pictures
    assert (loaded.names, loaded.captions) == (("train/a.png",), ("from a row",))


def test_classes_are_the_names_of_folders(pictures: Path, context: Context) -> None:
    put(pictures, "train/dog/a.png", None)
    put(pictures, "train/cat/b.png", "a cat")
    put(pictures, "loose.png")
    loaded = load_training_pictures("set", 16, on_error="skip", classes="folder", ctx=context)
    assert loaded.pictures.class_names == ("cat", "dog")
    assert dict(zip(loaded.pictures.names, loaded.pictures.labels, strict=True)) == {
        "train/cat/b.png": 0,
        "train/dog/a.png": 1,
    }
    assert loaded.pictures.captions == ("a cat", "")
    assert "'loose.png' has no class; put it into a folder called so" in loaded.report


def test_classes_may_be_a_column_of_a_table(pictures: Path, context: Context) -> None:
    for name in "abc":
        put(pictures, f"{name}.png", None)
    rows = [{"file_name": f"{name}.png", "kind": kind} for name, kind in zip("abc", (2, "0", 2), strict=True)]
    (pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    loaded = load_training_pictures("set", 16, classes="column", class_column="kind", ctx=context).pictures
    assert (loaded.labels, loaded.class_names) == ((2, 0, 2), ("0", "1", "2"))
    with pytest.raises(TrainingDataError, match=r"row 1 of 'metadata.jsonl' has no file_name with a text or caption"):
        load_training_pictures("set", 16, ctx=context)


def test_a_number_that_is_no_class_is_told(pictures: Path, context: Context) -> None:
    put(pictures, "a.png", None)
    (pictures / "metadata.jsonl").write_text('{"file_name": "a.png", "label": 123456789}')
    with pytest.raises(TrainingDataError, match="a picture is of class 123456789, and classes go from 0 to 99999"):
        load_training_pictures("set", 16, classes="column", ctx=context)


def test_a_changed_caption_changes_what_stands_for_the_folder(pictures: Path, context: Context) -> None:
    put(pictures, "a.png")
    before = folder_content("set", context.folders)
    (pictures / "a.txt").write_text("longer than before")
    assert folder_content("set", context.folders) != before
    assert folder_content("nosuch", context.folders) != folder_content("nosuch", context.folders), "NaN"


def test_the_short_side_is_scaled_and_the_long_one_cropped(pictures: Path, context: Context) -> None:
    wide = np.zeros((16, 64, 3), np.uint8)
    wide[:, 24:40] = 255  # the middle square
    Image.fromarray(wide).save(pictures / "a.png")
    (pictures / "a.txt").write_text("x")
    centred = load_training_pictures("set", 16, ctx=context).pictures
    assert centred.picture(0, drawn()).min() == 255
    anywhere = load_training_pictures("set", 16, "random", ctx=context).pictures
    assert len({int(anywhere.picture(0, drawn(seed)).sum()) for seed in range(8)}) > 3


def test_transparent_pictures_lie_on_white(pictures: Path, context: Context) -> None:
    put(pictures, "a.png", colour=(0, 0, 0, 0), mode="RGBA")
    assert load_training_pictures("set", 16, ctx=context).pictures.picture(0, drawn()).min() == 255


def test_half_of_the_pictures_are_mirrored_and_captions_dropped_by_chance() -> None:
    pixels = torch.zeros(1, 8, 8, 3)
    pixels[:, :, :4] = 1
    chosen = training_pictures_from_images(pixels, "left", flip=True, caption_dropout=0.25)
    generator = drawn()
    mirrored = sum(bool(chosen.picture(0, generator)[0, 0, 7]) for _ in range(400))
    assert 160 < mirrored < 240
    stored = LatentSet(torch.zeros(1, 1, 4, 1, 1), chosen.captions, chosen.dropout, labels=(3,), class_names=("abcd",))
    conditions = [stored.condition(0, generator) for _ in range(400)]
    assert {*conditions} == {("left", 3), ("", -1)}, "class and caption are left out together"
    assert 70 < conditions.count(("", -1)) < 130


def test_captions_that_are_not_as_many_are_told() -> None:
    with pytest.raises(TrainingDataError, match="there are 3 pictures and 2 captions"):
        training_pictures_from_images(torch.zeros(3, 8, 8, 3), "one\ntwo")


def test_each_epoch_has_every_picture_once_in_another_order() -> None:
    order = DataOrder(7, seed=3)
    epochs = [order.take(7) for _ in range(4)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert epochs == [DataOrder(7, 3, 7 * i).take(7) for i in range(4)], "the position is all there is to keep"
    assert DataOrder(7, seed=4).take(7) != epochs[0]


def test_a_batch_may_be_larger_than_the_set() -> None:
    assert DataOrder(1, 0).take(3) == [0, 0, 0]
    assert sorted(DataOrder(2, 0).take(4)) == [0, 0, 1, 1]


def test_shapes_have_the_colours_that_their_captions_say() -> None:
    shapes = training_shapes(40, 32, seed=2)
    assert len({*shapes.captions}) > 20
    assert training_shapes(40, 32, seed=2).captions == shapes.captions
    for caption, pixels in zip(shapes.captions, shapes.pixels, strict=True):
        if " on a blue background" in caption:
            assert pixels[0, 0].tolist() == [50, 100, 210]
    assert any(caption.startswith("a small ") for caption in shapes.captions)
    assert not any(" a orange" in f" {caption}" for caption in shapes.captions)


def test_stored_latents_are_those_of_the_encoder(embedded: Any, model_context: Context) -> None:
    shapes = training_shapes(3, 64, seed=2)
    stored = encode_training_pictures(shapes, embedded.VAE, 2, 0, ctx=model_context)
    assert stored.samples.shape == (3, 2, 8, 8, 8)
    with model_context.models.borrow(embedded.VAE) as vae, torch.inference_mode():
        expected = vae.encode(shapes.pixels[1:2].float() / 255)
    assert torch.allclose(stored.samples[1, 0], expected[0], rtol=1e-4, atol=1e-4)
    assert stored.captions == shapes.captions


def test_masks_are_stored_with_what_they_leave(embedded: Any, model_context: Context) -> None:
    shapes = training_shapes(4, 64, seed=2)
    stored = encode_training_pictures(shapes, embedded.VAE, 3, 0, True, ctx=model_context)
    assert stored.masks.shape == (4, 3, 1, 8, 8)
    assert stored.masked.shape == stored.samples.shape
    assert stored.further_channels == 9
    assert {*stored.masks.unique().tolist()} == {0.0, 1.0}
    chance = random.Random(0)
    selected = torch.stack([random_mask(64, chance) for _ in range(12)]).movedim(1, -1)
    whole = selected.flatten(1).mean(1) == 1
    assert 0 < whole.sum() < 12
    assert torch.equal(stored.masks.flatten(0, 1)[whole], torch.ones(int(whole.sum()), 1, 8, 8))
    # All in one batch, as they are stored: how far rounding spreads in flat pictures depends on the batch.
    pixels = shapes.pixels.repeat_interleave(3, 0).float() / 255
    shown = selected * 0.5 + (1 - selected) * pixels
    with model_context.models.borrow(embedded.VAE) as vae, torch.inference_mode():
        expected = vae.encode(shown)
    assert torch.allclose(stored.masked.flatten(0, 1), expected, rtol=1e-4, atol=1e-4)
    assert (stored.labels, stored.class_names) == (shapes.labels, shapes.class_names)


def test_pictures_are_previewed_as_training_gets_them() -> None:
    assert training_picture_preview(training_shapes(9, 32), 4).shape == (4, 32, 32, 3)
