"""Enlarging with a model. What spandrel itself loads is tested where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError, OutOfMemoryError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Loaded, Residency
from mezzotint.engine.value_type import pack, unpack
from mezzotint.nodes.images.image_upscale import image_upscale_with_model, load_upscale_model
from mezzotint.nodes.images.upscale_model import UpscaleModelError, UpscaleModelRecipe, Upscaler
from mezzotint.nodes.models.pickle_file import PickleSwitch
from mezzotint.nodes.models.recipe import Source

MODEL = UpscaleModelRecipe(Source("upscale_models", "toy", "0"))


class Doubling:
    """Each pixel becomes four. Refuses what is larger than it can take, as a device does."""

    def __init__(self, most: int = 10_000) -> None:
        self.most = most
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if max(height, width) > self.most:
            raise torch.OutOfMemoryError
        assert image.shape[:2] == (1, 3)
        self.sizes.append((height, width))
        return image.repeat_interleave(2, -1).repeat_interleave(2, -2)


def context(network: Doubling) -> Context:
    upscaler = Upscaler(network, 2, torch.device("cpu"), torch.float32)
    models = Residency("cpu")
    models.register("upscale_model", lambda recipe, residency: Loaded(upscaler, 1))
    return Context(models=models)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_are_enlarged_in_tiles_and_lose_alpha(channels: int) -> None:
    network = Doubling()
    image = torch.rand(2, 600, 700, channels)
    enlarged = image_upscale_with_model(MODEL, image, ctx=context(network))
    colours = image[..., :3].expand(-1, -1, -1, 3)
    torch.testing.assert_close(enlarged, colours.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert set(network.sizes) == {(512, 512)}
    assert len(network.sizes) == 2 * 4


@pytest.mark.parametrize(("most", "side"), [(512, 512), (300, 256), (128, 128)])
def test_tiles_become_smaller_where_memory_is_short(most: int, side: int) -> None:
    network = Doubling(most)
    image = torch.rand(1, 520, 520, 3)
    enlarged = image_upscale_with_model(MODEL, image, ctx=context(network))
    assert set(network.sizes) == {(side, side)}
    torch.testing.assert_close(enlarged, image.repeat_interleave(2, 1).repeat_interleave(2, 2))


def test_where_the_smallest_tile_is_too_much_a_sentence_says_so() -> None:
    with pytest.raises(
        OutOfMemoryError, match=r"used up in enlarging a picture of 200×300 in tiles of 128 pixels; free"
    ):
        image_upscale_with_model(MODEL, torch.rand(1, 300, 200, 3), ctx=context(Doubling(100)))


def test_a_recipe_is_named_and_stored() -> None:
    assert unpack(pack(MODEL)) == MODEL
    assert MODEL.weights is MODEL


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    folders = Folders(tmp_path / "home", models=[tmp_path / "models"])
    (tmp_path / "models" / "upscale_models").mkdir(parents=True)
    return Context(folders=folders, models=Residency("cpu", folders=folders))


def test_without_the_extra_a_sentence_names_it(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(UpscaleModelError, match=r"install it with: pip install 'mezzotint\[upscale\]'"):
        load_upscale_model("any.safetensors", ctx=ctx)
    with pytest.raises(UpscaleModelError, match="spandrel, which cannot be imported"), ctx.models.borrow(MODEL):
        pass


# with spandrel


@pytest.fixture
def stored(ctx: Context) -> Any:
    """Saves tensors as an upscale model and gives its name."""
    pytest.importorskip("spandrel")
    from safetensors.torch import save_file

    def save(tensors: dict[str, Tensor], name: str = "a.safetensors") -> str:
        save_file(tensors, ctx.folders.models[0] / "upscale_models" / name)
        return name

    return save


def test_a_model_is_known_by_its_tensors_and_enlarges(ctx: Context, stored: Any) -> None:
    from spandrel.architectures.Compact import Compact  # type: ignore[import-not-found, unused-ignore]

    torch.manual_seed(0)
    network = Compact(num_feat=8, num_conv=2, upscale=2).eval()
    recipe = load_upscale_model(stored(network.state_dict()), ctx=ctx)
    image = torch.rand(1, 20, 30, 3)
    with torch.inference_mode():
        enlarged = image_upscale_with_model(recipe, image, ctx=ctx)
        expected = network(image.movedim(-1, 1)).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(enlarged, expected)


def test_tensors_of_no_known_kind_are_refused_in_a_sentence(ctx: Context, stored: Any) -> None:
    recipe = load_upscale_model(stored({"weight": torch.ones(2, 2)}), ctx=ctx)
    with (
        pytest.raises(ModelFileError, match=r"'a\.safetensors' is of no kind that spandrel knows"),
        ctx.models.borrow(recipe),
    ):
        pass


def test_a_pickle_is_refused_unless_allowed(ctx: Context, stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from spandrel.architectures.Compact import Compact  # type: ignore[import-not-found, unused-ignore]

    weights = Compact(num_feat=8, num_conv=2, upscale=2).state_dict()
    torch.save({"params_ema": weights}, ctx.folders.models[0] / "upscale_models" / "a.pth")
    with pytest.raises(ModelFileError, match="is a pickle"):
        load_upscale_model("a.pth", ctx=ctx)
    monkeypatch.setattr(PickleSwitch, "is_on", True)
    with ctx.models.borrow(load_upscale_model("a.pth", ctx=ctx)) as upscaler:
        assert upscaler.scale == 2
