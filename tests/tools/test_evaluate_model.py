"""The evaluator of text-to-image models, on shapes: it tells captions apart; shuffled ones are as good as chance."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch

from mezzotint.nodes.training.shapes import drawn_shapes

TOOLS = Path(__file__).parents[2] / "tools"


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


def test_the_contact_sheet_holds_up_to_32_pictures(tool: ModuleType, tmp_path: Path) -> None:
    from PIL import Image

    tool.write_sheet(torch.zeros(40, 64, 64, 3, dtype=torch.uint8), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as opened:
        assert opened.size == (8 * 128, 4 * 128)
