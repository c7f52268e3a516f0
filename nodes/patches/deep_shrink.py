"""Deep shrink: a U-Net draws large pictures as if they were small at first (Kohya's method, published in 2023 with no
paper: features are made smaller at one block on the way down, and their size is restored at its skip connection)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mezzotint import Context, Model, Widget, node, value_type

from ..resize import resize
from ..sampling.network_change import Around, Forward, NetworkChangeError, NoiseRange, with_change
from .unet_blocks import MIDDLE, InputBlock, input_blocks, output_blocks, require_unet

if TYPE_CHECKING:
    from torch import Tensor, nn

NODE = "PatchModelAddDownscale"
Percent = Annotated[float, Field(ge=0, le=1), Widget(step=0.001)]
ResizeMethod = Literal["bicubic", "nearest-exact", "bilinear", "area", "bislerp"]
Size = tuple[int, int]


@value_type("mezzotint.DeepShrink")
@dataclass(frozen=True, slots=True)
class DeepShrink:
    """A `NetworkChange`.

    Attributes:
        block: after which input block features are made smaller. factor: by which sides are divided.
        low, high: the noise levels at which they are. keeps_skip: whether that block's skip connection stays as it is.
        shrink, enlarge: how their size is changed.
    """

    block: int
    factor: float
    low: float
    high: float
    keeps_skip: bool
    shrink: ResizeMethod
    enlarge: ResizeMethod

    def around(self, network: nn.Module) -> Mapping[str, Around]:
        unet = require_unet(network, NODE)
        blocks = input_blocks(unet)
        if self.block >= len(blocks):
            raise NetworkChangeError(
                f"{NODE}: block_number is {self.block}, and the model has input blocks 1 to {len(blocks) - 1}"
            )
        sizes = partial(self._sizes, blocks, unet.config.downsample_padding)
        found: dict[str, Around] = {"": partial(self._fit_residuals, blocks, sizes)}
        for block, index in zip(output_blocks(unet), range(len(blocks) - 1, -1, -1), strict=True):
            upsampled = self._upsample if block.is_upsampled else self._enlarge
            found[block.before] = partial(upsampled, sizes, index)
        following = blocks[self.block + 1].first if self.block + 1 < len(blocks) else MIDDLE
        if self.keeps_skip:
            found[following] = self._both(self._shrink_input, found.get(following))
        else:
            found[blocks[self.block].last] = self._shrink_output
        return found

    def _both(self, first: Around, second: Around | None) -> Around:
        if second is None:
            return first
        outer = second

        def both(forward: Forward, compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return outer(forward, partial(first, forward, compute), *args, **kwargs)

        return both

    def _acts(self, forward: Forward) -> bool:
        return self.low <= forward.sigma <= self.high

    def _smaller(self, size: Size) -> Size:
        return max(round(size[0] / self.factor), 1), max(round(size[1] / self.factor), 1)

    def _sizes(self, blocks: Sequence[InputBlock], padding: int, size: Size) -> list[Size]:
        """Of each skip connection, for a latent of a size."""
        found = []
        for index, block in enumerate(blocks):
            if block.is_downsampler:
                size = (size[0] + padding) // 2, (size[1] + padding) // 2
            smaller = self._smaller(size) if index == self.block else size
            found.append(size if self.keeps_skip else smaller)
            size = smaller
        return found

    # what modules compute

    def _shrink_input(self, forward: Forward, compute: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return compute(self._shrunk(x) if self._acts(forward) else x, *args, **kwargs)

    def _shrink_output(self, forward: Forward, compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        output = compute(*args, **kwargs)
        return _mapped(output, self._shrunk) if self._acts(forward) else output

    def _shrunk(self, x: Tensor) -> Tensor:
        height, width = self._smaller((x.shape[-2], x.shape[-1]))
        return resize(x, width, height, self.shrink)

    def _enlarge(
        self,
        sizes: Callable[[Size], list[Size]],
        index: int,
        forward: Forward,
        compute: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        output = compute(*args, **kwargs)
        if not self._acts(forward):
            return output
        return _mapped(output, lambda x: _fitted(x, sizes(forward.size)[index], self.enlarge))

    def _upsample(
        self,
        sizes: Callable[[Size], list[Size]],
        index: int,
        forward: Forward,
        compute: Callable[..., Any],
        x: Tensor,
        output_size: Any = None,
    ) -> Any:
        """The upsampler goes to the size of the skip connection that comes next."""
        return compute(x, sizes(forward.size)[index] if self._acts(forward) else output_size)

    def _fit_residuals(
        self,
        blocks: Sequence[InputBlock],
        sizes: Callable[[Size], list[Size]],
        forward: Forward,
        compute: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """What ControlNets and T2I-Adapters add goes to smaller features, too."""
        if not self._acts(forward):
            return compute(*args, **kwargs)
        wanted = sizes(forward.size)
        for name, places in _added_to(blocks, kwargs.get("down_intrablock_additional_residuals")).items():
            if (given := kwargs.get(name)) is not None:
                many = [given] if name == "mid_block_additional_residual" else given
                fitted = [_fitted(x, wanted[place], self.shrink) for x, place in zip(many, places, strict=True)]
                kwargs[name] = fitted[0] if many is not given else fitted
        return compute(*args, **kwargs)


def _added_to(blocks: Sequence[InputBlock], within_levels: Sequence[Tensor] | None) -> dict[str, list[int]]:
    """For each argument of a U-Net with residuals, the input blocks to whose outputs they are added."""
    return {
        "down_block_additional_residuals": [*range(len(blocks))],
        "mid_block_additional_residual": [len(blocks) - 1],
        "down_intrablock_additional_residuals": [_end_of(blocks, level) for level in range(len(within_levels or ()))],
    }


def _end_of(blocks: Sequence[InputBlock], level: int) -> int:
    """The block at whose end a level takes what is added within it: its last with attention, else its last."""
    of_level = [index for index, block in enumerate(blocks) if block.level == level]
    attended = [index for index in of_level if ".attentions." in blocks[index].last]
    return (attended or of_level or [len(blocks) - 1])[-1]


def _fitted(x: Tensor, size: Size, method: ResizeMethod) -> Tensor:
    return x if tuple(x.shape[-2:]) == size else resize(x, size[1], size[0], method)


def _mapped(output: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """An output with its first tensor changed: attention modules give theirs in a tuple."""
    return (function(output[0]), *output[1:]) if isinstance(output, tuple) else function(output)


@node(NODE, title="PatchModelAddDownscale (Kohya Deep Shrink)", category="model_patches/unet")
def patch_model_add_downscale(
    model: Model,
    block_number: Annotated[int, Field(ge=1, le=32, description="Behind which input block.")] = 3,
    downscale_factor: Annotated[float, Field(ge=0.1, le=9), Widget(step=0.001)] = 2.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 0.35,
    downscale_after_skip: bool = True,
    downscale_method: ResizeMethod = "bicubic",
    upscale_method: ResizeMethod = "bicubic",
    *,
    ctx: Context,
) -> Model:
    """Draw a large picture as if it were a small one in the first part of the run, so that nothing appears twice."""
    low, high = NoiseRange.of(model, start_percent, end_percent, ctx)
    shrink = DeepShrink(
        block_number, downscale_factor, low, high, downscale_after_skip, downscale_method, upscale_method
    )
    return with_change(model, shrink)
