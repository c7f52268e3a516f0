"""A network from a single weights file, ready to be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from .component_weights import one_line
from .dtype_policy import AUTO, computation_dtype, powers_of
from .weight_placement import WeightPlacement
from .weights_file import read_header, read_tensors

if TYPE_CHECKING:
    import torch

KEPT_NBYTES = 256 << 20
"""Weights that would take more in the dtype of computation stay as narrow as they are in the file."""


class LoadedNetwork(NamedTuple):
    """A network that records no gradients.

    Attributes:
        dtype: what it computes in. nbytes: what its weights take on the device. placement: moves them.
    """

    network: Any
    device: torch.device
    dtype: torch.dtype
    nbytes: int
    placement: WeightPlacement

    def loaded(self, made: Any) -> Loaded:
        """What was made of it, for the residency manager."""
        return Loaded(made, self.nbytes, self.placement)


def load_network(
    path: Path,
    what: str,
    build: Callable[[], Any],
    names_for: Callable[[Any], Mapping[str, str]],
    residency: Residency,
    *,
    prefix: str = "",
    converted: Callable[[str, Any], Any] = lambda name, tensor: tensor,
) -> LoadedNetwork:
    """The network with the weights of a file. It computes in what `dtype_policy` says of diffusion models.

    Args:
        what: names it in messages, `the ControlNet 'canny'`. build: makes it; its weights are never initialised.
        names_for: the network → the names of its tensors, with those that they have in the file.
        prefix: of the names in the file, where it holds other networks, too. converted: the network's name of a tensor
            and the file's tensor → the network's.

    Raises:
        ModelFileError: the file is damaged, or does not fit. OutOfMemoryError: it does not fit into memory.
    """
    import torch

    from .weight_casting import compute_in

    header, device = read_header(path).below(prefix), torch.device(residency.device)
    found: torch.dtype = getattr(torch, header.dtype)
    wanted = residency.dtypes.get("model", AUTO)
    dtype: torch.dtype = getattr(torch, computation_dtype(header.dtype, powers_of(device), wanted))
    is_kept = found.itemsize < dtype.itemsize and header.count() * dtype.itemsize > KEPT_NBYTES
    nbytes = header.count() * (found if is_kept else dtype).itemsize
    residency.reserve(nbytes, f"loading {what}")
    try:
        with torch.inference_mode(False):
            with torch.device("meta"):
                network = build()
            names = names_for(network)
            tensors = read_tensors(path, str(device), {*names.values()})
            stored = found if is_kept else dtype
            network.load_state_dict(
                {name: _as(converted(name, tensors[original]), stored) for name, original in names.items()},
                strict=True,
                assign=True,
            )
            network.requires_grad_(False).eval()
            if is_kept:
                compute_in(network, dtype)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise ModelFileError(f"{what}: its weights do not fit its configuration ({one_line(error)})") from None
    placement = WeightPlacement(network, device, nbytes, dtype if is_kept else None)
    return LoadedNetwork(network, device, dtype, nbytes, placement)


def _as(tensor: Any, dtype: torch.dtype) -> Any:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
