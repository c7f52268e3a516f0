"""The layers hold, imports stay light, files stay short, and every folder is packaged."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mezzotint

ROOT = Path(__file__).parents[1]
FOLDERS = ("engine", "nodes", "plugins", "server", "client", "cli", "workflows", "testing")
PACKAGED = [ROOT / folder for folder in FOLDERS]
OURS = [*PACKAGED, ROOT / "mezzotint", ROOT / "bench", ROOT / "tests"]

# What a folder may import besides itself. The package itself re-exports lazily, so its names count as their home's.
ALLOWED = {
    "engine": set(),
    "nodes": {"engine"},
    "plugins": {"engine", "nodes"},
    "workflows": set(),
    "server": {"engine", "nodes", "plugins", "workflows"},
    "client": {"engine"},
    "cli": {"engine", "nodes", "plugins", "workflows", "server", "client"},
    "testing": {"engine", "nodes", "plugins", "workflows", "server"},
}
# A plugin says so by the hook marker and the specifications alone, wherever it lives.
ALSO_ALLOWED = {"nodes": {"mezzotint.plugins.hookspecs", "mezzotint.plugins.hookimpl"}}

# The folders of nodes/, each of which may import those before it. docs/architecture.md says what they hold.
NODE_FOLDERS = (
    "basics", "models", "samplers", "latents", "images", "autoencoders", "text", "sampling", "conditioning", "patches",
    "families", "adapters", "merging", "training",
)  # fmt: skip

HEAVY = ("torch", "diffusers", "transformers", "PIL", "scipy", "aiohttp")
MAX_LINES, MAX_TEST_LINES = 400, 700
NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "misc"}


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package_of(path: Path) -> list[str]:
    """The dotted package a file of a top-level folder is in: `engine/cache/disk.py` → mezzotint, engine, cache."""
    return ["mezzotint", *path.relative_to(ROOT).parent.parts]


def imported(path: Path, *, for_checkers: bool = True) -> Iterator[tuple[int, str]]:
    """Every first-party module that a file imports, with its line; those in functions too, and for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out = set() if for_checkers else {*only_for_checkers(tree)}
    for statement in ast.walk(tree):
        if statement in left_out:
            continue
        if isinstance(statement, ast.Import):
            modules = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            modules = from_modules(statement, package_of(path))
        else:
            continue
        yield from ((statement.lineno, module) for module in modules if module.split(".")[0] in {"mezzotint", *FOLDERS})


def only_for_checkers(tree: ast.Module) -> Iterator[ast.AST]:
    for statement in tree.body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from ast.walk(statement)


def from_modules(statement: ast.ImportFrom, package: list[str]) -> list[str]:
    above = package[: len(package) + 1 - statement.level] if statement.level else []
    module = ".".join([*above, *(statement.module.split(".") if statement.module else [])])
    if module != "mezzotint":
        return [module]
    return [mezzotint._HOMES.get(alias.name, f"mezzotint.{alias.name}") for alias in statement.names]


def may_import(folder: str, module: str) -> bool:
    if module in ALSO_ALLOWED.get(folder, set()) or module == "mezzotint.__version__":
        return True
    layer = module.split(".")[1] if module.startswith("mezzotint.") else ""
    return layer in ALLOWED[folder] | {folder}


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_point_downwards_only(folder: str) -> None:
    wrong = [
        f"{label(path)}:{line} imports {module}"
        for path in python_files(ROOT / folder)
        for line, module in imported(path)
        if not may_import(folder, module)
    ]
    assert wrong == []


def test_folders_of_nodes_import_those_before_them_only() -> None:
    assert {path.parent.name for path in (ROOT / "nodes").glob("*/__init__.py")} == {*NODE_FOLDERS}
    later = {folder: NODE_FOLDERS[place + 1 :] for place, folder in enumerate(NODE_FOLDERS)}
    wrong = [
        f"{label(path)}:{line} imports {module}"
        for folder in NODE_FOLDERS
        for path in python_files(ROOT / "nodes" / folder)
        for line, module in imported(path, for_checkers=False)
        if module.startswith("mezzotint.nodes.") and module.split(".")[2] in later[folder]
    ]
    assert wrong == []


def test_the_engine_never_imports_the_package_that_re_exports_it() -> None:
    wrong = [
        f"{label(path)}:{node.lineno}"
        for path in python_files(ROOT / "engine")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "mezzotint"
    ]
    assert wrong == []


def loaded_after(code: str) -> set[str]:
    """The modules in a fresh interpreter once it has run the code."""
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_no_engine_module_loads_torch_or_anything_of_diffusion() -> None:
    modules = [
        ".".join(["mezzotint", *path.relative_to(ROOT).with_suffix("").parts]) for path in python_files(ROOT / "engine")
    ]
    loaded = loaded_after("\n".join(f"import {module.removesuffix('.__init__')}" for module in modules))
    assert loaded.isdisjoint(HEAVY)
    assert not any(name.startswith(("mezzotint.nodes", "mezzotint.plugins", "mezzotint.server")) for name in loaded)


def test_importing_the_package_loads_nothing_else() -> None:
    loaded = loaded_after("import mezzotint")
    assert loaded.isdisjoint({*HEAVY, "pydantic", "networkx", "numpy", "mezzotint.engine"})


def test_public_names_exist_and_are_the_same_for_type_checkers() -> None:
    for name, module in mezzotint._HOMES.items():
        assert getattr(mezzotint, name) is getattr(sys.modules[module], name)
    assert set(mezzotint._HOMES.items()) == set(names_for_type_checkers())


def names_for_type_checkers() -> Iterator[tuple[str, str]]:
    source = (ROOT / "mezzotint" / "__init__.py").read_text(encoding="utf-8")
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("mezzotint."):
            yield from ((alias.asname or "", statement.module or "") for alias in statement.names)


def test_an_unknown_public_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        mezzotint.nosuch  # noqa: B018


def test_files_stay_short() -> None:
    long = [
        f"{label(path)}: {lines} lines"
        for path in python_files(*OURS)
        if (lines := len(path.read_text(encoding="utf-8").splitlines()))
        > (MAX_TEST_LINES if path.is_relative_to(ROOT / "tests") else MAX_LINES)
    ]
    assert long == []


def test_files_are_named_for_what_they_hold() -> None:
    assert [label(path) for path in python_files(*OURS) if path.stem.strip("_") in NAMELESS] == []


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in python_files(*PACKAGED)}
    assert [label(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_every_folder_with_code_is_mapped() -> None:
    not_packaged = {"tests", "bench", "docs", "tools"}
    at_the_top = {path.parent.name for path in ROOT.glob("[a-z]*/*.py")} - not_packaged
    assert at_the_top <= {*FOLDERS, "mezzotint"}


def test_type_checkers_find_every_folder() -> None:
    links = ROOT / ".types" / "mezzotint"
    if not all(path.is_symlink() for path in links.iterdir()):
        pytest.skip("this checkout has no symbolic links; only type checkers need them")
    targets = [*PACKAGED, *(ROOT / "mezzotint" / name for name in ("__init__.py", "__main__.py", "py.typed"))]
    assert {path.resolve() for path in links.iterdir()} == set(targets)
