"""ControlNets of Stable Diffusion 3 and Flux on their device: what they add to each block of a transformer.

They are called with the arguments that the model's pipeline gives to its transformer. What they give is spread over the
transformer's blocks here, as the transformer would do it, so that those of several with fewer blocks add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..models.network_overlay import shallow_copy
from ..sampling.control import ControlledForward
from ..sampling.network_call import USUAL_GUIDANCE, ConditioningError
from .control_picture import LatentPictures, Pictures

if TYPE_CHECKING:
    from mezzotint.engine.context import Context

    from .control_chain import AppliedControl

PIXELS = 8
"""Of a picture to one cell of the latent, each way, where a network takes pixels."""
FLUX_MODES = {0: 4, 1: 2, 3: 0, 6: 1}
"""Kinds of SetUnionControlNetType → those that unions for Flux were trained on: pose, depth, lines, tile."""
UNTOLD = -1
"""The kind of picture where nobody says one."""
SHARED = ("num_attention_heads", "attention_head_dim", "joint_attention_dim", "pooled_projection_dim", "in_channels")
"""What a ControlNet and the transformer that it is for agree in."""


class TransformerControl:
    """What both families share.

    Args:
        network: of diffusers. name: what the user calls it, for messages. device, dtype: where it is and computes in.
    """

    steers_transformers = True
    family = ""
    marks: tuple[str, ...] = ()
    """What the configurations of the family's transformers have."""

    def __init__(self, network: Any, name: str, device: torch.device, dtype: torch.dtype) -> None:
        self.network, self.name, self.device, self.dtype = network, name, device, dtype

    def with_type(self, control_type: int) -> TransformerControl:
        """Itself: it takes one kind of picture."""
        return self

    def _check(self, forward: ControlledForward) -> None:
        ours, theirs = self.network.config, forward.config
        is_family = all(mark in theirs for mark in self.marks)
        told = [name for name in SHARED if ours.get(name) is not None and name in theirs]
        if is_family and all(ours[name] == theirs[name] for name in told):
            return
        sizes = ", ".join(f"{name} {ours[name]} and not {theirs[name]}" for name in told if ours[name] != theirs[name])
        raise ConditioningError(
            f"the ControlNet '{self.name}' is for {self.family}, and the model is of another kind"
            f"{f' ({sizes})' if is_family else ''}; use a ControlNet that was made for this kind of model"
        )


class Sd3ControlNetwork(TransformerControl):
    """A `SD3ControlNetModel`. Args: see `TransformerControl`; prepare: see `LatentPictures`."""

    family = "Stable Diffusion 3"
    marks = ("caption_projection_dim", "pos_embed_max_size")

    def __init__(
        self,
        network: Any,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        prepare: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(network, name, device, dtype)
        config = network.config
        sees_mask = bool(config.extra_conditioning_channels)
        # Those that are not told the pooled text were trained on latents without the shift, but for those with masks.
        self.is_told = not (config.force_zeros_for_pooled_projection or sees_mask)
        is_shifted = sees_mask or not config.force_zeros_for_pooled_projection
        self._pictures = LatentPictures(
            name, config.in_channels, device, dtype, sees_mask=sees_mask, is_shifted=is_shifted, prepare=prepare
        )

    def picture(self, link: AppliedControl, forward: ControlledForward, context: Context) -> Tensor:
        """[N, C, h, w]: the picture as the network takes it.

        Raises:
            ConditioningError: it is for another family, or its VAE is.
        """
        self._check(forward)
        return self._pictures.of(link, forward, context)

    def residuals(
        self, transformer: Any, arguments: Mapping[str, Any], picture: Tensor, strength: float
    ) -> Mapping[str, Any]:
        """What it adds to a transformer's blocks, times `strength`: further arguments of the transformer."""
        config, hidden = self.network.config, arguments["hidden_states"]
        pooled = arguments["pooled_projections"].to(self.dtype)
        tokens = None if config.joint_attention_dim is None else arguments["encoder_hidden_states"].to(self.dtype)
        x = hidden if config.use_pos_embed else transformer.pos_embed(hidden)
        (made,) = self.network(
            hidden_states=x.to(self.dtype),
            timestep=arguments["timestep"],
            encoder_hidden_states=tokens,
            pooled_projections=pooled if self.is_told else torch.zeros_like(pooled),
            controlnet_cond=picture,
            conditioning_scale=strength,
            return_dict=False,
        )
        blocks = len(transformer.transformer_blocks)
        spread = [made[int(block / (blocks / len(made)))].to(hidden.dtype) for block in range(blocks)]
        return {"block_controlnet_hidden_states": spread}


class FluxControlNetwork(TransformerControl):
    """A `FluxControlNetModel`; where it is a union, `control_type` says what kind of picture it is shown."""

    family = "Flux"
    marks = ("num_single_layers", "axes_dims_rope", "pooled_projection_dim")

    def __init__(self, network: Any, name: str, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(network, name, device, dtype)
        self.control_type = UNTOLD
        self.sees_pixels = network.input_hint_block is not None
        entrance, width = network.controlnet_x_embedder.in_features, network.config.in_channels
        self._pixels = Pictures(3, PIXELS, device, dtype, is_signed=True)
        self._latents = LatentPictures(
            name, width // 4, device, dtype, sees_mask=entrance > width, is_shifted=True
        )  # four cells are a token

    def with_type(self, control_type: int) -> FluxControlNetwork:
        """The same for pictures of one kind, if it is a union; `UNTOLD` for any.

        Raises:
            ConditioningError: unions for Flux know no such kind.
        """
        if not self.network.union or control_type == UNTOLD:
            return self
        if control_type not in FLUX_MODES:
            raise ConditioningError(
                f"the ControlNet '{self.name}' is a union for Flux, which knows of SetUnionControlNetType's kinds "
                f"'openpose', 'depth', 'canny/lineart/anime_lineart/mlsd' and 'tile'; choose one of these, or 'auto'"
            )
        made = copy(self)
        made.control_type = FLUX_MODES[control_type]
        return made

    @cached_property
    def _untold(self) -> Any:
        """The network of a union that is told no kind: the token that says it is left out."""
        network: Any = shallow_copy(self.network)
        network.union = False
        return network

    def picture(self, link: AppliedControl, forward: ControlledForward, context: Context) -> Tensor:
        """The picture as the network takes it, in the order of rows: pixels [N, 3, H, W], or tokens [N, T, D].

        Raises:
            ConditioningError: it is for another family, or its VAE is.
        """
        from diffusers.pipelines.flux.pipeline_flux import FluxPipeline

        self._check(forward)
        if self.sees_pixels:
            return self._pixels.of(link.hint, forward)
        latent = self._latents.of(link, forward, context)
        packed: Tensor = FluxPipeline._pack_latents(latent.contiguous(), *latent.shape)
        return packed

    def residuals(
        self, transformer: Any, arguments: Mapping[str, Any], picture: Tensor, strength: float
    ) -> Mapping[str, Any]:
        """What it adds to a transformer's blocks, times `strength`: further arguments of the transformer.

        It sees the tokens of the latent alone, and adds nothing to those of pictures that the model is shown beside.
        """
        hidden, guidance = arguments["hidden_states"], None
        count = self._count(picture)
        if self.network.config.guidance_embeds:
            guidance = arguments.get("guidance")
            guidance = hidden.new_full((len(hidden),), USUAL_GUIDANCE) if guidance is None else guidance
        is_told = self.network.union and self.control_type != UNTOLD
        network = self.network if is_told or not self.network.union else self._untold
        double, single = network(
            hidden_states=hidden[:, :count].to(self.dtype),
            controlnet_cond=picture,
            controlnet_mode=picture.new_full((len(picture), 1), self.control_type, dtype=torch.long),
            conditioning_scale=strength,
            timestep=arguments["timestep"],
            guidance=guidance,
            pooled_projections=arguments["pooled_projections"].to(self.dtype),
            encoder_hidden_states=arguments["encoder_hidden_states"].to(self.dtype),
            txt_ids=arguments["txt_ids"],
            img_ids=arguments["img_ids"][:count],
            return_dict=False,
        )
        made = {}
        if double is not None:
            made["controlnet_block_samples"] = self._spread(double, len(transformer.transformer_blocks))
        if single is not None:
            made["controlnet_single_block_samples"] = _in_turn(single, len(transformer.single_transformer_blocks))
        return {name: [_as_long(each.to(hidden.dtype), hidden) for each in added] for name, added in made.items()}

    def _count(self, picture: Tensor) -> int:
        """Of tokens."""
        if not self.sees_pixels:
            return picture.shape[1]
        side = PIXELS * int(self.network.config.patch_size)
        return (picture.shape[-2] // side) * (picture.shape[-1] // side)

    def _spread(self, made: Sequence[Tensor], blocks: int) -> list[Tensor]:
        if self.sees_pixels:  # such networks were trained to be repeated
            return [made[block % len(made)] for block in range(blocks)]
        return _in_turn(made, blocks)


def edges_for_sd35(pixels: Tensor) -> Tensor:
    """Pixels 0..1 for Stability AI's ControlNet for edges: its VAE saw 255 / 2 of them + 1 / 2, not twice them - 1.

    Where its code for Stable Diffusion 3.5 does that, the VAE takes -1..1; here it takes 0..1.
    """
    return (pixels * 127.5 + 1.5) / 2


def _in_turn(made: Sequence[Tensor], blocks: int) -> list[Tensor]:
    """One for each block, as many blocks in a row with the same as it takes."""
    interval = math.ceil(blocks / len(made))
    return [made[block // interval] for block in range(blocks)]


def _as_long(residual: Tensor, hidden: Tensor) -> Tensor:
    """With zeros for the tokens that it has not."""
    return (
        residual
        if residual.shape[1] == hidden.shape[1]
        else pad(residual, (0, 0, 0, hidden.shape[1] - residual.shape[1]))
    )
