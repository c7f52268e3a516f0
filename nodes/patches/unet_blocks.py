"""The order in which diffusers' `UNet2DConditionModel` calls its modules: what it keeps for later, and where that is
joined to what comes back up.

Input block 0 is the first convolution; then each residual block (with the attention after it) and each downsampler is
one. Each leaves a skip connection, and the output blocks take them in the opposite order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..sampling.network_change import NetworkChangeError

if TYPE_CHECKING:
    from torch import nn

MIDDLE = "mid_block"


class InputBlock(NamedTuple):
    """A part of the way down.

    Attributes:
        first, last: the modules that its input enters, and that its output comes from. level: which of `down_blocks`.
        is_downsampler: whether it makes its input smaller.
    """

    first: str
    last: str
    level: int
    is_downsampler: bool = False


class OutputBlock(NamedTuple):
    """A part of the way up.

    Attributes:
        resnet: its residual block, which takes what comes from below, of so many `channels`, with a skip connection.
        before: the module that what comes from below comes from. is_upsampled: whether that is an upsampler.
    """

    resnet: str
    channels: int
    before: str
    is_upsampled: bool = False


def require_unet(network: nn.Module, node_name: str) -> Any:
    """The network, if it is a U-Net whose blocks are known. Raises NetworkChangeError: it is another."""
    blocks = [*getattr(network, "down_blocks", ()), *getattr(network, "up_blocks", ())]
    if not blocks or getattr(network, MIDDLE, None) is None or not all(hasattr(each, "resnets") for each in blocks):
        raise NetworkChangeError(
            f"{node_name}: the model's network ({type(network).__name__}) is no U-Net, which it works on, as of Stable "
            f"Diffusion 1, 2 or XL; remove the node"
        )
    return network


def input_blocks(unet: Any) -> list[InputBlock]:
    """The way down, in order."""
    blocks = [InputBlock("conv_in", "conv_in", 0)]
    for level, block in enumerate(unet.down_blocks):
        at = f"down_blocks.{level}"
        blocks += [InputBlock(f"{at}.resnets.{i}", _end(block, at, i), level) for i in range(len(block.resnets))]
        for i in range(len(block.downsamplers or ())):
            name = f"{at}.downsamplers.{i}"
            blocks.append(InputBlock(name, name, level, is_downsampler=True))
    return blocks


def output_blocks(unet: Any) -> list[OutputBlock]:
    """The way up, in order."""
    blocks, before, is_upsampled = [], MIDDLE, False
    channels = unet.mid_block.resnets[-1].out_channels
    for level, block in enumerate(unet.up_blocks):
        at = f"up_blocks.{level}"
        for i, resnet in enumerate(block.resnets):
            blocks.append(OutputBlock(f"{at}.resnets.{i}", channels, before, is_upsampled))
            before, channels, is_upsampled = _end(block, at, i), resnet.out_channels, False
        if block.upsamplers:
            before, is_upsampled = f"{at}.upsamplers.{len(block.upsamplers) - 1}", True
    return blocks


def self_attention(network: nn.Module, below: str = "") -> list[str]:
    """The names of a U-Net's self-attention modules, of those that lie below one."""
    return [
        name
        for name, module in network.named_modules()
        if name.startswith(below) and name.endswith(".attn1") and not getattr(module, "is_cross_attention", False)
    ]


def _end(block: Any, at: str, index: int) -> str:
    """What the output of a residual block with its attention comes from."""
    has_attention = len(getattr(block, "attentions", None) or ()) > index
    return f"{at}.{'attentions' if has_attention else 'resnets'}.{index}"


def attention_grid(size: tuple[int, int], tokens: int) -> tuple[int, int, int] | None:
    """How the tokens of a picture lie: rows, columns, and how often the latent of a size was halved for them.

    None where they lie in no grid of its proportions.
    """
    (height, width), depth = size, 0
    while height * width > tokens:
        height, width, depth = -(-height // 2), -(-width // 2), depth + 1
    if height * width == tokens:
        return height, width, depth
    # Smaller for other reasons, such as a deep shrink.
    height = max(round((tokens * size[0] / size[1]) ** 0.5), 1)
    return None if tokens % height else (height, tokens // height, max(depth - 1, 0))
