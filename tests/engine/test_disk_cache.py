"""The disk tier: values come back after a restart, whatever happens to the files is a miss, and the bound is kept."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from mezzotint.engine import disk_cache, value_type
from mezzotint.engine.atomic_file import TEMPORARY_PREFIX, TEMPORARY_SUFFIX
from mezzotint.engine.disk_cache import DiskCache
from mezzotint.engine.errors import OutputError
from mezzotint.engine.memory_cache import StepValue

KEY, OTHER = "ab" + "0" * 62, "cd" + "1" * 62


@value_type.value_type("tests.Stored")
@dataclasses.dataclass(frozen=True)
class Stored:
    a: Any


def step_value(size: int = 6) -> StepValue:
    picture = numpy.arange(size, dtype="float32").reshape(2, -1)
    return StepValue(
        ([{"samples": picture, "batch_index": [0, 1]}], ["text", 5], []), {"images": [{"filename": "a.png"}]}
    )


def is_same(found: StepValue | None, kept: StepValue) -> bool:
    if found is None:
        return False
    samples, expected = found.outputs[0][0]["samples"], kept.outputs[0][0]["samples"]
    return (samples == expected).all() and found.outputs[1:] == kept.outputs[1:] and found.shown == kept.shown


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "cache")


def leftovers(cache: DiskCache) -> list[Path]:
    return [path for path in cache.folder.rglob("*") if path.is_file() and path.suffix != ".safetensors"]


class TestKeeping:
    def test_a_value_comes_back_to_another_cache_of_the_folder(self, cache: DiskCache) -> None:
        assert cache.put(KEY, step_value())
        assert is_same(DiskCache(cache.folder).get(KEY), step_value())
        assert KEY in cache
        assert OTHER not in cache
        assert cache.get(OTHER) is None
        assert not leftovers(cache)

    def test_arrays_that_come_back_may_be_written_to(self, cache: DiskCache) -> None:
        cache.put(KEY, step_value())
        found = cache.get(KEY)
        assert found is not None
        assert found.outputs[0][0]["samples"].flags.writeable

    @pytest.mark.parametrize("outputs", [(), ([],), ([None, True, 1, 1.5, "é", b"", ()],), ([numpy.zeros((0, 2))],)])
    def test_values_of_every_shape(self, cache: DiskCache, outputs: tuple[list[Any], ...]) -> None:
        assert cache.put(KEY, StepValue(outputs))
        found = cache.get(KEY)
        assert found is not None
        assert repr(found.outputs) == repr(outputs)

    def test_what_has_no_storable_form_is_not_kept_and_no_error(self, cache: DiskCache) -> None:
        assert not cache.put(KEY, StepValue(([object()],)))
        assert KEY not in cache
        assert not [*cache.folder.rglob("*")]

    def test_a_value_of_too_many_plain_parts_is_not_kept(
        self, cache: DiskCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(disk_cache, "MAX_TEXT", 100)
        assert not cache.put(KEY, StepValue(([*range(100)],)))

    def test_putting_again_replaces(self, cache: DiskCache) -> None:
        cache.put(KEY, step_value(6))
        cache.put(KEY, step_value(8))
        assert is_same(cache.get(KEY), step_value(8))

    def test_a_value_of_a_class_that_is_not_known_here_is_left_for_those_who_know_it(
        self, cache: DiskCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache.put(KEY, StepValue(([Stored(1)],)))
        with monkeypatch.context() as patch:
            patch.delitem(value_type._classes, "tests.Stored")
            assert cache.get(KEY) is None
        assert cache.get(KEY) == StepValue(([Stored(1)],))


class TestTornFiles:
    """Each is a miss, and is gone afterwards, so that the value is written anew."""

    @pytest.fixture
    def path(self, cache: DiskCache) -> Path:
        cache.put(KEY, step_value())
        return cache.path(KEY)

    def check_miss(self, cache: DiskCache, path: Path) -> None:
        assert cache.get(KEY) is None
        assert not path.exists()
        assert cache.put(KEY, step_value())
        assert is_same(cache.get(KEY), step_value())

    def test_cut_off_anywhere(self, cache: DiskCache, path: Path) -> None:
        whole = path.read_bytes()
        for length in [*range(24), *range(24, len(whole), 13), len(whole) - 1]:
            path.write_bytes(whole[:length])
            assert cache.get(KEY) is None, length
            assert not path.exists()

    def test_any_byte_changed(self, cache: DiskCache, path: Path) -> None:
        """Either a miss, or (where the byte means nothing) the very value."""
        whole = path.read_bytes()
        hits = 0
        for index in range(len(whole)):
            for change in (0x01, 0x20, 0x0F):
                path.write_bytes(whole[:index] + bytes([whole[index] ^ change]) + whole[index + 1 :])
                found = cache.get(KEY)
                assert found is None or is_same(found, step_value()), (index, whole[index])
                hits += found is not None
        assert hits < len(whole) / 10

    @pytest.mark.parametrize(
        ("before", "after"), [(b'"F32"', b'"I32"'), (b"[2,3]", b"[3,2]"), (b"[2,3]", b"[6,1]"), (b'"t0"', b'"t1"')]
    )
    def test_a_header_that_says_otherwise(self, cache: DiskCache, path: Path, before: bytes, after: bytes) -> None:
        whole = path.read_bytes()
        assert before in whole
        path.write_bytes(whole.replace(before, after))
        self.check_miss(cache, path)

    @pytest.mark.parametrize(
        "content",
        [
            b"", b"\0" * 8, b"\0" * 4096, b"\xff" * 64, b"not a cache file at all",
            (2).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]", (4).to_bytes(8, "little") + b"null",
            (10**15).to_bytes(8, "little") + b"{}", (21).to_bytes(8, "little") + b'{"__metadata__":null}',
            (19).to_bytes(8, "little") + b'{"__metadata__":{}}', (5000).to_bytes(8, "little") + b"[" * 5000,
        ],
    )  # fmt: skip
    def test_another_file_in_its_place(self, cache: DiskCache, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        self.check_miss(cache, path)

    def test_a_tensor_file_of_another_program(self, cache: DiskCache, path: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"weights": numpy.zeros(3)}, path, {"format": "pt"})
        self.check_miss(cache, path)

    def test_the_value_of_another_key(self, cache: DiskCache, path: Path) -> None:
        cache.put(OTHER, step_value(8))
        path.write_bytes(cache.path(OTHER).read_bytes())
        self.check_miss(cache, path)

    def test_an_older_format(self, cache: DiskCache, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(disk_cache, "FORMAT", "mezzotint-value-2")
        self.check_miss(cache, path)

    def test_a_folder_in_its_place_is_a_miss(self, cache: DiskCache) -> None:
        cache.path(KEY).mkdir(parents=True)
        assert KEY not in cache
        assert cache.get(KEY) is None
        with pytest.raises(OutputError, match="cannot be kept in the cache folder"):
            cache.put(KEY, step_value())
        assert not leftovers(cache)

    def test_a_file_that_may_not_be_read_is_a_miss_and_stays(
        self, cache: DiskCache, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> bytes:
            raise PermissionError(errno.EACCES, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", refuse)
            assert cache.get(KEY) is None
        assert is_same(cache.get(KEY), step_value())


class TestFolders:
    def test_a_folder_that_cannot_be_made_is_a_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(OutputError) as caught:
            DiskCache(tmp_path / "file")
        assert str(caught.value) == f"the cache folder '{tmp_path / 'file'}' cannot be made (File exists); name another"

    @pytest.mark.parametrize("fails", ["write", "replace"])
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
    def test_a_write_that_fails_is_a_sentence_and_leaves_nothing(
        self, cache: DiskCache, monkeypatch: pytest.MonkeyPatch, fails: str, code: int
    ) -> None:
        def fail(*_: Any) -> Any:
            raise OSError(code, os.strerror(code))

        original: Callable[..., Any] = Path.open

        with monkeypatch.context() as patch:
            if fails == "replace":
                patch.setattr(Path, "replace", fail)
            else:
                patch.setattr(Path, "open", lambda path, *args: Half(original(path, "wb", 0), fail))
            with pytest.raises(OutputError) as caught:
                cache.put(KEY, step_value())
        assert str(cache.folder) in str(caught.value)
        assert f"({os.strerror(code)}); free some space or name another folder" in str(caught.value)
        assert [path for path in cache.folder.rglob("*") if path.is_file()] == []
        assert cache.put(KEY, step_value())

    def test_a_folder_that_was_removed_is_made_again(self, cache: DiskCache) -> None:
        cache.folder.rmdir()
        assert cache.put(KEY, step_value())
        assert is_same(cache.get(KEY), step_value())


class Half:
    """A file on a disk that is full after three bytes."""

    def __init__(self, file: Any, fail: Callable[..., Any]) -> None:
        self._file, self._fail = file, fail

    def __enter__(self) -> Half:
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        self._file.write(data[:3])
        self._fail()


class TestBudget:
    SIZE = 10_000

    def put(self, cache: DiskCache, *keys: str) -> None:
        for key in keys:
            cache.put(f"{key}{key}" + "0" * 62, StepValue(([numpy.zeros(self.SIZE, "uint8")],)))
            time.sleep(0.002)

    def kept(self, cache: DiskCache) -> str:
        return "".join(sorted(path.name[0] for path in cache.folder.glob("??/*.safetensors")))

    def test_the_least_recently_used_files_go_first(self, tmp_path: Path) -> None:
        cache = DiskCache(tmp_path, 5 * self.SIZE)
        self.put(cache, *"abcd")
        assert self.kept(cache) == "abcd"
        cache.get("aa" + "0" * 62)
        time.sleep(0.002)
        self.put(cache, "e")
        assert "a" in self.kept(cache)
        assert "e" in self.kept(cache)
        assert "b" not in self.kept(cache)
        assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 5 * self.SIZE

    def test_what_an_earlier_process_left_counts(self, tmp_path: Path) -> None:
        self.put(DiskCache(tmp_path), *"abcd")
        self.put(DiskCache(tmp_path, 3 * self.SIZE), "e")
        assert self.kept(DiskCache(tmp_path)) == "de"

    def test_a_value_larger_than_the_bound_is_not_kept_and_drops_no_other(self, tmp_path: Path) -> None:
        cache = DiskCache(tmp_path, 2 * self.SIZE)
        self.put(cache, "a")
        assert not cache.put(KEY, StepValue(([numpy.zeros(3 * self.SIZE, "uint8")],)))
        assert self.kept(cache) == "a"

    def test_files_that_another_process_removed_are_no_error(self, tmp_path: Path) -> None:
        cache = DiskCache(tmp_path, 3 * self.SIZE)
        self.put(cache, *"ab")
        for path in tmp_path.glob("??/*"):
            path.unlink()
        self.put(cache, *"cde")
        assert self.kept(cache) in ("de", "cd", "ce", "e")

    def test_unfinished_files_of_killed_processes_are_swept_when_old(self, tmp_path: Path) -> None:
        cache = DiskCache(tmp_path, 2 * self.SIZE)
        self.put(cache, "a")
        old, young = (tmp_path / "aa" / f"{TEMPORARY_PREFIX}{age}{TEMPORARY_SUFFIX}" for age in ("old", "young"))
        for path in (old, young):
            path.write_bytes(b"half")
        os.utime(old, (time.time() - 7200,) * 2)
        self.put(cache, *"bc")
        assert (old.exists(), young.exists()) == (False, True)


WORKER = """
import sys
from pathlib import Path
import numpy
from mezzotint.engine.disk_cache import DiskCache
from mezzotint.engine.memory_cache import StepValue

folder, own = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
for budget in sys.stdin:
    cache, found = DiskCache(folder / budget.strip(), int(budget) or None), 0
    for turn in range(40):
        for number in range(8):
            key = f"{number:02x}" + "0" * 62
            value = cache.get(key)
            if value is not None:
                found += 1
                array = value.outputs[0][0]
                assert array.shape == (2000,) and (array == number).all(), (key, array)
            if (turn + number) % 3 == own:
                cache.put(key, StepValue(([numpy.full(2000, number, "int32")],)))
    print(found, flush=True)
"""


def test_two_processes_may_share_a_folder(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), str(own)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for own in range(2)
    ]  # fmt: skip

    def heard() -> list[str]:
        return [worker.stdout.readline() for worker in workers if worker.stdout is not None]

    assert heard() == ["ready\n"] * 2
    for budget_nbytes in ("0", "30000"):
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{budget_nbytes}\n")
            worker.stdin.flush()
        assert all(int(found or 0) > 0 for found in heard()), budget_nbytes
        assert not [*(tmp_path / budget_nbytes).glob(f"??/{TEMPORARY_PREFIX}*")]
    for worker in workers:
        _, err = worker.communicate(timeout=60)
        assert worker.returncode == 0, err


def test_the_file_says_what_it_is(cache: DiskCache) -> None:
    cache.put(KEY, StepValue(([numpy.zeros(1)],)))
    data = cache.path(KEY).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"]["format"] == disk_cache.FORMAT
    assert json.loads(header["__metadata__"]["value"]) == ["list", ["list", ["list", ["numpy", "t0", "float64"]]], None]
