"""Inputs of schema classes that depend on what is given: their names are dotted, the function gets them in groups."""

from __future__ import annotations

from typing import Any

import pytest

from ..server.serving import Client, labels
from .prompts import graph, refused, shown, texts


async def test_what_grows_is_one_dict_of_what_is_given(client: Client, salt: int) -> None:
    prompt = graph(
        n1=("AtelierGrow", {"numbers.number0": salt, "numbers.number1": "2", "numbers.number3": ["3", 0]}),
        n3=("OldSum", {"a": salt, "b": 1}), n2=("OldShow", {"source": ["1", 0]}),
    )  # fmt: skip
    assert await texts(client, prompt) == [f"{{'number0': {salt}, 'number1': 2, 'number3': {salt + 1}}} {{}}"]


async def test_the_least_number_must_be_given_and_no_more_than_the_greatest(client: Client) -> None:
    errors = await refused(client, shown("AtelierGrow", **{"numbers.number0": 1}))
    assert [(error["type"], error["details"]) for error in errors["1"]] == [
        ("required_input_missing", "numbers.number1")
    ]
    given = {"numbers.number0": 1, "numbers.number1": 1}
    errors = await refused(client, shown("AtelierGrow", **given, **{"numbers.number4": 1, "names.middle": "x"}))
    assert {(error["type"], error["extra_info"]["input_name"]) for error in errors["1"]} == {
        ("invalid_dynamic_input", "numbers.number4"),
        ("invalid_dynamic_input", "names.middle"),
    }


async def test_so_may_a_link_under_an_unknown_name_not(client: Client, salt: int) -> None:
    given = {"numbers.number0": 1, "numbers.number1": 1, "numbers.number9": ["3", 0]}
    errors = await refused(client, {**shown("AtelierGrow", **given), **graph(n3=("OldSum", {"a": salt}))})
    assert [error["type"] for error in errors["1"]] == ["invalid_dynamic_input"]


async def test_each_that_grows_has_the_limits_and_the_type_of_its_template(client: Client) -> None:
    errors = await refused(client, shown("AtelierGrow", **{"numbers.number0": -1, "numbers.number1": "many"}))
    assert {error["type"] for error in errors["1"]} == {"value_smaller_than_min", "invalid_input_type"}


async def test_lazy_ones_are_asked_for_by_their_dotted_names(client: Client, salt: int) -> None:
    given = {"numbers.number0": salt, "numbers.number1": 0, "names.first": ["3", 0], "names.last": ["4", 0]}
    texts_behind = {n: ("OldHidden", {"salt": salt + int(n[1])}) for n in ("n3", "n4")}
    _, messages = await client.run({**shown("AtelierGrow", **given), **graph(**texts_behind)})
    assert "executing 4" in labels(messages)
    assert "executing 3" not in labels(messages)


@pytest.mark.parametrize(
    ("given", "got"),
    [
        ({"mode": "keep"}, "{'mode': 'keep'} None fast"),
        ({"mode": "keep", "mode.width": 5}, "{'mode': 'keep'} None fast"),
        ({"mode": "resize", "mode.width": 5}, "{'mode': 'resize', 'width': 5} None fast"),
        (
            {"mode": "resize", "mode.width": 5, "mode.height": 6},
            "{'mode': 'resize', 'width': 5, 'height': 6} None fast",
        ),
        (
            {"mode": "filter", "mode.kind": "a", "mode.kind.amount": "0.5", "mode.width": "wide"},
            "{'mode': 'filter', 'kind': {'kind': 'a', 'amount': 0.5}, 'width': 'wide'} None fast",
        ),
        ({"mode": "keep", "mask": 3, "mask.grow": 2}, "{'mode': 'keep'} {'mask': 3, 'grow': 2} fast"),
    ],
)
async def test_a_choice_and_its_inputs_are_one_dict(client: Client, given: dict[str, Any], got: str) -> None:
    assert await texts(client, shown("AtelierChoose", speed="fast", **given)) == [got]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"mode": "resize"}, ("required_input_missing", "mode.width")),
        ({"mode": "other"}, ("value_not_in_list", "mode")),
        ({"mode": "filter", "mode.kind": "a", "mode.width": "x"}, ("required_input_missing", "mode.kind.amount")),
        ({"mode": "keep", "mask": 3}, ("required_input_missing", "mask.grow")),
        ({"mode": "keep", "mode.depth": 3}, ("invalid_dynamic_input", "mode.depth")),
        ({"mode": "resize", "mode.width": 13}, ("custom_validation_failed", "mode")),
    ],
)
async def test_what_the_choice_needs_must_be_given(
    client: Client, given: dict[str, Any], wrong: tuple[str, str]
) -> None:
    errors = await refused(client, shown("AtelierChoose", speed="fast", **given))
    assert [(error["type"], error["extra_info"]["input_name"]) for error in errors["1"]] == [wrong]


async def test_matched_inputs_carry_one_type(client: Client, salt: int) -> None:
    both = {"one": ["3", 0], "two": ["4", 0]}
    numbers = graph(n3=("OldSum", {"a": salt, "b": 0}), n4=("OldSum", {"a": salt, "b": 1}))
    assert await texts(client, {**shown("AtelierMatch", **both), **numbers}) == [str(salt)]
    mixed = {**numbers, **graph(n4=("OldHidden", {"salt": salt}))}
    errors = await refused(client, {**shown("AtelierMatch", **both), **mixed})
    assert [error["type"] for error in errors["1"]] == ["custom_validation_failed"]
    picture = {**numbers, **graph(n3=("EmptyImage", {"width": 8, "height": 8}))}
    errors = await refused(client, {**shown("AtelierMatch", **both), **picture})
    assert "return_type_mismatch" in {error["type"] for error in errors["1"]}


async def test_a_schema_may_take_inputs_of_any_name(client: Client, salt: int) -> None:
    prompt = {**shown("AtelierAny", a=salt, x="y", z=["3", 0]), **graph(n3=("OldSum", {"a": salt, "b": 2}))}
    assert await texts(client, prompt) == [f"{salt} [('x', 'y'), ('z', {salt + 2})]"]


async def test_definitions_say_it_as_editors_know_it(client: Client) -> None:
    grow = (await client.get("/object_info/AtelierGrow"))["AtelierGrow"]["input"]["required"]
    assert grow["numbers"][0] == "COMFY_AUTOGROW_V3"
    assert grow["numbers"][1]["template"] == {
        "input": {"required": {"number": ["INT", {"min": 0}]}}, "prefix": "number", "min": 2, "max": 4,
    }  # fmt: skip
    choose = (await client.get("/object_info/AtelierChoose"))["AtelierChoose"]["input"]
    kind, options = choose["required"]["mode"]
    assert (kind, [option["key"] for option in options["options"]]) == (
        "COMFY_DYNAMICCOMBO_V3",
        ["keep", "resize", "filter"],
    )
    assert choose["required"]["speed"] == ["COMBO", {"options": ["fast", "slow"], "default": "fast"}]
    match = (await client.get("/object_info/AtelierMatch"))["AtelierMatch"]
    assert (match["output"], match["output_matchtypes"]) == (["COMFY_MATCHTYPE_V3"], ["same"])
    assert match["input"]["required"]["one"][1]["template"] == {"template_id": "same", "allowed_types": "INT,STRING"}
    any_name = (await client.get("/object_info/AtelierAny"))["AtelierAny"]
    facts = any_name["search_aliases"], any_name["essentials_category"], any_name["dev_only"]
    assert facts == (["whatever"], "Texts", True)


async def test_documents_of_editors_have_them_too(client: Client) -> None:
    def number(node_id: int, link: int) -> dict[str, Any]:
        outputs = [{"name": "INT", "type": "INT", "links": [link]}]
        return {"id": node_id, "type": "OldSum", "inputs": [], "outputs": outputs, "widgets_values": [node_id, 0]}

    def linked(name: str, link: int) -> dict[str, Any]:
        return {"name": name, "type": "INT", "link": link}

    document = {
        "version": 0.4,
        "nodes": [
            number(1, 1),
            number(2, 2),
            {"id": 3, "type": "AtelierGrow", "outputs": [{"name": "STRING", "type": "STRING", "links": [3]}],
             "inputs": [linked("numbers.number0", 1), linked("numbers.number1", 2)]},
            {"id": 4, "type": "AtelierChoose", "inputs": [], "widgets_values": ["resize", 64, 32, "slow"],
             "outputs": [{"name": "STRING", "type": "STRING", "links": [4]}]},
            {"id": 5, "type": "OldShow", "inputs": [{"name": "source", "type": "*", "link": 3}], "outputs": []},
            {"id": 6, "type": "OldShow", "inputs": [{"name": "source", "type": "*", "link": 4}], "outputs": []},
        ],
        "links": [[1, 1, 0, 3, 0, "INT"], [2, 2, 0, 3, 1, "INT"], [3, 3, 0, 5, 0, "*"], [4, 4, 0, 6, 0, "*"]],
    }  # fmt: skip
    status, converted = await client.post("/mezzotint/convert", {"document": document})
    assert status == 200
    job_id, _ = await client.run(converted.get("prompt", converted))
    outputs = (await client.finished(job_id))["outputs"]
    assert outputs["5"]["text"] == ["{'number0': 1, 'number1': 2} {}"]
    assert outputs["6"]["text"] == ["{'mode': 'resize', 'width': 64, 'height': 32} None slow"]
