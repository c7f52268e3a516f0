"""Runs a command's workflows on a server: pictures go up, files come down, the rest looks as if it ran here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mezzotint.client import Client, ServerError
from mezzotint.client.node_definition import read_registry
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.event_stream import OnEvent
from mezzotint.engine.folders import Folders, split_annotation
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.workflow import Workflow, as_link
from mezzotint.engine.workflow_edit import with_values
from mezzotint.engine.workflow_file import Definitions, load_workflow

from .interrupt import Interrupts
from .report import shown_files
from .runner import Outputs
from .terminal import Terminal

UPLOADS = ("image_upload", "video_upload", "audio_upload", "mesh_upload", "file_upload")
"""What an input's options say of one that names a file which editors upload."""


class RemoteRunner:
    """Runs on a server.

    Args:
        definitions: of the server's nodes. folders: where files lie and go on this machine.
    """

    def __init__(self, terminal: Terminal, client: Client, definitions: Definitions, folders: Folders) -> None:
        self.registry, self.definitions, self.folders = read_registry(definitions), definitions, folders
        self._terminal, self._client = terminal, client
        self._uploaded: dict[Path, str] = {}

    def load(self, source: str | Path, /) -> Workflow:
        return load_workflow(source, self.definitions)

    async def run(self, workflow: Workflow, on_event: OnEvent, interrupts: Interrupts) -> RunResult | None:
        job_id = await self._client.submit(await self._with_uploads(workflow))
        job = _RemoteJob(self._client, job_id)
        interrupts.run = job
        if interrupts.is_requested:
            job.cancel()
        try:
            return await self._client.result(job_id, on_event)
        except ServerError as error:
            self._terminal.fail(str(error), hint=f"The job may still run: mezzotint jobs watch {job_id}")
            return RunResult(job_id, "failed")
        finally:
            await job.settle()

    async def files(self, outputs: Outputs) -> list[str]:
        return [await self._fetched(shown) for shown in shown_files(outputs)]

    async def _fetched(self, shown: Mapping[str, Any]) -> str:
        if isinstance(shown.get("url"), str):
            return str(shown["url"])  # it lies in a store, as it would after a local run
        folder = self.folders.by_type(shown.get("type", "output")).absolute()
        return str(await self._client.download(shown, folder))

    async def _with_uploads(self, workflow: Workflow) -> Workflow:
        """The workflow with the files that it names and that lie here put on the server."""
        values = {}
        for node_id, name, given in self._files_named(workflow):
            found = self._local_file(given)
            if found is not None:
                values[node_id, name] = await self._upload(*found)
        return with_values(workflow, values) if values else workflow

    def _files_named(self, workflow: Workflow) -> Iterator[tuple[str, str, str]]:
        for node_id, node in workflow.nodes.items():
            for group in (self.definitions.get(node.class_type, {}).get("input") or {}).values():
                for name, declared in group.items():
                    given = node.inputs.get(name)
                    if _is_upload(declared) and isinstance(given, str) and as_link(given) is None:
                        yield node_id, name, given

    def _local_file(self, given: str) -> tuple[Path, str] | None:
        """The file of this machine that an input names, and the sub-folder for it; None when there is none."""
        with contextlib.suppress(MezzotintError):
            path = self.folders.require_file(given)
            parent = PurePosixPath(split_annotation(given, "input")[0]).parent.as_posix()
            return path, "" if parent == "." else parent
        path = Path(given).expanduser()
        return (path, "") if path.is_file() else None

    async def _upload(self, path: Path, subfolder: str) -> str:
        if path not in self._uploaded:
            self._uploaded[path] = (await self._client.upload(path, subfolder=subfolder)).value
        return self._uploaded[path]


def _is_upload(declared: object) -> bool:
    options = declared[1] if isinstance(declared, list) and len(declared) > 1 else None
    return isinstance(options, dict) and any(options.get(name) for name in UPLOADS)


class _RemoteJob:
    """What Ctrl-C stops."""

    def __init__(self, client: Client, job_id: str) -> None:
        self._client, self._job_id = client, job_id
        self._cancelling: asyncio.Task[bool] | None = None

    def cancel(self) -> None:
        if self._cancelling is None:
            self._cancelling = asyncio.create_task(self._client.cancel(self._job_id))

    async def settle(self) -> None:
        """Wait until the server was told. The job may have ended, or the server be lost; then that was told."""
        if self._cancelling is not None:
            with contextlib.suppress(ServerError):
                await self._cancelling
