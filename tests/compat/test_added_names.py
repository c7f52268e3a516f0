"""Samplers and schedules that packs add to the lists of their host are chosen and run by the built-in nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint import Host, Settings
from mezzotint.engine.workflow import Workflow
from mezzotint.nodes.samplers.sampler_names import SAMPLERS, SCHEDULES
from mezzotint.nodes.samplers.schedules import DiscreteSigmas

PACK = """
import torch
import comfy.samplers
from comfy.k_diffusion import sampling
from comfy.samplers import KSampler, k_diffusion_sampling


def sample_pack_euler(model, x, sigmas, extra_args=None, callback=None, disable=None):
    assert model.inner_model.inner_model.model_sampling.sigma_max > 10
    for sigma, following in zip(sigmas, sigmas[1:]):
        x = x + sampling.to_d(x, sigma, model(x, sigma * x.new_ones(len(x)), **extra_args)) * (following - sigma)
    return x


def sample_pack_noisy(model, x, sigmas, extra_args=None, callback=None, disable=None):
    noise_sampler = sampling.default_noise_sampler(x, seed=extra_args["seed"])
    for sigma, following in zip(sigmas, sigmas[1:]):
        denoised = model(x, sigma * x.new_ones(len(x)), **extra_args)
        down, up = sampling.get_ancestral_step(sigma, following)
        x = x + sampling.to_d(x, sigma, denoised) * (down - sigma)
        if following > 0:
            x = x + noise_sampler(sigma, following) * up
    return x


def sample_pack_borrowed(model, x, sigmas, extra_args=None, callback=None, disable=None):
    return sampling.sample_dpmpp_2m(model, x, sigmas, extra_args=extra_args, callback=callback)


for name in ("pack_euler", "pack_noisy", "pack_borrowed"):
    KSampler.SAMPLERS.append(name)
    setattr(k_diffusion_sampling, f"sample_{name}", globals()[f"sample_{name}"])
comfy.samplers.SAMPLER_NAMES = comfy.samplers.SAMPLER_NAMES + ["pack_lacking"]


def falling(n, sigma_min, sigma_max):
    return sampling.append_zero(torch.linspace(sigma_max, sigma_min, n))


handler = comfy.samplers.SchedulerHandler(falling, use_ms=False)
comfy.samplers.SCHEDULER_HANDLERS["pack_falling"] = handler
comfy.samplers.SCHEDULER_HANDLERS["pack_table"] = comfy.samplers.SchedulerHandler(
    lambda model_sampling, steps: sampling.append_zero(model_sampling.sigmas.flip(0)[:steps])
)
KSampler.SCHEDULERS.extend(["pack_falling", "pack_table", "pack_older"])
before = comfy.samplers.calculate_sigmas


def calculate_sigmas(model_sampling, scheduler_name, steps):
    if scheduler_name == "pack_older":
        return before(model_sampling, "karras", steps).flip(0).flip(0)
    return before(model_sampling, scheduler_name, steps)


comfy.samplers.calculate_sigmas = calculate_sigmas
"""
CHOOSER = """
import comfy.samplers


class Chooser:
    RETURN_TYPES, FUNCTION = ("STRING",), "choose"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"sampler": (comfy.samplers.KSampler.SAMPLERS,)}}

    def choose(self, sampler):
        return (sampler,)


NODE_CLASS_MAPPINGS = {"LateChooser": Chooser}
"""


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    folder = tmp_path / "packs"
    folder.mkdir()
    (folder / "adding.py").write_text(PACK)
    (folder / "choosing.py").write_text(CHOOSER)
    return folder


@pytest.fixture
def host(packs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Host]:
    with Host(Settings(home=tmp_path / "home", custom_nodes=(packs,))) as host:
        yield host


def choices(host: Host, node: str, name: str) -> list[str]:
    listed: list[str] = host.definitions[node]["input"]["required"][name][0]
    return listed


def drawing(sampler: str, scheduler: str = "karras") -> Workflow:
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]}
    settings = {"seed": 4, "steps": 3, "cfg": 1.0, "sampler_name": sampler, "scheduler": scheduler, "denoise": 1.0}
    return Workflow.from_api(
        {
            "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "mezzotint-emoji"}},
            "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red apple", "clip": ["1", 1]}},
            "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
            "4": {"class_type": "KSampler", "inputs": {**settings, **links}},
        }
    )


async def test_every_node_lists_what_a_pack_added(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    added = ["pack_euler", "pack_noisy", "pack_borrowed"]
    for node in ("KSampler", "KSamplerAdvanced", "KSamplerSelect"):
        assert choices(host, node, "sampler_name")[-3:] == added
    for node in ("KSampler", "BasicScheduler"):
        assert choices(host, node, "scheduler")[-3:] == ["pack_falling", "pack_table", "pack_older"]
    assert choices(host, "LateChooser", "sampler")[-3:] == added
    (plugin,) = (found for found in host.plugins.loaded if found.name == "adding")
    assert [f"sampler {name}" for name in added] == [one for one in plugin.brings if one.startswith("sampler")]
    told = " ".join(record.getMessage() for record in caplog.get_records("setup"))
    assert "the sampler 'pack_lacking' is left out: there is no sample_pack_lacking" in told


async def test_a_pack_s_sampler_is_run_by_ksampler(host: Host) -> None:
    async def sampled(name: str) -> torch.Tensor:
        result = (await host.engine.run(drawing(name), targets=["4"])).raise_for_status()
        samples: torch.Tensor = result.values["4"].outputs[0][0]["samples"]
        return samples

    for theirs, ours in (("pack_euler", "euler"), ("pack_noisy", "euler_ancestral"), ("pack_borrowed", "dpmpp_2m")):
        torch.testing.assert_close(await sampled(theirs), await sampled(ours), rtol=1e-3, atol=1e-3)
    assert len({SAMPLERS.version_of(name) for name in ("pack_euler", "pack_noisy")} - {""}) == 1


async def test_a_pack_s_schedule_gives_noise_levels(host: Host) -> None:
    levels = DiscreteSigmas.from_config()
    falling = SCHEDULES["pack_falling"](levels, 3)
    assert falling.tolist() == pytest.approx([14.6146, 7.3219, 0.02917, 0], abs=1e-3)
    assert torch.equal(SCHEDULES["pack_table"](levels, 2), torch.tensor([*levels.table.flip(0)[:2], 0.0]))
    assert torch.equal(SCHEDULES["pack_older"](levels, 5), SCHEDULES["karras"](levels, 5))


async def test_names_go_with_their_host_and_come_again_with_the_next(packs: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", custom_nodes=(packs,))
    with Host(settings) as first:
        with Host(settings) as second:
            assert choices(second, "KSampler", "sampler_name")[-1] == "pack_borrowed"
        assert choices(first, "KSampler", "sampler_name")[-1] == "pack_borrowed"
    assert "pack_euler" not in SAMPLERS
    assert "pack_falling" not in SCHEDULES
    (packs / "adding.py").unlink()
    with Host(settings) as last:
        given: Any = choices(last, "LateChooser", "sampler")
        assert given == SAMPLERS.names
