"""Workflows read from files of every kind, and from what only looks like one."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_file import load_workflow
from mezzotint.engine.workflow_media import MAX_TEXT_BYTES

Definitions = dict[str, dict[str, Any]]
Load = Callable[[Any], Workflow]

API = {"3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 2}}}
UI = {"version": 0.4, "nodes": [{"id": 9, "type": "EmptyLatentImage", "widgets_values": [64, 48, 2]}], "links": []}


@pytest.fixture
def load(definitions: Definitions) -> Load:
    return lambda source: load_workflow(source, definitions)


def png(path: Path, *, compress: bool = False, international: bool = False, **texts: str) -> Path:
    info = PngInfo()
    for key, text in texts.items():
        (info.add_itxt if international else info.add_text)(key, text, zip=compress)
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def is_api(workflow: Workflow) -> bool:
    return list(workflow.nodes) == ["3"] and workflow.ui is None


def is_ui(workflow: Workflow) -> bool:
    return list(workflow.nodes) == ["9"] and workflow.ui == UI


class TestJson:
    def test_a_file_in_api_format(self, load: Load, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text(json.dumps(API))
        assert load(path).to_api() == API
        assert load(str(path)).to_api() == API

    def test_an_editors_document(self, load: Load, tmp_path: Path, ui: ModuleType) -> None:
        path = tmp_path / "a.json"
        path.write_text(json.dumps(ui.text_to_image(1, True).raw))
        assert load(path).to_api() == ui.TEXT_TO_IMAGE_API

    def test_a_text_and_a_parsed_document(self, load: Load) -> None:
        assert is_api(load(json.dumps(API)))
        assert is_api(load(f"\ufeff\n {json.dumps(API)}"))
        assert is_api(load(API))
        assert is_ui(load(UI))

    def test_the_body_of_a_queue_request(self, load: Load) -> None:
        extra = {"extra_pnginfo": {"workflow": UI, "pack": {"a": 1}}}
        workflow = load({"prompt": API, "client_id": "c", "extra_data": extra})
        assert workflow.to_api() == API
        assert workflow.ui == UI
        assert workflow.extra == {"pack": {"a": 1}}
        assert is_api(load({"prompt": API, "extra_data": None}))

    def test_a_node_may_have_the_id_prompt(self, load: Load) -> None:
        assert list(load({"prompt": API["3"]}).nodes) == ["prompt"]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
    def test_every_encoding_that_json_has(self, load: Load, tmp_path: Path, encoding: str) -> None:
        path = tmp_path / "a.json"
        path.write_text(json.dumps({"ü": API["3"]}, ensure_ascii=False), encoding=encoding)
        assert list(load(path).nodes) == ["ü"]

    def test_nan_is_taken(self, load: Load) -> None:
        workflow = load('{"3": {"class_type": "A", "inputs": {"a": NaN}, "is_changed": [NaN]}}')
        assert workflow.nodes["3"].inputs["a"] != workflow.nodes["3"].inputs["a"]

    def test_of_repeated_keys_the_last_is_taken(self, load: Load) -> None:
        workflow = load('{"3": {"class_type": "A", "inputs": {"a": 1, "a": 2}}, "3": {"class_type": "B"}}')
        assert workflow.to_api() == {"3": {"class_type": "B", "inputs": {}}}

    def test_half_a_character_becomes_a_question_mark(self, load: Load) -> None:
        text = '{"3": {"class_type": "A", "inputs": {"cut": "x\\ud83d", "whole": "\\ud83d\\ude00"}}}'
        assert load(text).nodes["3"].inputs == {"cut": "x?", "whole": "\U0001f600"}


class TestPictures:
    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("international", [False, True])
    def test_a_png_with_any_kind_of_text(self, load: Load, tmp_path: Path, compress: bool, international: bool) -> None:
        path = png(tmp_path / "a.png", compress=compress, international=international, prompt=json.dumps(API))
        assert is_api(load(path))

    def test_the_document_is_preferred_to_the_graph(self, load: Load, tmp_path: Path) -> None:
        assert is_ui(load(png(tmp_path / "a.png", prompt=json.dumps(API), workflow=json.dumps(UI))))

    @pytest.mark.parametrize("useless", ["{}", "null", "", "{", '{"a": 1}', "[" * 100_000])
    def test_a_useless_document_gives_way_to_the_graph(self, load: Load, tmp_path: Path, useless: str) -> None:
        workflow = load(png(tmp_path / "a.png", prompt=json.dumps(API), workflow=useless))
        assert is_api(workflow)
        assert workflow.warnings[0].endswith("The graph as it was executed is used instead.")

    def test_a_useless_document_alone_is_an_error(self, load: Load, tmp_path: Path) -> None:
        with pytest.raises(WorkflowError, match=r"The workflow in .*a\.png is not valid JSON"):
            load(png(tmp_path / "a.png", workflow="{"))

    def test_a_document_with_unknown_nodes_gives_way_to_a_graph_without(self, load: Load, tmp_path: Path) -> None:
        virtual = {"id": 1, "type": "Wireless", "outputs": [{"type": "INT", "links": [1]}]}
        document = {"nodes": [virtual, *UI["nodes"]], "links": []}  # type: ignore[misc]
        path = png(tmp_path / "a.png", prompt=json.dumps(API), workflow=json.dumps(document))
        workflow = load(path)
        assert workflow.to_api() == API
        assert workflow.ui == document
        assert workflow.problems == []
        assert "there is no node type 'Wireless'" in workflow.warnings[0]

    def test_unknown_nodes_in_both_are_reported(self, load: Load, tmp_path: Path) -> None:
        document = {"nodes": [{"id": 1, "type": "New", "outputs": [{"type": "INT", "links": [1]}]}]}
        executed = {"1": {"class_type": "New", "inputs": {}}}
        path = png(tmp_path / "a.png", prompt=json.dumps(executed), workflow=json.dumps(document))
        assert "there is no node type 'New'" in load(path).problems[0]

    def test_text_behind_the_pixels_is_found(self, load: Load, tmp_path: Path) -> None:
        path = png(tmp_path / "a.png")
        data = path.read_bytes()
        text = chunk(b"tEXt", b"prompt\0" + json.dumps(API).encode())
        path.write_bytes(data[:-12] + text + data[-12:])
        assert is_api(load(path))

    def test_an_animated_png_keeps_it_in_a_chunk_of_its_own(self, load: Load, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
        frames[0].save(path, save_all=True, append_images=frames[1:])
        data = path.read_bytes()
        at = data.index(b"fcTL", data.index(b"IDAT")) - 4
        path.write_bytes(data[:at] + chunk(b"comf", b"workflow\0" + json.dumps(UI).encode()) + data[at:])
        assert is_ui(load(path))

    def test_a_png_that_was_cut_short_still_gives_its_text(self, load: Load, tmp_path: Path) -> None:
        path = png(tmp_path / "a.png", prompt=json.dumps(API))
        path.write_bytes(path.read_bytes()[:-20])
        assert is_api(load(path))

    @pytest.mark.parametrize(("name", "kind"), [("a.webp", "WebP"), ("a.jpg", "JPEG")])
    def test_webp_and_jpeg_keep_it_in_exif(self, load: Load, tmp_path: Path, name: str, kind: str) -> None:
        path = tmp_path / name
        exif = Image.Exif()
        exif[0x0110] = f"prompt:{json.dumps(API)}"
        Image.new("RGB", (5, 5)).save(path, exif=exif)
        assert is_api(load(path))
        exif[0x010F] = f"workflow:{json.dumps(UI)}"
        exif[0x010E] = "pack: 1"
        exif[0x0131] = "Some camera"
        Image.new("RGB", (5, 5)).save(path, exif=exif)
        assert is_ui(load(path))
        Image.new("RGB", (5, 5)).save(path)
        with pytest.raises(WorkflowError, match=f"carries no workflow: the {kind} has no text"):
            load(path)

    def test_an_animated_webp(self, load: Load, tmp_path: Path) -> None:
        path = tmp_path / "a.webp"
        exif = Image.Exif()
        exif[0x0110] = f"prompt:{json.dumps(API)}"
        frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
        frames[0].save(path, save_all=True, append_images=frames[1:], exif=exif)
        assert is_api(load(path))

    def test_the_size_of_a_picture_does_not_matter(self, load: Load, tmp_path: Path) -> None:
        header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
        path = tmp_path / "a.png"
        text = chunk(b"tEXt", b"prompt\0" + json.dumps(API).encode())
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + text)
        assert is_api(load(path))

    def test_a_text_that_unpacks_without_end_is_refused(self, load: Load, tmp_path: Path) -> None:
        packed = zlib.compress(b" " * (MAX_TEXT_BYTES + 10), 9)
        path = tmp_path / "a.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"zTXt", b"workflow\0\0" + packed))
        with pytest.raises(WorkflowError, match="carries more than 67,108,864 bytes of text"):
            load(path)

    def test_a_picture_with_settings_in_words_says_so(self, load: Load, tmp_path: Path) -> None:
        with pytest.raises(WorkflowError, match="It tells its settings in words only"):
            load(png(tmp_path / "a.png", parameters="a cat\nSteps: 20"))

    @pytest.mark.parametrize("cut", [20, 40, 60, 100])
    @pytest.mark.parametrize("name", ["a.webp", "a.jpg", "a.png"])
    def test_a_torn_picture_is_a_sentence(self, load: Load, tmp_path: Path, name: str, cut: int) -> None:
        path = tmp_path / name
        exif = Image.Exif()
        exif[0x0110] = "prompt:" + "x" * 100
        Image.new("RGB", (5, 5)).save(path, exif=exif)
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(WorkflowError):
            load(path)


class TestModelFiles:
    def write(self, path: Path, header: Any) -> Path:
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text)
        return path

    @pytest.mark.parametrize("name", ["a.safetensors", "a.latent"])
    def test_a_model_or_a_latent_gives_its_workflow(self, load: Load, tmp_path: Path, name: str) -> None:
        header = {"__metadata__": {"prompt": json.dumps(API), "workflow": json.dumps(UI)}}
        assert is_ui(load(self.write(tmp_path / name, header)))

    @pytest.mark.parametrize("header", [{}, {"__metadata__": {}}, {"__metadata__": 3}, {"__metadata__": {"prompt": 1}}])
    def test_one_without_is_a_sentence(self, load: Load, tmp_path: Path, header: Any) -> None:
        with pytest.raises(WorkflowError, match="carries no workflow: the safetensors has no text"):
            load(self.write(tmp_path / "a.safetensors", header))


class TestFaults:
    def fault(self, load: Load, source: Any) -> str:
        with pytest.raises(WorkflowError) as caught:
            load(source)
        return str(caught.value)

    def test_malformed_json_is_told_with_its_line_and_column(self, load: Load, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text('{\n  "3": {"class_type": "A",\n   oops}\n}')
        assert self.fault(load, path) == (
            f"{path} is not valid JSON: Expecting property name enclosed in double quotes at line 3, column 4."
        )

    def test_a_missing_file_and_a_folder(self, load: Load, tmp_path: Path) -> None:
        assert self.fault(load, tmp_path / "none.json").startswith(f"There is no file {tmp_path / 'none.json'}; give")
        assert "is a folder" in self.fault(load, tmp_path)
        assert "There is no file hello" in self.fault(load, "hello")

    @pytest.mark.parametrize("name", ["nul\0byte", "x" * 5000])
    def test_a_name_that_no_file_can_have(self, load: Load, name: str) -> None:
        assert "cannot be read" in self.fault(load, name)

    def test_an_empty_file(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_bytes(b" \n")
        assert "is empty" in self.fault(load, tmp_path / "a.json")

    @pytest.mark.parametrize("data", [b"\x00\x01\x02\x03" * 100, bytes(range(256)), b"\xff\xfe\x00", b"\xd8\x00" * 9])
    def test_binary_junk(self, load: Load, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.json").write_bytes(data)
        assert "is neither UTF-8 text nor a picture" in self.fault(load, tmp_path / "a.json")

    @pytest.mark.parametrize(
        ("data", "kind"),
        [(b"GIF89a" + b"\0" * 20, "GIF"), (b"PK\x03\x04" + b"\0" * 20, "zip"), (b"fLaC\0\0\0\0", "FLAC")],
    )
    def test_a_file_of_another_kind_is_named(self, load: Load, tmp_path: Path, data: bytes, kind: str) -> None:
        (tmp_path / "a.bin").write_bytes(data)
        assert f"is {kind}, and no workflow is read from such a file" in self.fault(load, tmp_path / "a.bin")

    @pytest.mark.parametrize("text", ["[]", "{}", '{"a": 1}', '{"a": {"inputs": {}}}', '[{"class_type": "A"}]'])
    def test_json_that_is_no_workflow(self, load: Load, text: str) -> None:
        assert self.fault(load, text).startswith("The text is no workflow")

    @pytest.mark.parametrize("text", ["3", "null", '"text"'])
    def test_a_file_with_json_that_is_no_object(self, load: Load, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.json").write_text(text)
        assert "is no workflow" in self.fault(load, tmp_path / "a.json")

    def test_a_faulty_node_is_named(self, load: Load) -> None:
        assert self.fault(load, {**API, "4": {"inputs": {}}}) == (
            "The document is no workflow in API format.\nNode 4 has no class_type, which names the type of a node."
        )

    @pytest.mark.parametrize("text", ['{"a":' * 100_000, "[" * 100_000, '{"a": {"b": "\\ud800", "c": ' + "[" * 900])
    def test_endless_nesting(self, load: Load, text: str) -> None:
        assert self.fault(load, text).startswith("The text is n")

    def test_a_deep_value(self, load: Load) -> None:
        text = '{"1": {"class_type": "A\\ud800", "inputs": {"a": ' + "[" * 500 + "]" * 500 + "}}}"
        assert "nested more than 64 levels" in self.fault(load, text)

    def test_a_number_without_end(self, load: Load) -> None:
        assert "is not valid JSON" in self.fault(load, '{"a": ' + "1" * 10_000 + "}")
