"""Pictures that steer a network, as it takes them: in the size of a forward, as pixels or as latents."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..autoencoders.vae import encoded
from ..latents.box import Box
from ..resize import resize
from ..sampling.control import ControlledForward
from ..sampling.network_call import ConditioningError, for_each
from ..tensor_value import TensorValue

if TYPE_CHECKING:
    from mezzotint.engine.context import Context

    from .control_chain import AppliedControl

MAX_REMEMBERED = 8
"""How many pictures are remembered in the size that is wanted."""
HIDDEN = 0.5
"""Where a mask is more, nothing of the picture is shown."""


class Pictures:
    """Hints in the size of a forward, on the device; the last few are remembered, since each step asks for the same.

    Args:
        channels: 3, or 1 for grey. scale: pixels to a cell of the latent, each way. is_signed: whether the network
            takes -1..1, not 0..1.
    """

    def __init__(
        self, channels: int, scale: int, device: torch.device, dtype: torch.dtype, is_signed: bool = False
    ) -> None:
        self.channels, self.scale, self.device, self.dtype = channels, scale, device, dtype
        self.is_signed = is_signed
        self._fitted: OrderedDict[Any, Tensor] = OrderedDict()

    def of(self, hint: TensorValue, forward: ControlledForward) -> Tensor:
        """[N, channels, height, width] of the forward's part of the picture, which fills the latent, cut evenly."""
        whole: Tensor = remembered(self._fitted, (hint, forward.size), lambda: self._resized(hint, forward.size))
        return part_of(whole, forward, self.scale)

    def _resized(self, hint: TensorValue, size: tuple[int, int]) -> Tensor:
        fitted = fitting(hint.tensor, size, self.scale)
        if self.channels == 1:
            fitted = fitted.mean(1, keepdim=True)
        if self.is_signed:
            fitted = fitted * 2 - 1
        return fitted.to(self.device, self.dtype)


class LatentPictures:
    """Hints as latents of the VAE that their link has, scaled for the network; the last few are remembered.

    Args:
        name: what the user calls the ControlNet, for messages. channels: of the latent. sees_mask: whether the mask
            comes behind them as one more. is_shifted: whether latents are shifted as those of the model are.
        prepare: what pixels 0..1 become, where the network was trained on others.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        device: torch.device,
        dtype: torch.dtype,
        *,
        sees_mask: bool,
        is_shifted: bool,
        prepare: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.name, self.channels, self.device, self.dtype = name, channels, device, dtype
        self.sees_mask, self.is_shifted, self.prepare = sees_mask, is_shifted, prepare
        self._latents: OrderedDict[Any, Tensor] = OrderedDict()

    def of(self, link: AppliedControl, forward: ControlledForward, context: Context) -> Tensor:
        """[N, channels (+ 1), h, w] of the forward's part of the picture, which fills the latent, cut evenly.

        Raises:
            ConditioningError: the link has the VAE of another model.
        """
        key = link.hint, link.mask, link.vae, forward.size
        return part_of(remembered(self._latents, key, lambda: self._encoded(link, forward, context)), forward, 1)

    def _encoded(self, link: AppliedControl, forward: ControlledForward, context: Context) -> Tensor:
        sampling = forward.sampling
        assert sampling is not None
        pixels = fitting(link.hint.tensor, forward.size, sampling.downscale)
        keep = self._keep(link, forward.size, sampling.downscale) if self.sees_mask else None
        if keep is not None:  # black, as networks that fill in were trained
            count = max(len(pixels), len(keep))
            pixels = for_each(pixels, count) * for_each(keep, count)
        if self.prepare is not None:
            pixels = self.prepare(pixels)
        with context.models.borrow(link.vae) as autoencoder:
            latent = encoded(pixels.movedim(1, -1), autoencoder, context)
        if latent.shape[1] != self.channels:
            raise ConditioningError(
                f"the ControlNet '{self.name}' is shown latents of {self.channels} channels, and the VAE that is "
                f"linked with it makes {latent.shape[1]}; link the VAE that belongs to the model"
            )
        latent = (latent - (sampling.shift_factor if self.is_shifted else 0)) * sampling.scaling_factor
        if keep is not None:
            cells = interpolate(keep, latent.shape[-2:])
            count = max(len(latent), len(cells))
            latent = torch.cat([for_each(latent, count), for_each(cells, count)], dim=1)
        return latent.to(self.device, self.dtype)

    def _keep(self, link: AppliedControl, size: tuple[int, int], scale: int) -> Tensor:
        """[B, 1, height, width]: 1 where the picture stays, 0 where something is to be drawn."""
        assert link.mask is not None
        return (fitting(link.mask.tensor[..., None], size, scale) <= HIDDEN).float()


def fitting(picture: Tensor, size: tuple[int, int], scale: int) -> Tensor:
    """[B, 3 or 1, height, width]: the middle of a picture [B, H, W, C] in the proportions of a latent (h, w)."""
    height, width = size
    pixels = picture[..., :3].movedim(-1, 1)
    return resize(pixels, width * scale, height * scale, "nearest-exact", "center")


def part_of(whole: Tensor, forward: ControlledForward, scale: int) -> Tensor:
    """[N, ...]: of pictures [B, C, h * scale, w * scale], the one for each row of a forward, and its area of them."""
    rows = whole if len(whole) == 1 else whole[[k % len(whole) for k in forward.latents]]
    if forward.box is not None:
        rows = Box(*(scale * side for side in forward.box)).of(rows)
    return rows.expand(len(forward.x), -1, -1, -1)


def remembered(memory: OrderedDict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    """What is in a memory of a few, made if need be."""
    if key in memory:
        memory.move_to_end(key)
        return memory[key]
    if len(memory) >= MAX_REMEMBERED:
        memory.popitem(last=False)
    made = memory[key] = make()
    return made
