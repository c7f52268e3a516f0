"""A diffusion model as packs hold it: its noise levels, the scale of its latents, and copies of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from mezzotint.nodes.models.recipe import CHANGES, GUIDANCE
from mezzotint.nodes.sampling.guidance import Adjustment, adjustments_of
from mezzotint.nodes.sampling.model_sampling import ModelSampling, model_sampling
from mezzotint.nodes.sampling.network_change import changes_of

from . import surroundings
from .guidance_patch import AfterGuidance, ScaleFunction
from .network_patch import PATCHES, REPLACED, PackPatches
from .pack_value import PackValue
from .refusal import refusal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mezzotint.nodes.samplers.schedules import ModelSigmas


class ModelValue(PackValue):
    """A diffusion model."""

    CALLED = "model"

    @property
    def model(self) -> InnerModel:
        """What is known of the model itself."""
        return InnerModel(self)

    @property
    def model_options(self) -> Mapping[str, Any]:
        """What was set by `set_model_...`. What would be written here is refused."""
        options: dict[str, Any] = {"transformer_options": UnchangeableOptions(self._patches.as_options())}
        for patch in adjustments_of(self):
            if isinstance(patch, ScaleFunction):
                options["sampler_cfg_function"] = patch.function
            elif isinstance(patch, AfterGuidance):
                options["sampler_post_cfg_function"] = [*options.get("sampler_post_cfg_function", ()), patch.function]
        return UnchangeableOptions(options)

    def set_model_sampler_cfg_function(
        self, sampler_cfg_function: Callable[..., Any], disable_cfg1_optimization: bool = False
    ) -> None:
        """Guide by this function, in the place of an earlier one."""
        others = [patch for patch in adjustments_of(self) if not isinstance(patch, ScaleFunction)]
        self._adjust(ScaleFunction(sampler_cfg_function, disable_cfg1_optimization), *others)

    def set_model_sampler_post_cfg_function(
        self, post_cfg_function: Callable[..., Any], disable_cfg1_optimization: bool = False
    ) -> None:
        """Let this function change what guidance gave, after the earlier ones."""
        self._adjust(*adjustments_of(self), AfterGuidance(post_cfg_function, disable_cfg1_optimization))

    def set_model_attn1_patch(self, patch: Callable[..., Any]) -> None:
        """`patch(x, keys, values, extra_options)` → what queries, keys and values of self-attention are made of."""
        self.set_model_patch(patch, "attn1_patch")

    def set_model_attn2_patch(self, patch: Callable[..., Any]) -> None:
        """The same of attention to the text."""
        self.set_model_patch(patch, "attn2_patch")

    def set_model_attn1_output_patch(self, patch: Callable[..., Any]) -> None:
        """`patch(x, extra_options)` → what self-attention gives, in its place."""
        self.set_model_patch(patch, "attn1_output_patch")

    def set_model_attn2_output_patch(self, patch: Callable[..., Any]) -> None:
        """The same of attention to the text."""
        self.set_model_patch(patch, "attn2_output_patch")

    def set_model_input_block_patch(self, patch: Callable[..., Any]) -> None:
        """`patch(h, transformer_options)` → what an input block gives, with its skip connection."""
        self.set_model_patch(patch, "input_block_patch")

    def set_model_input_block_patch_after_skip(self, patch: Callable[..., Any]) -> None:
        """The same without its skip connection."""
        self.set_model_patch(patch, "input_block_patch_after_skip")

    def set_model_output_block_patch(self, patch: Callable[..., Any]) -> None:
        """`patch(h, skip, transformer_options)` → both, before an output block joins them."""
        self.set_model_patch(patch, "output_block_patch")

    def set_model_patch(self, patch: Callable[..., Any], name: str) -> None:
        """A function more at a place, one of `network_patch.PATCHES`."""
        if name not in PATCHES:
            raise NotImplementedError(refusal(f"model.set_model_patch(..., {name!r})", is_internal=True))
        self._patch(self._patches.with_function(name, patch))

    def set_model_attn1_replace(
        self, patch: Callable[..., Any], block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """`patch(q, k, v, extra_options)` → what the self-attention of a block comes to, in its place."""
        self.set_model_patch_replace(patch, "attn1", block_name, number, transformer_index)

    def set_model_attn2_replace(
        self, patch: Callable[..., Any], block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """The same of attention to the text."""
        self.set_model_patch_replace(patch, "attn2", block_name, number, transformer_index)

    def set_model_patch_replace(
        self,
        patch: Callable[..., Any],
        name: str,
        block_name: str,
        number: int,
        transformer_index: int | None = None,
    ) -> None:
        """A function in the place of an attention, of a block or of one of its transformers alone."""
        if name not in REPLACED:
            raise NotImplementedError(refusal(f"model.set_model_patch_replace(..., {name!r})", is_internal=True))
        index = () if transformer_index is None else (transformer_index,)
        self._patch(self._patches.with_replacement(name, (block_name, number, *index), patch))

    @property
    def _patches(self) -> PackPatches:
        return next((each for each in changes_of(self) if isinstance(each, PackPatches)), PackPatches())

    def _patch(self, patches: PackPatches) -> None:
        others = [each for each in changes_of(self) if not isinstance(each, PackPatches)]
        self.become(self.with_option(CHANGES, (*others, patches)))

    def _adjust(self, *patches: Adjustment) -> None:
        self.become(self.with_option(GUIDANCE, patches))

    @property
    def sampling(self) -> ModelSampling:
        """How it is sampled; see `nodes.sampling.model_sampling`."""
        return model_sampling(self.plain, surroundings.context() or surroundings.context_outside_a_call())

    def get_model_object(self, name: str) -> Any:
        """`"model_sampling"` or `"latent_format"`."""
        return getattr(self.model, name)

    def is_clone(self, other: object) -> bool:
        """Whether another is of the same weights."""
        return isinstance(other, ModelValue) and other.source == self.source

    def model_dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.model.get_dtype()

    def model_size(self) -> int:
        """The bytes of its weights."""
        with surroundings.models().borrow(self) as denoiser:
            return sum(weight.nbytes for weight in denoiser.network.parameters())

    @property
    def load_device(self) -> torch.device:
        """Where it computes."""
        import torch

        return torch.device(surroundings.models().device)

    offload_device = load_device


class UnchangeableOptions(dict[str, Any]):
    """Options that take nothing up: a patch that were not heeded would give another picture than its author meant."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(refusal("model.model_options", is_internal=True))

    __setitem__ = __delitem__ = update = setdefault = pop = popitem = clear = _refuse

    def copy(self) -> UnchangeableOptions:
        return self

    def __copy__(self) -> UnchangeableOptions:
        return self

    def __deepcopy__(self, memo: Any) -> UnchangeableOptions:
        return self


class InnerModel:
    """What packs read of `model.model`."""

    def __init__(self, value: ModelValue) -> None:
        self._value = value

    @property
    def model_sampling(self) -> PackModelSampling:
        return PackModelSampling(self._value.sampling.sigmas)

    @property
    def latent_format(self) -> LatentFormat:
        return LatentFormat(self._value.sampling)

    def process_latent_in(self, latent: Tensor) -> Tensor:
        """A latent as the VAE gives it → as the model sees it."""
        return self._value.sampling.to_model(latent)

    def process_latent_out(self, latent: Tensor) -> Tensor:
        """The inverse."""
        return self._value.sampling.to_latent(latent)

    def get_dtype(self) -> torch.dtype:
        """What it computes in."""
        with surroundings.models().borrow(self._value) as denoiser:
            found: torch.dtype = denoiser.dtype
            return found

    @property
    def device(self) -> torch.device:
        return self._value.load_device

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(refusal(f"model.model.{name}", is_internal=True))


class PackModelSampling:
    """The noise levels of a model."""

    def __init__(self, levels: ModelSigmas) -> None:
        self.levels = levels

    @property
    def sigmas(self) -> Tensor:
        """The trained levels, float32 [n] ascending."""
        return self.levels.table

    @property
    def sigma_min(self) -> Tensor:
        return self.levels.table[0]

    @property
    def sigma_max(self) -> Tensor:
        return self.levels.table[-1]

    def timestep(self, sigma: Tensor) -> Tensor:
        """The timestep at each level."""
        import torch

        found = [self.levels.sigma_to_t(float(level)) for level in sigma.flatten()]
        return torch.tensor(found, device=sigma.device).reshape(sigma.shape)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level at each timestep."""
        return self.levels.t_to_sigma(timestep).to(timestep.device)

    def percent_to_sigma(self, percent: float) -> float:
        """The level after a share of the way."""
        return self.levels.percent_to_sigma(percent)

    def noise_scaling(self, sigma: Any, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """A latent noised to a level; to the greatest, as wide as the noised data are, with `max_denoise`."""
        level = float(sigma)
        if max_denoise and not self.levels.is_flow:
            return noise * float((1 + level**2) ** 0.5) + latent_image
        return self.levels.noised(latent_image, noise, level)

    def inverse_noise_scaling(self, sigma: Any, latent: Tensor) -> Tensor:
        """The latent to hand on when sampling ended at a level."""
        return self.levels.finish(latent, float(sigma))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(refusal(f"model_sampling.{name}", is_internal=True))


class LatentFormat:
    """The latents of a model."""

    latent_dimensions = 2
    latent_rgb_factors = taesd_decoder_name = None

    def __init__(self, sampling: ModelSampling) -> None:
        self._sampling = sampling
        self.latent_channels = sampling.latent_channels
        self.scale_factor = sampling.scaling_factor
        self.spacial_downscale_ratio = sampling.downscale

    def process_in(self, latent: Tensor) -> Tensor:
        """A latent as the VAE gives it → as the model sees it."""
        return self._sampling.to_model(latent)

    def process_out(self, latent: Tensor) -> Tensor:
        """The inverse."""
        return self._sampling.to_latent(latent)
