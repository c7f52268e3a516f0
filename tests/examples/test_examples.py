"""The example plugins load as files and as distributions, and work together in one graph."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import mezzotint_gaussian
import pytest
import torch

from mezzotint import Conditioning, GraphBuilder, Host, Settings, node

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(file.parent for file in (ROOT / "examples").glob("*/pyproject.toml"))
MEAN, SPREAD = 2.0, 0.5


def module_file(example: Path) -> Path:
    """The module that an example's entry point names."""
    project = tomllib.loads((example / "pyproject.toml").read_text(encoding="utf-8"))
    (module,) = project["project"]["entry-points"]["mezzotint"].values()
    return example / f"{module}.py"


@node("NoPrompt")
def no_prompt() -> Conditioning:
    return [[torch.zeros(1, 1, 1), {}]]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with all the examples, as `--plugin` gives it their files, and one Gaussian checkpoint."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "models" / "checkpoints").mkdir(parents=True)
    checkpoint = folder / "models" / "checkpoints" / "twos.safetensors"
    mezzotint_gaussian.write_model(checkpoint, torch.full((3, 1, 1), MEAN), SPREAD)
    files = tuple(module_file(example) for example in EXAMPLES)
    settings = Settings(home=folder / "home", models_dir=folder / "models", plugins=files, nodes=(no_prompt,))
    with Host(settings) as opened:
        yield opened


def value(host: Host, graph: GraphBuilder, *ids: str) -> list[Any]:
    result = asyncio.run(host.engine.run(host.load(graph.finalize()), targets=[*ids]))
    return [result.value(step) for step in ids]


def test_each_example_brings_what_it_says_and_nothing_is_wrong(host: Host) -> None:
    files = {str(module_file(example)) for example in EXAMPLES}
    loaded = {Path(plugin.origin).stem: plugin for plugin in host.plugins.loaded if plugin.origin in files}
    assert {name: [*plugin.nodes, *plugin.brings] for name, plugin in loaded.items()} == {
        "mezzotint_ralston": ["sampler ralston"],
        "mezzotint_gaussian": ["model family gaussian"],
        "mezzotint_vignette": ["ExampleVignette"],
    }
    assert [plugin.problems for plugin in loaded.values()] == [[], [], []]


def test_the_vignette_darkens_a_picture_of_the_graph(host: Host) -> None:
    graph = GraphBuilder()
    dark = graph.node("ExampleVignette", image=graph.node("EmptyImage", width=9, height=9, color=0xFFFFFF), strength=1)
    (image,) = value(host, graph, dark.id)
    along = image[0, 4, :, 0].tolist()
    assert along == sorted(along[:5]) + sorted(along[5:], reverse=True)
    assert along[0] < 0.7 < 0.9 < along[4]


@pytest.mark.parametrize("steps", [4, 9])
def test_the_sampler_takes_the_family_s_model_where_both_closed_forms_say(host: Host, steps: int) -> None:
    graph = GraphBuilder()
    model = graph.node("CheckpointLoaderSimple", ckpt_name="twos.safetensors").out(0)
    text, latent = graph.node(no_prompt), graph.node("EmptyLatentImage", width=32, height=32)
    levels = graph.node("KarrasScheduler", steps=steps, sigma_max=14.0, sigma_min=0.1, rho=7.0)
    sampled = graph.node(
        "SamplerCustom", model=model, add_noise=True, noise_seed=5, cfg=1.0, positive=text, negative=text,
        sampler=graph.node("KSamplerSelect", sampler_name="ralston"), sigmas=levels, latent_image=latent,
    )  # fmt: skip
    sigmas, result = value(host, graph, levels.id, sampled.id)
    noise = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    expected = MEAN + (noise * float(sigmas[0]) - MEAN) * shrinkage(sigmas.tolist())
    torch.testing.assert_close(result["samples"], expected, rtol=1e-4, atol=1e-4)


def shrinkage(sigmas: list[float]) -> float:
    """By how much x - mean shrinks on the way down, each step by a quarter and three quarters of two slopes."""

    def slope(sigma: float) -> float:
        return sigma / (SPREAD**2 + sigma**2)

    factor = 1.0
    for sigma, to in pairwise(sigmas):
        ahead = sigma + (to - sigma) * 2 / 3
        factor *= 1 + (to - sigma) / 4 * (slope(sigma) + 3 * slope(ahead) * (1 + (ahead - sigma) * slope(sigma)))
    return factor


def test_each_example_is_a_distribution_with_an_entry_point(tmp_path: Path) -> None:
    sources = [str(shutil.copytree(example, tmp_path / example.name)) for example in EXAMPLES]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path / "wheels")]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, *sources], check=True, capture_output=True)
    wheels = sorted((tmp_path / "wheels").glob("*.whl"))
    assert len(wheels) == len(EXAMPLES)
    for example, wheel in zip(EXAMPLES, wheels, strict=True):
        with zipfile.ZipFile(wheel) as archive:
            (points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
            assert module_file(example).name in archive.namelist()
            assert f"[mezzotint]\n{example.name} = {module_file(example).stem}" in archive.read(points).decode()
            assert not any("tests/" in name for name in archive.namelist())


def test_the_page_on_plugins_shows_the_project_file_as_it_is() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert shown == (ROOT / "examples" / "vignette" / "pyproject.toml").read_text(encoding="utf-8")
