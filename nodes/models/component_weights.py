"""The parts of a checkpoint as its layouts give them: configurations, and weights under their networks' names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .weights_file import WeightsHeader, read_tensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from ..text.prompt_chunks import ChunkLayout

NamesFor = Callable[[dict[str, "Tensor"], "nn.Module"], dict[str, "Tensor"]]
OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Names in the VAE files of early Stable Diffusion → those of today."""


@dataclass(frozen=True)
class ComponentWeights:
    """The weights of one network.

    Attributes:
        paths: the files that they lie in. header: what of these files they are. names_for: gives them the names that
            the network has for them.
    """

    paths: Sequence[Path]
    header: WeightsHeader
    names_for: NamesFor

    def read(self, network: nn.Module, device: str) -> dict[str, Tensor]:
        """The weights by the network's names, on a device, as they are stored; scales as `weight_scales` says.

        Raises:
            ModelFileError: a file is damaged. KeyError: one that all such networks have is missing.
        """
        weights: dict[str, Tensor] = {}
        for path in self.paths:
            weights |= read_tensors(path, device, self.header.tensors if len(self.paths) == 1 else None)
        return self.names_for(weights, network)


class TextReading(NamedTuple):
    """What of a text encoder is its family's conditioning, if a workflow says nothing else.

    Attributes:
        layer: -1 for the last, -2 for the one before. is_normed: whether the final norm follows an earlier layer, too.
    """

    layer: int
    is_normed: bool


LAST_LAYER = TextReading(-1, True)
SDXL_READING = TextReading(-2, False)


class Components(Protocol):
    """Networks by the names that diffusers' pipelines have for them."""

    @property
    def name(self) -> str:
        """What the user calls them."""

    def weights(self, component: str) -> ComponentWeights:
        """The weights of a component.

        Raises:
            ModelFileError: there are none.
        """


class CheckpointFiles(Components, Protocol):
    """A checkpoint, whatever its layout."""

    def __hash__(self) -> int: ...

    @property
    def text_encoders(self) -> Sequence[str]:
        """The components that encode text, in the order in which their tokens are joined."""

    def reading(self, component: str) -> TextReading:
        """What of a text encoder is the conditioning."""

    def config(self, component: str) -> Mapping[str, Any]:
        """What diffusers' `config.json` of a component says (`scheduler_config.json` of the scheduler).

        Raises:
            ModelFileError: there is none, or it cannot be read.
        """

    def picture_statistics(self) -> Mapping[str, Tensor]:
        """`mean` and `std` of CLIP's embeddings, float32 [1, D] each, by which unCLIP models normalise pictures.

        Empty where the files say nothing: then nothing is to be normalised.

        Raises:
            ModelFileError: a file is damaged.
        """

    def tokenizer(self, component: str, length: int) -> tuple[Tokenizer, ChunkLayout]:
        """The tokenizer of a text encoder that takes chunks of `length` tokens.

        Raises:
            ModelFileError: it is missing or damaged.
        """


def names_of_today(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Weights under diffusers' names, or transformers'; those that the network computes itself are left out.

    Early VAE files name attention otherwise, and transformers 4 and 5 differ in the prefix of text encoders.
    """
    wanted = network.state_dict().keys()
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        known = next((other for other in _other_names(name) if other in wanted), name)
        if not known.endswith("position_ids"):
            named[known] = tensor
    return named


def _other_names(name: str) -> Iterator[str]:
    yield name
    yield f"text_model.{name}"
    yield name.removeprefix("text_model.")
    for old, new in OLD_ATTENTION.items():
        yield name.replace(old, new)


def one_line(error: Exception) -> str:
    """What a library says, for a sentence of ours."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}..."
