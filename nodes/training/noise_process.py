"""The forward process of diffusion: q(x_t | x_0), what a network is trained to say of x_t, and x_0 from what it says.

    q(x_t | x_0) = N(alpha_t x_0, sigma_t^2 I),  alpha_t^2 = prod (1 - beta),  sigma_t^2 = 1 - alpha_t^2

Ho et al. 2020, equation 4; v and its inverse from Salimans and Ho 2022, appendix D; signal-to-noise weights from Hang
et al. 2023 (min-SNR). `x_t`, `noise` and outputs are float tensors [B, C, h, w], timesteps int64 [B].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.value_type import value_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample"]
PREDICTIONS = ("epsilon", "v_prediction", "sample")


class NoiseProcessError(MezzotintError):
    """A forward process cannot be had, or something is asked of it that it does not say."""


@value_type("mezzotint.NoiseProcess")
@dataclass(frozen=True, slots=True)
class NoiseProcess:
    """How much noise there is at each timestep, and what the network predicts.

    Attributes:
        config: pairs of name and value of a diffusers scheduler configuration, sorted: `beta_schedule`, ...
        prediction: what the network's output is. scaling_factor, shift_factor: the model sees (latent - shift) * scale.
    """

    config: tuple[tuple[str, Any], ...]
    prediction: Prediction = "epsilon"
    scaling_factor: float = 1.0
    shift_factor: float = 0.0

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], scaling_factor: float = 1.0, shift_factor: float = 0.0
    ) -> NoiseProcess:
        """Of a diffusers scheduler configuration.

        Raises:
            NoiseProcessError: it is of a flow model, or names a schedule or prediction that is not known.
        """
        from ..samplers.schedules import betas_from_config

        prediction = config.get("prediction_type", "epsilon")
        if "FlowMatch" in str(config.get("_class_name")) or prediction not in PREDICTIONS:
            raise NoiseProcessError(
                f"the model predicts '{prediction if prediction not in PREDICTIONS else 'flow'}', which is not trained "
                f"here yet; use a model that predicts one of {', '.join(PREDICTIONS)}"
            )
        kept = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
        try:
            betas_from_config(kept)
        except (ValueError, TypeError) as error:
            raise NoiseProcessError(f"the noise schedule of the model cannot be used: {error}") from None
        return cls(tuple(sorted(kept.items())), prediction, scaling_factor, shift_factor)

    @property
    def steps(self) -> int:
        """How many timesteps there are, 0 to steps - 1."""
        return len(self.alphas_cumprod())

    def alphas_cumprod(self) -> Tensor:
        """alpha_t^2: float64 [steps] on the CPU, descending."""
        return _alphas_cumprod(self)

    def to_model(self, latent: Tensor) -> Tensor:
        """A latent as the VAE gives it → as the model sees it."""
        return (latent - self.shift_factor) * self.scaling_factor

    def alpha_sigma(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t, float32 [B, 1, 1, 1] on the device of `timesteps`."""
        squared = self.alphas_cumprod()[timesteps.cpu()].reshape(-1, 1, 1, 1)
        alpha, sigma = squared.sqrt().float(), (1 - squared).sqrt().float()
        return alpha.to(timesteps.device), sigma.to(timesteps.device)

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t = alpha_t x_0 + sigma_t noise."""
        alpha, sigma = self.alpha_sigma(timesteps)
        return alpha * x0 + sigma * noise

    def target(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network should say at x_t: the noise, v = alpha_t noise - sigma_t x_0, or x_0."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return x0
        alpha, sigma = self.alpha_sigma(timesteps)
        return alpha * noise - sigma * x0

    def recover(self, x_t: Tensor, output: Tensor, timesteps: Tensor) -> Tensor:
        """The x_0 that an output stands for.

        Raises:
            NoiseProcessError: the output is epsilon at a timestep of pure noise, where it says nothing of x_0.
        """
        if self.prediction == "sample":
            return output
        alpha, sigma = self.alpha_sigma(timesteps)
        if self.prediction == "v_prediction":
            return alpha * x_t - sigma * output
        if not alpha.all():
            raise NoiseProcessError(
                "x_t is pure noise at the last timestep (zero terminal SNR), and there epsilon says nothing of the "
                "picture; use v_prediction"
            )
        return (x_t - sigma * output) / alpha

    def snr_weights(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Weights of the loss of each sample, float32 [B]: min(SNR, gamma) as a weight of x_0's error.

        Hang et al. 2023, section 3.4: over SNR for epsilon, over SNR + 1 for v.
        """
        squared = self.alphas_cumprod()[timesteps.cpu()]
        snr = squared / (1 - squared)
        over = {"epsilon": snr, "v_prediction": snr + 1, "sample": snr.new_ones(())}[self.prediction]
        weights = snr.clamp(max=gamma) / over
        # 0 / 0 where epsilon is predicted and nothing but noise is left: the limit is 1.
        return weights.nan_to_num(nan=1.0).float().to(timesteps.device)


@lru_cache(maxsize=16)
def _alphas_cumprod(process: NoiseProcess) -> Tensor:
    import torch

    from ..samplers.schedules import betas_from_config, rescale_to_zero_terminal_snr

    with torch.inference_mode(False):
        config = dict(process.config)
        alphas_cumprod = (1 - betas_from_config(config)).cumprod(0)
        return rescale_to_zero_terminal_snr(alphas_cumprod) if config.get("rescale_betas_zero_snr") else alphas_cumprod
