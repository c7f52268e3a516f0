"""What stands for a plugin's code in the keys of its nodes' values."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from mezzotint.plugins.code_version import code_version


def module_of(file: Path | None) -> ModuleType:
    module = ModuleType("own")
    if file is not None:
        module.__file__ = str(file)
    return module


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("a = 1")
    first = code_version(module_of(file))
    assert code_version(module_of(file)) == first
    file.write_text("a = 2")
    assert code_version(module_of(file)) != first


def test_what_is_typed_at_a_prompt_has_no_file_and_a_version_of_its_process() -> None:
    version = code_version(module_of(None))
    assert version.startswith("typed in process ")
    assert version == code_version(module_of(None))
