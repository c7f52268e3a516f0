"""Reads what is to be submitted. The server's definitions are fetched only for editors' documents, which need them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mezzotint.engine.expansion import GraphBuilder
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_file import load_workflow

WorkflowLike = str | Path | Mapping[str, Any] | Workflow | GraphBuilder
Definitions = Mapping[str, Mapping[str, Any]]


class _DefinitionsNeededError(Exception):
    """Somebody looked up a definition."""


class _NotFetched(Mapping[str, Mapping[str, Any]]):
    """Stands for definitions, to see whether any is needed."""

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        raise _DefinitionsNeededError

    def __iter__(self) -> Iterator[str]:
        raise _DefinitionsNeededError

    def __len__(self) -> int:
        raise _DefinitionsNeededError

    def __contains__(self, name: object) -> bool:
        raise _DefinitionsNeededError


async def read_workflow(source: WorkflowLike, fetch: Callable[[], Awaitable[Definitions]]) -> Workflow:
    """Any form of a workflow, as one; files are read on a thread.

    Raises:
        WorkflowError: it is none. ServerError: its definitions are needed and cannot be had.
    """
    if isinstance(source, Workflow):
        return source
    if isinstance(source, GraphBuilder):
        return Workflow.from_api(source.finalize())
    try:
        return await asyncio.to_thread(load_workflow, source, _NotFetched())
    except _DefinitionsNeededError:
        return await asyncio.to_thread(load_workflow, source, await fetch())
