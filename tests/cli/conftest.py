"""The command line in this process: `mezzotint("run", "file.json")` → its exit code, output and messages."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mezzotint.cli import _QUIET_LIBRARIES, main
from mezzotint.plugins import manager

EMBEDDED = Path(__file__).parents[2] / "nodes" / "embedded" / "mezzotint-emoji"
TOYS = Path(__file__).with_name("toy_nodes.py")


@dataclass(frozen=True)
class Outcome:
    """How a command ended: `code`, what it wrote to the standard output, and what it said to people."""

    code: int
    out: str
    err: str

    @property
    def files(self) -> list[Path]:
        """The files that a run wrote."""
        return [Path(line) for line in self.out.splitlines()]

    @property
    def text(self) -> str:
        """What the one file holds that a run wrote."""
        (file,) = self.files
        return file.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Outcome]
Save = Callable[..., str]


@pytest.fixture
def toys() -> Path:
    """The file of the toy nodes."""
    return TOYS


@pytest.fixture
def plain_mezzotint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """The command as it is, with a home and a working folder of its own."""
    for name in _QUIET_LIBRARIES:
        monkeypatch.setenv(name, "1")
    for name in ("MEZZOTINT_TRACEBACK", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)

    def call(*words: object, stdin: bytes | None = None) -> Outcome:
        if stdin is not None:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        written = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return Outcome(code, written.out, written.err)

    return call


@pytest.fixture
def mezzotint(plain_mezzotint: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command with the toy nodes and no others."""
    monkeypatch.setattr(manager, "BUILT_IN", ())

    def call(command: str, *words: object, stdin: bytes | None = None) -> Outcome:
        return plain_mezzotint(command, *words, "--plugin", TOYS, stdin=stdin)

    return call


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """`save({...})`: write a graph to a file and return its name."""

    def write(document: Mapping[str, Any] | str, name: str = "flow.json") -> str:
        text = document if isinstance(document, str) else json.dumps(document)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write


@pytest.fixture
def sampling() -> dict[str, Any]:
    """A graph with a prompt, a negative prompt and a seed, that writes what it was given."""
    return {
        "1": {"class_type": "Encode", "inputs": {"text": "a cat"}, "_meta": {"title": "Wanted"}},
        "2": {"class_type": "Encode", "inputs": {"text": "blurry"}, "_meta": {"title": "Unwanted"}},
        "3": {"class_type": "Sample", "inputs": {"positive": ["1", 0], "negative": ["2", 0], "seed": 5}},
        "4": {"class_type": "Write", "inputs": {"text": ["3", 0]}},
    }


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    """A copy of the embedded model in a models folder, as the checkpoint `mine`."""
    return shutil.copytree(EMBEDDED, tmp_path / "models" / "checkpoints" / "mine")


@pytest.fixture
def run_own(plain_mezzotint: Command, own_model: Path) -> Command:
    """`run_own("name")`: draw with a checkpoint of that models folder, `mine` by default, in two steps."""

    def run(name: str = "mine") -> Outcome:
        settings = ("--set", f"CheckpointLoaderSimple.ckpt_name={name}", "--set", "KSampler.steps=2", "--seed", "3")
        return plain_mezzotint("run", "text_to_image", "--models-dir", own_model.parents[1], *settings)

    return run
