"""Which models a workflow lacks, where it says to get them, and where to put them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mezzotint.engine.errors import FolderError
from mezzotint.engine.folders import Folders
from mezzotint.engine.problem import Problem


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """What a workflow's document says of a model that it uses.

    Attributes:
        name: the file's name. kind: the models folder it belongs into. url: where it can be had; may be empty.
    """

    name: str
    kind: str
    url: str = ""


def model_addresses(document: dict[str, Any] | None) -> list[ModelAddress]:
    """The models that an editor's document lists: in its nodes, those of its subgraphs too, and beside them."""
    found = dict.fromkeys(address for entry in _entries(document or {}) if (address := _address(entry)))
    return list(found)


def missing_models(
    problems: Iterable[Problem], document: dict[str, Any] | None, folders: Folders
) -> list[ModelAddress]:
    """The models that inputs name and no folder holds, and those of the document's list that are not there either."""
    addresses = [address for address in model_addresses(document) if not _is_there(address, folders)]
    by_file = {_file_name(address.name): address for address in addresses}
    named = [(str(problem.given), problem.models) for problem in problems if problem.models]
    unknown = [ModelAddress(name, kind) for name, kind in named if _file_name(name) not in by_file]
    return list(dict.fromkeys([*addresses, *unknown]))


def describe(address: ModelAddress, folders: Folders) -> str:
    """A few lines: the model, its address, and the folder to put it into."""
    where = f"get it from {address.url}" if address.url else "the workflow does not say where to get it"
    lines = [f"{address.name} ({address.kind or 'of an unknown kind'})", f"  {where}"]
    if address.kind in folders.kinds and (paths := folders.model_folders(address.kind)):
        lines.append(f"  put it into {paths[0]}")
    return "\n".join(lines)


def _entries(document: dict[str, Any]) -> Iterator[Any]:
    yield from _list(document, "models")
    definitions = document.get("definitions")
    subgraphs = _list(definitions, "subgraphs") if isinstance(definitions, dict) else []
    for graph in (document, *subgraphs):
        for node in _list(graph, "nodes"):
            properties = node.get("properties") if isinstance(node, dict) else None
            yield from _list(properties, "models")


def _list(holder: Any, name: str) -> list[Any]:
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, list) else []


def _address(entry: Any) -> ModelAddress | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return None
    kind, url = entry.get("directory"), entry.get("url")
    address = url if isinstance(url, str) and url.startswith(("https://", "http://")) else ""
    return ModelAddress(entry["name"], kind if isinstance(kind, str) else "", address)


def _is_there(address: ModelAddress, folders: Folders) -> bool:
    try:
        return _file_name(address.name) in map(_file_name, folders.filenames(address.kind))
    except FolderError:
        return False


def _file_name(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]
