"""Pictures come out of files as they were meant, and go into files with their workflow, never over another file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.engine.context import Context, Prompt
from mezzotint.engine.errors import Cancelled, FolderError, OutOfMemoryError, OutputError
from mezzotint.engine.folders import Folders
from mezzotint.engine.registry import Registry
from mezzotint.engine.validation import validate
from mezzotint.engine.workflow import Workflow
from mezzotint.nodes import resize
from mezzotint.nodes.images.image import empty_image
from mezzotint.nodes.images.image_file import ImageFileError, image_content, load_image, preview_image, save_image

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {"width": 3}}}
UI = {"nodes": [], "version": 0.4, "title": "Größe"}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    folders = Folders(tmp_path)
    folders.input.mkdir()
    return folders


@pytest.fixture
def ctx(folders: Folders) -> Context:
    return Context("7", folders=folders, prompt=Prompt(Workflow.from_api(GRAPH), {"workflow": UI}))


Store = Callable[..., str]


@pytest.fixture
def store(folders: Folders) -> Store:
    """Saves a picture into the input folder and gives its name."""

    def save(picture: Image.Image, name: str = "a.png", **options: Any) -> str:
        picture.save(folders.input / name, **options)
        return name

    return save


def noise(height: int = 4, width: int = 6, channels: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


class TestLoading:
    def test_pixels_are_those_of_the_file(self, store: Store, ctx: Context) -> None:
        pixels = noise()
        image, mask = load_image(store(Image.fromarray(pixels)), ctx=ctx)
        assert image.dtype == torch.float32
        assert torch.allclose(image[0] * 255, torch.from_numpy(pixels).float())
        assert torch.equal(mask, torch.zeros(1, 64, 64))

    def test_alpha_becomes_a_mask_of_what_is_transparent(self, store: Store, ctx: Context) -> None:
        pixels = noise(channels=4)
        image, mask = load_image(store(Image.fromarray(pixels)), ctx=ctx)
        assert torch.allclose(image[0] * 255, torch.from_numpy(pixels[..., :3]).float())
        assert torch.allclose(mask[0], 1 - torch.from_numpy(pixels[..., 3]).float() / 255)

    def test_grey_with_alpha_keeps_both(self, store: Store, ctx: Context) -> None:
        image, mask = load_image(store(Image.new("LA", (5, 3), (51, 102))), ctx=ctx)
        assert image.shape == (1, 3, 5, 3)
        assert (image.min().item(), image.max().item()) == pytest.approx((0.2, 0.2))
        assert (mask.min().item(), mask.max().item()) == pytest.approx((0.6, 0.6))

    def test_a_palette_gives_its_colours_and_its_transparent_entry(self, store: Store, ctx: Context) -> None:
        picture = Image.new("P", (4, 2), 1)
        picture.putpalette([0, 0, 0, 255, 0, 0])
        picture.putpixel((0, 0), 0)
        image, mask = load_image(store(picture, transparency=0), ctx=ctx)
        assert image[0, 1, 1].tolist() == [1, 0, 0]
        assert mask[0, 0, 0] == 1
        assert mask.sum() == 1

    def test_a_transparent_colour_of_a_picture_without_alpha_is_transparent(self, store: Store, ctx: Context) -> None:
        picture = Image.new("RGB", (4, 2), (10, 20, 30))
        picture.putpixel((3, 1), (1, 2, 3))
        assert load_image(store(picture, transparency=(10, 20, 30)), ctx=ctx).MASK.sum() == 7

    def test_sixteen_bits_of_grey_are_kept(self, store: Store, ctx: Context) -> None:
        pixels = np.array([[0, 1, 257, 65535]], np.uint16)
        image, _ = load_image(store(Image.fromarray(pixels)), ctx=ctx)
        assert (image[0, 0, :, 1] * 65535).round().tolist() == [0, 1, 257, 65535]

    def test_floating_point_pixels_are_0_to_1(self, store: Store, ctx: Context) -> None:
        image, _ = load_image(store(Image.fromarray(np.array([[-1, 0.25, 2]], np.float32)), "a.tif"), ctx=ctx)
        assert image[0, 0, :, 0].tolist() == [0, 0.25, 1]

    @pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
    def test_any_colour_model_becomes_three_channels(self, mode: str, store: Store, ctx: Context) -> None:
        white = Image.new("RGB", (4, 2), "white").convert(mode)
        image, _ = load_image(store(white, "a.tif"), ctx=ctx)
        assert image.shape == (1, 2, 4, 3)
        assert image.min() == 1

    def test_a_photo_is_turned_upright(self, store: Store, ctx: Context) -> None:
        picture = Image.new("RGB", (6, 4), "black")
        picture.paste("white", (0, 0, 3, 4))
        exif = Image.Exif()
        exif[0x0112] = 6  # taken with the camera turned: the top of the scene is the left of the file
        image, _ = load_image(store(picture, exif=exif), ctx=ctx)
        assert image.shape == (1, 6, 4, 3)
        assert image[0, :3].min() == 1
        assert image[0, 3:].max() == 0

    def test_frames_of_an_animation_are_a_batch(self, store: Store, ctx: Context) -> None:
        frames = [Image.new("RGB", (5, 3), (index * 50, 0, 0)) for index in range(3)]
        image, mask = load_image(
            store(frames[0], "a.webp", save_all=True, append_images=frames[1:], lossless=True), ctx=ctx
        )
        assert (image[:, 0, 0, 0] * 255).round().tolist() == [0, 50, 100]
        assert mask.shape == (1, 64, 64)

    def test_frames_of_another_size_are_left_out(self, store: Store, ctx: Context) -> None:
        sizes = [(5, 3), (3, 5), (5, 3)]
        pages = [Image.new("L", size, 255) for size in sizes]
        image, _ = load_image(store(pages[0], "a.tif", save_all=True, append_images=pages[1:]), ctx=ctx)
        assert image.shape == (2, 3, 5, 3)

    def test_a_frame_without_alpha_is_opaque_beside_one_that_has_it(self, store: Store, ctx: Context) -> None:
        pages = [Image.new("RGB", (5, 3)), Image.new("RGBA", (5, 3), (0, 0, 0, 0))]
        _, mask = load_image(store(pages[0], "a.tif", save_all=True, append_images=pages[1:]), ctx=ctx)
        assert mask.shape == (2, 3, 5)
        assert [frame.mean().item() for frame in mask] == [0, 1]

    def test_of_a_stereo_photo_the_first_view_is_taken(self, store: Store, ctx: Context) -> None:
        views = [Image.new("RGB", (16, 8), "white"), Image.new("RGB", (16, 8), "black")]
        image, _ = load_image(store(views[0], "a.mpo", save_all=True, append_images=views[1:]), ctx=ctx)
        assert image.shape[0] == 1
        assert image.min() == 1

    def test_a_name_may_say_which_folder_it_is_in(self, folders: Folders, ctx: Context) -> None:
        (folders.output / "sub").mkdir(parents=True)
        Image.new("RGB", (2, 1)).save(folders.output / "sub" / "b.png")
        assert load_image("sub/b.png [output]", ctx=ctx).IMAGE.shape == (1, 1, 2, 3)


class TestBadFiles:
    def test_a_missing_file_is_a_sentence_with_the_folder(self, ctx: Context) -> None:
        with pytest.raises(FolderError, match=r"'nosuch\.png' is not in the input folder"):
            load_image("nosuch.png", ctx=ctx)

    def test_a_name_that_leaves_the_folder_is_refused(self, ctx: Context) -> None:
        with pytest.raises(FolderError, match="would leave the folder"):
            load_image("../a.png", ctx=ctx)

    def test_what_is_no_picture_is_a_sentence(self, folders: Folders, ctx: Context) -> None:
        (folders.input / "a.png").write_text("not a picture")
        with pytest.raises(ImageFileError, match=r"'a\.png' is no picture in a known format"):
            load_image("a.png", ctx=ctx)

    def test_an_empty_file_is_a_sentence(self, folders: Folders, ctx: Context) -> None:
        (folders.input / "a.png").touch()
        with pytest.raises(ImageFileError, match="no picture"):
            load_image("a.png", ctx=ctx)

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.tif"])
    @pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
    def test_a_truncated_file_is_a_sentence(
        self, name: str, part: float, folders: Folders, store: Store, ctx: Context
    ) -> None:
        path = folders.input / store(Image.fromarray(noise(64, 64)), name)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
        with pytest.raises(ImageFileError, match=name):
            load_image(name, ctx=ctx)

    def test_a_picture_that_unpacks_to_too_many_pixels_is_a_sentence(self, store: Store, ctx: Context) -> None:
        name = store(Image.new("1", (20_000, 20_000)))
        with pytest.raises(ImageFileError, match="more pixels than a picture may have"):
            load_image(name, ctx=ctx)

    def test_a_picture_that_does_not_fit_into_memory_is_a_sentence(
        self, store: Store, ctx: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resize, "free_nbytes", lambda device: 100)
        with pytest.raises(OutOfMemoryError, match=r"the picture 'a\.png' takes"):
            load_image(store(Image.new("RGB", (10, 10))), ctx=ctx)


class TestIdentity:
    def test_equal_content_is_the_same_wherever_it_lies(self, folders: Folders, store: Store) -> None:
        first, second = store(Image.new("RGB", (2, 2)), "a.png"), store(Image.new("RGB", (2, 2)), "b.png")
        assert image_content(first, folders) == image_content(second, folders)

    def test_a_file_that_changed_is_another(self, folders: Folders, store: Store) -> None:
        before = image_content(store(Image.new("RGB", (2, 2))), folders)
        assert image_content(store(Image.new("RGB", (2, 2), "red")), folders) != before

    def test_a_linked_name_is_never_reused(self, folders: Folders) -> None:
        assert math.isnan(float(image_content(None, folders)))

    def test_the_choices_are_the_pictures_of_the_input_folder(self, folders: Folders, store: Store) -> None:
        (folders.input / "notes.txt").touch()
        store(Image.new("RGB", (2, 2)), "b.png")
        choices = Registry().register(load_image).inputs["image"].choices
        assert choices is not None
        assert choices.list(folders) == ["b.png"]


class TestSaving:
    def test_a_batch_is_numbered_and_told_of(self, folders: Folders, ctx: Context) -> None:
        save_image(torch.rand(2, 4, 6, 3), "cats/tom", ctx=ctx)
        assert ctx.shown["images"] == [
            {"filename": f"tom_0000{number}_.png", "subfolder": "cats", "type": "output"} for number in (1, 2)
        ]
        assert sorted(path.name for path in (folders.output / "cats").iterdir()) == ["tom_00001_.png", "tom_00002_.png"]

    def test_pixels_are_those_that_were_given(self, folders: Folders, ctx: Context) -> None:
        pixels = noise(channels=4)
        save_image(torch.from_numpy(pixels)[None] / 255 + 1e-4, ctx=ctx)
        with Image.open(folders.output / "ComfyUI_00001_.png") as picture:
            assert np.array_equal(np.asarray(picture), pixels)

    def test_the_workflow_is_inside_where_editors_look(self, folders: Folders, ctx: Context) -> None:
        save_image(torch.zeros(1, 2, 2, 3), ctx=ctx)
        with Image.open(folders.output / "ComfyUI_00001_.png") as picture:
            texts = picture.text  # type: ignore[attr-defined]
        assert {name: json.loads(text) for name, text in texts.items()} == {"prompt": GRAPH, "workflow": UI}
        assert all(text.isascii() for text in texts.values())

    def test_it_is_the_workflow_as_submitted_without_what_loops_added(self, folders: Folders) -> None:
        prompt = Prompt(Workflow.from_api(GRAPH))
        prompt.add({"1.0.0.1": {"class_type": "Reroute", "inputs": {}}})
        save_image(torch.zeros(1, 2, 2, 3), ctx=Context("7", folders=folders, prompt=prompt))
        with Image.open(folders.output / "ComfyUI_00001_.png") as picture:
            assert json.loads(picture.text["prompt"]) == GRAPH  # type: ignore[attr-defined]

    def test_it_can_be_left_out(self, folders: Folders) -> None:
        prompt = Prompt(Workflow.from_api(GRAPH))
        save_image(torch.zeros(1, 2, 2, 3), ctx=Context(folders=folders, prompt=prompt, save_metadata=False))
        with Image.open(folders.output / "ComfyUI_00001_.png") as picture:
            assert picture.text == {}  # type: ignore[attr-defined]

    def test_no_file_is_overwritten(self, folders: Folders, ctx: Context) -> None:
        save_image(torch.zeros(1, 2, 2, 3), ctx=ctx)
        before = (folders.output / "ComfyUI_00001_.png").read_bytes()
        save_image(torch.ones(1, 2, 2, 3), ctx=ctx)
        assert (folders.output / "ComfyUI_00001_.png").read_bytes() == before
        assert (folders.output / "ComfyUI_00002_.png").is_file()

    def test_a_prefix_knows_the_size_and_the_place_in_the_batch(self, ctx: Context) -> None:
        save_image(torch.zeros(2, 4, 6, 3), "%width%x%height%-%batch_num%", ctx=ctx)
        names = [shown["filename"] for shown in ctx.shown["images"]]
        assert [name.rpartition("_")[0].rpartition("_")[0] for name in names] == ["6x4-0", "6x4-1"]

    def test_a_prefix_that_leaves_the_folder_is_refused_and_writes_nothing(
        self, folders: Folders, ctx: Context, tmp_path: Path
    ) -> None:
        with pytest.raises(OutputError, match="leaves the output folder"):
            save_image(torch.zeros(1, 2, 2, 3), "../escaped", ctx=ctx)
        assert not list(tmp_path.glob("escaped*"))
        assert ctx.shown == {}

    def test_channels_that_png_does_not_have_are_a_sentence(self, ctx: Context) -> None:
        with pytest.raises(OutputError, match="cannot be saved as PNG"):
            save_image(torch.zeros(1, 2, 2, 5), ctx=ctx)

    def test_a_cancelled_job_saves_no_more(self, folders: Folders) -> None:
        class Gone:
            is_cancelled, wants_previews = True, False

            def progressed(self, node_id: str, value: float, total: float, preview: Any, text: str = "") -> None: ...

        with pytest.raises(Cancelled):
            save_image(torch.zeros(1, 2, 2, 3), ctx=Context(folders=folders, listener=Gone()))
        assert list(folders.output.rglob("*")) == []

    def test_what_was_saved_loads_as_it_was(self, folders: Folders, ctx: Context) -> None:
        image = torch.from_numpy(noise()).float()[None] / 255
        save_image(image + 1e-4, ctx=ctx)
        assert torch.allclose(load_image("ComfyUI_00001_.png [output]", ctx=ctx).IMAGE, image)

    def test_previews_go_to_the_temp_folder_under_a_random_name(self, folders: Folders, ctx: Context) -> None:
        preview_image(torch.zeros(1, 2, 2, 3), ctx=ctx)
        (shown,) = ctx.shown["images"]
        assert shown["type"] == "temp"
        assert shown["filename"].startswith("ComfyUI_temp_")
        assert (folders.temp / shown["filename"]).is_file()
        assert not folders.output.exists()


@pytest.mark.parametrize("prefix", ["../../escaped", "/tmp/escaped", "C:\\escaped", "%year%/../../escaped"])
def test_a_prefix_that_leaves_the_output_folder_is_refused_before_anything_runs(prefix: str) -> None:
    registry = Registry()
    registry.register(save_image)
    registry.register(empty_image)
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }
    (problem,) = validate(Workflow.from_api(graph), registry).problems
    assert (problem.node_id, problem.input_name, problem.given) == ("2", "filename_prefix", prefix)
    assert "leaves the output folder" in str(problem)
    assert "Value error" not in str(problem)
    graph["2"]["inputs"]["filename_prefix"] = "cats/../%year%/cat"
    assert not validate(Workflow.from_api(graph), registry).problems
