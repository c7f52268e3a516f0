"""The bundled workflows on the embedded model: the path that a person walks, from a saved file to a picture."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from mezzotint.engine.event import StepFinished, StepStarted
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_edit import with_values
from mezzotint.plugins.host import Host, Settings

WORKFLOWS = Path(__file__).parents[2] / "workflows"
FILES = sorted(path for path in WORKFLOWS.glob("*.json") if not path.stem.startswith("train_"))

Draw = Callable[..., tuple[RunResult, list[Path]]]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with Host(Settings(output_dir=tmp_path_factory.mktemp("output"))) as host:
        yield host


@pytest.fixture
def draw(host: Host, run: Callable[..., RunResult]) -> Draw:
    """Runs a workflow of any form; gives its result and the pictures it wrote."""

    def draw_workflow(source: Any, **options: Any) -> tuple[RunResult, list[Path]]:
        import asyncio

        document = host.load(source)
        host.engine.memory.clear()
        result = asyncio.run(host.engine.run(document, **options)).raise_for_status()
        shown = [image for lists in result.outputs.values() for image in lists.get("images", [])]
        return result, [host.folders.by_type("output") / image["subfolder"] / image["filename"] for image in shown]

    return draw_workflow


def pixels(path: Path) -> numpy.ndarray:
    with Image.open(path) as picture:
        return numpy.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_bundled_workflow_draws(draw: Draw, path: Path) -> None:
    _, pictures = draw(path)
    assert pictures
    for picture in pictures:
        assert pixels(picture).std() > 10


def test_a_red_apple_is_red_in_the_middle_and_the_background_is_light(draw: Draw) -> None:
    _, (picture,) = draw(WORKFLOWS / "text_to_image.json")
    middle = pixels(picture)[28:40, 28:40].reshape(-1, 3).mean(axis=0)
    corner = pixels(picture)[:4, :4].reshape(-1, 3).mean(axis=0)
    assert middle[0] > 180
    assert middle[1:].max() < 110
    assert corner.min() > 200


def test_api_format_ui_format_and_its_own_picture_give_the_same_pixels(draw: Draw) -> None:
    _, (from_api,) = draw(WORKFLOWS / "text_to_image.json")
    _, (from_ui,) = draw(WORKFLOWS / "text_to_image.ui.json")
    _, (from_api_picture,) = draw(from_api)
    _, (from_ui_picture,) = draw(from_ui)
    for other in (from_ui, from_api_picture, from_ui_picture):
        assert numpy.array_equal(pixels(from_api), pixels(other))
    assert len({from_api, from_ui, from_api_picture, from_ui_picture}) == 4, "names never overwrite"


def test_the_loop_as_a_graph_is_bit_equal_to_ksampler(draw: Draw, host: Host) -> None:
    loop = host.load(WORKFLOWS / "denoise_loop.json")
    whole = host.load(WORKFLOWS / "text_to_image.json")
    inputs = {node.class_type: (node_id, node.inputs) for node_id, node in loop.nodes.items()}
    sampler = next(node_id for node_id, node in whole.nodes.items() if node.class_type == "KSampler")
    same = {
        "seed": inputs["LatentNoise"][1]["seed"],
        "steps": inputs["BasicScheduler"][1]["steps"],
        "cfg": inputs["UNetDenoise"][1]["cfg"],
        "sampler_name": "euler",
        "scheduler": "normal",
    }
    loop_result, (by_loop,) = draw(loop, targets=[*_sinks(loop, host), inputs["RepeatEnd"][0]])
    whole_result, (by_whole,) = draw(
        with_values(whole, {(sampler, name): value for name, value in same.items()}),
        targets=[*_sinks(whole, host), sampler],
    )
    latent = loop_result.value(inputs["RepeatEnd"][0])["samples"]
    assert bool((latent == whole_result.value(sampler)["samples"]).all())
    assert numpy.array_equal(pixels(by_loop), pixels(by_whole))


def _sinks(workflow: Workflow, host: Host) -> list[str]:
    return [node_id for node_id, node in workflow.nodes.items() if host.registry[node.class_type].is_sink]


def test_pictures_carry_the_workflow_that_made_them(draw: Draw) -> None:
    _, (picture,) = draw(WORKFLOWS / "text_to_image.ui.json")
    with Image.open(picture) as opened:
        assert json.loads(opened.info["workflow"]) == json.loads((WORKFLOWS / "text_to_image.ui.json").read_text())
        assert json.loads(opened.info["prompt"])["5"]["class_type"] == "KSampler"


def test_changing_the_negative_prompt_reruns_only_what_depends_on_it(host: Host) -> None:
    import asyncio

    workflow = host.load(WORKFLOWS / "text_to_image.json")
    asyncio.run(host.engine.run(workflow))
    heard: list[Any] = []
    changed = with_values(workflow, {("3", "text"): "green"})
    asyncio.run(host.engine.run(changed, on_event=heard.append))
    started = {event.node_type: event.reason for event in heard if isinstance(event, StepStarted)}
    assert set(started) == {"CLIPTextEncode", "KSampler", "VAEDecode", "SaveImage"}
    assert sum(isinstance(event, StepStarted) and event.node_type == "CLIPTextEncode" for event in heard) == 1
    assert started["CLIPTextEncode"] == "changed: 'text'"


def test_a_second_process_with_the_same_cache_runs_no_sampling(tmp_path: Path) -> None:
    def run_in_a_process(*options: str) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "mezzotint", "run", str(WORKFLOWS / "text_to_image.json"), "--json"]
        folders = ["--cache-dir", str(tmp_path / "cache"), "--output-dir", str(tmp_path / "output")]
        done = subprocess.run([*command, *folders, *options], capture_output=True, text=True, timeout=100, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    first, second = run_in_a_process(), run_in_a_process()
    third = run_in_a_process("--set", "3.text=green")
    assert [event["node_type"] for event in second if event["event"] == "step_started"] == ["SaveImage"]
    assert "KSampler" in [event["node_type"] for event in first if event["event"] == "step_started"]
    assert {event["node_id"] for event in third if event["event"] == "step_started"} == {"3", "5", "6", "7"}
    pictures = sorted((tmp_path / "output").glob("*.png"))
    assert len(pictures) == 3
    assert numpy.array_equal(pixels(pictures[0]), pixels(pictures[1]))
    assert not numpy.array_equal(pixels(pictures[0]), pixels(pictures[2]))


def test_every_step_of_a_run_is_told_of(host: Host) -> None:
    import asyncio

    heard: list[Any] = []
    host.engine.memory.clear()
    asyncio.run(host.engine.run(host.load(WORKFLOWS / "text_to_image.json"), on_event=heard.append))
    finished = [event.node_type for event in heard if isinstance(event, StepFinished)]
    assert sorted(finished) == [
        "CLIPTextEncode",
        "CLIPTextEncode",
        "CheckpointLoaderSimple",
        "EmptyLatentImage",
        "KSampler",
        "SaveImage",
        "VAEDecode",
    ]
