"""Where a command's workflows run: on a host of its own, or on a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mezzotint.engine.event_stream import OnEvent
from mezzotint.engine.folders import Folders
from mezzotint.engine.registry import Registry
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_file import Definitions
from mezzotint.plugins.host import Host

from .interrupt import Interrupts
from .report import file_place, shown_files

Outputs = Mapping[str, Mapping[str, Sequence[Any]]]


class KnownNodes(Protocol):
    """The nodes that workflows are read and changed by."""

    @property
    def registry(self) -> Registry: ...

    @property
    def definitions(self) -> Definitions: ...

    def load(self, source: str | Path, /) -> Workflow:
        """A workflow from a file. Raises WorkflowError."""
        ...


class Runner(KnownNodes, Protocol):
    """Runs workflows and fetches what they write."""

    @property
    def folders(self) -> Folders: ...

    async def run(self, workflow: Workflow, on_event: OnEvent, interrupts: Interrupts) -> RunResult | None:
        """Run one to its end; None when it was stopped before it began. Raises InvalidWorkflowError."""
        ...

    async def files(self, outputs: Outputs) -> list[str]:
        """Where the files are that output nodes show: absolute paths, or addresses that a store has given."""
        ...


class LocalRunner:
    """Runs on a host in this process."""

    def __init__(self, host: Host) -> None:
        self.registry, self.definitions, self.folders = host.registry, host.definitions, host.folders
        self.load, self._engine = host.load, host.engine

    async def run(self, workflow: Workflow, on_event: OnEvent, interrupts: Interrupts) -> RunResult | None:
        run = await self._engine.prepare(workflow, on_event=on_event)
        if interrupts.is_requested:
            return None
        interrupts.run = run
        return await run.execute()

    async def files(self, outputs: Outputs) -> list[str]:
        return [file_place(shown, self.folders) for shown in shown_files(outputs)]
