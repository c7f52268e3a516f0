"""`comfy.samplers`: the names of samplers and schedules."""

from __future__ import annotations

from mezzotint.engine.catalogue import catalogue

SAMPLER_NAMES = [*catalogue("sampler").names]
SCHEDULER_NAMES = [*catalogue("schedule").names]


class KSampler:
    """The names, where packs look for them."""

    SAMPLERS = SAMPLER_NAMES
    SCHEDULERS = SCHEDULER_NAMES
