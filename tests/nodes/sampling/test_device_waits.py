"""Between two forwards nothing waits for the device: no value is read from it, and no tensor is fetched.

Shown on torch's meta device, whose tensors have no values: reading one fails, and so does joining it to one elsewhere.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.nodes.samplers.sampler_names import SAMPLERS, SEES_UNCONDITIONAL
from mezzotint.nodes.samplers.schedules import DiscreteSigmas, FlowSigmas, schedule_sigmas
from mezzotint.nodes.sampling import denoise
from mezzotint.nodes.sampling.denoiser import ActivationShape, Denoiser
from mezzotint.nodes.sampling.guidance import CFGGuider
from mezzotint.nodes.sampling.model_sampling import ModelSampling
from mezzotint.nodes.sampling.noise import Masking

META = torch.device("meta")
READS_VALUES = {"dpm_adaptive"}
"""An adaptive sampler goes by its error."""
FAMILIES = {"discrete": DiscreteSigmas.from_config(), "flow": FlowSigmas()}


class MetaNoise:
    """Noise with no values."""

    generator: Any = None

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def fresh(self) -> Tensor:
        return torch.empty_like(self.x)

    def between(self, sigma: float, sigma_next: float, *, on_device: bool = False) -> Tensor:
        return torch.empty_like(self.x)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", SAMPLERS.names)
def test_samplers_read_nothing(name: str, family: str) -> None:
    scaling = FAMILIES[family]
    x = torch.empty(1, 4, 8, 8, device=META)
    sigmas = schedule_sigmas(scaling, "normal", 5, 1.0, name)
    steps = SAMPLERS[name](x, sigmas, MetaNoise(x), scaling)
    is_pair = SAMPLERS.has_trait(name, SEES_UNCONDITIONAL)

    def sample() -> Tensor:
        at, _ = next(steps)
        try:
            while True:
                answer = torch.empty_like(at)
                at, _ = steps.send((answer, answer) if is_pair else answer)
        except StopIteration as end:
            result: Tensor = end.value
            return result

    if name in READS_VALUES:
        with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|Meta"):
            sample()
    else:
        assert sample().device == META


class Network(nn.Module):
    """Looks at all that it is given."""

    def forward(self, x: Tensor, timestep: Tensor, tokens: Tensor, return_dict: bool) -> tuple[Tensor]:
        return (x * timestep.view(-1, 1, 1, 1) + tokens.mean(),)


def test_guided_predictions_within_a_mask_read_nothing() -> None:
    sampling = ModelSampling(FAMILIES["discrete"], "epsilon", 4, 8, 1.0, 0.0, {})
    denoiser = Denoiser(Network(), sampling, META, torch.float16, ActivationShape((8,), 1))
    context = Context()
    guider = CFGGuider(SimpleNamespace(options=()), [[torch.zeros(1, 3, 8), {}]], [[torch.ones(1, 3, 8), {}]], 4.0)  # type: ignore[arg-type]
    x = torch.empty(2, 4, 8, 8, device=META)
    masking = Masking(x[:, :1], x, x, sampling.sigmas)
    for sigma in (10.0, 2.0, 0.5):
        request = next(asked := guider.predict(masking.before(x, sigma), sigma))
        (answer,) = denoise._answer([request], denoiser, context)  # type: ignore[list-item]
        with pytest.raises(StopIteration) as end:
            asked.send(answer)
        assert masking.after(end.value.value, sigma).shape == x.shape
