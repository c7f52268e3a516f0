"""Mezzotint: a node workflow engine for diffusion models.

The public names are re-exported here and loaded at first use, so `import mezzotint` itself loads nothing else of ours.
A new public name goes into both lists below; a test holds them together.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for checkers and editors
    from mezzotint.engine.blocked import Blocked as Blocked
    from mezzotint.engine.consumed_state import consumed as consumed
    from mezzotint.engine.context import Context as Context
    from mezzotint.engine.engine import Engine as Engine
    from mezzotint.engine.errors import Cancelled as Cancelled
    from mezzotint.engine.errors import MezzotintError as MezzotintError
    from mezzotint.engine.errors import RunFailedError as RunFailedError
    from mezzotint.engine.expansion import Expand as Expand
    from mezzotint.engine.expansion import GraphBuilder as GraphBuilder
    from mezzotint.engine.node import node as node
    from mezzotint.engine.port import Lazy as Lazy
    from mezzotint.engine.port import Port as Port
    from mezzotint.engine.request import Need as Need
    from mezzotint.engine.request import Request as Request
    from mezzotint.engine.request import Requests as Requests
    from mezzotint.engine.request import drive as drive
    from mezzotint.engine.run_result import RunResult as RunResult
    from mezzotint.engine.value_type import value_type as value_type
    from mezzotint.engine.widget import Choices as Choices
    from mezzotint.engine.widget import Widget as Widget
    from mezzotint.engine.widget import model_files as model_files
    from mezzotint.engine.workflow import Workflow as Workflow
    from mezzotint.nodes.ports import Clip as Clip
    from mezzotint.nodes.ports import Conditioning as Conditioning
    from mezzotint.nodes.ports import Guider as Guider
    from mezzotint.nodes.ports import Image as Image
    from mezzotint.nodes.ports import Latent as Latent
    from mezzotint.nodes.ports import Mask as Mask
    from mezzotint.nodes.ports import Model as Model
    from mezzotint.nodes.ports import Noise as Noise
    from mezzotint.nodes.ports import Sampler as Sampler
    from mezzotint.nodes.ports import Sigmas as Sigmas
    from mezzotint.nodes.ports import Vae as Vae
    from mezzotint.plugins.hookimpl import hookimpl as hookimpl
    from mezzotint.plugins.host import Host as Host
    from mezzotint.plugins.host import Settings as Settings
    from mezzotint.plugins.host import load as load
    from mezzotint.plugins.host import run as run

    __version__: str

_EXPORTS = {
    "mezzotint.engine.blocked": ("Blocked",),
    "mezzotint.engine.consumed_state": ("consumed",),
    "mezzotint.engine.context": ("Context",),
    "mezzotint.engine.engine": ("Engine",),
    "mezzotint.engine.errors": ("Cancelled", "MezzotintError", "RunFailedError"),
    "mezzotint.engine.expansion": ("Expand", "GraphBuilder"),
    "mezzotint.engine.node": ("node",),
    "mezzotint.engine.port": ("Lazy", "Port"),
    "mezzotint.engine.request": ("Need", "Request", "Requests", "drive"),
    "mezzotint.engine.run_result": ("RunResult",),
    "mezzotint.engine.value_type": ("value_type",),
    "mezzotint.engine.widget": ("Choices", "Widget", "model_files"),
    "mezzotint.engine.workflow": ("Workflow",),
    "mezzotint.plugins.hookimpl": ("hookimpl",),
    "mezzotint.plugins.host": ("Host", "Settings", "load", "run"),
    "mezzotint.nodes.ports": (
        "Clip",
        "Conditioning",
        "Guider",
        "Image",
        "Latent",
        "Mask",
        "Model",
        "Noise",
        "Sampler",
        "Sigmas",
        "Vae",
    ),
}
_HOMES = {name: module for module, names in _EXPORTS.items() for name in names}


if not TYPE_CHECKING:  # else a checker would take any name for a public one

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            value: Any = version("mezzotint")
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module 'mezzotint' has no attribute '{name}'")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
