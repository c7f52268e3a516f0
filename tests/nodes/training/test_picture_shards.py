"""Pictures inside parquet files and webdataset's shards, with captions and classes; and what may be wrong with them."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.nodes.training.picture_nodes import folder_content, load_training_pictures
from mezzotint.nodes.training.picture_set import TrainingDataError

needs_arrow = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow, of the extra 'datasets'")
COLOURS = [(200, 10, 20), (10, 200, 30), (20, 30, 200), (250, 250, 5), (9, 9, 9)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "input" / "set"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(folders=Folders(tmp_path / "home"))


def encoded(index: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 30), COLOURS[index]).save(file, "PNG")
    return file.getvalue()


def colours(pictures: Any) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(0)
    return [tuple(pictures.picture(index, generator)[:, 0, 0].tolist()) for index in range(len(pictures))]


def put_parquet(path: Path, columns: dict[str, list[Any]], names: list[str] | None = None, group: int = 2) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=group)


def put_shard(path: Path, members: dict[str, bytes | str]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def structs(count: int = 5) -> list[dict[str, Any]]:
    return [{"bytes": encoded(index), "path": f"{index}.png"} for index in range(count)]


@needs_arrow
def test_a_dataset_of_the_hub_is_read(folder: Path, context: Context) -> None:
    """The layout that the `datasets` library pushes: data/SPLIT-NUMBER-of-COUNT.parquet."""
    captions = [f"thing {index}" for index in range(5)]
    put_parquet(folder / "data" / "train-00000-of-00002.parquet", {"image": structs(3), "text": captions[:3]})
    put_parquet(folder / "data" / "train-00001-of-00002.parquet", {"image": structs(5)[3:], "text": captions[3:]})
    loaded = load_training_pictures("set", 16, ctx=context)
    assert loaded.pictures.captions == tuple(captions)
    assert colours(loaded.pictures) == COLOURS
    assert loaded.report == "5 pictures to train with, 0 left out"


@needs_arrow
def test_one_file_with_columns_of_other_names(folder: Path, context: Context) -> None:
    put_parquet(folder / "a.parquet", {"jpg": [encoded(1), encoded(0)], "captions": [["one", "two"], ["three"]]})
    loaded = load_training_pictures("set/a.parquet", 16, image_column="jpg", caption_column="captions", ctx=context)
    assert loaded.pictures.captions == ("one", "three")
    assert colours(loaded.pictures) == [COLOURS[1], COLOURS[0]]


@needs_arrow
def test_classes_of_a_parquet_file_have_the_names_that_it_says(folder: Path, context: Context) -> None:
    put_parquet(folder / "a.parquet", {"image": structs(3), "label": [2, 0, 2]}, ["zebra", "ant", "7"])
    loaded = load_training_pictures("set", 16, classes="column", ctx=context).pictures
    assert (loaded.labels, loaded.class_names, loaded.captions) == ((2, 0, 2), ("zebra", "ant", "7"), ("", "", ""))


@needs_arrow
def test_pictures_that_a_parquet_file_names_lie_beside_it(folder: Path, context: Context) -> None:
    (folder / "p.png").write_bytes(encoded(2))
    rows = [{"bytes": None, "path": "p.png"}, {"bytes": None, "path": "../../../secret.png"}]
    put_parquet(folder / "a.parquet", {"image": rows, "text": ["inside", "outside"]})
    (folder.parent.parent.parent / "secret.png").write_bytes(encoded(1))
    loaded = load_training_pictures("set/a.parquet", 16, on_error="skip", ctx=context)
    assert (loaded.pictures.captions, colours(loaded.pictures)) == (("inside",), [COLOURS[2]])


@needs_arrow
@pytest.mark.parametrize(("columns", "given", "sentence"), [
    ({"picture": [b""], "text": ["a"]}, {}, r"has no column 'image' for its pictures; it has picture, text"),
    ({"image": [3], "text": ["a"]}, {}, r"the column 'image' of 'a.parquet' holds int64 and no picture files"),
    ({"image": [b""], "text": ["a"]}, {"caption_column": "en"}, r"'a.parquet' has no column 'en'; it has image, text"),
    ({"image": [b""], "text": ["a"]}, {"classes": "column"}, r"'a.parquet' has no column 'label'; it has image, text"),
    ({"image": [b"torn"], "text": ["a"]}, {}, r"'a.parquet, row 0' cannot be read as a picture"),
    ({"image": [None], "text": ["a"]}, {}, r"the column 'image' of 'a.parquet' holds null and no picture files"),
    ({"image": [{"bytes": None, "path": "x"}], "text": ["a"]}, {}, r"'a.parquet, row 0' cannot be read as a picture"),
    ({"image": [b""], "text": [None]}, {}, r"'a.parquet, row 0' has no caption; give it one, or name its column"),
])  # fmt: skip
def test_what_is_wrong_with_a_parquet_file_is_told(
    folder: Path, context: Context, columns: Any, given: Any, sentence: str
) -> None:
    put_parquet(folder / "a.parquet", columns)
    with pytest.raises(TrainingDataError, match=sentence + r".*, or set on_error to skip"):
        load_training_pictures("set", 16, **given, ctx=context)


@needs_arrow
def test_a_torn_parquet_file_is_left_out_and_counted(folder: Path, context: Context) -> None:
    put_parquet(folder / "good.parquet", {"image": structs(2), "text": ["a", "b"]})
    (folder / "torn.parquet").write_bytes((folder / "good.parquet").read_bytes()[:-20])
    with pytest.raises(TrainingDataError, match=r"'torn.parquet' cannot be read as parquet"):
        load_training_pictures("set", 16, ctx=context)
    loaded = load_training_pictures("set", 16, on_error="skip", ctx=context)
    assert loaded.report.startswith("2 pictures to train with, 1 left out\n'torn.parquet' cannot be read as parquet")


def test_without_pyarrow_a_sentence_says_what_to_install(tmp_path: Path) -> None:
    """In a process of its own, since pyarrow cannot be unloaded."""
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\n"
        "from mezzotint.nodes.training.picture_shards import Columns, read_shard\n"
        "from mezzotint.nodes.training.picture_set import TrainingDataError\n"
        "try: read_shard(Path('a.parquet'), Path(), Columns())\n"
        "except TrainingDataError as error: print(error)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    told, has_torch = done.stdout.splitlines()
    assert told == (
        "parquet files are read by the package pyarrow, which is not installed; install mezzotint with its extra "
        "'datasets': pip install 'mezzotint[datasets]'"
    )
    assert has_torch == "False"


def test_a_shard_of_webdataset_is_read(folder: Path, context: Context) -> None:
    put_shard(folder / "0000.tar", {
        "a/000.png": encoded(0), "a/000.txt": " from a\n text ", "a/000.json": '{"caption": "not this"}',
        "a/001.PNG": encoded(1), "a/001.json": '{"caption": "from json", "width": 20}',
        "note.txt": "no picture", "a/000.seg.png": encoded(4),
    })  # fmt: skip
    put_shard(folder / "0001.tar", {"./002.jpg": encoded(2), "./002.caption": "third"})
    loaded = load_training_pictures("set", 16, ctx=context).pictures
    assert loaded.captions == ("from a text", "from json", "third")
    assert loaded.names == ("0000.tar: a/000.png", "0000.tar: a/001.PNG", "0001.tar: ./002.jpg")
    assert colours(loaded) == COLOURS[:3]


def test_captions_of_a_shard_may_have_another_name(folder: Path, context: Context) -> None:
    put_shard(folder / "0.tar", {"a.png": encoded(0), "a.txt": "alt text", "a.json": '{"recaption": "better"}'})
    loaded = load_training_pictures("set/0.tar", 16, caption_column="recaption", ctx=context).pictures
    assert loaded.captions == ("better",)


def test_classes_of_a_shard(folder: Path, context: Context) -> None:
    put_shard(folder / "0.tar", {"a.png": encoded(0), "a.cls": "1", "b.png": encoded(1), "b.json": '{"label": 0}',
                                 "c.png": encoded(2)})  # fmt: skip
    loaded = load_training_pictures("set", 16, classes="column", on_error="skip", ctx=context)
    assert (loaded.pictures.labels, loaded.pictures.class_names) == ((1, 0), ("0", "1"))
    assert "'0.tar: c.png' has no class" in loaded.report
    put_shard(folder / "0.tar", {"cat/a.png": encoded(0), "ant/b.png": encoded(1)})
    assert load_training_pictures("set", 16, classes="folder", ctx=context).pictures.class_names == ("ant", "cat")


def test_a_shard_cut_short_gives_what_is_whole(folder: Path, context: Context) -> None:
    members = {f"{name}.{end}": encoded(0) if end == "png" else name for name in "abc" for end in ("txt", "png")}
    put_shard(folder / "whole.tar", members)
    whole = (folder / "whole.tar").read_bytes()
    (folder / "whole.tar").unlink()
    (folder / "torn.tar").write_bytes(whole[: 5 * 1024 + 520])
    with pytest.raises(TrainingDataError, match=r"'torn.tar' is cut short .* fetch it again, or set on_error to skip"):
        load_training_pictures("set", 16, ctx=context)
    loaded = load_training_pictures("set", 16, on_error="skip", ctx=context)
    assert loaded.pictures.captions == ("a", "b")
    (folder / "torn.tar").write_bytes(b"no shard at all" * 100)
    with pytest.raises(TrainingDataError, match=r"'torn.tar' cannot be read as a .tar shard"):
        load_training_pictures("set", 16, ctx=context)


def test_a_compressed_shard_is_told(folder: Path, context: Context) -> None:
    (folder / "0.tar.gz").write_bytes(b"x")
    with pytest.raises(TrainingDataError, match=r"'0.tar.gz' is a compressed shard, .* unpack it to a .tar"):
        load_training_pictures("set", 16, ctx=context)


def test_a_picture_that_is_gone_when_training_wants_it_is_told(folder: Path, context: Context) -> None:
    put_shard(folder / "0.tar", {"a.png": encoded(0), "a.txt": "a"})
    loaded = load_training_pictures("set", 16, ctx=context).pictures
    before = folder_content("set/0.tar", context.folders)
    put_shard(folder / "0.tar", {"a.txt": "a much longer caption" * 100, "a.png": encoded(0)})
    assert folder_content("set/0.tar", context.folders) != before
    with pytest.raises(TrainingDataError, match=r"'0.tar: a.png' cannot be read as a picture"):
        loaded.picture(0, torch.Generator())
