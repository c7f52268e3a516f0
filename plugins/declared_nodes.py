"""The nodes that a plugin declares, read from its source without running it: who could provide a missing node."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_FILES = 200


def declares(plugin: Path, node_type: str) -> bool:
    """Whether a file, or a file of a folder, declares a node of this name."""
    files = [plugin] if plugin.is_file() else sorted(plugin.rglob("*.py"))[:MAX_FILES]
    return any(node_type in declared_nodes(file) for file in files)


def source_of(module: str) -> Path | None:
    """The file or folder of a module that can be imported, without importing it; None where there is no source."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations is None:
        return Path(spec.origin) if spec.origin is not None and spec.has_location else None
    for place in spec.submodule_search_locations:
        path = Path(place, *rest)
        file = path.with_name(f"{path.name}.py")
        if path.is_dir() or file.is_file():
            return path if path.is_dir() else file
    return None


def declared_nodes(file: Path) -> set[Any]:
    """The names, and old names, of the nodes that a file declares; of a file that cannot be read, none."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    mappings = (each for each in ast.walk(tree) if isinstance(each, ast.Assign) and _is_mapping(each))
    of_packs = {
        key.value for each in mappings for key in getattr(each.value, "keys", ()) if isinstance(key, ast.Constant)
    }
    functions = (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return of_packs | {name for function in functions for name in _names(function)}


def _is_mapping(statement: ast.Assign) -> bool:
    """Whether it is how packs of custom nodes name theirs: `NODE_CLASS_MAPPINGS = {"Name": Class}`."""
    return any(isinstance(target, ast.Name) and target.id == "NODE_CLASS_MAPPINGS" for target in statement.targets)


def _names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Any]:
    for decorator in function.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else None
        marker = call.func if call is not None else decorator
        if getattr(marker, "id", getattr(marker, "attr", None)) != "node":
            continue
        first = call.args[0] if call is not None and call.args else None
        yield first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else function.name
        for keyword in call.keywords if call is not None else ():
            if keyword.arg == "was":
                yield from (text.value for text in ast.walk(keyword.value) if isinstance(text, ast.Constant))
