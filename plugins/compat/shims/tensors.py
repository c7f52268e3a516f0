"""`comfy.utils`: progress, resizing, weight files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mezzotint.nodes.resize import resize
from mezzotint.plugins.compat import surroundings


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


def common_upscale(samples: Any, width: int, height: int, upscale_method: Any, crop: Any) -> Any:
    """Samples [B, C, h, w] in another size, see `nodes.resize.resize`."""
    return resize(samples, width, height, upscale_method, crop)


def load_torch_file(ckpt: str | Path, safe_load: bool = True, device: Any = None, **_: Any) -> Any:
    """The tensors of a weights file. Of pickles nothing but tensors is read, whatever `safe_load` says."""
    where = str(device) if device is not None else "cpu"
    if str(ckpt).endswith((".safetensors", ".sft")):
        from safetensors.torch import load_file

        return load_file(ckpt, device=where)
    import torch

    loaded = torch.load(ckpt, map_location=where, weights_only=True)
    return loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded


def state_dict_prefix_replace(
    state_dict: dict[str, Any], replace_prefix: Mapping[str, str], filter_keys: bool = False
) -> dict[str, Any]:
    """Rename the keys with these prefixes, in place; with `filter_keys` a new dict of those alone."""
    chosen = {} if filter_keys else state_dict
    for old, new in replace_prefix.items():
        for key in [key for key in state_dict if key.startswith(old)]:
            chosen[new + key[len(old) :]] = state_dict.pop(key)
    return chosen
