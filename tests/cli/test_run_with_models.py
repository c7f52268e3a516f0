"""Pictures of the embedded model by the command line: from the cache, from a picture, from a model of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Command, Outcome

FEW_STEPS = ("--set", "KSampler.steps=2", "--seed", "3")


def test_the_same_picture_comes_from_the_file_from_the_converted_one_and_from_the_picture_itself(
    plain_mezzotint: Command,
) -> None:
    (picture,) = plain_mezzotint("run", "text_to_image", *FEW_STEPS).files
    (again,) = plain_mezzotint("run", picture).files
    plain_mezzotint("convert", picture, "-o", "api.json")
    (converted,) = plain_mezzotint("run", "api.json").files
    assert pixels(picture) == pixels(again) == pixels(converted)


def pixels(path: Path) -> bytes:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.tobytes()


def test_a_second_run_with_the_same_cache_samples_nothing(plain_mezzotint: Command) -> None:
    words = ("run", "text_to_image", *FEW_STEPS, "--cache-dir", "cache", "--json")
    first, second = (types_that_ran(plain_mezzotint(*words)) for _ in range(2))
    assert "KSampler" in first
    assert second == ["SaveImage"]
    changed = types_that_ran(plain_mezzotint(*words, "--negative", "grey"))
    assert changed.count("CLIPTextEncode") == 1
    assert {"KSampler", "VAEDecode"} <= set(changed)
    assert not {"CheckpointLoaderSimple", "EmptyLatentImage"} & set(changed)


def types_that_ran(done: Outcome) -> list[str]:
    assert done.code == 0, done.err
    return [event["node_type"] for event in done.events if event.get("source") == "ran"]


def test_a_diffusers_folder_of_ones_own_draws_the_same(plain_mezzotint: Command, run_own: Command) -> None:
    (own,) = run_own().files
    (embedded,) = plain_mezzotint("run", "text_to_image", *FEW_STEPS).files
    assert pixels(own) == pixels(embedded)
