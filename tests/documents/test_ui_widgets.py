"""Which of the values in `widgets_values` is whose."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from mezzotint.engine.ui_format import convert_ui

Definitions = dict[str, dict[str, Any]]


def converted(ui: ModuleType, definitions: Definitions, node_type: str, *values: Any, **fields: Any) -> dict[str, Any]:
    """The inputs that a lone node with these stored values gets."""
    canvas = ui.Canvas()
    canvas.add(node_type, *values, id=1, **fields)
    workflow = convert_ui(canvas.raw, definitions)
    assert workflow.problems == []
    return workflow.nodes["1"].inputs


def test_the_control_behind_a_seed_is_skipped(ui: ModuleType, definitions: Definitions) -> None:
    assert converted(ui, definitions, "KSampler", 5, "randomize", 20, 8, "euler", "normal", 1) == {
        "seed": 5,
        "steps": 20,
        "cfg": 8,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1,
    }


def test_a_seed_has_a_control_without_being_declared_to(ui: ModuleType, definitions: Definitions) -> None:
    canvas = ui.Canvas()
    canvas.add("RandomNoise", 9, "increment")
    workflow = convert_ui(canvas.raw, definitions)
    assert workflow.nodes["1"].inputs == {"noise_seed": 9}
    assert workflow.controls == {"1": {"noise_seed": "increment"}}


def test_a_file_from_before_the_control_has_none_to_skip(ui: ModuleType, definitions: Definitions) -> None:
    inputs = converted(ui, definitions, "KSampler", 5, 20, 8, "euler", "normal", 0.5)
    assert (inputs["seed"], inputs["steps"], inputs["denoise"]) == (5, 20, 0.5)


@pytest.mark.parametrize(("switch", "mode"), [(True, "randomize"), (False, "fixed")])
def test_the_oldest_files_have_a_switch_for_a_control(
    ui: ModuleType, definitions: Definitions, switch: bool, mode: str
) -> None:
    canvas = ui.Canvas()
    canvas.add("KSampler", 5, switch, 20, 8, "euler", "normal", 1)
    workflow = convert_ui(canvas.raw, definitions)
    assert workflow.nodes["1"].inputs["steps"] == 20
    assert workflow.controls["1"]["seed"] == mode


def test_a_controlled_combo_is_followed_by_a_mode_and_a_filter(ui: ModuleType, definitions: Definitions) -> None:
    assert converted(ui, definitions, "ModelPick", "y", "fixed", "", 0.5) == {"name": "y", "strength": 0.5}


@pytest.mark.parametrize("values", [["a.png", "image"], ["a.png"]])
def test_the_upload_button_stands_at_the_end_or_not_at_all(
    ui: ModuleType, definitions: Definitions, values: list[str]
) -> None:
    assert converted(ui, definitions, "LoadImage", *values) == {"image": "a.png"}


def test_the_upload_button_stands_behind_widgets_that_follow_the_combo(
    ui: ModuleType, definitions: Definitions
) -> None:
    assert converted(ui, definitions, "LoadMask", "a.png", "red", "image") == {"image": "a.png", "channel": "red"}


def test_values_that_a_pack_appends_are_ignored(ui: ModuleType, definitions: Definitions) -> None:
    assert converted(ui, definitions, "SaveImage", "a", "pack", 3, None) == {"filename_prefix": "a"}


def test_sockets_unions_and_any_have_no_value(ui: ModuleType, definitions: Definitions) -> None:
    assert converted(ui, definitions, "Anything", "mine") == {"label": "mine"}


def test_optional_widgets_follow_the_required_ones(ui: ModuleType, definitions: Definitions) -> None:
    assert converted(ui, definitions, "Switch", False, "why") == {"on": False, "note": "why"}


def test_missing_values_take_their_defaults(ui: ModuleType, definitions: Definitions) -> None:
    inputs = converted(ui, definitions, "KSampler", 5, "fixed", 30)
    assert inputs == {
        "seed": 5,
        "steps": 30,
        "cfg": 8.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
    }


def test_a_node_without_stored_values_takes_all_defaults(ui: ModuleType, definitions: Definitions) -> None:
    expected = {"width": 512, "height": 512, "batch_size": 1}
    assert converted(ui, definitions, "EmptyLatentImage", widgets_values=None) == expected


def test_a_null_counts_as_missing(ui: ModuleType, definitions: Definitions) -> None:
    assert converted(ui, definitions, "EmptyLatentImage", None, 64, None)["width"] == 512


def test_a_number_without_a_default_is_zero_or_its_least(ui: ModuleType) -> None:
    definition = ui.definition("N", {"a": ["INT", {"min": 3}], "b": ["FLOAT"], "c": ["STRING"], "d": ["BOOLEAN"]}, [])
    assert converted(ui, {"N": definition}, "N") == {"a": 3, "b": 0, "c": "", "d": False}


def test_an_empty_combo_without_a_value_stays_absent(ui: ModuleType) -> None:
    assert converted(ui, {"N": ui.definition("N", {"a": [[]]}, [])}, "N") == {}


def test_an_input_that_was_forced_to_be_a_socket_later_loses_its_value(
    ui: ModuleType, definitions: Definitions
) -> None:
    assert converted(ui, definitions, "Forced", 7, "once a widget", 0.5) == {"first": 7, "last": 0.5}


def test_a_forced_input_has_no_value_in_new_files(ui: ModuleType, definitions: Definitions) -> None:
    assert converted(ui, definitions, "Forced", 7, 0.5) == {"first": 7, "last": 0.5}


def test_values_may_be_stored_by_name(ui: ModuleType, definitions: Definitions) -> None:
    values = {"height": 64, "width": 32, "videopreview": {"hidden": False}}
    inputs = converted(ui, definitions, "EmptyLatentImage", widgets_values=values)
    assert inputs == {"width": 32, "height": 64, "batch_size": 1}


def test_values_by_position_are_taken_while_they_fit(ui: ModuleType, definitions: Definitions) -> None:
    named = {"width": 1, "height": 2, "batch_size": 3}
    inputs = converted(ui, definitions, "EmptyLatentImage", 64, 48, 2, widgets_values_named=named)
    assert inputs == {"width": 64, "height": 48, "batch_size": 2}


def test_values_by_name_are_taken_when_those_by_position_do_not_fit(ui: ModuleType, definitions: Definitions) -> None:
    named = {"width": 1, "batch_size": 3}
    inputs = converted(ui, definitions, "EmptyLatentImage", "old", 64, 48, 2, widgets_values_named=named)
    assert inputs == {"width": 1, "height": 64, "batch_size": 3}


def test_a_list_value_is_wrapped_lest_it_be_a_link(ui: ModuleType, definitions: Definitions) -> None:
    assert converted(ui, definitions, "MultiPick", ["a", "b"]) == {"names": {"__value__": ["a", "b"]}}


def test_widgets_of_newer_editors_have_values_too(ui: ModuleType, definitions: Definitions) -> None:
    points = [[0, 0], [1, 1]]
    assert converted(ui, definitions, "Curve", points, 2.0) == {"curve": {"__value__": points}, "gain": 2.0}


def test_a_packs_own_widget_is_known_by_its_socket(ui: ModuleType, definitions: Definitions) -> None:
    socket = {"name": "curve", "type": "PACK_CURVE", "link": None, "widget": {"name": "curve"}}
    inputs = converted(ui, definitions, "Custom", 1, "bent", 2, inputs=[socket])
    assert inputs == {"before": 1, "curve": "bent", "after": 2}
    assert converted(ui, definitions, "Custom", 1, 2) == {"before": 1, "after": 2}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["to", 10, 20, "center"], {"mode": "to", "mode.width": 10, "mode.height": 20, "crop": "center"}),
        (["by", 3.0, "none"], {"mode": "by", "mode.factor": 3.0, "crop": "none"}),
        ([], {"mode": "by", "mode.factor": 2.0, "crop": "none"}),
    ],
)
def test_a_dynamic_combo_brings_the_widgets_of_its_choice(
    ui: ModuleType, definitions: Definitions, values: list[Any], expected: dict[str, Any]
) -> None:
    assert converted(ui, definitions, "Resize", *values) == expected


def test_widget_type_stands_in_for_the_type(ui: ModuleType) -> None:
    definition = ui.definition("N", {"a": ["SPECIAL", {"widgetType": "STRING"}], "b": ["INT"]}, [])
    assert converted(ui, {"N": definition}, "N", "text", 4) == {"a": "text", "b": 4}


@pytest.mark.parametrize("flag", ["defaultInput", "advanced", "socketless", "hidden"])
def test_other_flags_do_not_remove_a_widget(ui: ModuleType, flag: str) -> None:
    definition = ui.definition("N", {"a": ["STRING", {flag: True}], "b": ["INT"]}, [])
    assert converted(ui, {"N": definition}, "N", "text", 4) == {"a": "text", "b": 4}


def test_the_order_is_that_of_input_order(ui: ModuleType) -> None:
    definition = ui.definition("N", {"a": ["INT"], "b": ["INT"]}, [])
    definition["input_order"] = {"required": ["b", "a"]}
    assert converted(ui, {"N": definition}, "N", 1, 2) == {"b": 1, "a": 2}
    del definition["input_order"]
    assert converted(ui, {"N": definition}, "N", 1, 2) == {"a": 1, "b": 2}
