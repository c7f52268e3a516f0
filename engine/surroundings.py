"""What plugins put around runs and steps, and who of them hears events. None of it can break a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from .event import Event
    from .event_stream import OnEvent
    from .plan import Step
    from .request import Request
    from .workflow import Workflow

T = TypeVar("T")

log = logging.getLogger("mezzotint.plugins")


class Hooked(NamedTuple):
    """A function of a plugin."""

    plugin: str
    function: Callable[..., Any]


@dataclass(slots=True)
class Surroundings:
    """The functions that are called around runs and steps and with events, first those of the plugin loaded first.

    Attributes:
        runs: of `job_id` and `workflow`. steps: of `job_id` and `step`. Both return a context manager, or None to
            stay out. observers: of `event`. All take their arguments by name.
    """

    runs: Sequence[Hooked] = ()
    steps: Sequence[Hooked] = ()
    observers: Sequence[Hooked] = ()
    _told: set[tuple[str, str, type]] = field(default_factory=set)

    def run(self, job_id: str, workflow: Workflow) -> AbstractContextManager[Any]:
        """What surrounds a run."""
        return (
            _Guarded(self, self.runs, "surround_run", {"job_id": job_id, "workflow": workflow})
            if self.runs
            else nullcontext()
        )

    def step(self, job_id: str, step: Step) -> AbstractContextManager[Any]:
        """What surrounds the body of a step, on the thread that runs it."""
        return (
            _Guarded(self, self.steps, "surround_step", {"job_id": job_id, "step": step})
            if self.steps
            else nullcontext()
        )

    def body(self, job_id: str, step: Step, body: Generator[Request, Any, T]) -> Generator[Request, Any, T]:
        """A step's body with its surroundings."""
        with self.step(job_id, step):
            return (yield from body)

    def listener(self, on_event: OnEvent | None) -> OnEvent | None:
        """Who hears the events of a run: the caller's listener first, then the plugins."""
        return partial(self._tell, on_event) if self.observers else on_event

    def _tell(self, on_event: OnEvent | None, event: Event) -> None:
        if on_event is not None:
            on_event(event)
        for plugin, observe in self.observers:
            try:
                observe(event=event)
            except Exception as error:
                self.report(plugin, "observe_event", error)

    def report(self, plugin: str, hook: str, error: Exception) -> None:
        """Say that a hook failed; of each plugin, hook and kind of error once."""
        if (plugin, hook, type(error)) in self._told:
            return
        self._told.add((plugin, hook, type(error)))
        place = _place(error)
        log.error(
            "plugin '%s': its hook '%s' failed%s: %s: %s; the run goes on without it, mend or block the plugin",
            plugin, hook, place, type(error).__name__, error,
        )  # fmt: skip


class _Guarded(AbstractContextManager[None]):
    """The context managers of plugins, entered in order and left in reverse; what they raise or swallow is ignored."""

    __slots__ = ("_arguments", "_entered", "_hook", "_hooked", "_surroundings")

    def __init__(
        self, surroundings: Surroundings, hooked: Sequence[Hooked], hook: str, arguments: dict[str, Any]
    ) -> None:
        self._surroundings, self._hooked, self._hook, self._arguments = surroundings, hooked, hook, arguments
        self._entered: list[tuple[str, AbstractContextManager[Any]]] = []

    def __enter__(self) -> None:
        for plugin, function in self._hooked:
            try:
                manager = function(**self._arguments)
                if manager is not None:
                    manager.__enter__()
                    self._entered.append((plugin, manager))
            except Exception as error:
                self._surroundings.report(plugin, self._hook, error)

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        for plugin, manager in reversed(self._entered):
            try:
                manager.__exit__(kind, raised, trace)
            except Exception as error:
                if error is not raised:
                    self._surroundings.report(plugin, self._hook, error)


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
