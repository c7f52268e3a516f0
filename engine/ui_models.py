"""The model files that an editor's document says it needs, and where they can be had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .workflow import Workflow


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model file: its name, the models folder it belongs to, its address, and its digest where one is given.

    All but the name may be empty. The address and the digest are claims of the document, checked by nobody.
    """

    name: str
    directory: str = ""
    url: str = ""
    hash: str = ""
    hash_type: str = ""


def model_sources(workflow: Workflow) -> list[ModelSource]:
    """What the nodes and the document itself list under `models`, each file once, in the order of the document."""
    document = workflow.ui or {}
    return list(dict.fromkeys(_listed(document)))


def _listed(document: Mapping[str, Any]) -> Iterator[ModelSource]:
    waiting: list[Mapping[str, Any]] = [document]
    while waiting:
        canvas = waiting.pop(0)
        for holder in (canvas, *(node.get("properties") for node in _objects(canvas.get("nodes")))):
            if isinstance(holder, Mapping):
                yield from (_source(entry) for entry in _objects(holder.get("models")) if entry.get("name"))
        definitions = canvas.get("definitions")
        waiting.extend(_objects(definitions.get("subgraphs")) if isinstance(definitions, Mapping) else [])


def _source(entry: Mapping[str, Any]) -> ModelSource:
    keys = ("name", "directory", "url", "hash", "hash_type")
    return ModelSource(*(str(entry.get(key) or "") for key in keys))


def _objects(given: object) -> list[Mapping[str, Any]]:
    return [entry for entry in given if isinstance(entry, Mapping)] if isinstance(given, list) else []
