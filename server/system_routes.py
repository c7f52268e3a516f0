"""`/system_stats` and `/features` (wire protocol §1.7)."""

from __future__ import annotations

import asyncio
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from aiohttp import web

from mezzotint.engine.residency import Residency
from mezzotint.plugins.host import Host

from .access import without_token
from .app_key import HOST
from .features import FEATURES
from .json_body import json_answer

PROTOCOL_VERSION, FRONTEND_VERSION = "0.3.64", "1.27.10"
"""The versions of the server and the editor whose protocol this is; clients compare them with theirs."""

NO_PAID_NODES = "--disable-api-nodes"
"""What an editor reads among the arguments: no node here calls a paid service, so it asks its maker for no news."""


async def get_features(request: web.Request) -> web.Response:
    """What the server can do."""
    return json_answer(FEATURES)


async def get_system_stats(request: web.Request) -> web.Response:
    """Versions, memory and device."""
    return json_answer(await asyncio.to_thread(_system_stats, request.app[HOST]))


def _system_stats(host: Host) -> dict[str, Any]:
    import psutil

    memory = psutil.virtual_memory()
    system = {
        "os": sys.platform,
        "ram_total": memory.total,
        "ram_free": memory.available,
        "comfyui_version": PROTOCOL_VERSION,
        "required_frontend_version": FRONTEND_VERSION,
        "installed_templates_version": None,
        "required_templates_version": None,
        "python_version": sys.version,
        "pytorch_version": _version("torch"),
        "embedded_python": False,
        "argv": [*without_token(sys.argv), NO_PAID_NODES],
        "mezzotint_version": _version("mezzotint"),
    }
    return {"system": system, "devices": [_device(host.models, memory.total, memory.available)]}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _device(models: Residency, total: int, free: int) -> dict[str, Any]:
    # Torch takes seconds to import, and where there is no NVIDIA driver its answer is known.
    may_have_gpu = "torch" in sys.modules or shutil.which("nvidia-smi") is not None
    name = models.device if may_have_gpu else "cpu"
    kind, _, index = name.partition(":")
    if kind != "cuda":
        return _described(name, kind, None, total, free, total, free)
    import torch

    device = torch.device(name)
    free, total = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    unused = reserved - torch.cuda.memory_allocated(device)
    label = f"{name} {torch.cuda.get_device_name(device)}"
    return _described(label, kind, int(index or 0), total, free + unused, reserved, unused)


def _described(
    name: str, kind: str, index: int | None, total: int, free: int, torch_total: int, torch_free: int
) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "index": index,
        "vram_total": total,
        "vram_free": free,
        "torch_vram_total": torch_total,
        "torch_vram_free": torch_free,
    }


ROUTES = (web.get("/system_stats", get_system_stats), web.get("/features", get_features))
