"""`mezzotint run`: runs a workflow one or more times, and tells what it made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mezzotint.engine.errors import InvalidWorkflowError
from mezzotint.engine.event import Event, StepFinished, StepShown
from mezzotint.engine.event_stream import OnEvent
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_edit import with_values

from . import TRACEBACK_VARIABLE
from .duration import clock
from .event_lines import EventLines
from .exit_code import DONE, FAILED, INTERRUPTED, INVALID
from .host import local_folders, open_host
from .interrupt import Interrupts
from .places import Graph
from .prompt_target import with_prompt
from .report import shown_texts, tell_failures, tell_problems
from .runner import KnownNodes, LocalRunner, Runner
from .setting import read_settings
from .terminal import Terminal
from .variations import Variation, read_seed, variations
from .workflow_source import read_workflow


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the command line asks for.

    Attributes:
        settings: the texts of `--set`. seed: a number or "random". host: options of `open_host`.
        server: the address of the server to run on, and its token; here when None.
    """

    file: str
    settings: list[str] = field(default_factory=list)
    prompt: str | None = None
    negative: str | None = None
    seed: str | None = None
    count: int = 1
    as_json: bool = False
    is_quiet: bool = False
    with_traceback: bool = False
    host: dict[str, Any] = field(default_factory=dict)
    server: str | None = None
    token: str | None = None


def run(request: RunRequest) -> int:
    """Do what is asked, and return the exit code.

    Raises:
        MezzotintError: the request cannot be followed; nothing ran.
    """
    terminal = Terminal(request.is_quiet)
    seed = read_seed(request.seed)
    with _log_to(terminal):
        if request.server is not None:
            return asyncio.run(_run_there(terminal, request, request.server, seed))
        with open_host(terminal, **request.host) as host:
            runner = LocalRunner(host)
            workflow = _read(terminal, runner, request)
            return asyncio.run(_Runs(terminal, runner, request).run(workflow, seed))


async def _run_there(terminal: Terminal, request: RunRequest, server: str, seed: int | str | None) -> int:
    from mezzotint.client import Client

    from .remote_runner import RemoteRunner

    folders = local_folders(request.host)
    async with Client(server, request.token) as client:
        runner = RemoteRunner(terminal, client, await client.object_info(), folders)
        return await _Runs(terminal, runner, request).run(_read(terminal, runner, request), seed)


def _read(terminal: Terminal, nodes: KnownNodes, request: RunRequest) -> Workflow:
    """The workflow with what `--set`, `--prompt` and `--negative` say."""
    workflow = read_workflow(request.file, nodes)
    for warning in workflow.warnings:
        terminal.warn(warning)
    for sentence in workflow.upgrades:
        terminal.say(sentence)
    if request.settings:
        workflow = with_values(workflow, read_settings(request.settings, Graph(workflow, nodes.registry)))
    for text, is_negative in ((request.prompt, False), (request.negative, True)):
        if text is not None:
            values = with_prompt(Graph(workflow, nodes.registry), text, is_negative=is_negative)
            workflow = with_values(workflow, values)
    return workflow


class _Runs:
    """The runs of one command, one after the other on one event loop."""

    def __init__(self, terminal: Terminal, runner: Runner, request: RunRequest) -> None:
        self.terminal, self.runner, self.request = terminal, runner, request
        self.stdout = sys.stdout

    async def run(self, workflow: Workflow, seed: int | str | None) -> int:
        code = DONE
        interrupts = Interrupts(lambda: self.terminal.say("Stopping. Ctrl-C again leaves at once."))
        lines = EventLines(self.stdout, interrupts.stop) if self.request.as_json else None
        # What nodes print must not come between the results.
        with interrupts, contextlib.redirect_stdout(sys.stderr):
            for index, variation in enumerate(variations(workflow, self.runner, self.request.count, seed)):
                self.announce(variation, index, seed)
                code = await self.run_one(variation.workflow, interrupts, lines)
                if code != DONE or interrupts.is_requested:
                    break
        if lines is not None and lines.is_broken:
            return FAILED
        return INTERRUPTED if interrupts.is_requested else code

    def announce(self, variation: Variation, index: int, seed: int | str | None) -> None:
        named = f"seed {variation.seed}" if variation.seed is not None else ""
        if self.request.count > 1:
            run = f"Run {index + 1} of {self.request.count}"
            self.terminal.say(f"{run}, {named}" if named else run, style="bold")
        elif isinstance(seed, str):
            self.terminal.say(named.capitalize())

    async def run_one(self, workflow: Workflow, interrupts: Interrupts, lines: EventLines | None) -> int:
        titles = {node_id: node.title for node_id, node in workflow.nodes.items()}
        tally = Tally()
        progress = None
        if lines is None and not self.request.is_quiet:
            from .progress import Progress

            progress = Progress(self.terminal.messages, titles)
        listeners: list[OnEvent] = [listener for listener in (tally, lines, progress) if listener is not None]

        def hear(event: Event) -> None:
            for listener in listeners:
                listener(event)

        try:
            with progress or contextlib.nullcontext():
                result = await self.runner.run(workflow, hear, interrupts)
        except InvalidWorkflowError as error:
            tell_problems(self.terminal, error.problems, workflow, self.runner.folders)
            return INVALID
        if result is None:
            return INTERRUPTED
        await self.tell(result, tally, titles)
        return {"done": DONE, "failed": FAILED, "cancelled": INTERRUPTED}[result.status]

    async def tell(self, result: RunResult, tally: Tally, titles: dict[str, str]) -> None:
        """Say how a run ended; the files it wrote are its results."""
        for node_id, shown in result.outputs.items():
            for text in shown_texts(shown):
                self.terminal.say(f"{titles.get(node_id, node_id)}: {text}")
        tell = self.terminal.say if self.request.as_json else self.terminal.result
        for place in await self.runner.files(result.outputs):
            tell(place)
        tell_failures(self.terminal, result, self.runner.registry, with_traceback=self.is_traceback_wanted)
        self.terminal.say(tally.summary(result), style="dim")

    @property
    def is_traceback_wanted(self) -> bool:
        return self.request.with_traceback or bool(os.environ.get(TRACEBACK_VARIABLE))


class Tally:
    """Counts the nodes of a run, and sees whether it made anything."""

    def __init__(self) -> None:
        self.ran = self.reused = 0
        self.has_shown = self.has_made = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.ran += event.source == "ran"
            self.reused += event.source != "ran"
        elif isinstance(event, StepShown):
            self.has_shown = True
            self.has_made |= not event.is_reused

    def summary(self, result: RunResult) -> str:
        word = {"done": "Done in", "failed": "Failed after", "cancelled": "Stopped after"}[result.status]
        reused = f", {self.reused} reused" if self.reused else ""
        repeated = "; nothing differs from the run before, so no file is new" if self.is_repeated else ""
        ran = "1 node" if self.ran == 1 else f"{self.ran} nodes"
        return f"{word} {clock(result.seconds)}: {ran} ran{reused}{repeated}."

    @property
    def is_repeated(self) -> bool:
        return self.has_shown and not self.has_made


@contextlib.contextmanager
def _log_to(terminal: Terminal) -> Iterator[None]:
    """Warnings that the engine logs, as people read them."""
    handler = _Warnings(terminal)
    log = logging.getLogger("mezzotint")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Warnings(logging.Handler):
    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self.terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self.terminal.warn(record.getMessage())
