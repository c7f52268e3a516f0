"""No name leads out of a folder, whoever chose it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mezzotint.engine.errors import FolderError, OutsideFolderError
from mezzotint.engine.folder_path import is_below, is_device, path_below, why_refused
from mezzotint.engine.listed_folder import ListedFolder

OUTSIDE = [
    "..", "../x", "a/../../x", "/", "/etc/passwd", "//host/share/x", "C:/x", "c:x", "..\\x", "\\\\host\\share",
    "a\\..\\..\\x", "out", "out/x", "sub/out/x", "./..", "a/./../..",
]  # fmt: skip
IMPOSSIBLE = ["a\0b", "nul", "sub/CON.png", "com1 .txt", "Aux ", "\ud800", "a/\udc80", "a/" * 64]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with links in it: `out` and `sub/out` lead out of it, `in` to `sub`, `itself` nowhere."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "root-beside").mkdir()
    try:
        for link, target in (("out", ".."), ("sub/out", "../../root-beside"), ("in", "sub"), ("itself", "itself")):
            (root / link).symlink_to(target)
    except OSError:
        pytest.skip("links cannot be made here")
    return root


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_that_leads_out_is_refused(root: Path, name: str) -> None:
    with pytest.raises(OutsideFolderError, match="leaves its folder"):
        path_below(root, name)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_path_that_no_file_can_have_is_refused(root: Path, name: str) -> None:
    with pytest.raises(FolderError, match="cannot be used") as refused:
        path_below(root, name)
    assert not isinstance(refused.value, OutsideFolderError)
    assert why_refused(name)


@pytest.mark.parametrize(
    ("name", "found"),
    [("", ""), ("a.png", "a.png"), ("sub/..", ""), ("sub\\a b", "sub/a b"), ("in/a", "sub/a"), ("...", "..."),
     ("itself", "itself"), ("a/../b", "b"), ("connect.png", "connect.png"), ("x" * 5000, "x" * 5000)],
)  # fmt: skip
def test_a_path_inside_is_followed_to_its_end(root: Path, name: str, found: str) -> None:
    assert path_below(root, name) == root / found


def test_a_root_that_is_a_link_is_as_good_as_what_it_leads_to(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert path_below(tmp_path / "link", "a") == root / "a"
    assert is_below(tmp_path / "link", root / "sub")


def test_a_folder_whose_name_begins_alike_is_not_inside(root: Path) -> None:
    assert not is_below(root, f"{root}-beside")


@pytest.mark.parametrize("part", ["con", "PRN", "nul.tar.gz", "com0", "lpt9.png", "aux "])
def test_devices_of_windows_are_known(part: str) -> None:
    assert is_device(part)
    assert not is_device(f"{part[:3]}x")


def test_of_a_folder_that_stays_inside_links_that_lead_out_are_not_listed(root: Path, tmp_path: Path) -> None:
    for path in (root / "sub" / "a", tmp_path / "root-beside" / "b", tmp_path / "c"):
        path.touch()
    (root / "file-out").symlink_to(tmp_path / "c")
    (root / "file-in").symlink_to(root / "sub" / "a")
    assert sorted(ListedFolder(root, None, stays_inside=True).names()) == ["file-in", "in/a", "sub/a"]
    assert {"file-out", "sub/out/b"} <= {*ListedFolder(root, None).names()}
