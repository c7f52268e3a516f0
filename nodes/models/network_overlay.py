"""A network with some layers replaced, which shares all other modules and every weight with the original."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from torch import nn

from .weight_scales import FILE_SCALE


def with_layers(network: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """The network with other layers in some places. The original stays as it is, and may be in use meanwhile.

    Only the modules on the way to a replaced layer are copied, and of those not the weights.

    Args:
        layers: by the names that `named_modules` gives the places.
    """
    copies = {"": shallow_copy(network)}
    for name, layer in layers.items():
        parent, _, last = name.rpartition(".")
        _copied(parent, copies)._modules[last] = layer
    return copies[""]


def with_copies(network: nn.Module, names: Iterable[str]) -> tuple[nn.Module, dict[str, nn.Module]]:
    """The network with shallow copies in some places, which may be changed, and these by name."""
    copies = {"": shallow_copy(network)}
    return copies[""], {name: _copied(name, copies) for name in names}


def with_parameters(network: nn.Module, parameters: Mapping[str, Mapping[str, nn.Parameter]]) -> nn.Module:
    """The network whose layers have other parameters in place of their own, and of what was added to these.

    Args:
        parameters: by the names that `named_modules` gives the layers, and those that the layers have for them.
    """
    copies = {"": shallow_copy(network)}
    for name, given in parameters.items():
        layer = _copied(name, copies)
        layer._parameters.update(given)
        if "weight" in given:
            layer._buffers.pop(FILE_SCALE, None)
        layer.__dict__.pop("forward", None)
    return copies[""]


def _copied(name: str, copies: dict[str, nn.Module]) -> nn.Module:
    """The copy of a module, made if need be, in its place in the copy of its parent."""
    if name not in copies:
        parent, _, last = name.rpartition(".")
        siblings = _copied(parent, copies)._modules
        original = siblings[last]
        assert original is not None
        siblings[last] = copies[name] = shallow_copy(original)
    return copies[name]


def shallow_copy(module: nn.Module) -> nn.Module:
    """Another module of the same class, with the same weights and sub-modules, whose own tables may be changed."""
    copy = module.__new__(type(module))
    copy.__dict__ = {
        name: value.copy() if type(value) in (dict, OrderedDict) else value for name, value in module.__dict__.items()
    }
    return copy
