"""Files of hypernetworks: for each width of what attention reads, a small network for keys and one for values.

The published format is a pickle: the widths as numbers, each with two tables of tensors, and beside them words on how
the networks are put together, all of which may be missing. A safetensors file has the same tensors as
`768.0.linear.0.weight` (0 for keys, 1 for values) and the same words in its metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mezzotint.engine.errors import ModelFileError

from ..models.file_content import file_content
from ..models.pickle_file import pickle_content
from ..models.weights_file import PICKLE_SUFFIXES, read_header, read_tensors

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]
ACTIVATION, ACTIVATES_OUTPUT = "activation_func", "activate_output"
"""Words in files: what follows each layer but the last ("linear" and none are the same), and whether that, too."""
OLDER_NAMES = {"linear1": "linear.0", "linear2": "linear.1"}
LINEAR, NORM = 2, 1
"""How many axes a layer's weight has."""


class Layer(NamedTuple):
    """A linear layer, weight [out, in], or a layer norm, weight [width]; bias [out] or [width]."""

    weight: Tensor
    bias: Tensor

    @property
    def is_linear(self) -> bool:
        return self.weight.ndim == LINEAR


class Hypernetwork(NamedTuple):
    """What a file holds.

    Attributes:
        networks: width → the layers before keys, and those before values. activation: its name, lower case; None for
            none. activates_output: whether it follows the last layer, too.
    """

    networks: Mapping[int, tuple[list[Layer], list[Layer]]]
    activation: str | None
    activates_output: bool


def read_hypernetwork(path: Path, name: str) -> Hypernetwork:
    """The content of a file; on the CPU, and where possible not read before it is used.

    Args:
        name: what the user calls it, for messages.

    Raises:
        ModelFileError: it is damaged, no hypernetwork, or a pickle where these are refused.
    """
    networks, words = _pickled(path) if path.suffix.lower() in PICKLE_SUFFIXES else _safe(path)
    if not networks:
        what = file_content(str(key) for key in words)
        raise ModelFileError(
            f"'{name}' is no hypernetwork: nothing in it is named by a width such as 768; it looks like {what}"
        )
    try:
        made = {width: (_layers(width, keys), _layers(width, values)) for width, (keys, values) in networks.items()}
    except (KeyError, ValueError) as error:
        raise ModelFileError(f"the hypernetwork '{name}' is damaged ({error}); fetch it again") from None
    activation = str(words.get(ACTIVATION) or "linear").lower()
    is_activated = str(words.get(ACTIVATES_OUTPUT, True)).lower() in ("true", "1")
    return Hypernetwork(made, None if activation in ("linear", "none") else activation, is_activated)


def _pickled(path: Path) -> tuple[dict[int, tuple[Tensors, Tensors]], Mapping[Any, Any]]:
    content = pickle_content(path)
    networks = {}
    for width, pair in content.items():
        is_pair = isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(each, Mapping) for each in pair)
        if str(width).isdigit() and is_pair:
            networks[int(width)] = pair[0], pair[1]
    return networks, content


def _safe(path: Path) -> tuple[dict[int, tuple[Tensors, Tensors]], Mapping[str, Any]]:
    header = read_header(path)
    networks: dict[int, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
    for name, tensor in read_tensors(path, "cpu").items():
        if found := re.fullmatch(r"(\d+)\.([01])\.(.+)", name):
            networks.setdefault(int(found[1]), ({}, {}))[int(found[2])][found[3]] = tensor
    return {**networks}, header.metadata if networks else dict.fromkeys(header.tensors)


def _layers(width: int, tensors: Tensors) -> list[Layer]:
    """In their order. Raises KeyError, ValueError: they do not follow on each other."""
    named = {_name_of_today(name): tensor for name, tensor in tensors.items()}
    places = sorted(int(found[1]) for name in named if (found := re.fullmatch(r"linear\.(\d+)\.weight", name)))
    layers = [Layer(named[f"linear.{place}.weight"], named[f"linear.{place}.bias"]) for place in places]
    reached = width
    for layer in layers:
        if layer.weight.shape[-1] != reached or layer.weight.ndim not in (LINEAR, NORM):
            raise ValueError(f"of the network for {width}, a layer of {[*layer.weight.shape]} follows on {reached}")
        reached = layer.weight.shape[0]
    if not layers or reached != width:
        raise ValueError(f"the network for {width} gives {reached}" if layers else f"no layers for {width}")
    return layers


def _name_of_today(name: str) -> str:
    module, _, end = name.rpartition(".")
    return f"{OLDER_NAMES.get(module, module)}.{end}"
