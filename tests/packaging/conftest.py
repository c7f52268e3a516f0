"""Mezzotint's wheel, and an environment in which it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "output", "input", "temp")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree as somebody has it who has used it: byte code everywhere, a picture drawn."""
    copy = tmp_path_factory.mktemp("checkout") / "mezzotint"
    shutil.copytree(ROOT, copy, ignore=NOT_SOURCE)
    for folder in ("engine", "nodes", "nodes/embedded"):
        (copy / folder / "__pycache__").mkdir(exist_ok=True)
        (copy / folder / "__pycache__" / "left_over.cpython-311.pyc").write_bytes(b"")
    (copy / "engine" / "left_over.pyc").write_bytes(b"")
    return copy


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel, and borrows all else from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    builder = venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt")
    builder.create(folder)
    python = Path(builder.ensure_directories(folder).env_exe)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A plain path, whose own .pth files are not read: the editable install of this checkout stays out of sight.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    install(python, wheel)
    return python


def build_wheel(source: Path, folder: Path) -> Path:
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(source))
    (built,) = folder.glob("*.whl")
    return built


def install(python: Path, wheel: Path) -> None:
    """Install a wheel into the environment of a Python."""
    pip("--python", str(python), "install", "--no-deps", "--no-index", "--no-compile", str(wheel))


def pip(*arguments: str) -> None:
    run(Path(sys.executable), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def run(python: Path, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run([python, *arguments], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
