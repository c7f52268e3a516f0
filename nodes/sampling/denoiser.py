"""The denoiser: one forward of the diffusion network, as a prediction of the clean latent.

All families of models come down to one contract, denoised = D(x, sigma), with x = x0 + sigma * noise (flow models:
x = (1 - sigma) * x0 + sigma * noise). Input scaling, timesteps and the network's kind of output stay in here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..models.network_names import DENOISER
from ..models.recipe import CHANGES, SAMPLING
from .model_sampling import ModelSampling
from .network_call import NamedTensors, NetworkCall, Target, UNetCall
from .network_change import Forward, NetworkChange, with_changes, within
from .sampling_change import SamplingChange, changed

Steering = Callable[[Tensor, Tensor, Tensor, NamedTensors], Mapping[str, Any]]
"""(x, timestep, tokens, inputs), all as the network takes them → further keyword arguments of the network."""
MAX_LEVELS = 10_000
"""How many noise levels are remembered with their timestep on the device."""
MAX_CHANGES = 16
"""How many ways to sample it otherwise are remembered."""
TEXT_ONLY = UNetCall()
NOTHING: Mapping[str, Any] = {}


class _Level(NamedTuple):
    """Noise levels as the network needs them, on its device.

    Attributes:
        c_in, c_skip, c_out: the factors of `Preconditioning`, float32 [n, 1, 1, 1]; n is 1 or the batch. timestep: [n].
            A c_in or c_skip that is 1 throughout is None; a single c_out is a number: after a forward that is quicker.
    """

    c_in: Tensor | None
    c_skip: Tensor | None
    c_out: Tensor | float
    timestep: Tensor


@dataclass(frozen=True, slots=True)
class ActivationShape:
    """What the memory of one forward depends on, beside the size of the latent.

    Attributes:
        channels: of each level of the U-Net, the finest first. layers: residual blocks of each level.
    """

    channels: tuple[int, ...]
    layers: int

    def elements_per_cell(self) -> float:
        """Numbers that are alive at once, at most, for each cell of the latent.

        The skip connections of all levels, and the widest attention block at the finest: 33 times its channels were
        measured on the CPU.
        """
        skips: float = sum((self.layers + 1) * width / 4**level for level, width in enumerate(self.channels))
        return skips + 36 * self.channels[0]


class Denoiser:
    """A diffusion network on its device.

    Args:
        network: of the diffusion model. sampling: noise levels and prediction.
        device, dtype: where the network is and computes in. activations: for `estimate_nbytes`.
        conditioning_width: D of the conditioning it takes; None where any may do.
        call: how the network is called; as a U-Net that takes nothing but text, if not said.

    Attributes:
        is_changed: whether the network computes otherwise, by `recipe.CHANGES`.
    """

    def __init__(
        self,
        network: nn.Module,
        sampling: ModelSampling,
        device: torch.device,
        dtype: torch.dtype,
        activations: ActivationShape,
        conditioning_width: int | None = None,
        call: NetworkCall = TEXT_ONLY,
    ) -> None:
        self.network = network
        self.sampling = sampling
        self.device = device
        self.dtype = dtype
        self.activations = activations
        self.conditioning_width = conditioning_width
        self.call = call
        self._levels: dict[float, _Level] = {}
        self.is_changed = False
        self._changed: dict[tuple[SamplingChange | None, tuple[NetworkChange, ...]], Denoiser] = {}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """What adapters change, by its name in `lora_keys`."""
        return {DENOISER: self.network}

    def with_networks(self, networks: Mapping[str, nn.Module]) -> Denoiser:
        """One like this with other networks."""
        made = copy(self)
        made.network = networks[DENOISER]
        made._changed = {}
        return made

    def with_options(self, options: Mapping[str, Any]) -> Denoiser:
        """The same network with the options of a recipe: `recipe.SAMPLING`, `recipe.CHANGES`. Remembered.

        Raises:
            SamplingChangeError: it cannot be sampled so. NetworkChangeError: its network cannot be changed so.
        """
        wanted = options.get(SAMPLING), options.get(CHANGES, ())
        made = self._changed.get(wanted)
        if made is None:
            if len(self._changed) >= MAX_CHANGES:
                self._changed.clear()
            made = self._changed[wanted] = self._with(*wanted)
        return made

    def _with(self, sampling: SamplingChange | None, changes: tuple[NetworkChange, ...]) -> Denoiser:
        made = copy(self)
        made._changed = {}
        if sampling is not None:
            made.sampling, made._levels = changed(self.sampling, sampling), {}
        if changes:
            made.network, made.is_changed = with_changes(self.network, changes), True
        return made

    def inputs(self, options: Mapping[str, Any], target: Target) -> NamedTensors:
        """What the network takes of a conditioning's item beside its tokens, as it computes: `NetworkCall.inputs`."""
        return {name: self._as_computed(tensor) for name, tensor in self.call.inputs(options, target).items()}

    def predict(
        self,
        x: Tensor,
        sigma: float | Sequence[float] | Tensor,
        conditioning: Tensor,
        inputs: NamedTensors = NOTHING,
        options: Mapping[str, Any] = NOTHING,
        steering: Steering | None = None,
        columns: tuple[int, ...] = (),
    ) -> Tensor:
        """The predicted clean latent: one forward for the whole batch.

        Args:
            x: float32 [B, C, h, w] on the device, at noise level `sigma`.
            sigma: one level for all, or one for each of the batch ([B]; a tensor lies on the CPU, since it is read).
                Where the network is changed, all are alike.
            conditioning: cross-attention input [B, T, D] on the device, of any floating dtype.
            inputs: what the network takes beside, by `inputs`; [B, ...] each, on the device, of any dtype.
            options: further keyword arguments of the network. steering: gives more of them for this one forward.
            columns: what the network's changes are told, see `Forward`.

        Returns:
            float32 [B, C, h, w] on the device; a new tensor.
        """
        if self.is_changed:
            with within(Forward(_size(x), _first(sigma), self.sampling, columns)):
                return self._predict_at(x, sigma, conditioning, inputs, options, steering)
        return self._predict_at(x, sigma, conditioning, inputs, options, steering)

    def _predict_at(
        self,
        x: Tensor,
        sigma: float | Sequence[float] | Tensor,
        conditioning: Tensor,
        inputs: NamedTensors,
        options: Mapping[str, Any],
        steering: Steering | None,
    ) -> Tensor:
        if isinstance(sigma, (float, int)):
            return self._predict(x, self._level(float(sigma)), conditioning, inputs, options, steering)
        sigmas: Sequence[float] = sigma.tolist() if isinstance(sigma, Tensor) else sigma
        if len(set(sigmas)) == 1:
            return self._predict(x, self._level(sigmas[0]), conditioning, inputs, options, steering)
        return self._predict(x, self._made(sigmas), conditioning, inputs, options, steering)

    def _predict(
        self,
        x: Tensor,
        level: _Level,
        conditioning: Tensor,
        inputs: NamedTensors,
        options: Mapping[str, Any],
        steering: Steering | None,
    ) -> Tensor:
        c_in, c_skip, c_out, timestep = level
        # Networks get what lies in memory without gaps, as diffusers gives it to them.
        model_input = _as(x.contiguous() if c_in is None else x * c_in, self.dtype)
        context = _as(conditioning, self.dtype)
        further = {name: self._as_computed(tensor) for name, tensor in inputs.items()} if inputs else inputs
        if steering is not None:
            options = {**options, **steering(model_input, timestep, context, further)}
        kept = (
            x if c_skip is None else x * c_skip
        )  # here, since after the forward it would take twice as long: caches are cold then
        output = self.call.forward(self.network, model_input, timestep, context, further, options)
        output = _as(output, torch.float32)
        return kept.add(output, alpha=c_out) if isinstance(c_out, float) else torch.addcmul(kept, output, c_out)

    def _as_computed(self, tensor: Tensor) -> Tensor:
        return _as(tensor, self.dtype) if tensor.is_floating_point() else tensor

    def _level(self, sigma: float) -> _Level:
        level = self._levels.get(sigma)
        if level is None:
            if len(self._levels) >= MAX_LEVELS:
                self._levels.clear()
            level = self._levels[sigma] = self._made([sigma])
        return level

    def _made(self, sigmas: Sequence[float]) -> _Level:
        rows = [self.sampling.sigmas.preconditioning(sigma) for sigma in sigmas]
        columns = torch.tensor([*zip(*rows, strict=True)], dtype=torch.float32).to(self.device)
        c_in, c_skip, c_out = columns[:3].reshape(3, -1, 1, 1, 1)
        return _Level(
            None if all(row.c_in == 1 for row in rows) else c_in,
            None if all(row.c_skip == 1 for row in rows) else c_skip,
            c_out if len(rows) > 1 else float(rows[0].c_out),
            columns[3],
        )

    def estimate_nbytes(self, shape: Sequence[int]) -> int:
        """About how much memory one forward takes beside the weights, for x of the shape [B, C, h, w]."""
        batch, _, height, width = shape
        return int(batch * height * width * self.activations.elements_per_cell() * self.dtype.itemsize)


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


def _first(sigma: float | Sequence[float] | Tensor) -> float:
    return float(sigma) if isinstance(sigma, float | int) else float(sigma[0])


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """In a dtype. Seeing that nothing is to be done costs less here than in torch."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)
