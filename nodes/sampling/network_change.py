"""Changes of what a network computes, for one model among those that share it.

A model's option `recipe.CHANGES` holds some `NetworkChange`. The model's network is then a view of the shared one
(`network_overlay`) in which some modules have another forward; weights and all other modules are those of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mezzotint.engine.errors import MezzotintError

from ..models.recipe import CHANGES

if TYPE_CHECKING:
    from torch import nn

    from mezzotint.engine.context import Context

    from ..models.recipe import Recipe
    from .model_sampling import ModelSampling

Around = Callable[..., Any]
"""`around(forward, compute, *args, **kwargs)`: what a module gives, where `compute(*args, **kwargs)` is what it gives
without the change. forward: the `Forward` of the network that the module is called in."""


class NetworkChangeError(MezzotintError):
    """A change does not fit the network of a model."""


class Forward(NamedTuple):
    """A forward of a network, while it lasts.

    Attributes:
        size: of the latent that it sees, (h, w); of the area, where only one is evaluated.
        sigma: the noise level. sampling: how the model is sampled.
        columns: which conditioning of its request each part of the batch is for, 0 for the first, which is the positive
            one as a rule; the parts are of one size. Empty where that is not known.
    """

    size: tuple[int, int]
    sigma: float
    sampling: ModelSampling
    columns: tuple[int, ...] = ()


class NetworkChange(Hashable, Protocol):
    """An item of a model's option `recipe.CHANGES`: frozen data of a class that is marked by `@value_type`."""

    def around(self, network: nn.Module) -> Mapping[str, Around]:
        """Which modules compute otherwise, by the names that `named_modules` gives them; `""` is the network itself.

        Args:
            network: the denoiser's, such as diffusers' `UNet2DConditionModel`; not to be changed.

        Raises:
            NetworkChangeError: it does not fit this kind of network.
        """


def changes_of(model: Recipe) -> tuple[NetworkChange, ...]:
    """What changes the network of a model, in order."""
    found: tuple[NetworkChange, ...] = dict(model.options).get(CHANGES, ())
    return found


def with_change(model: Recipe, change: NetworkChange) -> Recipe:
    """The model with one more change, around the earlier ones."""
    return model.with_option(CHANGES, (*changes_of(model), change))


class NoiseRange(NamedTuple):
    """Noise levels from `low` to `high`."""

    low: float
    high: float

    @classmethod
    def of(cls, model: Recipe, start_percent: float, end_percent: float, ctx: Context) -> NoiseRange:
        """Those of a part of sampling, 0..1. Raises what `model_sampling` does."""
        from .model_sampling import model_sampling

        levels = model_sampling(model, ctx).sigmas
        return cls(levels.percent_to_sigma(end_percent), levels.percent_to_sigma(start_percent))

    def has(self, sigma: float) -> bool:
        """Whether a noise level is one of them."""
        return self.low <= sigma <= self.high


# networks with changes

_CURRENT: ContextVar[Forward] = ContextVar("forward")


@contextmanager
def within(forward: Forward) -> Iterator[None]:
    """A changed network may be called in here."""
    token = _CURRENT.set(forward)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def with_changes(network: nn.Module, changes: Sequence[NetworkChange]) -> nn.Module:
    """A network with changes, the last outermost; `network` itself stays as it was.

    Raises:
        NetworkChangeError: one does not fit.
    """
    from ..models.network_overlay import with_copies

    around: dict[str, list[Around]] = {}
    for change in changes:
        for name, each in change.around(network).items():
            around.setdefault(name, []).append(each)
    made, copies = with_copies(network, around)
    for name, copy in copies.items():
        _surround(copy, tuple(around[name]))
    return made


def _surround(module: Any, around: tuple[Around, ...]) -> None:
    """Change a module's forward. By its class, since a bound method would not go with copies of the module."""
    module.__dict__["_forward_before"] = module.__dict__.pop("forward", None)
    module.__dict__["_around"] = around
    module_class: Any = type(module)
    module.__class__ = _changed_class(module_class)


@cache
def _changed_class(module_class: Any) -> type[nn.Module]:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        compute = self._forward_before or partial(module_class.forward, self)
        current = _CURRENT.get()
        for around in self._around:
            compute = partial(around, current, compute)
        return compute(*args, **kwargs)

    return type(module_class.__name__, (module_class,), {"forward": forward, "__module__": module_class.__module__})
