"""The pictures that the embedded model is trained on, composed of drawings made here; nothing is fetched."""

from __future__ import annotations

import io
import json
import random
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.nodes.training.picture_nodes import load_training_pictures

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """The two modules, as the script finds them."""
    monkeypatch.syspath_prepend(TOOLS)
    import build_emoji_dataset
    import emoji_pictures

    return emoji_pictures, build_emoji_dataset


def disc(colour: Any) -> Any:
    picture = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(picture).ellipse((8, 8, 56, 56), fill=colour)
    return picture


def icons_of(pictures: ModuleType) -> list[Any]:
    return [
        pictures.Icon(disc((220, 30, 30)), "ball", "fluent", True),
        pictures.Icon(disc("gold"), "sun", "fluent", False),
    ]


def test_captions_say_what_is_drawn(tools: Any) -> None:
    pictures, _ = tools
    chance = random.Random(4)
    shares = pictures.Shares(shape=0, pair=0, style=0.5)
    seen = set()
    for _ in range(200):
        picture, caption = pictures.compose(icons_of(pictures), chance, 64, shares)
        seen.add(caption)
        corner = np.asarray(picture)[1, 1]
        ground = caption.partition(" on ")[2].split(" background")[0].split(" ")[-1]
        assert np.abs(corner - np.array(pictures.GROUNDS[ground] if ground else (255, 255, 255))).max() <= 2, caption
        middle = np.asarray(picture).astype(int)[32, 32]
        if " green ball" in caption.partition(" on ")[0]:
            assert middle[1] > max(middle[0], middle[2]), caption
        wide = (np.abs(np.asarray(picture).astype(int) - corner).max(-1) > 40).any(0).sum()
        assert (wide < 30) == ("small" in caption), caption
    assert any(caption.endswith(", fluent style") for caption in seen)
    assert not any("blue ball on a blue" in caption for caption in seen)


def test_the_same_seed_gives_the_same_pictures(tools: Any) -> None:
    pictures, _ = tools
    made = [
        [pictures.compose(icons_of(pictures), random.Random(seed), 32, pictures.Shares()) for _ in range(3)]
        for seed in (1, 1)
    ]
    assert [caption for _, caption in made[0]] == [caption for _, caption in made[1]]
    assert all(one.tobytes() == other.tobytes() for (one, _), (other, _) in zip(*made, strict=True))


def test_held_out_captions_have_words_that_training_knows(tools: Any) -> None:
    pictures, _ = tools
    assert not pictures.is_held_out("a ball")
    assert not pictures.is_held_out("a red ball")
    captions = [
        f"a {c} {n} on a {g} background" for c in pictures.HUES for g in pictures.GROUNDS for n in ("car", "star")
    ]
    share = sum(map(pictures.is_held_out, captions)) / len(captions)
    assert 0.03 < share < 0.15
    held_out = next(caption for caption in captions if pictures.is_held_out(caption))
    assert pictures.is_held_out(f"{held_out}, noto style"), "in any style"


def test_concepts_are_read_and_aliases_followed(tools: Any) -> None:
    _, build = tools
    concepts = build.read_concepts()
    assert ("red-apple", "apple", True) in concepts
    assert ("banana", "banana", False) in concepts
    assert len(concepts) == len({name for name, _, _ in concepts}) == 138
    icons = {
        "icons": {"ball": {"body": "<path/>"}},
        "aliases": {"round": {"parent": "ball"}},
        "width": 32,
        "height": 32,
    }
    assert build.svg_of(icons, "round") == build.svg_of(icons, "ball")
    assert 'viewBox="0 0 32 32"' in build.svg_of(icons, "ball")
    assert build.svg_of(icons, "nosuch") is None


def test_a_set_is_built_that_training_loads(tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, build = tools
    icons = {"icons": {"ball": {"body": "ball"}, "sun": {"body": "sun"}}, "width": 32, "height": 32}
    data = json.dumps(icons).encode()
    with tarfile.open(tmp_path / "iconify-json-fluent-emoji-flat-1.2.6.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("package/icons.json")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    monkeypatch.setattr(build, "read_concepts", lambda: [("ball", "ball", True), ("sun", "sun", False)])
    monkeypatch.setattr(build, "_rasterised", lambda svg: disc("red" if "ball" in svg else "gold"))
    monkeypatch.setattr(sys, "argv", ["build", str(tmp_path / "input"), "--count", "30", "--packages", str(tmp_path)])
    build.main()
    loaded = load_training_pictures("emoji", 64, ctx=Context(folders=Folders(tmp_path)))
    assert loaded.total == 30
    assert not any(map(pictures.is_held_out, loaded.pictures.captions))
    held_out = load_training_pictures("emoji-heldout", 64, ctx=Context(folders=Folders(tmp_path)))
    assert all(map(pictures.is_held_out, held_out.pictures.captions))
    assert "MIT" in (tmp_path / "input" / "emoji" / "NOTICE").read_text()
    with pytest.raises(SystemExit, match="is there already"):
        build.main()
