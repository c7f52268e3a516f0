"""Looking ahead: while a step computes on the device, the models of the steps after it are fetched.

What to fetch follows from the plan, the state of the run and the values that are there; no node has to say anything.
How far it is fetched is the residency manager's decision.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, ref

if TYPE_CHECKING:
    from .memory_cache import StepValue
    from .plan import Step
    from .residency import Residency
    from .resident import Loadable
    from .run import Run

REACH = 32
"""How many steps are looked at, at most: what comes much later would push out what comes before."""
NOT_BEGUN, UNDER_WAY = ("waiting", "ready"), ("ready", "running")

log = logging.getLogger("mezzotint.engine")


def is_recipe(value: Any) -> bool:
    """Whether a value is a `Loadable`."""
    kind = type(value)
    return all(hasattr(kind, name) for name in ("weights", "load", "configure"))


class Wanted(NamedTuple):
    """The recipes that come next, each once, in the order in which they are needed.

    Attributes:
        is_all: whether steps that run now will give no more of them.
    """

    recipes: list[Loadable]
    is_all: bool


def models_of(
    step: Step, steps: Mapping[str, Step], status: Mapping[str, str], values: Mapping[str, StepValue]
) -> Iterator[Loadable | None]:
    """The recipes that a step of the device will borrow, those of its first inputs first; None for one still to come.

    They reach it by its own links, or through steps of the CPU that are still to run, such as those that make a guider
    of a model, or add a LoRA to it.
    """
    pending, looked_at = [step], 0
    while pending and looked_at < REACH:
        current = pending.pop()
        looked_at += 1
        unmet = []
        for link in current.links.values():
            value, parent = values.get(link.node_id), steps.get(link.node_id)
            if value is not None:
                yield from filter(is_recipe, value.at(link.slot)[:1])
            elif parent is not None and parent.spec.lane == "cpu":
                unmet.append(parent)
                if status.get(parent.id) in UNDER_WAY:
                    yield None
        pending += reversed(unmet)


def wanted_next(
    coming: Iterable[Step], steps: Mapping[str, Step], status: Mapping[str, str], values: Mapping[str, StepValue]
) -> Wanted:
    """What a run will borrow next.

    Args:
        coming: the steps of the device that come next. steps: all. values: those that are there.
    """
    found: dict[int, Loadable] = {}
    is_all = True
    for step in coming:
        if status.get(step.id) in NOT_BEGUN:
            for recipe in models_of(step, steps, status, values):
                if recipe is None:
                    is_all = False
                else:
                    found[id(recipe)] = recipe
    return Wanted(list(found.values()), is_all)


class _Coming:
    """The steps of a run's plan that its device has not begun yet.

    Attributes:
        current: what the device was given last. found: what was wanted when this was last looked at.
    """

    def __init__(self) -> None:
        self.current = ""
        self.found: list[Loadable] = []
        self._seen = 0
        self._steps: deque[Step] = deque()

    def first(self, run: Run) -> list[Step]:
        steps, status = run.plan.steps, run.state.status
        if len(steps) > self._seen:  # at first, and when a step expanded
            new = [*islice(reversed(steps.values()), len(steps) - self._seen)]
            self._steps.extend(step for step in reversed(new) if step.spec.lane == "device")
            self._seen = len(steps)
        while self._steps and status.get(self._steps[0].id, "waiting") not in NOT_BEGUN:
            self._steps.popleft()
        return [*islice(self._steps, REACH)]


class LookAhead:
    """Fetches for all runs of an engine, on one thread of its own, which begins when there is something to fetch.

    It begins when the step that computes has a model, so as to take nothing from it. What goes wrong is told by nobody
    here: it comes up where the model is borrowed.
    """

    def __init__(self, models: Residency) -> None:
        self._models = models
        models.was_borrowed = self._begin
        self._waiting: deque[Callable[[], None]] = deque(maxlen=REACH)
        self._runs: WeakKeyDictionary[Run, _Coming] = WeakKeyDictionary()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mezzotint-ahead")
        self._is_closed = False

    def look(self, run: Run, given: str) -> bool:
        """Fetch what the steps of a run need after those that the device has. On the event loop's thread.

        Args:
            given: a step that the device was given now, if any.

        Returns:
            whether to look again soon, since models are still to be named.
        """
        coming, steps, status = self._runs.setdefault(run, _Coming()), run.plan.steps, run.state.status
        coming.current = given or coming.current
        wanted = wanted_next(coming.first(run), steps, status, run.values)
        if [*map(id, wanted.recipes)] != [*map(id, coming.found)]:
            coming.found = wanted.recipes
            self._waiting.append(partial(self._fetch, ref(run), coming, coming.found))
            now = models_of(steps[coming.current], steps, status, run.values)
            if all(recipe is None or self._models.has(recipe) for recipe in now):
                self._begin()
        return not wanted.is_all

    def close(self) -> None:
        """Leave off, and stop the thread."""
        self._is_closed = True
        self._thread.shutdown(cancel_futures=True)

    def _begin(self) -> None:
        """Fetch what was found. On any thread."""
        while self._waiting and not self._is_closed:
            with suppress(IndexError, RuntimeError):  # another thread took it, or closes
                self._thread.submit(self._waiting.popleft())

    def _fetch(self, of: ref[Run], coming: _Coming, found: list[Loadable]) -> None:
        run = of()

        def is_wanted() -> bool:
            return not (run is None or run.is_cancelled or run.state.is_finished or self._is_closed)

        for recipe in found:
            if coming.found is not found or not is_wanted():  # what was found later is fetched instead
                return
            try:
                self._models.fetch_ahead(recipe, is_wanted)
            except Exception:
                log.debug("a model could not be fetched ahead", exc_info=True)
