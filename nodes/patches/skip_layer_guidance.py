"""Skip-layer guidance: away from what a transformer predicts without some of its blocks.

Spatiotemporal Skip Guidance, Hyung et al. 2024, arXiv 2411.18664, equation 5; as Stability AI gave it out with Stable
Diffusion 3.5 Medium.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mezzotint import Context, Model, Requests, Widget, node, value_type

from ..sampling.guidance import guided as guided_away
from ..sampling.guidance import with_adjustment
from ..sampling.network_change import Around, Forward, NetworkChangeError, NoiseRange

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..sampling.guidance import Guided

STACKS = ("transformer_blocks", "blocks", "layers"), ("single_transformer_blocks",)
"""What transformers call their blocks, of two kinds: those for text and picture apart (or all), and joint ones."""

Layers = Annotated[str, Field(description="The numbers of the blocks, from 0, with commas between.")]
Scale = Annotated[float, Field(ge=0, le=10), Widget(step=0.1)]
Percent = Annotated[float, Field(ge=0, le=1), Widget(step=0.001)]


@value_type("mezzotint.SkippedLayers")
@dataclass(frozen=True, slots=True)
class SkippedLayers:
    """A `NetworkChange`: blocks of a transformer that hand on what they get. double, single: their numbers, by kind."""

    double: tuple[int, ...]
    single: tuple[int, ...]
    node_name: str

    def around(self, network: nn.Module) -> Mapping[str, Around]:
        wanted = zip(STACKS, (self.double, self.single), strict=True)
        return {name: around for names, layers in wanted if layers for name, around in self._of(network, names, layers)}

    def _of(self, network: nn.Module, names: tuple[str, ...], layers: tuple[int, ...]) -> Iterator[tuple[str, Around]]:
        stack = next((name for name in names if hasattr(network, name)), None)
        if stack is None:
            raise NetworkChangeError(
                f"{self.node_name}: the model's network ({type(network).__name__}) has no blocks of this kind "
                f"({' or '.join(names)}), as transformers have; remove the node"
            )
        blocks: Any = getattr(network, stack)
        for layer in layers:
            if layer >= len(blocks):
                raise NetworkChangeError(
                    f"{self.node_name}: layer {layer} is to be skipped, and the model's {stack} are numbered 0 to "
                    f"{len(blocks) - 1}"
                )
            yield f"{stack}.{layer}", partial(_handing_on, self._metadata(blocks[layer]))

    def _metadata(self, block: nn.Module) -> Any:
        """What diffusers knows of how a kind of block is called and what it returns."""
        from diffusers.hooks._helpers import TransformerBlockRegistry

        for each in type(block).__mro__:
            try:
                return TransformerBlockRegistry.get(each)
            except ValueError:
                continue
        raise NetworkChangeError(
            f"{self.node_name}: diffusers does not know how to skip a {type(block).__name__}, which the model is made "
            f"of; remove the node"
        )


def _handing_on(metadata: Any, forward: Forward, compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    given: Callable[..., Any] = metadata._get_parameter_from_args_kwargs
    picture = given(metadata.hidden_states_argument_name, args, kwargs)
    if metadata.return_encoder_hidden_states_index is None:
        return picture
    text = given(metadata.encoder_hidden_states_argument_name, args, kwargs)
    return (text, picture) if metadata.return_hidden_states_index else (picture, text)


@value_type("mezzotint.SkipLayerGuidance")
@dataclass(frozen=True, slots=True)
class SkipLayerGuidance:
    """An `Adjustment`: guided + scale * (conditional - prediction without the layers), at levels from low to high.

    Attributes:
        rescale: the share to which the result then gets the deviation of the conditional prediction.
    """

    skipped: SkippedLayers
    scale: float
    low: float
    high: float
    rescale: float = 0.0
    needs_negative = False

    def __call__(self, guided: Guided) -> Requests[Tensor]:
        if not self.low <= guided.sigma <= self.high:
            return guided.prediction
        without = yield from guided.again(self.skipped, guided.x)
        made = guided.prediction + (guided.conditional - without) * self.scale
        if self.rescale:
            axes = tuple(range(1, made.ndim))
            deviation = guided.conditional.std(axes, keepdim=True) / made.std(axes, keepdim=True)
            made = made * (1 + (deviation - 1) * self.rescale)
        return made


@value_type("mezzotint.SkippedInNegative")
@dataclass(frozen=True, slots=True)
class SkippedInNegative:
    """An `Adjustment`: the usual guidance, away from what is predicted without the layers."""

    skipped: SkippedLayers
    low: float
    high: float
    needs_negative = False

    def __call__(self, guided: Guided) -> Requests[Tensor]:
        if guided.unconditional is None or not self.low <= guided.sigma <= self.high:
            return guided.prediction
        without = yield from guided.again(self.skipped, guided.x, is_negative=True)
        return guided_away(guided.conditional, without, guided.scale)


def layer_numbers(text: str) -> tuple[int, ...]:
    """The whole numbers in a text, each once, in order."""
    return tuple(dict.fromkeys(int(number) for number in re.findall(r"\d+", text)))


@node("SkipLayerGuidanceSD3", category="advanced/guidance")
def skip_layer_guidance_sd3(
    model: Model,
    layers: Layers = "7, 8, 9",
    scale: Scale = 3.0,
    start_percent: Percent = 0.01,
    end_percent: Percent = 0.15,
    *,
    ctx: Context,
) -> Model:
    """Guide away from what a transformer draws without some of its blocks, for better structure, as for SD3.5 Medium.

    Each step of that part of the run takes one evaluation more.
    """
    skipped = SkippedLayers(layer_numbers(layers), (), "SkipLayerGuidanceSD3")
    if not skipped.double or not scale:
        return model
    low, high = NoiseRange.of(model, start_percent, end_percent, ctx)
    return with_adjustment(model, SkipLayerGuidance(skipped, scale, low, high))


@node("SkipLayerGuidanceDiT", category="advanced/guidance")
def skip_layer_guidance_dit(
    model: Model,
    double_layers: Layers = "7, 8, 9",
    single_layers: Layers = "7, 8, 9",
    scale: Scale = 3.0,
    start_percent: Percent = 0.01,
    end_percent: Percent = 0.15,
    rescaling_scale: Annotated[float, Field(ge=0, le=10), Widget(step=0.01)] = 0.0,
    *,
    ctx: Context,
) -> Model:
    """SkipLayerGuidanceSD3 for all transformers; in single layers, text and picture are one."""
    skipped = SkippedLayers(layer_numbers(double_layers), layer_numbers(single_layers), "SkipLayerGuidanceDiT")
    if not (skipped.double or skipped.single) or not scale:
        return model
    low, high = NoiseRange.of(model, start_percent, end_percent, ctx)
    return with_adjustment(model, SkipLayerGuidance(skipped, scale, low, high, rescaling_scale))


@node("SkipLayerGuidanceDiTSimple", category="advanced/guidance")
def skip_layer_guidance_dit_simple(
    model: Model,
    double_layers: Layers = "7, 8, 9",
    single_layers: Layers = "7, 8, 9",
    start_percent: Percent = 0.0,
    end_percent: Percent = 1.0,
    *,
    ctx: Context,
) -> Model:
    """Predict for the negative prompt without some of the blocks."""
    skipped = SkippedLayers(layer_numbers(double_layers), layer_numbers(single_layers), "SkipLayerGuidanceDiTSimple")
    if not (skipped.double or skipped.single):
        return model
    low, high = NoiseRange.of(model, start_percent, end_percent, ctx)
    return with_adjustment(model, SkippedInNegative(skipped, low, high), is_first=True)
