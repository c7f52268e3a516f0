"""Samplers and schedules that packs add to the lists of `comfy.samplers`, for all nodes to choose from.

A sampler NAME is a function `sample_NAME` that a pack puts into `comfy.k_diffusion.sampling`. A schedule has an entry
in `SCHEDULER_HANDLERS`, or the pack has put its own function in the place of `calculate_sigmas`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mezzotint.engine.catalogue import Catalogue, catalogue

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.nodes.samplers.sampler import SamplerFunction
    from mezzotint.nodes.samplers.schedules import ModelSigmas, ScheduleFunction

log = logging.getLogger("mezzotint.plugins")
LISTS, FUNCTIONS = "comfy.samplers", "comfy.k_diffusion.sampling"
"""The modules, as packs name them. Where no pack has imported the first, there is nothing to look for."""


@dataclass(frozen=True)
class AddedNames:
    """What one pack added, by name."""

    samplers: Mapping[str, SamplerFunction] = field(default_factory=dict)
    schedules: Mapping[str, ScheduleFunction] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.samplers or self.schedules)


def show_names(without: str | None = None) -> None:
    """Let the lists that packs see hold what there is now, but for what came from a pack that is to be imported."""
    if LISTS not in sys.modules:
        return
    from .shims import samplers as shim

    module: Any = sys.modules[LISTS]
    samplers, schedules = catalogue("sampler"), catalogue("schedule")
    shim.SAMPLER_NAMES[:] = _names(samplers, without)
    shim.SCHEDULER_NAMES[:] = _names(schedules, without)
    module.SAMPLER_NAMES = module.KSAMPLER_NAMES = module.KSampler.SAMPLERS = shim.SAMPLER_NAMES
    module.SCHEDULER_NAMES = module.KSampler.SCHEDULERS = shim.SCHEDULER_NAMES
    module.SCHEDULER_HANDLERS = shim.SCHEDULER_HANDLERS
    shim.SCHEDULER_HANDLERS.clear()
    for name in shim.SCHEDULER_NAMES:
        shim.SCHEDULER_HANDLERS[name] = shim.SchedulerHandler(partial(_levels_of, name))


def take_added(pack: str) -> AddedNames:
    """What a pack has added by being imported. A sampler without a function is left out and told of."""
    if LISTS not in sys.modules:
        return AddedNames()
    module: Any = sys.modules[LISTS]
    functions = vars(sys.modules[FUNCTIONS]) if FUNCTIONS in sys.modules else {}
    samplers: dict[str, SamplerFunction] = {}
    for name in _new("sampler", pack, module.KSampler.SAMPLERS, module.SAMPLER_NAMES, module.KSAMPLER_NAMES):
        if f"sample_{name}" in functions:
            samplers[name] = partial(_run_function, functions[f"sample_{name}"])
        else:
            log.warning("pack '%s': the sampler '%s' is left out: there is no sample_%s in %s", pack, name, name,
                        FUNCTIONS)  # fmt: skip
    schedules = {
        name: partial(_run_handler, _handler(module, name))
        for name in _new(
            "schedule", pack, module.KSampler.SCHEDULERS, module.SCHEDULER_NAMES, module.SCHEDULER_HANDLERS
        )
    }
    return AddedNames(samplers, schedules)


def _names(known: Catalogue, without: str | None) -> list[str]:
    return [name for name in known if without is None or known.entry(name).plugin != without]


def _new(kind: str, pack: str, *lists: Iterable[str]) -> list[str]:
    names = dict.fromkeys(str(name) for names in lists for name in names)
    known = {*_names(catalogue(kind), pack)}
    return [name for name in names if name not in known]


def _handler(module: Any, name: str) -> Callable[[Any, int], Tensor]:
    """A schedule of a pack as a function of the model's noise levels and a number of steps."""
    handler = module.SCHEDULER_HANDLERS.get(name)
    if handler is None:
        return lambda model_sampling, steps: module.calculate_sigmas(model_sampling, name, steps)
    from .shims.samplers import SchedulerHandler

    return SchedulerHandler(*handler).levels


def _run_function(function: Callable[..., Tensor], *given: Any, **options: Any) -> Any:
    from .function_sampler import run_function

    return run_function(function, *given, **options)


def _run_handler(handler: Callable[[Any, int], Tensor], levels: ModelSigmas, steps: int) -> Tensor:
    from .model_value import PackModelSampling

    return handler(PackModelSampling(levels), steps).cpu().float()


def _levels_of(name: str, model_sampling: Any, steps: int) -> Tensor:
    from .shims.samplers import calculate_sigmas

    return calculate_sigmas(model_sampling, name, steps)
