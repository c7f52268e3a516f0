"""The evaluator of text-to-image models, on shapes: it tells captions apart; shuffled ones are as good as chance."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from mezzotint.nodes.training.shapes import drawn_shapes

TOOLS = Path(__file__).parents[2] / "tools"
EMBEDDED = Path(__file__).parents[2] / "nodes" / "embedded" / "mezzotint-emoji"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    import evaluate_model

    return evaluate_model


def test_words_know_whether_they_are_of_the_thing_or_of_the_background(tool: ModuleType) -> None:
    assert tool.words_of("a red car on a blue background, fluent style") == [
        "thing:a", "thing:red", "thing:car", "ground:a", "ground:blue", "ground:background"
    ]  # fmt: skip


def test_an_evaluator_finds_the_captions_of_new_pictures(tool: ModuleType) -> None:
    torch.manual_seed(0)
    pixels, captions = drawn_shapes(440, 64, seed=1)
    evaluator = tool.trained_evaluator(pixels[:400], list(captions[:400]), 50)
    asked = list(captions[400:])
    accuracy = tool.retrieval(evaluator, pixels[400:], asked)
    shuffled = tool.retrieval(evaluator, pixels[400:], asked[1:] + asked[:1])
    assert accuracy > 0.3
    assert shuffled < 0.15


def test_a_caption_of_the_same_words_counts_as_the_own_one(tool: ModuleType) -> None:
    pixels, captions = drawn_shapes(8, 64, seed=1)
    evaluator = tool.trained_evaluator(pixels, list(captions), 5)
    twice = [captions[0], f"{captions[0]}, fluent style"]
    assert tool.retrieval(evaluator, pixels[:1].expand(2, -1, -1, -1), twice) == 1.0


@pytest.mark.parametrize(("share", "count", "interval"), [(0.5, 100, [0.4038, 0.5962]), (0.0, 20, [0.0, 0.1611])])
def test_the_reach_of_chance_is_wilsons(tool: ModuleType, share: float, count: int, interval: list[float]) -> None:
    assert tool.chance(share, count) == pytest.approx(interval, abs=2e-4)


def test_a_model_may_stand_behind_its_folder(tool: ModuleType) -> None:
    assert tool.Model.of("emoji") == ("emoji", None)
    assert tool.Model.of("training/models/emoji") == ("emoji", Path("training/models"))
    assert str(tool.Model.of("training/models/emoji")) == "training/models/emoji"


def test_known_words_are_those_of_the_tokeniser(tool: ModuleType) -> None:
    assert tool.known_words(tool.Model.of("mezzotint-emoji"), ["a red apple, fluent style", "a zyzzyva"]) == {
        "a", "red", "apple", "fluent", "style"
    }  # fmt: skip


def test_two_models_are_compared_on_the_same_captions(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedded one with a copy of itself: equal scores."""
    workflow = tool.WORKFLOW.read_text()
    monkeypatch.setattr(tool, "WORKFLOW", tmp_path / "brief.json")
    tool.WORKFLOW.write_text(workflow.replace('"steps": 20', '"steps": 1'))
    assert '"steps": 1,' in tool.WORKFLOW.read_text()
    pixels, captions = drawn_shapes(30, 64, seed=1)
    for name, numbers in (("emoji", range(26)), ("emoji-heldout", range(26, 30))):
        (tmp_path / name).mkdir()
        for number in numbers:
            Image.fromarray(pixels[number].numpy()).save(tmp_path / name / f"{number}.png")
            (tmp_path / name / f"{number}.txt").write_text(captions[number])
    copied = tmp_path / "models" / "checkpoints" / "copy"
    shutil.copytree(EMBEDDED, copied)
    given = [tmp_path, "mezzotint-emoji", tmp_path / "models" / "copy", "--count", 3, "--steps", 2,
             "--sheet", tmp_path / "sheet.png"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["evaluate_model.py", *map(str, given)])
    tool.main()
    told = json.loads(capsys.readouterr().out)
    whole = told["all captions"]
    assert whole["captions"] == 3
    assert whole["mezzotint-emoji"] == whole[f"{tmp_path}/models/copy"]
    assert {"real pictures", "shuffled captions"} <= whole.keys()
    assert told["captions of words that all models know"]["captions"] <= 3
    assert (tmp_path / "sheet.png").read_bytes() == (tmp_path / "sheet-2.png").read_bytes()


def test_the_contact_sheet_holds_up_to_32_pictures(tool: ModuleType, tmp_path: Path) -> None:
    tool.write_sheet(torch.zeros(40, 64, 64, 3, dtype=torch.uint8), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as opened:
        assert opened.size == (8 * 128, 4 * 128)
