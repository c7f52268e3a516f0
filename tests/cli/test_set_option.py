"""`--set NODE.INPUT=VALUE`: whom it names, and how its value is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mezzotint.cli.setting import read_value
from mezzotint.engine.input_spec import InputSpec

if TYPE_CHECKING:
    from .conftest import Command, Save

Graph = dict[str, Any]


@pytest.mark.parametrize("node", ["3", "Sample", "sample", "My sampler", "v1.5 node"])
def test_a_node_is_named_by_id_type_or_title(mezzotint: Command, save: Save, sampling: Graph, node: str) -> None:
    if node not in ("3", "Sample", "sample"):
        sampling["3"]["_meta"] = {"title": node}
    assert " steps=7 " in mezzotint("run", save(sampling), "--set", f"{node}.steps=7").text


def test_several_inputs_can_be_set(mezzotint: Command, save: Save, sampling: Graph) -> None:
    options = ("--set", "3.steps=7", "--set", "3.flip=yes", "--set", "3.sampler=heun", "--set", "Wanted.text=a=b")
    text = mezzotint("run", save(sampling), *options).text
    assert "steps=7" in text
    assert "heun flip=True positive=a=b" in text


def test_an_input_that_the_file_leaves_out_can_be_set(mezzotint: Command, save: Save, sampling: Graph) -> None:
    (file,) = mezzotint("run", save(sampling), "--set", "Write.filename_prefix=other").files
    assert file.name == "other_00001_.txt"


def test_a_link_is_replaced_by_a_value(mezzotint: Command, save: Save, sampling: Graph) -> None:
    assert mezzotint("run", save(sampling), "--set", "4.text=plain").text == "plain"


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("3.stepz=7", ("node 3 (Sample) has no input 'stepz'; did you mean 'steps'?",)),
        ("3.zzz=7", ("it has positive, negative, seed",)),
        ("Sampl.steps=7", ("there is no node 'Sampl' in the workflow; did you mean 'Sample'?",)),
        ("99x.steps=7", ("there is no node '99x' in the workflow; there are 1 (Encode “Wanted”)",)),
        ("Encode.text=x", ("'Encode' names 2 nodes, 1 (Encode “Wanted”), 2 (Encode “Unwanted”); name one by its id",)),
        ("steps=7", ("write NODE.INPUT=VALUE",)),
        ("3.steps", ("write NODE.INPUT=VALUE",)),
        ("3.flip=maybe", ("'maybe' is not allowed; allowed is true or false",)),
        ("3.positive=x", ("takes a link of type CONDITIONING",)),
        ("3.steps=7.5", ("'7.5' is not allowed", "a whole number")),
        ("3.steps=many", ("'many' is not allowed",)),
        ("3.steps=1000", ("1000 is not allowed; allowed is a whole number from 1 to 100",)),
        ("3.cfg=NaN", ("nan is not allowed",)),
    ],
)
def test_a_setting_that_cannot_be_followed(
    mezzotint: Command, save: Save, sampling: Graph, setting: str, parts: tuple[str, ...]
) -> None:
    done = mezzotint("run", save(sampling), "--set", setting)
    assert done.code == 2
    for part in parts:
        assert part in done.err


def test_a_node_of_an_unknown_type_can_be_set_too(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["3"]["class_type"] = "Gone"
    assert "there is no node type 'Gone'" in mezzotint("run", save(sampling), "--set", "3.steps=7").err


@pytest.mark.parametrize(
    ("port", "text", "expected"),
    [
        ("STRING", "5", "5"),
        ("STRING", '"quoted"', '"quoted"'),
        ("COMBO", "1", "1"),
        ("INT", "5", 5),
        ("INT", "5.0", 5.0),
        ("INT", "5.5", "5.5"),
        ("FLOAT", "1e-3", 1e-3),
        ("BOOLEAN", "OFF", False),
        ("*", '{"a": [1]}', {"a": [1]}),
        ("*", "plain words", "plain words"),
        ("INT,FLOAT", "2", 2),
    ],
)
def test_a_value_is_read_as_its_input_wants_it(port: str, text: str, expected: object) -> None:
    value = read_value(text, InputSpec("x", port), "--set")
    assert value == expected
    assert type(value) is type(expected)


def test_a_list_input_takes_json() -> None:
    assert read_value('["a", "b"]', InputSpec("x", "STRING", is_list=True), "--set") == ["a", "b"]
