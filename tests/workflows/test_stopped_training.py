"""A training in a process of its own, stopped by signals, and taken up again to the same weights."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mezzotint.nodes.training.checkpoint import checkpoints

WORKFLOW = Path(__file__).parents[2] / "workflows" / "train_text_to_image_small.json"
STEPS = 40


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    nodes = json.loads(WORKFLOW.read_text())
    nodes["6"]["inputs"]["steps"] = nodes["9"]["inputs"]["steps"] = STEPS
    nodes["9"]["inputs"]["checkpoint_every"] = 3
    del nodes["9"]["inputs"]["samples"]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(nodes))
    return path


def started(graph: Path, place: Path) -> subprocess.Popen[bytes]:
    (place / "models").mkdir(parents=True, exist_ok=True)
    folders = [f"--{name}-dir={place / name}" for name in ("output", "models")]
    return subprocess.Popen([sys.executable, "-m", "mezzotint", "run", str(graph), *folders])


def weights(place: Path) -> dict[str, torch.Tensor]:
    folder = place / "models" / "checkpoints" / "small"
    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_and_a_terminated_training_end_with_the_weights_of_one_that_was_left_alone(
    graph: Path, tmp_path: Path
) -> None:
    assert started(graph, tmp_path / "whole").wait() == 0
    place, chance = tmp_path / "stopped", random.Random()
    folder = place / "output" / "training" / "text-to-image-small"
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)):
        before = len(list(folder.glob("*"))) and checkpoints(folder)[-1]
        process = started(graph, place)
        while process.poll() is None and not (checkpoints(folder) and checkpoints(folder)[-1] != before):
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.5))
        process.send_signal(number)
        assert process.wait() == code
    assert started(graph, place).wait() == 0
    whole, stopped = weights(tmp_path / "whole"), weights(place)
    assert whole.keys() == stopped.keys() != set()
    assert all(torch.equal(stopped[name], tensor) for name, tensor in whole.items())
