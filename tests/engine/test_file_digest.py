from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from mezzotint.engine import file_digest
from mezzotint.engine.errors import Cancelled
from mezzotint.engine.file_digest import FileDigests, file_digests, file_identity


@pytest.fixture
def memo(tmp_path: Path) -> Path:
    return tmp_path / "home" / "file_digests.json"


def write(path: Path, content: bytes, age_s: float = 60) -> Path:
    """A file that was last changed a while ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    then_ns = path.stat().st_mtime_ns - int(age_s * 1e9)
    os.utime(path, ns=(then_ns, then_ns))
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, in order."""
    names: list[str] = []
    read = file_digest._hash_file

    def counted(path: Path, check: Callable[[], None]) -> str:
        names.append(path.name)
        return read(path, check)

    monkeypatch.setattr(file_digest, "_hash_file", counted)
    return names


def test_the_digest_is_the_blake3_of_the_content(tmp_path: Path) -> None:
    content = os.urandom(100_000)
    assert FileDigests().of_file(write(tmp_path / "a", content)) == blake3(content).hexdigest()


def test_a_file_larger_than_a_block_is_hashed_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digest, "BLOCK_NBYTES", 1000)
    content = os.urandom(3500)
    assert FileDigests().of_file(write(tmp_path / "a", content)) == blake3(content).hexdigest()


def test_an_unchanged_file_is_read_once(tmp_path: Path, hashed: list[str]) -> None:
    digests, path = FileDigests(), write(tmp_path / "a", b"x")
    assert digests.of_file(path) == digests.of_file(path)
    assert hashed == ["a"]


def test_another_process_reads_the_memo_and_not_the_file(tmp_path: Path, memo: Path, hashed: list[str]) -> None:
    path = write(tmp_path / "a", b"x")
    digest = FileDigests(memo).of_file(path)
    assert FileDigests(memo).of_file(path) == digest
    assert hashed == ["a"]


@pytest.mark.parametrize("how", ["content", "time", "replaced"])
def test_a_changed_file_is_read_again(tmp_path: Path, memo: Path, how: str) -> None:
    path = write(tmp_path / "a", b"old")
    digests = FileDigests(memo)
    digests.of_file(path)
    if how == "content":
        write(path, b"longer", age_s=60)
    elif how == "time":
        write(path, b"new", age_s=30)
    else:  # same size and time, another inode
        write(tmp_path / "b", b"new").replace(path)
    assert digests.of_file(path) == FileDigests(memo).of_file(path) == blake3(path.read_bytes()).hexdigest()


def test_a_file_changed_just_now_is_not_remembered(tmp_path: Path, memo: Path, hashed: list[str]) -> None:
    path = write(tmp_path / "a", b"x", age_s=0)
    digests = FileDigests(memo)
    digests.of_file(path)
    digests.of_file(path)
    assert hashed == ["a", "a"]


@pytest.mark.parametrize(
    "torn",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b'{"format": "other"}',
        b'{"format": "mezzotint-digests-1", "files": {"a": [1]}}',
        b"\xff",
    ],
)
def test_a_torn_memo_is_ignored_and_replaced(tmp_path: Path, memo: Path, torn: bytes) -> None:
    path = write(tmp_path / "a", b"x")
    write(memo, torn)
    assert FileDigests(memo).of_file(path) == blake3(b"x").hexdigest()
    assert str(path) in json.loads(memo.read_text())["files"]


def test_two_managers_of_one_memo_keep_each_others_entries(tmp_path: Path, memo: Path) -> None:
    first, second = FileDigests(memo), FileDigests(memo)
    a, b = write(tmp_path / "a", b"a"), write(tmp_path / "b", b"b")
    second.of_file(write(tmp_path / "c", b"c"))  # has read the memo before the first wrote
    first.of_file(a)
    second.of_file(b)
    assert {str(a), str(b)} < set(json.loads(memo.read_text())["files"])


def test_the_memo_is_bounded(tmp_path: Path, memo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digest, "MAX_REMEMBERED", 2)
    digests = FileDigests(memo)
    for name in "abc":
        digests.of_file(write(tmp_path / name, b"x"))
    assert list(json.loads(memo.read_text())["files"]) == [str(tmp_path / "b"), str(tmp_path / "c")]


def test_a_memo_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    write(tmp_path / "not-a-folder", b"")
    digests = FileDigests(tmp_path / "not-a-folder" / "memo.json")
    assert digests.of_file(write(tmp_path / "a", b"x")) == blake3(b"x").hexdigest()


def test_a_missing_file_is_an_ordinary_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileDigests().of_file(tmp_path / "nosuch")


def test_hashing_can_be_cancelled_between_blocks(tmp_path: Path) -> None:
    def check() -> None:
        raise Cancelled

    digests, path = FileDigests(), write(tmp_path / "a", b"x")
    with pytest.raises(Cancelled):
        digests.of_file(path, check)
    assert digests.of_file(path) == blake3(b"x").hexdigest()


def test_a_folders_digest_does_not_depend_on_where_it_lies(tmp_path: Path) -> None:
    for place in ("here", "there"):
        write(tmp_path / place / "unet" / "config.json", b"{}")
        write(tmp_path / place / "model_index.json", b"[]")
    digests = FileDigests()
    assert digests.of_folder(tmp_path / "here") == digests.of_folder(tmp_path / "there")


def test_a_folders_digest_covers_names_and_contents(tmp_path: Path) -> None:
    layouts: list[dict[str, bytes]] = [
        {"a": b"1", "b": b"2"},
        {"a": b"2", "b": b"1"},
        {"a": b"1", "c": b"2"},
        {"a": b"1"},
    ]
    digests = FileDigests()
    seen = set()
    for number, layout in enumerate(layouts):
        for name, content in layout.items():
            write(tmp_path / str(number) / name, content)
        seen.add(digests.of_folder(tmp_path / str(number)))
    assert len(seen) == len(layouts)


def test_only_the_named_files_of_a_folder_count(tmp_path: Path, hashed: list[str]) -> None:
    write(tmp_path / "a", b"1")
    before = FileDigests().of_folder(tmp_path, ["a"])
    write(tmp_path / "README.md", b"new")
    assert FileDigests().of_folder(tmp_path, ["a"]) == before
    assert hashed == ["a", "a"]


def test_an_identity_costs_no_reading_and_changes_with_the_file(tmp_path: Path, hashed: list[str]) -> None:
    path = write(tmp_path / "a", b"x")
    before = file_identity(path)
    write(path, b"y", age_s=10)
    assert file_identity(path) != before
    assert hashed == []


def test_one_home_has_one_set_of_digests(tmp_path: Path) -> None:
    assert file_digests(tmp_path) is file_digests(tmp_path)
    assert not any(tmp_path.iterdir())


def test_neither_module_loads_torch() -> None:
    code = "import sys, mezzotint.engine.file_digest, mezzotint.engine.residency; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
