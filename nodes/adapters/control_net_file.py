"""A file of a ControlNet or T2I-Adapter, and the network that it becomes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from ..models.weights_file import WeightsHeader, read_header, read_tensors
from .control_net_layout import ADAPTER, CONTROL_NET, DIFFERENCE, UNION, ControlNetLayout, read_layout
from .transformer_control_layout import CONTROL_TYPE, FLUX, SD3, build_flux, flux_entrance

if TYPE_CHECKING:
    from ..models.recipe import Recipe, Source

CONFIG_NAME = "config.json"
POOLING_NAMES = ("_shuffle", "_shuffle_fp16")
"""How files of ControlNets end that add the same everywhere; nothing else in them says so."""

LEFT_OUT = {"extra_conditioning_channels", "num_mode", "guidance_embeds", "conditioning_embedding_channels"}
"""What a `config.json` may leave out, since its class had no such option yet; shapes tell it."""
LINES, LINES_TYPE = "canny", 1
"""What names of Stability AI's ControlNets for edges have, and the number for these in files."""


@dataclass(frozen=True)
class ControlNetFile:
    """A file.

    Attributes:
        path: where it lies. name: what the user calls it, for messages.
    """

    path: Path
    name: str

    @cached_property
    def header(self) -> WeightsHeader:
        """Raises ModelFileError: it is damaged, or a pickle."""
        return read_header(self.path)

    @cached_property
    def layout(self) -> ControlNetLayout:
        """Raises ModelFileError: it is damaged, or of no known layout."""
        return read_layout(self.header.shapes, self.name)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """Of the network's class: what `config.json` beside the file says, else what the shapes tell."""
        try:
            given = json.loads(self.path.with_name(CONFIG_NAME).read_bytes())
        except FileNotFoundError:
            is_pooling = self.path.stem.endswith(POOLING_NAMES) and self.layout.class_name == CONTROL_NET
            return {**self.layout.config, "global_pool_conditions": True} if is_pooling else self.layout.config
        except (OSError, ValueError) as error:
            raise ModelFileError(
                f"'{self.path.with_name(CONFIG_NAME)}' cannot be read ({error}); fetch it again"
            ) from None
        is_ours = isinstance(given, dict) and given.get("_class_name") == self.layout.class_name
        certain = {name: value for name, value in self.layout.config.items() if name in LEFT_OUT}
        return {**given, **certain} if is_ours else self.layout.config

    def build(self) -> Any:
        """The network, with whatever weights. Raises TypeError, ValueError: the configuration is of another class."""
        network_class = _class(self.layout.class_name)
        accepted = inspect.signature(network_class.__init__).parameters
        config = {name: value for name, value in self.config.items() if name in accepted}
        if self.layout.class_name == FLUX:
            return build_flux(config, flux_entrance(self.layout.names, self.header.shapes))
        return network_class(**config)

    @property
    def is_difference(self) -> bool:
        """Whether its weights are to be added to those of the model that it steers."""
        return DIFFERENCE in self.header.tensors

    @property
    def is_for_lines(self) -> bool:
        """Whether it is Stability AI's for edges in pictures of Stable Diffusion 3.5, which says so or is called so."""
        if self.layout.class_name != SD3 or self.config.get("use_pos_embed", True):
            return False
        if CONTROL_TYPE not in self.header.tensors:
            return LINES in f"{self.path.parent.name}/{self.path.stem}".lower()
        return round(float(read_tensors(self.path, "cpu", [CONTROL_TYPE])[CONTROL_TYPE])) == LINES_TYPE

    def check(self) -> None:
        """See that it can be used, without its weights. Raises ModelFileError."""
        _ = self.config


def load_control_net(source: Source, residency: Residency, base: Recipe | None = None) -> Loaded:
    """A `ControlNetwork`, an `AdapterNetwork` or a `TransformerControl`.

    Args:
        base: the model that the weights are added to, if the file holds differences.

    Raises:
        MissingModelError: the file is gone. ModelFileError: it has changed, is damaged or of no known layout.
        OutOfMemoryError: it does not fit.
    """
    from ..models.network_file import load_network
    from ..models.weights_source import weights_path
    from .control_network import AdapterNetwork, ControlNetwork, UnionNetwork
    from .transformer_control import FluxControlNetwork, Sd3ControlNetwork, edges_for_sd35

    file = ControlNetFile(weights_path(source, residency.folders, (CONFIG_NAME,)), source.name)
    layout, what = file.layout, f"the ControlNet '{file.name}'"
    loaded = load_network(
        file.path,
        what,
        file.build,
        lambda network: {name: part.name for name, part in layout.names.items()},
        residency,
        converted=lambda name, tensor: layout.names[name].of(tensor),
    )
    if base is not None and file.is_difference:
        with residency.borrow(base) as denoiser:
            _add(loaded.network, denoiser.network, file.name)
    classes: Mapping[str, Any] = {
        CONTROL_NET: ControlNetwork, UNION: UnionNetwork, ADAPTER: AdapterNetwork, FLUX: FluxControlNetwork,
        SD3: partial(Sd3ControlNetwork, prepare=edges_for_sd35 if file.is_for_lines else None),
    }  # fmt: skip
    made = classes[layout.class_name]
    return loaded.loaded(made(loaded.network, file.name, loaded.device, loaded.dtype))


def _add(network: Any, base: Any, name: str) -> None:
    """Add a model's weights to those of a ControlNet that have their names. Raises ModelFileError: they do not fit."""
    weights = dict(base.named_parameters())
    for key, parameter in network.named_parameters():
        if key not in weights:
            continue
        if weights[key].shape != parameter.shape:
            raise ModelFileError(
                f"the ControlNet '{name}' holds differences from a model of another kind: '{key}' is "
                f"{[*parameter.shape]} there and {[*weights[key].shape]} in the model; connect a model of its own kind"
            )
        parameter.data = (parameter.float() + weights[key].to(parameter.device).float()).to(parameter.dtype)


def _class(name: str) -> Any:
    if name == ADAPTER:
        from diffusers.models.adapter import T2IAdapter

        return T2IAdapter
    if name == SD3:
        from diffusers.models.controlnets.controlnet_sd3 import SD3ControlNetModel

        return SD3ControlNetModel
    if name == FLUX:
        from diffusers.models.controlnets.controlnet_flux import FluxControlNetModel

        return FluxControlNetModel
    if name == UNION:
        from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel

        return ControlNetUnionModel
    from diffusers.models.controlnets.controlnet import ControlNetModel

    return ControlNetModel
