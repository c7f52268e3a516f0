"""A model family: `.safetensors` files that hold a picture's mean and spread, and nothing else.

If latents are normally distributed about `mean` with the standard deviation `spread`, the best prediction of the clean
latent is known in closed form: mean + spread² / (spread² + sigma²) * (x - mean). So no network is needed, and what a
sampler should arrive at is known, too.

The file: metadata `{"family": "gaussian"}`, tensors `mean` [C, h, w] and `spread` [1]. `write_model` writes one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint import hookimpl
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mezzotint.engine.catalogue import Register
    from mezzotint.engine.residency import Residency
    from mezzotint.nodes.models.recipe import Recipe
    from mezzotint.nodes.sampling.model_sampling import ModelSampling

LONGEST_HEADER = 1 << 16
"""A file of this family says what it holds in fewer bytes; larger headers are not read."""


@hookimpl
def register_model_families(register: Register) -> None:
    register("gaussian", GaussianFamily())


class GaussianFamily:
    """The `ModelFamily` of these files."""

    def recognises(self, path: Path) -> bool:
        return header(path).get("__metadata__", {}).get("family") == "gaussian"

    def file_names(self, path: Path, name: str) -> Sequence[str]:
        return ()  # the file itself is all there is

    def check(self, path: Path, name: str) -> None:
        said = header(path)
        if len(said.get("mean", {}).get("shape", ())) != 3 or said.get("spread", {}).get("shape") != [1]:
            raise ModelFileError(f"'{name}' wants the tensors mean [C, h, w] and spread [1]; write it again")

    def sampling(self, path: Path, name: str, digest: str) -> ModelSampling:
        from mezzotint.nodes.samplers.schedules import DiscreteSigmas
        from mezzotint.nodes.sampling.model_sampling import ModelSampling

        levels = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
        return ModelSampling(
            sigmas=DiscreteSigmas.from_config(levels),
            prediction_type="sample",
            latent_channels=header(path)["mean"]["shape"][0],
            downscale=8,
            scaling_factor=1.0,
            shift_factor=0.0,
            scheduler_config=levels,
        )

    def load(self, recipe: Recipe, path: Path, residency: Residency) -> Loaded:
        if recipe.kind != "model":
            raise ModelFileError(f"'{recipe.source.name}' has no {recipe.kind}; take that of another checkpoint")
        from safetensors.torch import load_file

        tensors = load_file(path, device=str(residency.device))
        sampling = self.sampling(path, recipe.source.name, recipe.source.digest)
        denoiser = GaussianDenoiser(tensors["mean"].float(), float(tensors["spread"]), sampling)
        return Loaded(denoiser, denoiser.mean.nbytes)


class GaussianDenoiser:
    """What `mezzotint.nodes.sampling.denoiser.Denoiser` offers, in closed form."""

    conditioning_width = None  # it draws one thing only, whatever it is told

    def __init__(self, mean: Tensor, spread: float, sampling: ModelSampling) -> None:
        self.mean, self.spread, self.sampling = mean, spread, sampling

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def inputs(self, options: Mapping[str, Any], target: Any) -> Mapping[str, Tensor]:
        return {}  # nothing of a conditioning is read

    def predict(
        self,
        x: Tensor,
        sigma: float | Sequence[float],
        conditioning: Tensor,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The expected clean latent of x [B, C, h, w] at a noise level, or at one for each of the batch."""
        import torch
        from torch.nn.functional import interpolate

        levels = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).reshape(-1, 1, 1, 1)
        mean = interpolate(self.mean[None], x.shape[-2:], mode="bilinear")
        variance = self.spread**2
        return mean + (x - mean) * (variance / (variance + levels**2))

    def estimate_nbytes(self, shape: Sequence[int]) -> int:
        batch, channels, height, width = shape
        return 4 * 4 * batch * channels * height * width


def header(path: Path) -> dict[str, Any]:
    """What a safetensors file says of itself: a length of 8 bytes, then JSON. Empty for all other files."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            said = json.loads(file.read(length)) if length <= LONGEST_HEADER else {}
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def write_model(path: Path, mean: Tensor, spread: float) -> None:
    """Write a model of latents about `mean` [C, h, w] with the standard deviation `spread`, above 0."""
    import torch
    from safetensors.torch import save_file

    save_file({"mean": mean, "spread": torch.tensor([spread])}, path, metadata={"family": "gaussian"})
