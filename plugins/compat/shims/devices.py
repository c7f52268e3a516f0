"""`comfy.model_management`: devices, memory and interruption. Models are loaded at first use and let go by need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import Cancelled
from mezzotint.engine.free_memory import free_nbytes
from mezzotint.plugins.compat import surroundings

if TYPE_CHECKING:
    import torch


class InterruptProcessingException(Cancelled):
    """The job was asked to stop. No `Exception`, so that nodes do not swallow it by accident."""


def get_torch_device() -> torch.device:
    """Where models run."""
    import torch

    return torch.device(surroundings.models().device)


unet_offload_device = get_torch_device
text_encoder_device = get_torch_device
vae_device = get_torch_device


def intermediate_device() -> torch.device:
    """Where values between nodes lie."""
    import torch

    return torch.device("cpu")


vae_offload_device = intermediate_device
text_encoder_offload_device = intermediate_device


def get_free_memory(device: Any = None) -> int:
    """Bytes that are free on the device."""
    import torch

    kind = torch.device(device if device is not None else surroundings.models().device)
    return int(torch.cuda.mem_get_info(kind)[0]) if kind.type == "cuda" else free_nbytes("cpu")


def soft_empty_cache(force: bool = False) -> None:
    """Give memory back that torch holds for later."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def unload_all_models() -> None:
    """Let go of all models that nobody uses now."""
    surroundings.models().clear()


def should_use_fp16(device: Any = None, **_: Any) -> bool:
    """Whether models compute in half precision: on CUDA."""
    return str(device if device is not None else surroundings.models().device).startswith("cuda")


def cast_to_device(tensor: torch.Tensor, device: Any, dtype: Any, copy: bool = False) -> torch.Tensor:
    """The tensor on a device, in a dtype."""
    return tensor.to(device=device, dtype=dtype, copy=copy)


def throw_exception_if_processing_interrupted() -> None:
    """Stop here if the job was asked to."""
    here = surroundings.context()
    if here is not None:
        try:
            here.check()
        except Cancelled:
            raise InterruptProcessingException from None


def interrupt_current_processing(value: bool = True) -> None:
    """Ask the running job to stop."""
    if value:
        surroundings.interrupt()


def processing_interrupted() -> bool:
    """Whether the running job was asked to stop."""
    try:
        throw_exception_if_processing_interrupted()
    except Cancelled:
        return True
    return False
