"""Networks that enlarge or repair pictures, such as ESRGAN and SwinIR: what travels on links, and how it is loaded.

The library spandrel knows them by their tensors; it comes with the extra `upscale`, since it needs torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mezzotint import value_type
from mezzotint.engine.errors import MezzotintError, ModelFileError

from ..models.file_recipe import FileRecipe
from ..models.recipe import Source
from ..models.weight_placement import WholePlacement
from ..models.weights_file import read_header, read_tensors
from ..models.weights_source import weights_path

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.engine.residency import Loaded, Residency


class UpscaleModelError(MezzotintError):
    """Upscale models cannot be used here: what loads them is not installed."""


@value_type("mezzotint.UpscaleModelRecipe")
@dataclass(frozen=True, slots=True)
class UpscaleModelRecipe(FileRecipe):
    """Which file an upscale model is, not its weights."""

    source: Source
    kind: ClassVar[str] = "upscale_model"

    def load(self, residency: Residency) -> Loaded:
        """An `Upscaler`.

        Raises:
            UpscaleModelError: spandrel is not installed. MissingModelError: the file is gone.
            ModelFileError: it has changed, is damaged or of no known kind. OutOfMemoryError: it does not fit.
        """
        return _load(self.source, residency)


@dataclass(frozen=True, eq=False)
class Upscaler:
    """A network on its device.

    Attributes:
        descriptor: of spandrel; called with a picture it gives one. scale: how many pixels each becomes, each way.
        device, dtype: where it is and computes in.
    """

    descriptor: Any
    scale: int
    device: Any
    dtype: Any

    def upscale(self, image: Tensor) -> Tensor:
        """A picture float32 [1, 3, h, w], 0..1, on any device → float32 [1, 3, h * scale, w * scale] on the CPU."""
        enlarged: Tensor = self.descriptor(image.to(self.device, self.dtype))
        return enlarged.float().cpu()


def require_spandrel() -> Any:
    """The library. Raises UpscaleModelError: it is not installed."""
    try:
        import spandrel  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise UpscaleModelError(
            f"upscale models are loaded by spandrel, which cannot be imported ({error}); install it with: "
            f"pip install 'mezzotint[upscale]'"
        ) from None
    return spandrel


def _load(source: Source, residency: Residency) -> Loaded:
    import torch

    from mezzotint.engine.residency import Loaded

    spandrel = require_spandrel()
    path = weights_path(source, residency.folders)
    header = read_header(path)
    device = torch.device(residency.device)
    residency.reserve(4 * header.count(), f"loading the upscale model '{source.name}'")
    with torch.inference_mode(False):
        tensors = {name: tensor.float() for name, tensor in read_tensors(path, "cpu").items()}
        try:
            descriptor = spandrel.ModelLoader(device).load_from_state_dict(spandrel.canonicalize_state_dict(tensors))
        except spandrel.UnsupportedModelError:
            raise ModelFileError(
                f"the upscale model '{source.name}' is of no kind that spandrel knows; models with licences that do "
                f"not allow every use are in its package spandrel_extra_arches"
            ) from None
        channels = getattr(descriptor, "input_channels", None)
        if not isinstance(descriptor, spandrel.ImageModelDescriptor) or (channels, descriptor.output_channels) != (
            3,
            3,
        ):
            raise ModelFileError(
                f"'{source.name}' ({descriptor.architecture.name}) does not make a colour picture of a colour picture; "
                f"take one that enlarges or repairs pictures"
            )
        is_half = device.type == "cuda" and descriptor.supports_half
        dtype = torch.float16 if is_half else torch.float32
        descriptor.to(device, dtype).eval()
        descriptor.model.requires_grad_(False)
    nbytes = header.count() * dtype.itemsize
    placement = WholePlacement([*descriptor.model.parameters(), *descriptor.model.buffers()], device, nbytes)
    return Loaded(Upscaler(descriptor, descriptor.scale, device, dtype), nbytes, placement)
