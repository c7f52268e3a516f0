"""`comfy.model_management`: devices, memory and interruption. Models are loaded at first use and let go by need."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import Cancelled
from mezzotint.engine.free_memory import free_nbytes
from mezzotint.nodes.models.dtype_policy import AUTO, computation_dtype, powers_of
from mezzotint.plugins.compat import surroundings

if TYPE_CHECKING:
    import torch


class InterruptProcessingException(Cancelled):
    """The job was asked to stop. No `Exception`, so that nodes do not swallow it by accident."""


class VRAMState(enum.Enum):
    """How models share the memory of a device. There is one way here: as much as fits."""

    DISABLED = 0
    NO_VRAM = 1
    LOW_VRAM = 2
    NORMAL_VRAM = 3
    HIGH_VRAM = 4
    SHARED = 5


vram_state = VRAMState.NORMAL_VRAM


def find(name: str) -> Any:
    """`OOM_EXCEPTION`, which loads torch."""
    if name != "OOM_EXCEPTION":
        return None
    import torch

    return torch.OutOfMemoryError


# devices


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


def unet_inital_load_device(parameters: Any = None, dtype: Any = None) -> torch.device:
    """Where a diffusion model is loaded to."""
    return get_torch_device()


def get_torch_device_name(device: Any) -> str:
    """What a device is called."""
    import torch

    return torch.cuda.get_device_name(device) if is_device_cuda(device) else str(device)


def is_device_cpu(device: Any) -> bool:
    return _type_of(device) == "cpu"


def is_device_cuda(device: Any) -> bool:
    return _type_of(device) == "cuda"


def is_device_mps(device: Any) -> bool:
    return _type_of(device) == "mps"


def is_nvidia() -> bool:
    """Whether models run with CUDA as NVIDIA makes it."""
    import torch

    return is_device_cuda(get_torch_device()) and torch.version.cuda is not None


def _type_of(device: Any) -> str:
    return str(getattr(device, "type", device)).partition(":")[0]


# types of numbers


def should_use_fp16(device: Any = None, *_: Any, **__: Any) -> bool:
    """Whether diffusion models compute in half precision: by `--dtype`, else on CUDA."""
    wanted = _wanted("model")
    return is_device_cuda(get_torch_device() if device is None else device) if wanted == AUTO else wanted == "float16"


def should_use_bf16(device: Any = None, *_: Any, **__: Any) -> bool:
    """Whether diffusion models can compute in bfloat16: by `--dtype`, else on CUDA that can."""
    import torch

    wanted = _wanted("model")
    if wanted != AUTO:
        return wanted == "bfloat16"
    kind = torch.device(get_torch_device() if device is None else device)
    return is_device_cuda(kind) and powers_of(kind).has_bfloat16


def unet_dtype(device: Any = None, *_: Any, **__: Any) -> torch.dtype:
    """What diffusion models compute in, of files in half precision: by `--dtype`, else by the device."""
    return _dtype_on(device, "model")


def text_encoder_dtype(device: Any = None) -> torch.dtype:
    """The same of text encoders, by `--text-encoder-dtype`."""
    return _dtype_on(device, "clip")


def vae_dtype(device: Any = None, *_: Any, **__: Any) -> torch.dtype:
    """The same of VAEs, by `--vae-dtype`."""
    return _dtype_on(device, "vae")


def _wanted(kind: str) -> str:
    return surroundings.models().dtypes.get(kind, AUTO)


def _dtype_on(device: Any, kind: str) -> torch.dtype:
    import torch

    powers = powers_of(torch.device(get_torch_device() if device is None else device))
    found: torch.dtype = getattr(torch, computation_dtype("float16", powers, _wanted(kind), avoids_half=kind == "vae"))
    return found


def dtype_size(dtype: torch.dtype) -> int:
    """Bytes of a number."""
    return dtype.itemsize


def cast_to_device(tensor: torch.Tensor, device: Any, dtype: Any, copy: bool = False) -> torch.Tensor:
    """The tensor on a device, in a dtype."""
    return tensor.to(device=device, dtype=dtype, copy=copy)


def cast_to(
    weight: torch.Tensor, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False
) -> torch.Tensor:
    """The tensor in a dtype, on a device."""
    return weight.to(device=device, dtype=dtype, non_blocking=non_blocking, copy=copy)


def device_supports_non_blocking(device: Any) -> bool:
    """Whether copies to a device may go on while the next thing is done."""
    return is_device_cuda(device)


# memory


def get_free_memory(device: Any = None, torch_free_too: bool = False) -> Any:
    """Bytes that are free on the device; with `torch_free_too` a pair, since torch may hold some of them."""
    import torch

    kind = torch.device(device if device is not None else surroundings.models().device)
    free = int(torch.cuda.mem_get_info(kind)[0]) if kind.type == "cuda" else free_nbytes("cpu")
    return (free, 0) if torch_free_too else free


def get_total_memory(device: Any = None, torch_total_too: bool = False) -> Any:
    """Bytes that the device has; with `torch_total_too` a pair."""
    import psutil
    import torch

    kind = torch.device(device if device is not None else surroundings.models().device)
    total = int(torch.cuda.mem_get_info(kind)[1]) if kind.type == "cuda" else int(psutil.virtual_memory().total)
    return (total, total) if torch_total_too else total


def free_memory(memory_required: float, device: Any = None, *_: Any, **__: Any) -> None:
    """Let go of models until so many bytes are free. Raises OutOfMemoryError when they cannot be."""
    surroundings.models().reserve(int(memory_required), "a node")


def soft_empty_cache(force: bool = False) -> None:
    """Give memory back that torch holds for later."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def unload_all_models() -> None:
    """Let go of all models that nobody uses now."""
    surroundings.models().clear()


def load_models_gpu(models: Any, *_: Any, **__: Any) -> None:
    """Have models on the device. Here they are when they are used, so nothing is to be done."""


load_model_gpu = load_models_gpu


def cleanup_models(*_: Any, **__: Any) -> None:
    """Forget models that nobody knows any more. Here that happens by itself."""


# interruption


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
