"""The driver, with a model whose data is normal: its best predictions and its probability flow are known exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import Cancelled, OutOfMemoryError
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Loaded, Residency
from mezzotint.nodes.conditioning.inpainting import differential_diffusion
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.models.embedded_model import EMBEDDED_CHECKPOINT
from mezzotint.nodes.models.recipe import Recipe
from mezzotint.nodes.samplers.schedules import FlowSigmas, schedule_sigmas
from mezzotint.nodes.sampling.guidance import BasicGuider, CFGGuider
from mezzotint.nodes.sampling.model_sampling import ModelSampling, model_sampling
from mezzotint.nodes.sampling.noise import initial_noise
from mezzotint.nodes.sampling.noise_levels import NoiseLevelError
from mezzotint.nodes.sampling.noise_value import NoNoise, SeededNoise
from mezzotint.nodes.sampling.sample_result import SampleResult
from mezzotint.nodes.sampling.sampler_parts import add_noise
from mezzotint.nodes.sampling.sampler_value import DiffusersSampler, NamedSampler, SamplerError, UpscalingSampler
from mezzotint.nodes.sampling.sampling_driver import SamplingError, sample

DEVIATION = 0.6
SHAPE = (1, 8, 8, 8)
EULER = NamedSampler("euler")


class Gaussian:
    """A denoiser for data that is normal; its mean is what the first number of the tokens says."""

    def __init__(self, sampling: ModelSampling) -> None:
        self.sampling = sampling
        self.device = torch.device("cpu")
        self.conditioning_width, self.dtype = None, torch.float32
        self.sigmas: list[float] = []
        self.is_broken = False

    def inputs(self, options: Any, target: Any) -> dict[str, Tensor]:
        return {}

    def predict(self, x: Tensor, sigma: float, tokens: Tensor, inputs: Any = None) -> Tensor:
        self.sigmas.append(sigma)
        alpha = self.sampling.sigmas.alpha(sigma)
        mean = tokens[:, 0, 0].view(-1, 1, 1, 1)
        share = alpha * DEVIATION**2 / self.spread(sigma) ** 2
        return x * math.nan if self.is_broken else mean + (x - alpha * mean) * share

    def spread(self, sigma: float) -> float:
        return math.hypot(self.sampling.sigmas.alpha(sigma) * DEVIATION, sigma)

    def flow(self, x: Tensor, sigma: float, sigma_next: float, mean: float) -> Tensor:
        """Where the probability flow leads from x, in closed form."""
        before, after = (self.sampling.sigmas.alpha(level) * mean for level in (sigma, sigma_next))
        return after + (x - before) * (self.spread(sigma_next) / self.spread(sigma))

    def estimate_nbytes(self, shape: Sequence[int]) -> int:
        return 1000 * math.prod(shape)


class Listener:
    """Takes progress down."""

    def __init__(self, cancel_at: float = math.inf, wants_previews: bool = False) -> None:
        self.told: list[tuple[float, float]] = []
        self.previews: list[Any] = []
        self.cancel_at, self.wants_previews = cancel_at, wants_previews

    @property
    def is_cancelled(self) -> bool:
        return len(self.told) >= self.cancel_at

    def progressed(self, node_id: str, value: float, total: float, preview: Any, text: str = "") -> None:
        self.told.append((value, total))
        self.previews.append(preview)


class Toy:
    """The Gaussian in place of a checkpoint's own network."""

    def __init__(self, context: Context, model: Recipe) -> None:
        self.model = model
        self.folders = context.folders
        self.sampling = model_sampling(model, context)
        self.denoiser = Gaussian(self.sampling)
        self.sigmas = self.sampling.sigmas

    def context(self, listener: Listener | None = None, budget_nbytes: int | None = None) -> Context:
        models = Residency("cpu", budget_nbytes, self.folders)
        models.register("model", lambda recipe, residency: Loaded(self.denoiser, 1))
        return Context(folders=self.folders, models=models, listener=listener)

    def guider(self, mean: float = 0.7) -> BasicGuider:
        return BasicGuider(self.model, conditioning(mean))

    def levels(self, steps: int = 10, scheduler: str = "karras", denoise: float = 1.0) -> Tensor:
        return schedule_sigmas(self.sigmas, scheduler, steps, denoise)

    def sample(self, sigmas: Tensor, latent: dict[str, Any] | None = None, **given: Any) -> SampleResult:
        guider, sampler = given.get("guider", self.guider()), given.get("sampler", EULER)
        noise, context = given.get("noise", SeededNoise(3)), given.get("context") or self.context()
        return drive(sample(context, guider, sampler, sigmas, noise, latent or empty()), context)


def conditioning(mean: float) -> list[Any]:
    return [[torch.full((1, 1, 1), mean), {}]]


def empty(channels: int = 4) -> dict[str, Any]:
    return {"samples": torch.zeros(1, channels, 8, 8)}


def drawing(batch: int = 1) -> dict[str, Any]:
    return {"samples": torch.randn(batch, 8, 8, 8, generator=torch.Generator().manual_seed(11)) * 5}


@pytest.fixture
def toy(model_context: Context, embedded: Checkpoint) -> Toy:
    return Toy(model_context, embedded.MODEL)


@pytest.fixture
def flow_toy(own_context: Context, change_config: Callable[[str, dict[str, Any]], None]) -> Toy:
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    change_config("scheduler/scheduler_config.json", flow)
    change_config("vae/config.json", {"shift_factor": 0.1})
    toy = Toy(own_context, load_checkpoint("copy", ctx=own_context).MODEL)
    assert isinstance(toy.sigmas, FlowSigmas)
    return toy


def close(actual: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((actual - expected).norm() <= tolerance * expected.norm())


# what comes out


def test_a_run_follows_the_probability_flow(toy: Toy) -> None:
    sigmas = toy.levels(40)
    result = toy.sample(sigmas, sampler=NamedSampler("heun")).output["samples"]
    sigma = float(sigmas[0])
    x = initial_noise(SHAPE, 3) * math.sqrt(1 + sigma**2)
    expected = toy.denoiser.flow(x, sigma, 0.0, 0.7) / 0.9962239341485278
    assert (result.shape, result.dtype, result.device.type) == (SHAPE, torch.float32, "cpu")
    assert close(result, expected, 2e-3)


def test_guidance_of_two_normal_models_is_a_normal_model(toy: Toy) -> None:
    guider = CFGGuider(toy.model, conditioning(0.7), conditioning(0.2), 3.0)
    guided = toy.sample(toy.levels(), guider=guider).output["samples"]
    alone = toy.sample(toy.levels(), guider=toy.guider(0.2 + (0.7 - 0.2) * 3)).output["samples"]
    assert close(guided, alone, 1e-5)


def test_the_denoised_output_is_the_last_prediction(toy: Toy) -> None:
    sigmas = toy.levels()[:5]
    result = toy.sample(sigmas)
    before = toy.sample(sigmas[:4], noise=SeededNoise(3)).output["samples"] * 0.9962239341485278
    expected = toy.denoiser.predict(before, float(sigmas[3]), torch.full((1, 1, 1), 0.7)) / 0.9962239341485278
    assert close(result.denoised_output["samples"], expected, 1e-5)
    whole = toy.sample(toy.levels())
    assert close(whole.denoised_output["samples"], whole.output["samples"], 1e-5)


def test_a_latent_is_scaled_noised_and_scaled_back(toy: Toy) -> None:
    sigmas, latent = toy.levels(10, denoise=0.5), drawing()
    assert float(sigmas[0]) < 2
    sigma, last = float(sigmas[0]), float(sigmas[1])
    result = toy.sample(sigmas[:2], latent).output["samples"]
    x = latent["samples"] * 0.9962239341485278 + initial_noise(SHAPE, 3) * sigma
    d = (x - toy.denoiser.predict(x, sigma, torch.full((1, 1, 1), 0.7))) / sigma
    assert close(result, (x + d * (last - sigma)) / 0.9962239341485278, 1e-5)


def test_flow_models_mix_latent_and_noise_and_undo_it(flow_toy: Toy) -> None:
    sigmas, latent = flow_toy.levels(60, "normal", denoise=0.5), drawing()
    sigma = float(sigmas[0])
    x = (latent["samples"] - 0.1) * 0.9962239341485278 * (1 - sigma) + initial_noise(SHAPE, 3) * sigma
    expected = flow_toy.denoiser.flow(x, sigma, 0.0, 0.7) / 0.9962239341485278 + 0.1
    result = flow_toy.sample(sigmas, latent, sampler=NamedSampler("heun"))
    assert close(result.output["samples"], expected, 2e-3)


@pytest.mark.parametrize("family", ["toy", "flow_toy"])
def test_a_run_in_two_parts_is_the_run(family: str, request: pytest.FixtureRequest) -> None:
    toy: Toy = request.getfixturevalue(family)
    sigmas, latent = toy.levels(10, "normal"), drawing()
    first = toy.sample(sigmas[:5], latent).output
    second = toy.sample(sigmas[4:], first, noise=NoNoise()).output
    assert close(second["samples"], toy.sample(sigmas, latent).output["samples"], 1e-5)


def test_an_empty_latent_takes_the_channels_of_the_model(toy: Toy) -> None:
    four, eight = (toy.sample(toy.levels(), empty(channels)).output["samples"] for channels in (4, 8))
    assert four.shape == SHAPE
    assert torch.equal(four, eight)


def test_a_latent_of_another_model_is_refused(toy: Toy) -> None:
    with pytest.raises(SamplingError, match=r"\[1, 4, 8, 8\].*wants \[batch, 8, height, width\].*VAE"):
        toy.sample(toy.levels(), {"samples": torch.ones(1, 4, 8, 8)})


@pytest.mark.parametrize("count", [0, 1])
def test_with_no_step_to_take_the_latent_comes_back(toy: Toy, count: int) -> None:
    latent = drawing()
    assert toy.sample(toy.levels()[:count], latent) == SampleResult(latent, latent)
    assert toy.denoiser.sigmas == []


def test_what_else_a_latent_carries_goes_on(toy: Toy) -> None:
    latent = {**drawing(2), "batch_index": [4, 2], "noise_mask": torch.ones(1, 1, 8, 8)}
    for output in toy.sample(toy.levels(2), latent):
        assert {**output, "samples": 0} == {**latent, "samples": 0}


def test_values_that_are_no_numbers_are_reported(toy: Toy) -> None:
    toy.denoiser.is_broken = True
    with pytest.raises(SamplingError, match=r"NaN.*cfg"):
        toy.sample(toy.levels(2))


def test_a_latent_grows_while_it_is_sampled(toy: Toy) -> None:
    def grown(steps: int | None, seed: int = 3, latent: dict[str, Any] | None = None) -> Tensor:
        sampler = UpscalingSampler(1.5, steps, "bilinear")
        samples: Tensor = toy.sample(toy.levels(4), latent, sampler=sampler, noise=SeededNoise(seed)).output["samples"]
        return samples

    shapes: list[tuple[int, ...]] = []

    class Watched(Gaussian):
        def predict(self, x: Tensor, sigma: float, tokens: Tensor, inputs: Any = None) -> Tensor:
            shapes.append(tuple(x.shape[-2:]))
            return super().predict(x, sigma, tokens)

    toy.denoiser = Watched(toy.sampling)
    assert grown(None).shape == (1, 8, 12, 12)
    assert shapes == [(8, 8), (10, 10), (12, 12), (12, 12)]
    assert torch.equal(grown(2), grown(None))
    assert grown(0).shape == SHAPE
    assert grown(9).shape == (1, 8, 12, 12)
    assert torch.equal(grown(3, seed=5), grown(3, seed=5))
    assert not torch.allclose(grown(3, seed=5), grown(3, seed=6))
    assert float(grown(None).mean() * 0.9962239341485278) == pytest.approx(0.7, abs=0.05)
    with pytest.raises(SamplingError, match="changes the size of the latent, and the latent has a noise mask"):
        grown(2, latent={**drawing(), "noise_mask": torch.ones(1, 1, 64, 64)})


@pytest.mark.parametrize("family", ["toy", "flow_toy"])
def test_noise_that_is_added_beforehand_is_that_of_the_sampler(family: str, request: pytest.FixtureRequest) -> None:
    toy: Toy = request.getfixturevalue(family)
    sigmas, latent = toy.levels(10, "normal", denoise=0.5), drawing()
    noisy = add_noise(toy.model, SeededNoise(3), sigmas, latent, ctx=toy.context())
    result = toy.sample(sigmas, noisy, noise=NoNoise()).output["samples"]
    assert close(result, toy.sample(sigmas, latent).output["samples"], 1e-5)
    part = add_noise(toy.model, SeededNoise(3), sigmas[2:4], latent, ctx=toy.context())
    single = add_noise(toy.model, SeededNoise(3), (sigmas[2] - sigmas[3])[None], latent, ctx=toy.context())
    assert close(part["samples"], single["samples"], 1e-5)
    assert add_noise(toy.model, SeededNoise(3), sigmas[:0], latent, ctx=toy.context()) is latent


def test_noise_that_leaves_nothing_of_the_latent_is_not_added(flow_toy: Toy) -> None:
    with pytest.raises(NoiseLevelError, match="AddNoise: at the noise level 1 of a flow model nothing is left"):
        add_noise(flow_toy.model, SeededNoise(3), flow_toy.levels(4, "normal"), drawing(), ctx=flow_toy.context())


# noise


def test_the_seed_decides_and_noise_can_be_left_out(toy: Toy) -> None:
    seeded = [toy.sample(toy.levels(), noise=SeededNoise(seed)).output["samples"] for seed in (3, 3, 4)]
    assert torch.equal(seeded[0], seeded[1])
    assert not torch.allclose(seeded[0], seeded[2])
    silent = toy.sample(toy.levels(), noise=NoNoise()).output["samples"]
    assert float(silent.std()) < 1e-5


@pytest.mark.parametrize("name", ["euler_ancestral", "lcm", "dpmpp_2m_sde"])
def test_noise_between_steps_comes_from_the_seed(toy: Toy, name: str) -> None:
    runs = [toy.sample(toy.levels(5), sampler=NamedSampler(name), noise=NoNoise(seed)) for seed in (1, 1, 2)]
    one, same, other = (run.output["samples"] for run in runs)
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_the_batch_index_says_which_noise_is_whose(toy: Toy) -> None:
    batch = {"samples": torch.zeros(3, 4, 8, 8)}
    whole = toy.sample(toy.levels(), batch).output["samples"]
    second = toy.sample(toy.levels(), {**empty(), "batch_index": [1]}).output["samples"]
    assert torch.equal(whole[1:2], second)


def test_a_batch_index_that_does_not_fit_is_reported(toy: Toy) -> None:
    with pytest.raises(SamplingError, match="batch_index"):
        toy.sample(toy.levels(), {**empty(), "batch_index": [1, 2]})


# masks


@pytest.mark.parametrize(
    "sampler", ["euler", "ddim", "dpmpp_2m", "euler_ancestral", "heun", "dpm_fast", "dpm_adaptive", "sa_solver_pece"]
)
def test_what_the_mask_leaves_out_stays(toy: Toy, sampler: str) -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 32:] = 1
    latent = {**drawing(), "noise_mask": mask}
    result = toy.sample(toy.levels(), latent, sampler=NamedSampler(sampler)).output["samples"]
    kept, changed = (result - latent["samples"]).abs().split([4, 4], dim=-1)
    assert float(kept[..., :3].max()) < 1e-4
    assert float(changed[..., 1:].mean()) > 0.5


def test_a_mask_of_ones_changes_nothing(toy: Toy) -> None:
    latent = drawing()
    plain = toy.sample(toy.levels(), latent).output["samples"]
    masked = toy.sample(toy.levels(), {**latent, "noise_mask": torch.ones(1, 1, 64, 64)}).output["samples"]
    assert torch.equal(plain, masked)


def test_differential_diffusion_lets_dark_cells_go_late(toy: Toy) -> None:
    mask = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    latent = {**drawing(), "noise_mask": mask}
    sigmas = toy.levels(10, "normal", denoise=0.9)
    guider = BasicGuider(differential_diffusion(toy.model), conditioning(0.7))
    result = toy.sample(sigmas, latent, guider=guider).output["samples"]
    timesteps = [toy.sigmas.sigma_to_t(float(sigma)) for sigma in sigmas[:-1]]
    expected = latent["samples"].clone()
    for column, grey in enumerate(mask[0, 0, 0].tolist()):
        begin = next((k for k, t in enumerate(timesteps) if grey >= t / timesteps[0]), None)
        if begin is not None:  # from there on it is a run of its own: the toy's cells know nothing of each other
            alone = toy.sample(sigmas[begin:], {"samples": latent["samples"]}).output["samples"]
            expected[..., column] = alone[..., column]
    assert close(result, expected, 1e-5)


# progress, previews, cancellation


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "lcm"])
def test_progress_counts_the_steps(toy: Toy, sampler: str) -> None:
    listener = Listener()
    toy.sample(toy.levels(6), sampler=NamedSampler(sampler), context=toy.context(listener))
    assert listener.told == [(step, 6) for step in range(1, 7)]
    assert listener.previews == [None] * 6


@pytest.mark.parametrize("family", ["toy", "flow_toy"])
@pytest.mark.parametrize("sampler", ["dpm_fast", "dpm_adaptive"])
def test_progress_of_a_sampler_that_chooses_its_steps_ends_at_the_total(
    sampler: str, family: str, request: pytest.FixtureRequest
) -> None:
    listener, toy = Listener(wants_previews=True), request.getfixturevalue(family)
    toy.sample(toy.levels(6), sampler=NamedSampler(sampler), context=toy.context(listener))
    values = [value for value, _ in listener.told]
    assert values == sorted(set(values))
    assert listener.told[-1] == (6, 6)
    assert len(values) > 2
    assert (listener.previews[-1] is not None) == (family == "toy")  # whose latents have colours


def test_an_adaptive_run_is_as_near_to_the_flow_as_its_tolerance(flow_toy: Toy) -> None:
    sigmas, latent = flow_toy.levels(8, "normal", denoise=0.5), drawing()
    sigma = float(sigmas[0])
    x = (latent["samples"] - 0.1) * 0.9962239341485278 * (1 - sigma) + initial_noise(SHAPE, 3) * sigma
    expected = flow_toy.denoiser.flow(x, sigma, 0.0, 0.7) / 0.9962239341485278 + 0.1
    sampler = NamedSampler("dpm_adaptive", (("rtol", 1e-4), ("atol", 1e-5)))
    assert close(flow_toy.sample(sigmas, latent, sampler=sampler).output["samples"], expected, 2e-3)


def test_an_adaptive_run_can_be_cancelled_between_two_of_its_steps(toy: Toy) -> None:
    class CancelledLater(Listener):
        @property
        def is_cancelled(self) -> bool:
            return len(toy.denoiser.sigmas) >= 4

    with pytest.raises(Cancelled):
        toy.sample(toy.levels(2), sampler=NamedSampler("dpm_adaptive"), context=toy.context(CancelledLater()))
    assert len(toy.denoiser.sigmas) == 4


def test_progress_counts_towards_noise_too(toy: Toy) -> None:
    listener = Listener()
    upwards = toy.levels(6)[:-1].flip(0)
    toy.sample(upwards, drawing(), noise=NoNoise(), context=toy.context(listener))
    assert listener.told == [(step, 5) for step in range(1, 6)]


@pytest.mark.parametrize("name", ["DDIMScheduler", "PNDMScheduler", "HeunDiscreteScheduler"])
def test_progress_of_a_diffusers_scheduler_ends_at_the_total(toy: Toy, name: str) -> None:
    listener = Listener()
    toy.sample(toy.levels(6, "sgm_uniform"), sampler=DiffusersSampler(name), context=toy.context(listener))
    values = [value for value, _ in listener.told]
    assert values == sorted(set(values))
    assert listener.told[-1] == (6, 6)


def test_previews_are_made_for_who_wants_them(toy: Toy) -> None:
    from PIL.Image import Image

    assert toy.model.source.name == EMBEDDED_CHECKPOINT
    listener = Listener(wants_previews=True)
    toy.sample(toy.levels(3), context=toy.context(listener))
    assert isinstance(listener.previews[0], Image)


def test_previews_are_made_no_oftener_than_anybody_can_look(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.04, 100.08, 100.12, 100.16, 100.2])
    monkeypatch.setattr("mezzotint.nodes.sampling.sampling_driver.time.monotonic", lambda: next(clock))
    listener = Listener(wants_previews=True)
    toy.sample(toy.levels(6), context=toy.context(listener))
    made = [preview is not None for preview in listener.previews]
    assert made == [True, False, False, True, False, True]  # the last step's always


def test_a_cancelled_run_stops_at_its_step(toy: Toy) -> None:
    with pytest.raises(Cancelled):
        toy.sample(toy.levels(10), context=toy.context(Listener(cancel_at=2)))
    assert len(toy.denoiser.sigmas) == 3


# limits


def test_too_large_a_latent_is_refused_before_anything_is_drawn(toy: Toy) -> None:
    context = toy.context(budget_nbytes=1_000_000)
    with pytest.raises(OutOfMemoryError, match="sampling 2 pictures of 512×512 needs"):
        toy.sample(toy.levels(), {"samples": torch.zeros(2, 4, 64, 64)}, context=context)
    assert toy.denoiser.sigmas == []


def test_a_sampler_that_is_not_there_or_not_for_the_model_is_named(toy: Toy) -> None:
    with pytest.raises(SamplerError, match=r"'euler_2' is not known; there are euler"):
        toy.sample(toy.levels(), sampler=NamedSampler("euler_2"))
    with pytest.raises(SamplerError, match=r"'Nosuch' is not known"):
        toy.sample(toy.levels(), sampler=DiffusersSampler("Nosuch"))
    with pytest.raises(SamplingError, match="flow models"):
        toy.sample(toy.levels(), sampler=DiffusersSampler("FlowMatchEulerDiscreteScheduler"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_twenty_steps_cost_little_beside_the_model(toy: Toy, one_thread: None) -> None:
    class Instant(Gaussian):
        def predict(self, x: Tensor, sigma: float, tokens: Tensor, inputs: Any = None) -> Tensor:
            return x

    toy.denoiser = Instant(toy.sampling)
    context, guider = toy.context(Listener()), CFGGuider(toy.model, conditioning(0.7), conditioning(0.2), 3.0)
    seconds = []
    with torch.inference_mode():
        for _ in range(30):
            began = time.perf_counter()
            toy.sample(toy.levels(20, "normal"), guider=guider, context=context)
            seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.0023
