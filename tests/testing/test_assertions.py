"""What the assertions on events and pictures let pass, and what they say when they do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mezzotint import GraphBuilder, node
from mezzotint.testing import assert_failed, assert_images_close, assert_ran, assert_reused
from mezzotint.testing.golden import GoldenImages
from mezzotint.testing.recorded_run import RecordedRun

GREY = np.full((4, 5, 3), 0.5, np.float32)
Run = Callable[..., RecordedRun]


@node("Upper")
def upper(text: str) -> str:
    if not text:
        raise ValueError("there is no text")
    return text.upper()


@pytest.fixture
def mezzotint_settings() -> dict[str, Any]:
    return {"nodes": (upper,)}


def shouting(text: str) -> tuple[GraphBuilder, list[str]]:
    graph = GraphBuilder()
    first = graph.node(upper, text=text)
    return graph, [first.id, graph.node(upper, text=first).id]


def test_a_run_has_its_values_and_its_events(run_workflow: Run) -> None:
    graph, ids = shouting("a")
    run = run_workflow(graph, *ids)
    assert [run.value(one) for one in ids] == ["A", "A"]
    assert [event.kind for event in run.events][::5] == ["run_started", "run_finished"]
    assert_ran(run, *ids)
    assert_ran(run.events, "Upper")


async def test_a_workflow_runs_from_an_async_test_too(run_workflow: Run) -> None:
    graph, ids = shouting("a")
    assert run_workflow(graph, *ids).value(ids[1]) == "A"


def test_what_a_second_run_takes_from_memory_was_reused_and_did_not_run(run_workflow: Run) -> None:
    graph, ids = shouting("a")
    first, second = run_workflow(graph, *ids), run_workflow(graph, *ids)
    assert_reused(second, *ids)
    with pytest.raises(AssertionError, match=r"did not run: its value came from: memory"):
        assert_ran(second, ids[0])
    with pytest.raises(AssertionError, match=r"was not reused: its value came from: ran"):
        assert_reused(first, ids[0])


def test_a_node_that_fails_is_told_from_those_that_run_and_those_behind_it(run_workflow: Run) -> None:
    graph, (first, second) = shouting("")
    run = run_workflow(graph, second, check=False)
    assert_failed(run, first, "no text")
    with pytest.raises(AssertionError, match="is not in what it said: there is no text"):
        assert_failed(run, first, "no picture")
    with pytest.raises(AssertionError, match="did not run: it was skipped"):
        assert_ran(run, second)
    with pytest.raises(AssertionError, match="did not fail: it was skipped"):
        assert_failed(run, second)


def test_a_failure_is_raised_unless_the_test_checks_it_itself(run_workflow: Run) -> None:
    graph, ids = shouting("")
    with pytest.raises(Exception, match="there is no text"):
        run_workflow(graph, *ids)


def test_a_node_that_is_not_in_the_run_is_said_to_be_unknown(run_workflow: Run) -> None:
    graph, ids = shouting("a")
    with pytest.raises(AssertionError, match=r"has no event of it; it has events of .*\(Upper\)"):
        assert_ran(run_workflow(graph, *ids), "Lower")


@pytest.mark.parametrize(
    "same",
    [GREY[None], np.full((4, 5, 3), 128, np.uint8), Image.new("RGB", (5, 4), (128, 127, 128))],
    ids=("batch", "bytes", "Pillow"),
)
def test_all_forms_of_a_picture_are_compared_in_one_range(same: Any) -> None:
    assert_images_close(same, GREY)


def test_a_tensor_and_a_file_are_pictures(tmp_path: Path) -> None:
    import torch

    Image.new("RGB", (5, 4), (128, 128, 128)).save(tmp_path / "grey.png")
    assert_images_close(torch.full((1, 4, 5, 3), 0.5), tmp_path / "grey.png")


def test_one_value_that_differs_is_found_and_named_and_a_share_may_be_allowed() -> None:
    spotted = GREY.copy()
    spotted[2, 3, 1] = 0.6
    with pytest.raises(AssertionError, match=r"largest difference is 0\.100, at row 2, column 3, channel 1"):
        assert_images_close(spotted, GREY, tolerance=0.05)
    assert_images_close(spotted, GREY, tolerance=0.11)
    assert_images_close(spotted, GREY, tolerance=0.05, outliers=1 / 60)


def test_a_picture_of_no_numbers_or_another_size_is_not_close() -> None:
    with pytest.raises(AssertionError, match="largest difference is inf"):
        assert_images_close(GREY * np.nan, GREY)
    with pytest.raises(AssertionError, match=r"the shape \[4, 4, 3\] \[H, W, C\], expected was \[4, 5, 3\]"):
        assert_images_close(GREY[:, :4], GREY)


def test_a_batch_is_no_single_picture() -> None:
    with pytest.raises(ValueError, match=r"\[2, 4, 5, 3\]; of a batch, compare one after the other"):
        assert_images_close(np.stack([GREY, GREY]), GREY)


def test_a_golden_picture_that_is_missing_fails_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"grey\.png': there is none yet\. .* run pytest --update-golden"):
        GoldenImages(tmp_path / "golden")(GREY, "grey.png")
    assert list(tmp_path.iterdir()) == []


def test_updating_writes_what_is_missing_or_differs_and_leaves_what_is_close(tmp_path: Path) -> None:
    update, check = GoldenImages(tmp_path, is_updating=True), GoldenImages(tmp_path)
    update(GREY, "grey.png")
    check(GREY, "grey.png")
    written = (tmp_path / "grey.png").read_bytes()
    update(GREY + 0.01, "grey.png")
    assert (tmp_path / "grey.png").read_bytes() == written
    with pytest.raises(AssertionError, match=r"100\.00% of the values differ"):
        check(GREY + 0.1, "grey.png")
    update(GREY + 0.1, "grey.png")
    check(GREY + 0.1, "grey.png")
    assert [path.name for path in tmp_path.iterdir()] == ["grey.png"]


def test_a_golden_picture_is_a_png(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name it 'grey\.png'"):
        GoldenImages(tmp_path)(GREY, "grey.jpg")
