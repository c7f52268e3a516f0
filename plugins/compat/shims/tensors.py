"""`comfy.utils`: progress, resizing, tiles, weight files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.nodes.resize import bislerp as _bislerp
from mezzotint.nodes.resize import resize
from mezzotint.plugins.compat import surroundings
from mezzotint.plugins.compat.tiles import tile_count, tiled

if TYPE_CHECKING:
    from torch import Tensor

PROGRESS_BAR_ENABLED = True


class ProgressBar:
    """Tells how far the running node is. Raises when the job was asked to stop."""

    def __init__(self, total: float, node_id: str | None = None) -> None:
        self.total, self.current = total, 0.0
        self._context = surroundings.context()

    def update_absolute(self, value: float, total: float | None = None, preview: Any = None) -> None:
        """Be at `value`. `preview`: a format, a picture and its largest side."""
        if total is not None:
            self.total = total
        self.current = min(value, self.total)
        if self._context is not None:
            picture = preview[1] if isinstance(preview, tuple | list) and len(preview) > 1 else None
            self._context.progress(self.current, self.total, picture)

    def update(self, value: float) -> None:
        """Be `value` further."""
        self.update_absolute(self.current + value)


# sizes


def common_upscale(samples: Tensor, width: int, height: int, upscale_method: Any, crop: Any) -> Tensor:
    """Samples [B, C, h, w] in another size, see `nodes.resize.resize`."""
    return resize(samples, width, height, upscale_method, crop)


def lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    """Samples [B, C, h, w] in another size by Pillow's filter."""
    return resize(samples, width, height, "lanczos")


def bislerp(samples: Tensor, width: int, height: int) -> Tensor:
    """Samples [B, C, h, w] in another size, directions interpolated on the sphere."""
    return _bislerp(samples, width, height)


def repeat_to_batch_size(tensor: Tensor, batch_size: int, dim: int = 0) -> Tensor:
    """As many items along `dim` as asked for: the first ones, or all of them over and over."""
    repeats = [1] * tensor.ndim
    repeats[dim] = math.ceil(batch_size / tensor.shape[dim])
    return tensor.repeat(repeats).narrow(dim, 0, batch_size)


def get_tiled_scale_steps(width: int, height: int, tile_x: int, tile_y: int, overlap: int) -> int:
    """How many tiles `tiled_scale` makes of a picture."""
    return tile_count(width, height, tile_x, tile_y, overlap)


def tiled_scale(
    samples: Tensor, function: Callable[[Tensor], Tensor], tile_x: int = 64, tile_y: int = 64, overlap: int = 8,
    upscale_amount: float = 4, out_channels: int = 3, output_device: Any = "cpu", pbar: ProgressBar | None = None,
) -> Tensor:  # fmt: skip
    """Samples [B, C, h, w] through a function tile by tile; see `tiles.tiled`."""
    told = (lambda: pbar.update(1)) if pbar is not None else None
    return tiled(
        samples, function, tile_x, tile_y, overlap, upscale_amount, out_channels, device=output_device, on_tile=told
    )


# weights


class LoadedWeights(dict[str, Any]):
    """The tensors of a weights file, which remember what file that was."""

    def __init__(self, tensors: Mapping[str, Any], path: Path) -> None:
        super().__init__(tensors)
        self.path = path


def load_torch_file(
    ckpt: str | Path, safe_load: bool = True, device: Any = None, return_metadata: bool = False, **_: Any
) -> Any:
    """The tensors of a weights file. Of pickles nothing but tensors is read, whatever `safe_load` says."""
    where = str(device) if device is not None else "cpu"
    if str(ckpt).endswith((".safetensors", ".sft")):
        from safetensors import safe_open

        with safe_open(ckpt, framework="pt", device=where) as file:
            tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    else:
        import torch

        loaded = torch.load(ckpt, map_location=where, weights_only=True)
        tensors, metadata = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded, None
    found = LoadedWeights(tensors, Path(ckpt)) if isinstance(tensors, dict) else tensors
    return (found, metadata) if return_metadata else found


def save_torch_file(sd: Mapping[str, Any], ckpt: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as a safetensors file, under another name until it is whole."""
    from safetensors.torch import save

    from mezzotint.engine.atomic_file import write_atomically

    contiguous = {name: tensor.contiguous() for name, tensor in sd.items()}
    write_atomically(Path(ckpt), save(contiguous, dict(metadata) if metadata else None))


def calculate_parameters(sd: Mapping[str, Any], prefix: str = "") -> int:
    """How many numbers there are below a prefix."""
    return sum(tensor.numel() for name, tensor in sd.items() if name.startswith(prefix))


def state_dict_prefix_replace(
    state_dict: dict[str, Any], replace_prefix: Mapping[str, str], filter_keys: bool = False
) -> dict[str, Any]:
    """Rename the keys with these prefixes, in place; with `filter_keys` a new dict of those alone."""
    chosen = {} if filter_keys else state_dict
    for old, new in replace_prefix.items():
        for key in [key for key in state_dict if key.startswith(old)]:
            chosen[new + key[len(old) :]] = state_dict.pop(key)
    return chosen


def state_dict_key_replace(state_dict: dict[str, Any], keys_to_replace: Mapping[str, str]) -> dict[str, Any]:
    """Rename keys, in place."""
    for old, new in keys_to_replace.items():
        if old in state_dict:
            state_dict[new] = state_dict.pop(old)
    return state_dict


# attributes by path


def get_attr(obj: Any, attr: str) -> Any:
    """An attribute by its path, `"a.b.c"`."""
    for name in attr.split("."):
        obj = getattr(obj, name)
    return obj


def set_attr(obj: Any, attr: str, value: Any) -> Any:
    """Set an attribute by its path; gives what it was."""
    path, _, name = attr.rpartition(".")
    holder = get_attr(obj, path) if path else obj
    before = getattr(holder, name)
    setattr(holder, name, value)
    return before
