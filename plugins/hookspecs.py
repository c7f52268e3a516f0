"""All hooks, and nothing else. A plugin implements any of them with `@mezzotint.hookimpl`.

An implementation takes the arguments it wants, by name, and leaves the others out. Hooks that register are called once
for each host; the order is that of loading: built-in plugins, installed distributions, the plugins folder, files that
are named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .hookimpl import hookspec

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import typer
    from aiohttp import web

    from mezzotint.engine.catalogue import Register
    from mezzotint.engine.event import Event
    from mezzotint.engine.folders import Folders
    from mezzotint.engine.lane import Scope
    from mezzotint.engine.node import NodeSpec
    from mezzotint.engine.output_store import OutputStore
    from mezzotint.engine.plan import Step
    from mezzotint.engine.residency import Residency
    from mezzotint.engine.value_type import Codec
    from mezzotint.engine.workflow import Workflow

    from .host import Host

HOOK_VERSION = 1
"""The version of this contract. A plugin that needs a later one says so: `hook_version = 2` in its module."""

# what a plugin brings


@hookspec
def register_nodes(register: Callable[[Callable[..., Any] | NodeSpec], NodeSpec]) -> None:
    """Call `register` with each node: a function marked by `@node`, or a `NodeSpec`. Return nothing.

    A plugin without this hook need not do so: all functions of its module that `@node` marks are registered.
    """


@hookspec
def register_samplers(register: Register) -> None:
    """Call `register(name, sampler)` with each sampler, a generator function. Return nothing.

    `nodes.samplers.sampler` says what a sampler is. Further keyword arguments are handed to it. Traits, which
    `nodes.samplers.sampler_names` explains: "takes_single_steps", "renoises_mask_afresh", "discards_penultimate".
    """


@hookspec
def register_schedules(register: Register) -> None:
    """Call `register(name, schedule)` with each schedule. Return nothing.

    It is a `nodes.samplers.schedules.ScheduleFunction`.
    """


@hookspec
def register_guiders(register: Register) -> None:
    """Call `register(name, make_guider)` with each guider. Return nothing.

    `make_guider(model, positive, negative, cfg)` returns a `nodes.sampling.guidance.GuiderValue`.
    """


@hookspec
def register_model_families(register: Register) -> None:
    """Call `register(name, family)` with each `engine.model_family.ModelFamily`. Return nothing.

    Families are asked in order whether a file is theirs; the first that says so has it.
    """


@hookspec
def register_models(models: Residency) -> None:
    """Tell how recipes of a kind are materialised: `models.register(kind, loader)`. Return nothing."""


@hookspec
def register_value_types(register: Callable[[Codec], None]) -> None:
    """Call `register` with an `engine.value_type.Codec` for each class whose values travel on links. Return nothing.

    A frozen dataclass with `@value_type` above it needs none.
    """


@hookspec
def register_output_stores(register: Callable[[str, Callable[[Folders], OutputStore]], None]) -> None:
    """Call `register(name, make_store)` with each place where saved files can go. Return nothing.

    `make_store(folders)` returns an `engine.output_store.OutputStore`. The setting `output_store` chooses one by name.
    """


@hookspec
def register_routes(register: Callable[[web.RouteDef], None], host: Host) -> None:
    """Call `register(web.get("/path", handler))` with each route of the server. Return nothing.

    Each is served as it is and below `/api`. Called when a server is made, and never otherwise.
    """


@hookspec
def register_web_directory(register: Callable[..., None]) -> None:
    """Call `register(folder)` with the `Path` of a folder of static files. Return nothing.

    It is served at `/extensions/<plugin's name>/`, or with `register(folder, name)` at `/extensions/<name>/`; editors
    load the scripts (`.js`) in it.
    """


@hookspec
def register_commands(app: typer.Typer) -> None:
    """Add commands to the command line: `app.command()(function)`. Return nothing.

    Called when a command is asked for that is not built in, or the list of commands.
    """


# what a plugin does around runs


@hookspec
def surround_bodies() -> Scope | None:
    """Return a function of a `NodeSpec` that gives the context manager its bodies run in, or None to leave them.

    Entered and left on the body's thread each time that a body goes on: for state of a thread. Async bodies have none.
    """


@hookspec
def surround_step(job_id: str, step: Step) -> AbstractContextManager[Any] | None:
    """Return a context manager that is entered before a step's body and left behind it, or None to leave it.

    Called for steps that run, on the thread that runs them; bodies that wait let others in between. What it raises is
    reported and otherwise ignored, and it cannot swallow what the body raises.
    """


@hookspec
def surround_run(job_id: str, workflow: Workflow) -> AbstractContextManager[Any] | None:
    """Return a context manager that is entered before a run and left behind it, or None to leave it.

    Called on the thread of the event loop. What it raises is reported and otherwise ignored.
    """


@hookspec
def observe_event(event: Event) -> None:
    """Hear an event of a run; return nothing.

    Called on the thread of the event loop, in the order of the events: be quick. What it raises is reported once.
    """
