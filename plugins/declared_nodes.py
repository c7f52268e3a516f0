"""The nodes that a plugin declares, read from its source without running it: who could provide a missing node."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_FILES = 200


def declares(plugin: Path, node_type: str) -> bool:
    """Whether a file, or a file of a folder, declares a node of this name by `@node`."""
    files = [plugin] if plugin.is_file() else sorted(plugin.rglob("*.py"))[:MAX_FILES]
    return any(node_type in declared_nodes(file) for file in files)


def declared_nodes(file: Path) -> set[Any]:
    """The names, and old names, of the functions of a file below `@node`; of a file that cannot be read, none."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    functions = (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return {name for function in functions for name in _names(function)}


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
