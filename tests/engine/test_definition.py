"""Node definitions as editors get them: the DEF of wire protocol §1.6."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import Field

from mezzotint.engine.context import Context
from mezzotint.engine.definition import Definitions, define
from mezzotint.engine.folders import Folders
from mezzotint.engine.input_spec import InputSpec
from mezzotint.engine.node import NodeSpec, OutputSpec, node
from mezzotint.engine.port import Lazy, Port
from mezzotint.engine.registry import Registry
from mezzotint.engine.request import Requests
from mezzotint.engine.widget import Choices, Widget, model_files

Image = Annotated[Any, Port("IMAGE")]
Mask = Annotated[Any, Port("MASK")]


class Mode(enum.Enum):
    FAST = "fast"
    FINE = "fine"


class Result(NamedTuple):
    image: Annotated[Image, Field(description="the result")]
    parts: list[Mask]


@node(
    "Rich", title="A rich node", category="tests/rich", sink=True, lane="device", experimental=True, aliases=("plenty",)
)  # fmt: skip
def rich(
    image: Annotated[Image, Field(description="what to change")],
    seed: Annotated[int, Field(ge=0, le=2**64 - 1), Widget(control_after_generate=True)] = 0,
    cfg: Annotated[float, Field(ge=0, le=100), Widget(step=0.1, round=0.01)] = 8,
    size: Annotated[int, Field(gt=0, lt=4096, multiple_of=8)] = 512,
    text: Annotated[str, Widget(multiline=True, dynamic_prompts=True, placeholder="a cat")] = "",
    tiled: Annotated[bool, Widget(label_on="tiles", label_off="whole")] = False,
    sampler: Annotated[str, Choices(["euler", "heun"], extra={"tooltip": "how"})] = "euler",
    mode: Mode = Mode.FINE,
    count: Literal[1, 2] = 1,
    masks: list[Mask] | None = None,
    later: Lazy[Image] | None = None,
    strength: Annotated[float | None, Field(ge=0), Widget(force_input=True)] = None,
    *,
    ctx: Context,
) -> Requests[Result]:
    """Change a picture.

    This part is for readers of the code.
    """
    yield  # type: ignore[misc]


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register(rich, "tests", "1")
    return registry


def test_a_rich_node_has_exactly_the_shape_of_the_wire(registry: Registry) -> None:
    required = {
        "image": ["IMAGE", {"tooltip": "what to change"}],
        "seed": ["INT", {"control_after_generate": True, "default": 0, "min": 0, "max": 2**64 - 1}],
        "cfg": ["FLOAT", {"step": 0.1, "round": 0.01, "default": 8.0, "min": 0, "max": 100}],
        "size": ["INT", {"default": 512, "min": 1, "max": 4095, "step": 8}],
        "text": ["STRING", {"multiline": True, "dynamicPrompts": True, "placeholder": "a cat", "default": ""}],
        "tiled": ["BOOLEAN", {"label_on": "tiles", "label_off": "whole", "default": False}],
        "sampler": [["euler", "heun"], {"default": "euler", "tooltip": "how"}],
        "mode": [["fast", "fine"], {"default": "fine"}],
        "count": [["1", "2"], {"default": "1"}],
    }
    optional = {
        "masks": ["MASK"],
        "later": ["IMAGE", {"lazy": True}],
        "strength": ["FLOAT", {"forceInput": True, "min": 0}],
    }
    assert define(registry["Rich"]) == {
        "input": {"required": required, "optional": optional},
        "input_order": {"required": [*required], "optional": [*optional]},
        "is_input_list": True,
        "output": ["IMAGE", "MASK"],
        "output_is_list": [False, True],
        "output_name": ["image", "parts"],
        "output_tooltips": ["the result", None],
        "name": "Rich",
        "display_name": "A rich node",
        "description": "Change a picture.",
        "python_module": rich.__module__,
        "category": "tests/rich",
        "output_node": True,
        "deprecated": False,
        "experimental": True,
        "search_aliases": ["plenty"],
    }


def test_the_order_of_the_inputs_is_kept_on_the_wire(registry: Registry) -> None:
    shown = json.loads(json.dumps(define(registry["Rich"])))
    assert [*shown["input"]["required"]] == shown["input_order"]["required"] == [
        "image", "seed", "cfg", "size", "text", "tiled", "sampler", "mode", "count",
    ]  # fmt: skip


def test_a_node_without_inputs_and_outputs_has_empty_groups(registry: Registry) -> None:
    @node
    def nothing() -> None: ...

    shown = define(registry.register(nothing))
    assert (shown["input"], shown["input_order"], shown["output"]) == ({}, {}, [])
    assert (shown["display_name"], shown["description"], shown["category"]) == ("nothing", "", "")


def test_what_a_widget_says_prevails_over_the_limits() -> None:
    @node
    def body(a: Annotated[int, Field(multiple_of=8), Widget(step=64, tooltip="hint")] = 8) -> None: ...

    assert define(Registry().register(body))["input"]["required"]["a"] == [
        "INT", {"step": 64, "tooltip": "hint", "default": 8},
    ]  # fmt: skip


def test_limits_of_fractions_that_exclude_their_bound_show_it() -> None:
    @node
    def body(a: Annotated[float, Field(gt=0, lt=1)] = 0.5) -> None: ...

    assert define(Registry().register(body))["input"]["required"]["a"] == [
        "FLOAT", {"default": 0.5, "min": 0, "max": 1},
    ]  # fmt: skip


def test_lists_of_files_are_read_each_time(tmp_path: Path, registry: Registry) -> None:
    @node
    def load(name: Annotated[str, model_files("checkpoints")]) -> None: ...

    registry.register(load)
    folders = Folders(tmp_path, models=[tmp_path / "models"])
    definitions = Definitions(registry, folders)
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    assert definitions["load"]["input"]["required"]["name"] == [[]]
    (tmp_path / "models" / "checkpoints" / "new.safetensors").write_bytes(b"")
    assert definitions["load"]["input"]["required"]["name"] == [["new.safetensors"]]


def test_definitions_are_a_mapping_of_all_nodes(registry: Registry) -> None:
    definitions = Definitions(registry)
    assert ([*definitions], len(definitions), "Rich" in definitions) == (["Rich"], 1, True)
    with pytest.raises(KeyError):
        definitions["Poor"]


def test_a_node_made_by_hand_may_have_a_combo_without_choices() -> None:
    spec = NodeSpec("Hand", print, {"a": InputSpec("a", "COMBO")}, (OutputSpec("x", "COMBO"),), title="Hand")
    assert define(spec)["input"]["required"]["a"] == ["COMBO"]
    assert define(spec)["output"] == ["COMBO"]


@pytest.mark.parametrize(
    ("source", "listed"),
    [
        (("a", "b"), ["a", "b"]),
        (lambda: ("a",), ["a"]),
        (lambda suffix="": ["a" + suffix], ["a"]),
        (lambda *more, **options: ["a"], ["a"]),
        (lambda folders: [folders.home.name], ["home"]),
    ],
)
def test_choices_come_from_a_list_or_a_function(
    tmp_path: Path, source: Callable[..., list[str]], listed: list[str]
) -> None:
    assert Choices(source).list(Folders(tmp_path / "home")) == listed


def test_choices_that_need_the_folders_are_not_known_without() -> None:
    assert Choices(lambda folders: folders.filenames("loras")).list(None) == []
    assert Choices(lambda folders: folders.filenames("loras")).needs_folders
    assert not Choices(list).needs_folders
