"""What goes wrong with models: sentences, the exit code, and nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mezzotint.engine.atomic_file import TEMPORARY_SUFFIX

if TYPE_CHECKING:
    from .conftest import Command, Outcome

FEW_STEPS = ("--set", "KSampler.steps=2", "--seed", "3")
UNET = Path("unet") / "diffusion_pytorch_model.safetensors"


def refuse(done: Outcome, *parts: str, code: int = 1) -> None:
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    for part in ("Error: ", *parts):
        assert part in done.err


def files_below(folder: Path) -> list[str]:
    """The files in a folder, but for the remembered digests of model files."""
    return [path.name for path in folder.rglob("*") if path.is_file() and path.name != "file_digests.json"]


def test_a_truncated_model(run_own: Command, own_model: Path, tmp_path: Path) -> None:
    os.truncate(own_model / UNET, 100_000)
    refuse(run_own(), "Node 1 (CheckpointLoaderSimple)", str(own_model / UNET), "damaged")
    assert files_below(tmp_path / "home") == []


class Harmful:
    """Makes a folder when it is read from a pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_refused_and_not_read(run_own: Command, own_model: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    harmful = pickle.dumps(Harmful(trap))
    (own_model / UNET).unlink()
    (own_model / UNET).with_suffix(".bin").write_bytes(harmful)
    (own_model.parent / "single.ckpt").write_bytes(harmful)
    refuse(run_own(), "is a pickle (.bin)", "refused")
    refuse(run_own("single.ckpt"), "is a pickle (.ckpt)", "refused")
    assert not trap.exists()


def test_a_model_with_a_part_missing(run_own: Command, own_model: Path) -> None:
    shutil.rmtree(own_model / "text_encoder")
    refuse(run_own(), "the checkpoint 'mine' lacks", "text_encoder")


def test_a_missing_model(plain_mezzotint: Command, tmp_path: Path) -> None:
    done = plain_mezzotint("run", "text_to_image", "--set", "CheckpointLoaderSimple.ckpt_name=mezzotint-emojy")
    refuse(done, "'mezzotint-emojy' is in no models folder", "'mezzotint-emoji'", "Missing models:", code=2)


@pytest.mark.parametrize("name", ["cfg", "denoise"])
def test_nan_where_a_number_is_wanted(plain_mezzotint: Command, name: str) -> None:
    done = plain_mezzotint("run", "text_to_image", "--set", f"KSampler.{name}=NaN")
    refuse(done, f"input '{name}'", "nan is not allowed", code=2)


def test_a_picture_that_is_too_large_for_the_machine(
    plain_mezzotint: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mezzotint.engine.memory_account.free_nbytes", lambda device: 8 * 10**9)
    size = ("--set", "EmptyLatentImage.width=16384", "--set", "EmptyLatentImage.height=16384")
    done = plain_mezzotint("run", "text_to_image", *FEW_STEPS, *size)
    refuse(done, "(KSampler", "GB of memory", "choose a smaller size")
    assert files_below(tmp_path / "home") == []


def test_a_full_disk_after_sampling(plain_mezzotint: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_file = Path.open

    def open_on_a_full_disk(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if path.name.endswith(TEMPORARY_SUFFIX) and "x" in mode:
            open_file(path, mode, *args, **options).close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_file(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", open_on_a_full_disk)
    done = plain_mezzotint("run", "text_to_image", *FEW_STEPS, "--cache-dir", "cache")
    refuse(done, "(SaveImage", "no space left on the disk")
    monkeypatch.undo()
    assert files_below(tmp_path / "home") == []
    assert files_below(tmp_path / "cache") == []


@pytest.mark.skipif(sys.platform == "win32", reason="there a process cannot be sent Ctrl-C alone")
def test_an_interrupt_in_the_middle_of_sampling(tmp_path: Path) -> None:
    words = ["run", "text_to_image", "--set", "KSampler.steps=5000", "--json", "--cache-dir", "cache"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mezzotint", *words], cwd=tmp_path, text=True,
        env={**os.environ, "MEZZOTINT_HOME": str(tmp_path / "home")}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    watchdog = threading.Timer(90, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        sampling = (json.loads(line) for line in process.stdout)
        assert any(event["event"] == "step_progressed" and event["value"] >= 2 for event in sampling)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.communicate()
    finally:
        watchdog.cancel()
        process.kill()
    assert process.returncode == 130, err
    assert time.monotonic() - began < 15
    assert "Traceback" not in err
    assert files_below(tmp_path / "home") == []
    assert not [name for name in files_below(tmp_path / "cache") if name.endswith(TEMPORARY_SUFFIX)]
