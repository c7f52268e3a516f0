"""Texts as editors send them: dynamic prompts and placeholders."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from random import Random
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezzotint.engine.prompt_text import (
    expand_dynamic_prompt,
    format_date,
    prepare_texts,
    replace_placeholders,
    strip_comments,
)
from mezzotint.engine.ui_format import convert_ui
from mezzotint.engine.workflow import Workflow

Definitions = dict[str, dict[str, Any]]
NOW = datetime(2024, 3, 5, 7, 8, 9, tzinfo=UTC)


def outcomes(text: str) -> set[str]:
    return {expand_dynamic_prompt(text, Random(seed)) for seed in range(200)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat", {"a cat"}),
        ("{day|night}", {"day", "night"}),
        ("a {red|green} {cat|dog}!", {"a red cat!", "a red dog!", "a green cat!", "a green dog!"}),
        ("{a|{b|c} d}", {"a", "b d", "c d"}),
        ("{{a|b}|{c|{d|e}}}", {"a", "b", "c", "d", "e"}),
        ("{a}", {"a"}),
        ("x{|y}", {"x", "xy"}),
        ("{}", {""}),
        (r"\{a|b\}", {"{a|b}"}),
        (r"{a\|b|c}", {"a|b", "c"}),
        (r"{\}|\{}", {"}", "{"}),
        (r"(cat\(1\):1.2) \n", {r"(cat\(1\):1.2) \n"}),
        ("a\\", {"a\\"}),
        ("{a|b", {"{a|b"}),
        ("a|b}", {"a|b}"}),
        ("{x {a|b} y", {"{x a y", "{x b y"}),
        ("{x|{a|b", {"{x|{a|b"}),
    ],
)
def test_each_choice_is_one_of_those_in_the_braces(text: str, expected: set[str]) -> None:
    assert outcomes(text) == expected


def test_an_equal_seed_chooses_alike() -> None:
    text = "{a|b|c} {d|e|f} {g|h|i}"
    assert expand_dynamic_prompt(text, Random(4)) == expand_dynamic_prompt(text, Random(4))


def test_all_choices_are_equally_likely() -> None:
    rng = Random(0)
    counts = dict.fromkeys("abc", 0)
    for _ in range(3000):
        counts[expand_dynamic_prompt("{a|b|c}", rng)] += 1
    assert all(900 < count < 1100 for count in counts.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a // b\nc", "a \nc"),
        ("a /* b\nb */ c", "a  c"),
        ("/* a */ b /* c */ d", " b  d"),
        ("a // b /* c\nd */ e", "a \nd */ e"),
        ("a /* // */ b", "a  b"),
        ("a /* b", "a /* b"),
        ("a /* b // c\nd", "a /* b \nd"),
        ("/*/ a", "/*/ a"),
        ("// all", ""),
        ("a / b * c", "a / b * c"),
    ],
)
def test_comments_are_stripped(text: str, expected: str) -> None:
    assert strip_comments(text) == expected


def test_comments_go_before_choices_are_made() -> None:
    assert outcomes("{a|b /* | c */}") == {"a", "b "}


@pytest.mark.parametrize("text", ["/*" * 200_000, "{" * 200_000, "{a|" * 100_000 + "}" * 100_000, "\\" * 200_000])
def test_hostile_texts_take_linear_time(text: str) -> None:
    started = time.process_time()
    expand_dynamic_prompt(text, Random(0))
    assert time.process_time() - started < 3


@given(st.text(alphabet="abc ().,:\n"))
def test_a_text_without_braces_or_comments_stays(text: str) -> None:
    assert expand_dynamic_prompt(text, Random(0)) == text


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("yyyy-MM-dd hh:mm:ss", "2024-03-05 07:08:09"),
        ("yy.M.d h-m-s", "24.3.5 7-8-9"),
        ("yyyyMMdd", "20240305"),
        ("", ""),
        ("--", "--"),
    ],
)
def test_dates_are_written_by_their_pattern(pattern: str, expected: str) -> None:
    assert format_date(pattern, NOW) == expected


class TestPlaceholders:
    @pytest.fixture
    def workflow(self, ui: ModuleType, definitions: Definitions) -> Workflow:
        canvas = ui.text_to_image()
        canvas.nodes[5]["properties"]["Node name for S&R"] = "The sampler"
        return convert_ui(canvas.raw, definitions)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("%date:yyyy-MM-dd%/a", "2024-03-05/a"),
            ("%KSampler.seed%", "5"),
            ("%The sampler.seed%_%The sampler.cfg%", "5_8"),
            ("%What not.text%", "blurry"),
            ("%EmptyLatentImage.width%x%EmptyLatentImage.height%", "64x48"),
            ("%CLIPTextEncode.text%", "a red apple"),
            ("%KSampler.model%", "%KSampler.model%"),
            ("%KSampler.nothing%", "%KSampler.nothing%"),
            ("%Nobody.seed%", "%Nobody.seed%"),
            ("%width%x%height% 100%", "%width%x%height% 100%"),
            ("plain", "plain"),
        ],
    )
    def test_what_is_named_is_replaced_and_the_rest_stays(self, workflow: Workflow, text: str, expected: str) -> None:
        assert replace_placeholders(text, workflow, NOW) == expected

    def test_characters_that_no_file_name_may_have_are_replaced(self) -> None:
        node = {"class_type": "A", "inputs": {"text": 'a/b\\c:d*"e"\n', "on": True, "whole": 8.0, "part": 0.5}}
        workflow = Workflow.from_api({"1": node})
        assert replace_placeholders("%A.text%", workflow, NOW) == "a_b_c_d__e__"
        assert replace_placeholders("%A.on%-%A.whole%-%A.part%", workflow, NOW) == "true-8-0.5"

    def test_a_title_may_hold_a_dot(self) -> None:
        node = {"class_type": "A", "inputs": {"a": 1}, "_meta": {"title": "v1.5"}}
        assert replace_placeholders("%v1.5.a%", Workflow.from_api({"1": node}), NOW) == "1"


class TestPreparing:
    def test_dynamic_prompts_are_chosen_where_the_definition_says_so(
        self, ui: ModuleType, definitions: Definitions
    ) -> None:
        canvas = ui.text_to_image()
        canvas.nodes[2]["widgets_values"] = ["a {red|green} apple // now"]
        canvas.nodes[7]["widgets_values"] = ["{a|b}"]
        workflow = convert_ui(canvas.raw, definitions)
        prepared = prepare_texts(workflow, definitions, Random(0), NOW)
        assert prepared.nodes["2"].inputs["text"] in ("a red apple ", "a green apple ")
        assert prepared.nodes["7"].inputs["filename_prefix"] == "{a|b}"
        assert workflow.nodes["2"].inputs["text"] == "a {red|green} apple // now"

    def test_the_document_tells_what_was_chosen(self, ui: ModuleType, definitions: Definitions) -> None:
        canvas = ui.text_to_image()
        canvas.nodes[2]["widgets_values"] = ["{red|green}"]
        prepared = prepare_texts(convert_ui(canvas.raw, definitions), definitions, Random(0), NOW)
        assert prepared.ui is not None
        assert convert_ui(prepared.ui, definitions).to_api() == prepared.to_api()

    def test_prefixes_are_filled_in_and_keep_their_placeholders_in_the_document(
        self, ui: ModuleType, definitions: Definitions
    ) -> None:
        canvas = ui.text_to_image()
        canvas.nodes[7]["widgets_values"] = ["%date:yyyy%/%CLIPTextEncode.text%_%KSampler.seed%_%width%"]
        canvas.nodes[2]["widgets_values"] = ["{apple|apple}"]
        prepared = prepare_texts(convert_ui(canvas.raw, definitions), definitions, Random(0), NOW)
        assert prepared.nodes["7"].inputs["filename_prefix"] == "2024/apple_5_%width%"
        assert prepared.ui is not None
        assert prepared.ui["nodes"][6]["widgets_values"] == canvas.nodes[7]["widgets_values"]

    def test_linked_texts_and_unknown_types_are_left_alone(self, definitions: Definitions) -> None:
        document = {
            "1": {"class_type": "CLIPTextEncode", "inputs": {"text": ["2", 0], "clip": ["2", 0]}},
            "2": {"class_type": "Unknown", "inputs": {"text": "{a|b}", "filename_prefix": 3}},
        }
        assert prepare_texts(Workflow.from_api(document), definitions, Random(0), NOW).to_api() == document
