"""The nodes that make what custom sampling takes: noise, samplers and guiders."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mezzotint import Conditioning, Context, Guider, Latent, Model, Noise, Sampler, Sigmas, Widget, node
from mezzotint.engine.widget import Choices

from ..samplers.sampler_names import DIFFUSERS_SCHEDULER_NAMES, GUIDERS
from .guidance import BasicGuider, CFGGuider
from .noise_levels import NoiseLevelError
from .noise_value import NoNoise, SeededNoise
from .sampler_value import DiffusersSampler, NamedSampler, SamplerError, UpscalingSampler
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


@node("AddNoise", category="_for_testing/custom_sampling/noise")
def add_noise(model: Model, noise: Noise, sigmas: Sigmas, latent_image: Latent, *, ctx: Context) -> Latent:
    """Add the noise that leads from the last of some noise levels up to the first, to be sampled with no other noise.

    Raises:
        NoiseLevelError: the model is a flow model and the level 1, where nothing is left of the latent.
        SamplingError: the latent is of another model.
    """
    from .model_sampling import model_sampling
    from .sampling_driver import finished, noised_latent

    if not len(sigmas):
        return latent_image
    sampling = model_sampling(model, ctx)
    sigma = abs(float(sigmas[0]) - float(sigmas[-1])) if len(sigmas) > 1 else float(sigmas[0])
    if sampling.sigmas.alpha(sigma) <= 0:
        raise NoiseLevelError(
            f"AddNoise: at the noise level {sigma:.6g} of a flow model nothing is left of the latent, so no sampling "
            f"can begin there without noise of its own; link the noise to the sampler, or begin at a lower level"
        )
    _, clean, drawn = noised_latent(latent_image, noise, sigma, sampling, "cpu")
    return {**latent_image, "samples": finished(sampling.sigmas.noised(clean, drawn, sigma), sigma, sampling)}


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


@node("SamplerLCMUpscale", category="sampling/custom_sampling/samplers")
def sampler_lcm_upscale(
    scale_ratio: Annotated[float, Field(ge=0.1, le=20), Widget(step=0.01, round=False)] = 1.0,
    scale_steps: Annotated[
        int, Field(ge=-1, le=1000, description="Over how many steps it grows; at -1 the first half of them.")
    ] = -1,
    upscale_method: Literal["bislerp", "nearest-exact", "bilinear", "area", "bicubic"] = "bislerp",
) -> Sampler:
    """The sampler of consistency models (`lcm`), which enlarges the latent after each of its first steps."""
    return UpscalingSampler(scale_ratio, None if scale_steps < 0 else scale_steps, upscale_method)


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
