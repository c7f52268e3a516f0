"""Weights in pickles, read by torch's loader that makes tensors and runs nothing; only where a user has allowed it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import ModelFileError

if TYPE_CHECKING:
    from torch import Tensor

SWITCH = "--allow-pickles"
STATE_DICTS = "state_dict", "params_ema", "params-ema", "params", "model", "net"
"""Where training scripts put the weights, beside what they were busy with; the first that is there is taken."""


class PickleSwitch:
    """Whether pickles are read in this process."""

    is_on = False


def pickle_refused(path: Path) -> ModelFileError:
    """The refusal of a file whose reading could run anything."""
    return ModelFileError(
        f"'{path}' is a pickle ({path.suffix}), which can run any code when it is read, so it is refused; use the "
        f"model's .safetensors file, or have it read by a loader that takes weights only: {SWITCH}"
    )


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle by name, on the CPU; where the format allows it they lie in the file.

    Raises:
        ModelFileError: pickles are not allowed, or it holds more than weights, or is damaged.
    """
    content = pickle_content(path)
    import torch

    found = next((content[name] for name in STATE_DICTS if isinstance(content.get(name), Mapping)), content)
    tensors = {name: value.detach() for name, value in _flat(found) if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ModelFileError(f"'{path}' holds no weights: no tensors by name; use the model's .safetensors file")
    return tensors


def pickle_content(path: Path) -> Mapping[Any, Any]:
    """What a pickle holds by name: tensors, numbers, texts, and lists and tables of these; nothing if it has no names.

    Raises:
        ModelFileError: see `read_pickle`.
    """
    if not PickleSwitch.is_on:
        raise pickle_refused(path)
    try:
        content = _load(path)
    except Exception as error:  # what is in a pickle may fail in any way
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(
            f"'{path}' cannot be read as weights alone ({reason}); it is damaged, or holds more: use the model's "
            f".safetensors file"
        ) from None
    return content if isinstance(content, Mapping) else {}


def _flat(content: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Entries by name, those of an inner table as `outer.inner`: embeddings and IP-Adapters have such."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            yield str(name), value


def _load(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # the older format cannot be mapped
        return torch.load(path, map_location="cpu", weights_only=True)
