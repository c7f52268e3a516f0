from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import mezzotint_gaussian
import pytest
import torch

import mezzotint
from mezzotint import Conditioning, GraphBuilder, MezzotintError, node

MEAN = torch.arange(48, dtype=torch.float32).reshape(3, 4, 4) / 10
SPREAD = 0.5


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    mezzotint_gaussian.write_model(tmp_path / "models" / "checkpoints" / "ramp.safetensors", MEAN, SPREAD)
    return tmp_path / "models"


@node("NoPrompt")
def no_prompt() -> Conditioning:
    """A text that says nothing, of a text encoder that need not be there."""
    return [[torch.zeros(1, 1, 1), {}]]


def test_k_sampler_arrives_where_euler_s_method_must(models: Path, tmp_path: Path) -> None:
    graph = GraphBuilder()
    model = graph.node("CheckpointLoaderSimple", ckpt_name="ramp.safetensors")
    text = graph.node(no_prompt)
    latent = graph.node("EmptyLatentImage", width=32, height=32)
    levels = graph.node("BasicScheduler", model=model.out(0), scheduler="karras", steps=4)
    sampled = graph.node(
        "KSampler", model=model.out(0), positive=text, negative=text, latent_image=latent,
        seed=7, steps=4, cfg=1.0, sampler_name="euler", scheduler="karras",
    )  # fmt: skip
    result = mezzotint.run(
        graph, plugins=[mezzotint_gaussian], nodes=[no_prompt], targets=[levels.id, sampled.id],
        home=tmp_path, models_dir=models,
    )  # fmt: skip
    sigmas = result.value(levels.id).tolist()
    noise = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(7))
    # Each step goes by (x - denoised) / sigma = (x - mean) * sigma / (spread² + sigma²).
    shrink = math.prod(1 + (to - sigma) * sigma / (SPREAD**2 + sigma**2) for sigma, to in pairwise(sigmas))
    expected = MEAN + (noise * math.sqrt(1 + sigmas[0] ** 2) - MEAN) * shrink
    torch.testing.assert_close(result.value(sampled.id)["samples"], expected, rtol=1e-4, atol=1e-4)


def test_a_part_that_is_not_there_is_named(models: Path, tmp_path: Path) -> None:
    graph = GraphBuilder()
    model = graph.node("CheckpointLoaderSimple", ckpt_name="ramp.safetensors")
    text = graph.node("CLIPTextEncode", clip=model.out(1), text="")
    with pytest.raises(MezzotintError, match=r"'ramp\.safetensors' has no clip; take that of another checkpoint"):
        mezzotint.run(graph, plugins=[mezzotint_gaussian], targets=[text.id], home=tmp_path, models_dir=models)


@pytest.mark.parametrize("content", [b"", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 64, b"\x04\0\0\0\0\0\0\0[{1]"])
def test_other_files_are_left_to_other_families(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.safetensors").write_bytes(content)
    assert not mezzotint_gaussian.GaussianFamily().recognises(tmp_path / "other.safetensors")
    assert not mezzotint_gaussian.GaussianFamily().recognises(tmp_path)
