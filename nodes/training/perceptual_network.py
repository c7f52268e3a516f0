"""Networks whose features say how alike pictures look: VGG and AlexNet as LPIPS uses them, or any vision encoder.

LPIPS (Zhang et al. 2018): features after ReLUs, of unit length at each place; their squared differences are weighed by
learnt heads, averaged over places and summed over layers. Without heads all channels weigh 1.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, relu

from mezzotint.engine.context import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from ..models.weights_file import read_header, read_tensors
from ..models.weights_source import weights_path
from .loss import encoder_features

if TYPE_CHECKING:
    from ..models.recipe import Source

LAYER = re.compile(r"(?:features|net\.slice\d+)\.(\d+)\.(weight|bias)")
HEAD = re.compile(r"(?:lin|lins\.)(\d+)\.model\.1\.weight")
"""Names of torchvision and of LPIPS, where slices keep the numbers of torchvision; and of the heads of LPIPS."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of colours in -1..1: the mean and deviation of ImageNet."""
ENCODER_LAYERS = 4
"""So many layers of a vision encoder are compared, evenly over its depth."""


class Step(NamedTuple):
    """A convolution and its ReLU, before which there may be a pooling. is_compared: whether this gives a feature."""

    number: int
    stride: int
    padding: int
    is_pooled_before: bool
    is_compared: bool


@dataclass(frozen=True, eq=False)
class ConvolutionFeatures:
    """A plain stack of convolutions, as VGG and AlexNet are.

    Attributes:
        steps: in order. pool: side of what is pooled, 2 or 3, each time by 2. weights: by number and kind, float32.
        heads: of each feature [C], or None.
    """

    steps: tuple[Step, ...]
    pool: int
    weights: Mapping[tuple[int, str], Tensor]
    heads: tuple[Tensor, ...] | None

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Of pictures [B, 3, H, W] in -1..1, with gradients."""
        shift, scale = (pixels.new_tensor(numbers).view(1, 3, 1, 1) for numbers in (SHIFT, SCALE))
        hidden, found = (pixels.float() - shift) / scale, []
        for step in self.steps:
            if step.is_pooled_before:
                hidden = max_pool2d(hidden, self.pool, 2)
            weight, bias = self.weights[step.number, "weight"], self.weights.get((step.number, "bias"))
            hidden = relu(nn.functional.conv2d(hidden, weight, bias, step.stride, step.padding))
            if step.is_compared:
                found.append(hidden)
        return found


class AutoencoderFeatures:
    """The levels of the encoder of a VAE."""

    heads = None

    def __init__(self, network: Any) -> None:
        self.network = network

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Of pictures [B, 3, H, W] in -1..1, with gradients."""
        return encoder_features(self.network, pixels)


class VisionFeatures:
    """Layers of a vision transformer, evenly over its depth: what it says of each patch."""

    heads = None

    def __init__(self, network: Any) -> None:
        self.network = network

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Of pictures [B, 3, H, W] in -1..1, with gradients, scaled to the side that the network reads."""
        from ..adapters.clip_vision_network import DEVIATION, MEAN

        side, network = int(self.network.config.image_size), self.network
        mean, deviation = (pixels.new_tensor(numbers).view(1, 3, 1, 1) for numbers in (MEAN, DEVIATION))
        scaled = interpolate(pixels.float(), (side, side), mode="bicubic", antialias=True)
        states = network(((scaled + 1) / 2 - mean) / deviation, output_hidden_states=True).hidden_states
        depth = len(states) - 1
        chosen = sorted({round(depth * (index + 1) / ENCODER_LAYERS) for index in range(ENCODER_LAYERS)} - {0})
        return [states[layer][:, 1:].movedim(1, 2)[..., None] for layer in chosen]


FeatureNetwork = ConvolutionFeatures | AutoencoderFeatures | VisionFeatures


def feature_network_of(borrowed: Any) -> FeatureNetwork:
    """The features of what a `features` link stands for: a VAE, a vision encoder, or a network of these here."""
    from ..adapters.clip_vision_network import ClipVision

    if isinstance(borrowed, ConvolutionFeatures):
        return borrowed
    return (VisionFeatures if isinstance(borrowed, ClipVision) else AutoencoderFeatures)(borrowed.network)


@contextmanager
def borrowed_features(recipe: Any | None, ctx: Context) -> Iterator[FeatureNetwork | None]:
    """The same of a recipe, borrowed for a while; None of none."""
    if recipe is None:
        yield None
        return
    with ctx.models.borrow(recipe) as borrowed:
        yield feature_network_of(borrowed)


def load_convolutions(source: Source, heads: Source | None, residency: Residency) -> Loaded:
    """`ConvolutionFeatures` of a file, with heads of another one, or of its own if it has them.

    Raises:
        MissingModelError: a file is gone. ModelFileError: it is no VGG or AlexNet, or heads of another network.
        OutOfMemoryError: it does not fit.
    """
    path = weights_path(source, residency.folders)
    header = read_header(path)
    found = {name: match for name in header.tensors if (match := LAYER.fullmatch(name))}
    steps, pool = _steps({int(m[1]): header.shapes[n] for n, m in found.items() if m[2] == "weight"}, source.name)
    residency.reserve(4 * sum(map(_count, (header.shapes[name] for name in found))), f"loading '{source.name}'")
    with torch.inference_mode(False):
        tensors = read_tensors(path, residency.device, found)
        weights = {(int(found[name][1]), found[name][2]): tensor.float() for name, tensor in tensors.items()}
        widths = [weights[step.number, "weight"].shape[0] for step in steps if step.is_compared]
        made = ConvolutionFeatures(steps, pool, weights, _heads(heads or source, heads is not None, widths, residency))
    return Loaded(made, sum(tensor.nbytes for tensor in weights.values()))


def _steps(shapes: Mapping[int, Sequence[int]], name: str) -> tuple[tuple[Step, ...], int]:
    """What the numbers of the convolutions tell: between two lie a ReLU, or a ReLU and a pooling."""
    numbers = sorted(number for number, shape in shapes.items() if len(shape) == 4)
    gaps = [later - earlier for earlier, later in itertools.pairwise(numbers)]
    if len(numbers) < 2 or len(numbers) != len(shapes) or numbers[0] != 0 or {*gaps} - {2, 3}:
        raise ModelFileError(
            f"'{name}' is no VGG or AlexNet in the layout of torchvision or LPIPS (convolutions features.0.weight "
            f"and so on, without batch norms); use vgg16 or alexnet"
        )
    is_alex = shapes[0][-1] == 11
    after = [*gaps, 3]
    steps = [
        Step(number, 4 if is_alex and number == 0 else 1, _padding(number, shapes[number], is_alex), before == 3,
             is_alex or gap == 3)
        for number, before, gap in zip(numbers, [0, *gaps], after, strict=True)
    ]  # fmt: skip
    return tuple(steps), 3 if is_alex else 2


def _padding(number: int, shape: Sequence[int], is_alex: bool) -> int:
    return 2 if is_alex and number == 0 else shape[-1] // 2


def _heads(source: Source, is_wanted: bool, widths: list[int], residency: Residency) -> tuple[Tensor, ...] | None:
    """The heads in a file, for features of these widths; None where it has none, and they are not wanted."""
    path = weights_path(source, residency.folders)
    names = {int(match[1]): name for name in read_header(path).tensors if (match := HEAD.fullmatch(name))}
    if not names and not is_wanted:
        return None
    tensors = read_tensors(path, residency.device, names.values())
    heads = [tensors[names[number]].float().flatten() for number in sorted(names)]
    if [len(head) for head in heads] != widths:
        raise ModelFileError(
            f"'{source.name}' holds LPIPS heads for features of {[len(head) for head in heads]} channels, and the "
            f"network has {widths}; use those that belong to it"
        )
    return tuple(heads)


def _count(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())
