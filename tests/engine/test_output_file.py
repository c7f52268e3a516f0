"""Saved files are named as in other editors, never leave their folder, never overwrite, never stay half-written."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from mezzotint.engine import atomic_file, output_file
from mezzotint.engine.atomic_file import write_atomically, write_new
from mezzotint.engine.errors import OutputError
from mezzotint.engine.output_file import fill_placeholders, output_series, preview_prefix, workflow_texts

NOW = datetime(2031, 4, 5, 6, 7, 8)  # noqa: DTZ001 - a wall clock, as the placeholders are


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "output"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_to_write(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Every new file takes half of what is written to it, then raises this errno."""

    class Failing:
        def __init__(self, path: Path) -> None:
            self.file = path.open_as_before("xb")  # type: ignore[attr-defined]

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open_as_before", Path.open, raising=False)
    monkeypatch.setattr(Path, "open", lambda path, mode: Failing(path))


class TestNames:
    def test_files_count_from_one(self, root: Path) -> None:
        series = output_series(root, "cat")
        saved = [series.save(b"x") for _ in range(3)]
        assert [file.filename for file in saved] == ["cat_00001_.png", "cat_00002_.png", "cat_00003_.png"]
        assert saved[0].path == root / "cat_00001_.png"
        assert saved[0].shown() == {"filename": "cat_00001_.png", "subfolder": "", "type": "output"}

    def test_the_directory_part_becomes_the_subfolder(self, root: Path) -> None:
        saved = output_series(root, "pets/2031/cat").save(b"x")
        assert saved.path == root / "pets" / "2031" / "cat_00001_.png"
        assert saved.subfolder == "pets/2031"
        assert saved.path.read_bytes() == b"x"

    def test_counting_goes_on_from_the_highest_of_that_prefix_whatever_its_ending(self, root: Path) -> None:
        root.mkdir()
        for name in ("cat_00007_.webp", "cat_00003_.png", "cats_00050_.png", "cat_big_00060_.png", "cat_x_.png"):
            (root / name).touch()
        assert output_series(root, "cat").next_number() == 8
        assert output_series(root, "cat").save(b"x").filename == "cat_00008_.png"

    def test_counting_goes_past_five_digits(self, root: Path) -> None:
        root.mkdir()
        (root / "cat_99999_.png").touch()
        assert output_series(root, "cat").save(b"x").filename == "cat_100000_.png"

    def test_a_prefix_with_letters_of_patterns_counts_too(self, root: Path) -> None:
        first, second = (output_series(root, "a(1)[b]+$").save(b"x").filename for _ in range(2))
        assert (first, second) == ("a(1)[b]+$_00001_.png", "a(1)[b]+$_00002_.png")

    def test_counting_starts_afresh_when_the_folder_was_cleared(self, root: Path) -> None:
        first = output_series(root, "cat").save(b"x")
        first.path.unlink()
        assert output_series(root, "cat").save(b"x").filename == "cat_00001_.png"

    def test_placeholders_are_filled(self) -> None:
        prefix = "%year%-%month%-%day%/%hour%%minute%%second%_%width%x%height%_%other%_%batch_num%_100%"
        expected = "2031-04-05/060708_640x48_%other%_%batch_num%_100%"
        assert fill_placeholders(prefix, 640, 48, NOW) == expected

    def test_the_clock_is_local_when_no_time_is_given(self) -> None:
        assert fill_placeholders("%year%").isdecimal()

    def test_batch_numbers_are_filled_and_the_series_counts_on(self, root: Path) -> None:
        saved = [output_series(root, "x%batch_num%y").save(b"x", batch_index=index) for index in (0, 1, 0)]
        assert [file.filename for file in saved] == ["x0y_00001_.png", "x1y_00002_.png", "x0y_00003_.png"]

    def test_other_endings_and_folders_are_possible(self, root: Path) -> None:
        saved = output_series(root, "cat", folder_type="temp").save(b"x", ".latent")
        assert saved.shown() == {"filename": "cat_00001_.latent", "subfolder": "", "type": "temp"}

    @pytest.mark.parametrize("prefix", ["", ".", "./", "a/.."])
    def test_a_prefix_without_a_name_gets_one(self, root: Path, prefix: str) -> None:
        assert output_series(root, prefix).save(b"x").path == root / "image_00001_.png"

    def test_a_name_with_a_trailing_slash_is_a_name(self, root: Path) -> None:
        assert output_series(root, "cat/").save(b"x").path == root / "cat_00001_.png"

    @pytest.mark.parametrize(
        ("prefix", "path"),
        [
            ("pets\\cat", "pets/cat"),
            ('a<b>c:d"e|f?g*h\ti\0j', "a_b_c_d_e_f_g_h_i_j"),
            ("what?/cat", "what_/cat"),
            ("nul/cat", "_nul/cat"),
            ("Com1.txt/cat", "_Com1.txt/cat"),
            ("dots. ./cat", "dots/cat"),
            (".../cat", "_/cat"),
            (" ../cat", "_/cat"),
            ("\udcff", "_"),
            ("日本/猫", "日本/猫"),
        ],
    )
    def test_names_are_ones_that_every_system_can_hold(self, root: Path, prefix: str, path: str) -> None:
        assert output_series(root, prefix).save(b"x").path == root / f"{path}_00001_.png"

    def test_preview_prefixes_are_random_and_stay_for_a_node(self) -> None:
        prefix = preview_prefix("7")
        assert prefix.startswith("ComfyUI_temp_")
        letters = prefix.removeprefix("ComfyUI_temp_")
        assert len(letters) == 5
        assert letters.islower()
        assert letters.isascii()
        assert preview_prefix("7") == prefix
        assert len({preview_prefix(str(node)) for node in range(20)}) > 10


class TestLeaving:
    @pytest.mark.parametrize(
        "prefix", ["../x", "a/../../x", "..", "a/../..", "/etc/x", "\\x", "C:/x", "c:\\x", "..\\x", "//host/x"]
    )
    def test_a_prefix_that_leaves_the_folder_is_refused(self, root: Path, prefix: str) -> None:
        with pytest.raises(OutputError, match="leaves the output folder"):
            output_series(root, prefix)
        assert not root.exists()

    def test_a_prefix_that_stays_inside_by_detours_is_fine(self, root: Path) -> None:
        assert output_series(root, "a/../b/./c//d").save(b"x").path == root / "b" / "c" / "d_00001_.png"

    def test_a_link_out_of_the_folder_is_refused(self, root: Path, tmp_path: Path) -> None:
        root.mkdir()
        link(root / "away", tmp_path)
        with pytest.raises(OutputError, match="link"):
            output_series(root, "away/x")

    def test_a_link_within_the_folder_is_fine(self, root: Path) -> None:
        (root / "real").mkdir(parents=True)
        link(root / "alias", root / "real")
        output_series(root, "alias/x").save(b"x")
        assert names(root / "real") == ["x_00001_.png"]

    def test_the_output_folder_may_be_a_link_itself(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        link(root, tmp_path / "real")
        assert output_series(root, "a/x").save(b"x").path == root / "a" / "x_00001_.png"

    def test_a_link_to_itself_is_a_sentence(self, root: Path) -> None:
        root.mkdir()
        link(root / "loop", root / "loop")
        with pytest.raises(OutputError, match="loop"):
            output_series(root, "loop/x")


def link(path: Path, target: Path) -> None:
    try:
        path.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")


class TestRaces:
    def test_threads_never_overwrite_each_other(self, root: Path) -> None:
        def save(thread: int) -> None:
            for index in range(25):
                output_series(root, "cat").save(f"{thread} {index}".encode())

        threads = [threading.Thread(target=save, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert names(root) == [f"cat_{number:05}_.png" for number in range(1, 101)]
        assert len({path.read_bytes() for path in root.iterdir()}) == 100

    def test_processes_never_overwrite_each_other(self, root: Path) -> None:
        script = (
            "import sys, pathlib\n"
            "from mezzotint.engine.output_file import output_series\n"
            "for i in range(40): output_series(pathlib.Path(sys.argv[1]), 'cat').save(f'{sys.argv[2]} {i}'.encode())\n"
        )
        command = [sys.executable, "-c", script, str(root)]
        processes = [subprocess.Popen([*command, name], cwd=root.parent) for name in "ab"]
        assert [process.wait(timeout=60) for process in processes] == [0, 0]
        assert names(root) == [f"cat_{number:05}_.png" for number in range(1, 81)]
        assert len({path.read_bytes() for path in root.iterdir()}) == 80

    def test_a_file_that_another_program_wrote_meanwhile_is_kept(self, root: Path) -> None:
        output_series(root, "cat").save(b"ours")
        (root / "cat_00002_.png").write_bytes(b"theirs")
        (root / "cat_00041_.png").write_bytes(b"theirs")
        assert output_series(root, "cat").save(b"ours").filename == "cat_00042_.png"
        assert (root / "cat_00002_.png").read_bytes() == b"theirs"

    def test_a_name_that_differs_by_case_only_is_passed_over_where_it_is_the_same_file(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken = {"cat_00001_.png", "cat_00002_.png"}  # by Cat_..., which the search does not see on macOS
        publish = atomic_file._publish
        lexists = os.path.lexists

        def publish_ignoring_case(temporary: Path, path: Path) -> None:
            if path.name in taken:
                raise FileExistsError(path)
            publish(temporary, path)

        monkeypatch.setattr(atomic_file, "_publish", publish_ignoring_case)
        monkeypatch.setattr(os.path, "lexists", lambda path: Path(path).name in taken or lexists(path))
        assert output_series(root, "cat").save(b"x").filename == "cat_00003_.png"

    def test_many_pictures_list_the_folder_once(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        searches = []
        search = output_file._Counter._search

        def counted_search(counter: output_file._Counter) -> int:
            searches.append(counter)
            return search(counter)

        monkeypatch.setattr(output_file._Counter, "_search", counted_search)
        for _ in range(50):
            output_series(root, "cat").save(b"x")
            output_series(root, "dog").save(b"x")
        assert len(searches) == 2


class TestFailures:
    @pytest.mark.parametrize(
        ("number", "reason", "cure"),
        [
            (errno.ENOSPC, "no space left", "--output-dir"),
            (errno.EROFS, "read-only", "--output-dir"),
            (errno.EACCES, "may not be written", "permissions"),
            (errno.EIO, os.strerror(errno.EIO), "name another folder"),
        ],
    )
    def test_a_failed_write_is_a_sentence_and_leaves_nothing(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str, cure: str
    ) -> None:
        series = output_series(root, "cat")
        fail_to_write(monkeypatch, number)
        with pytest.raises(OutputError) as caught:
            series.save(b"x" * 2_500_000)
        monkeypatch.undo()
        sentence = str(caught.value)
        assert "cat.png" in sentence
        assert "(2.5 MB)" in sentence
        assert reason in sentence
        assert cure in sentence
        assert names(root) == []
        assert series.save(b"x").filename == "cat_00001_.png"

    def test_an_interruption_leaves_nothing(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(temporary: Path, path: Path) -> None:
            raise KeyboardInterrupt

        series = output_series(root, "cat")
        monkeypatch.setattr(atomic_file, "_publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            series.save(b"x")
        assert names(root) == []

    def test_a_file_where_a_folder_is_wanted_is_a_sentence(self, root: Path) -> None:
        root.mkdir()
        (root / "pets").touch()
        for prefix in ("pets/cat", "pets/a/cat"):
            with pytest.raises(OutputError, match="a file stands where a folder is wanted"):
                output_series(root, prefix)

    def test_a_name_that_is_too_long_is_a_sentence(self, root: Path) -> None:
        with pytest.raises(OutputError, match="cannot be written"):
            output_series(root, "x" * 300).save(b"x")
        assert names(root) == []

    def test_a_folder_that_went_away_is_a_sentence(self, root: Path) -> None:
        series = output_series(root, "cat")
        root.rmdir()
        with pytest.raises(OutputError, match=r"\(6\.4 kB\) cannot be written: the folder is gone"):
            series.save(b"x" * 6432)

    @pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="this user may write anywhere")
    def test_a_read_only_folder_is_a_sentence(self, root: Path) -> None:
        series = output_series(root, "cat")
        root.chmod(0o500)
        with pytest.raises(OutputError, match="may not be written"):
            series.save(b"x")

    def test_a_disk_that_is_really_full_is_a_sentence(self, small_disk: Path) -> None:
        series = output_series(small_disk, "cat")
        series.save(b"x" * 50_000)
        with pytest.raises(OutputError, match="no space left on the disk"):
            series.save(b"x" * 500_000)
        assert names(small_disk) == ["cat_00001_.png"]
        assert (small_disk / "cat_00001_.png").stat().st_size == 50_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, where we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


class TestAtomicFiles:
    def test_a_file_is_replaced_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "settings.json"
        write_atomically(path, b"old")
        write_atomically(path, b"new")
        assert path.read_bytes() == b"new"
        assert names(tmp_path) == ["settings.json"]

    def test_a_failed_write_keeps_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "settings.json"
        write_atomically(path, b"old")
        fail_to_write(monkeypatch, errno.ENOSPC)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, b"new")
        monkeypatch.undo()
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["settings.json"]

    def test_others_may_read_what_the_umask_allows(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "ours", b"x")
        (tmp_path / "plain").write_bytes(b"x")
        assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_the_first_free_name_is_taken(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"old")
        assert write_new(tmp_path, ["a", "b", "c"], b"new") == "b"
        assert (tmp_path / "a").read_bytes() == b"old"
        with pytest.raises(FileExistsError):
            write_new(tmp_path, ["a", "b"], b"new")
        assert names(tmp_path) == ["a", "b"]

    def test_without_hard_links_nothing_is_overwritten_either(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_links(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
        (tmp_path / "a").write_bytes(b"old")
        assert write_new(tmp_path, ["a", "b"], b"new") == "b"
        assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"old", b"new"]
        assert names(tmp_path) == ["a", "b"]

    def test_without_hard_links_a_failure_frees_the_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "link", fail)
        monkeypatch.setattr(atomic_file, "_replace", fail)
        with pytest.raises(OSError, match="No space"):
            write_new(tmp_path, ["a"], b"new")
        assert names(tmp_path) == []

    def test_on_windows_a_file_that_is_being_read_is_asked_for_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tries = []
        replace = Path.replace

        def replace_at_the_third_try(path: Path, target: Path) -> Path:
            tries.append(path)
            if len(tries) < 3:
                raise PermissionError(errno.EACCES, "in use")
            return replace(path, target)

        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr(atomic_file, "REPLACE_PAUSE_S", 0)
        monkeypatch.setattr(Path, "replace", replace_at_the_third_try)
        write_atomically(tmp_path / "a", b"x")
        assert len(tries) == 3
        assert names(tmp_path) == ["a"]


class TestWorkflowTexts:
    def test_the_graph_comes_first_and_all_is_ascii_json(self) -> None:
        prompt = {"1": {"class_type": "Café", "inputs": {"seed": 2**64 - 1}}}
        texts = workflow_texts(prompt, {"workflow": {"nodes": []}, "note": "日本", "prompt": "not this"})
        assert list(texts) == ["prompt", "workflow", "note"]
        assert json.loads(texts["prompt"]) == prompt
        assert "".join(texts.values()).isascii()

    def test_an_empty_graph_is_left_out(self) -> None:
        assert workflow_texts({}, None) == {}

    def test_the_switch_turns_everything_off(self) -> None:
        assert workflow_texts({"1": {}}, {"workflow": {}}, metadata=False) == {}
