"""ControlNets and T2I-Adapters on their device: a picture and a forward in, what is added to the U-Net out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..models.network_overlay import shallow_copy
from ..sampling.control import ControlledForward
from ..sampling.network_call import CONCAT, ConditioningError
from ..tensor_value import TensorValue
from .control_picture import Pictures, remembered

DOWN, MIDDLE, INSIDE = (
    "down_block_additional_residuals",
    "mid_block_additional_residual",
    "down_intrablock_additional_residuals",
)
"""The arguments of diffusers' U-Nets."""
PIXELS = 8
"""Of a T2I-Adapter's picture to one cell of the latent, each way."""
UNTOLD = -1
"""The kind of picture where nobody says one."""


class ControlNetwork:
    """A `ControlNetModel` of diffusers.

    Args:
        name: what the user calls it, for messages. device, dtype: where it is and computes in.
    """

    steers_transformers = False

    def __init__(self, network: Any, name: str, device: torch.device, dtype: torch.dtype) -> None:
        self.network, self.name, self.dtype = network, name, dtype
        scale = 2 ** (len(network.config.conditioning_embedding_out_channels) - 1)
        self._pictures = Pictures(network.config.conditioning_channels, scale, device, dtype)

    def with_type(self, control_type: int) -> ControlNetwork:
        """Itself: it takes one kind of picture."""
        return self

    def options(self, forward: ControlledForward, hint: TensorValue, strength: float) -> Mapping[str, Any]:
        """What it adds to the U-Net's blocks, times `strength`.

        Raises:
            ConditioningError: it is for another family of models.
        """
        self._check(forward)
        x, tokens = forward.x.to(self.dtype), forward.tokens.to(self.dtype)
        added = {name: tensor.to(self.dtype) for name, tensor in forward.inputs.items() if name != CONCAT}
        picture = self._pictures.of(hint, forward)
        down, middle = self._forward(
            x, forward.timestep, tokens, picture, conditioning_scale=strength, added_cond_kwargs=added or None
        )
        return {DOWN: [residual.to(forward.x.dtype) for residual in down], MIDDLE: middle.to(forward.x.dtype)}

    def _forward(self, x: Tensor, timestep: Tensor, tokens: Tensor, picture: Tensor, **options: Any) -> Any:
        return self.network(x, timestep, tokens, picture, return_dict=False, **options)

    def _check(self, forward: ControlledForward) -> None:
        config = self.network.config
        width, wanted = forward.tokens.shape[-1], config.cross_attention_dim
        lacks = config.addition_embed_type == "text_time" and "text_embeds" not in forward.inputs
        widths = forward.config.get("block_out_channels", config.block_out_channels)
        has_levels = [*widths] == [*config.block_out_channels] and _is_unet(forward)
        if width != wanted or lacks or forward.x.shape[1] != config.in_channels or not has_levels:
            raise ConditioningError(
                f"the ControlNet '{self.name}' is for another kind of model: it takes {config.in_channels} latent "
                f"channels and text of {wanted} numbers, and the model has {forward.x.shape[1]} and {width}; use a "
                f"ControlNet that was made for this kind of model"
            )


class UnionNetwork(ControlNetwork):
    """A `ControlNetUnionModel` of diffusers, which takes pictures of several kinds and is told which, or is not.

    Of a picture of no kind in particular nothing is said: its embedding is zeros.
    """

    def __init__(self, network: Any, name: str, device: torch.device, dtype: torch.dtype) -> None:
        kinds = network.task_embedding
        network = shallow_copy(network)
        network._parameters["task_embedding"] = nn.Parameter(torch.cat([kinds, kinds[:1] * 0]), requires_grad=False)
        super().__init__(network, name, device, dtype)
        self.kinds, self.control_type = len(kinds), UNTOLD

    def with_type(self, control_type: int) -> UnionNetwork:
        """The same for pictures of one kind; `UNTOLD` for any.

        Raises:
            ConditioningError: it knows fewer kinds.
        """
        if control_type >= self.kinds:
            raise ConditioningError(
                f"the ControlNet '{self.name}' knows {self.kinds} kinds of picture, not the one of "
                f"SetUnionControlNetType (number {control_type + 1}); choose another type, or 'auto'"
            )
        made = copy(self)
        made.control_type = control_type
        return made

    def _forward(self, x: Tensor, timestep: Tensor, tokens: Tensor, picture: Tensor, **options: Any) -> Any:
        told = x.new_zeros(len(x), self.kinds)
        if self.control_type != UNTOLD:
            told[:, self.control_type] = 1
        return self.network(x, timestep, tokens, [picture], told, [self.control_type], return_dict=False, **options)


class AdapterNetwork:
    """A `T2IAdapter` of diffusers. What it gives depends on the picture alone, so it runs once for each."""

    steers_transformers = False

    def __init__(self, network: Any, name: str, device: torch.device, dtype: torch.dtype) -> None:
        self.network, self.name = network, name
        self._pictures = Pictures(network.config.in_channels, PIXELS, device, dtype)
        self._features: OrderedDict[Any, list[Tensor]] = OrderedDict()

    def with_type(self, control_type: int) -> AdapterNetwork:
        """Itself: an adapter takes one kind of picture."""
        return self

    def options(self, forward: ControlledForward, hint: TensorValue, strength: float) -> Mapping[str, Any]:
        """What it adds inside the U-Net's blocks, times `strength`; new tensors, since the U-Net takes them apart."""
        self._check(forward)
        key = hint, forward.size, forward.box, tuple(forward.latents)
        features = remembered(self._features, key, lambda: self.network(self._pictures.of(hint, forward)))
        return {INSIDE: [(feature * strength).to(forward.x.dtype) for feature in features]}

    def _check(self, forward: ControlledForward) -> None:
        config, levels = self.network.config, [*forward.config.get("block_out_channels", self.network.config.channels)]
        begins_at_half = forward.config.get("down_block_types", ("",))[0] == "DownBlock2D"
        is_for_half = config.adapter_type == "full_adapter_xl"
        has_levels = [*config.channels][: len(levels)] == levels[: len(config.channels)] and _is_unet(forward)
        if not has_levels or (forward.config and begins_at_half != is_for_half):
            raise ConditioningError(
                f"the T2I-Adapter '{self.name}' is for another kind of model: it adds to levels of "
                f"{', '.join(map(str, config.channels))} channels, and the model has "
                f"{', '.join(map(str, levels))}{' of half the size' if begins_at_half else ''}; use one that was made "
                f"for this kind of model"
            )


def _is_unet(forward: ControlledForward) -> bool:
    """Whether the network has blocks to add to, as far as it is known."""
    return not forward.config or "down_block_types" in forward.config
