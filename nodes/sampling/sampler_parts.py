"""The nodes that make what custom sampling takes: noise, samplers and guiders."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mezzotint import Conditioning, Guider, Model, Noise, Sampler, Widget, node
from mezzotint.engine.widget import Choices

from ..samplers.sampler_names import DIFFUSERS_SCHEDULER_NAMES, GUIDERS
from .guidance import BasicGuider, CFGGuider
from .noise_value import NoNoise, SeededNoise
from .sampler_value import DiffusersSampler, NamedSampler, SamplerError
from .sampling_inputs import GuidanceScale, GuiderName, SamplerName, Seed

NoiseShare = Annotated[float, Field(ge=0, le=100), Widget(step=0.01, round=False)]


@node("RandomNoise", category="sampling/custom_sampling/noise")
def random_noise(noise_seed: Seed = 0) -> Noise:
    """Noise from a seed."""
    return SeededNoise(noise_seed)


@node("DisableNoise", category="sampling/custom_sampling/noise")
def disable_noise() -> Noise:
    """No noise to start from: the latent is taken as it is."""
    return NoNoise()


@node("KSamplerSelect", category="sampling/custom_sampling/samplers")
def ksampler_select(sampler_name: SamplerName = "euler") -> Sampler:
    """A sampler by its name."""
    return NamedSampler(sampler_name)


@node("SamplerEulerAncestral", category="sampling/custom_sampling/samplers")
def sampler_euler_ancestral(eta: NoiseShare = 1.0, s_noise: NoiseShare = 1.0) -> Sampler:
    """Euler's method with fresh noise after each step: `eta` is how much, `s_noise` scales it."""
    return NamedSampler("euler_ancestral", (("eta", eta), ("s_noise", s_noise)))


@node("SamplerDPMPP_2M_SDE", category="sampling/custom_sampling/samplers")
def sampler_dpmpp_2m_sde(
    solver_type: Literal["midpoint", "heun"] = "midpoint",
    eta: NoiseShare = 1.0,
    s_noise: NoiseShare = 1.0,
    noise_device: Literal["gpu", "cpu"] = "gpu",
) -> Sampler:
    """SDE-DPM-Solver++(2M): second order, with noise after each step, drawn on the model's device or on the CPU."""
    name = "dpmpp_2m_sde_gpu" if noise_device == "gpu" else "dpmpp_2m_sde"
    return NamedSampler(name, (("solver_type", solver_type), ("eta", eta), ("s_noise", s_noise)))


@node("SamplerDPMPP_SDE", category="sampling/custom_sampling/samplers")
def sampler_dpmpp_sde(
    eta: NoiseShare = 1.0,
    s_noise: NoiseShare = 1.0,
    r: NoiseShare = 0.5,
    noise_device: Literal["gpu", "cpu"] = "gpu",
) -> Sampler:
    """DPM-Solver++ of two predictions a step, the second at `r` of the way, with noise after each."""
    if r == 0:
        raise SamplerError("SamplerDPMPP_SDE: r is 0, where a step begins; allowed is more than 0, usual is 0.5")
    name = "dpmpp_sde_gpu" if noise_device == "gpu" else "dpmpp_sde"
    return NamedSampler(name, (("eta", eta), ("s_noise", s_noise), ("r", r)))


@node("SamplerLMS", category="sampling/custom_sampling/samplers")
def sampler_lms(order: Annotated[int, Field(ge=1, le=100)] = 4) -> Sampler:
    """The linear multistep method: how many directions each step goes by."""
    return NamedSampler("lms", (("order", order),))


@node(
    "DiffusersSampler",
    title="Diffusers Sampler",
    category="sampling/custom_sampling/samplers",
    aliases=("scheduler", "DDIM", "UniPC"),
)
def diffusers_sampler(
    scheduler: Annotated[str, Choices(DIFFUSERS_SCHEDULER_NAMES)] = "DDIMScheduler",
    timestep_spacing: Annotated[
        Literal["of the model", "leading", "trailing", "linspace"], Field(description="How its timesteps are spread.")
    ] = "of the model",
    use_karras_sigmas: Annotated[
        bool, Field(description="Karras' noise levels, in schedulers that have them.")
    ] = False,
) -> Sampler:
    """A scheduler of diffusers as a sampler, configured as the model's own scheduler is.

    It visits noise levels of its own: of those that it is given, only the first, the last and their number count.
    """
    options: dict[str, Any] = {} if timestep_spacing == "of the model" else {"timestep_spacing": timestep_spacing}
    if use_karras_sigmas:
        options["use_karras_sigmas"] = True
    return DiffusersSampler(scheduler, tuple(options.items()))


@node("BasicGuider", category="sampling/custom_sampling/guiders")
def basic_guider(model: Model, conditioning: Conditioning) -> Guider:
    """One prompt and no guidance scale, as for distilled models."""
    return BasicGuider(model, conditioning)


@node("CFGGuider", category="sampling/custom_sampling/guiders")
def cfg_guider(model: Model, positive: Conditioning, negative: Conditioning, cfg: GuidanceScale = 8.0) -> Guider:
    """A positive and a negative prompt, and how strongly the picture is drawn from one to the other."""
    return CFGGuider(model, positive, negative, cfg)


@node("GuiderSelect", category="sampling/custom_sampling/guiders", aliases=("guidance",))
def guider_select(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    guider_name: GuiderName = "cfg",
    cfg: GuidanceScale = 8.0,
) -> Guider:
    """A guider by its name, one of a plugin's maybe."""
    return GUIDERS[guider_name](model, positive, negative, cfg)
