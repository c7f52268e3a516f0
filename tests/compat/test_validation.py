"""§3: what is checked when a prompt is submitted."""

from __future__ import annotations

from ..server.serving import Client
from .prompts import graph, refused, shown, texts


async def test_V1_an_unknown_class_anywhere_refuses_the_whole_prompt(client: Client, salt: int) -> None:
    status, body = await client.post("/prompt", {"prompt": {**shown("OldSum", a=salt), "9": {"class_type": "NoSuch"}}})
    assert (status, body["error"]["type"]) == (400, "missing_node_type")


async def test_V2_targets_that_are_no_output_nodes_are_ignored(client: Client, salt: int) -> None:
    status, body = await client.post("/prompt", {"prompt": shown("OldSum", a=salt), "partial_execution_targets": ["1"]})
    assert (status, body["error"]["type"]) == (400, "prompt_no_outputs")


async def test_V3_V4_valid_outputs_run_and_the_others_are_reported_once(client: Client, salt: int) -> None:
    prompt = {
        **shown("OldSum", a=salt),
        **graph(n3=("OldSum", {}), n4=("OldShow", {"source": ["3", 0]}), n5=("OldShow", {"source": ["3", 0]})),
    }
    status, body = await client.post("/prompt", {"prompt": prompt})
    assert status == 200
    assert [*body["node_errors"]] == ["3"]
    assert sorted(body["node_errors"]["3"]["dependent_outputs"]) == ["4", "5"]
    assert [*(await client.finished(body["prompt_id"]))["outputs"]] == ["2"]


async def test_V5_undeclared_inputs_are_no_errors(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldSum", a=salt, b=0, upload="image")) == [str(salt)]


async def test_V6_required_inputs_must_be_given(client: Client) -> None:
    errors = await refused(client, shown("OldList"))
    assert {(error["type"], error["details"]) for error in errors["1"]} == {
        ("required_input_missing", "start"),
        ("required_input_missing", "count"),
    }


async def test_V7_a_list_that_is_no_link_is_a_bad_one(client: Client) -> None:
    errors = await refused(client, shown("OldSum", a=["1", 0, 2]))
    assert [error["type"] for error in errors["1"]] == ["bad_linked_input"]


async def test_V8_a_text_that_differs_from_none_is_a_wildcard(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldHidden", salt=salt)) != []
    prompt = graph(
        n1=("OldHidden", {"salt": salt}), n2=("OldSum", {"a": ["1", 0]}), n3=("OldShow", {"source": ["2", 0]})
    )
    errors = await refused(client, prompt)
    assert [error["type"] for error in errors["2"]] == ["return_type_mismatch"]


async def test_V9_V13_a_node_checks_its_inputs_itself(client: Client) -> None:
    prompt = graph(n1=("OldHidden", {"salt": 1}), n2=("OldChecked", {"even": 3, "free": ["1", 0]}),
                   n3=("OldShow", {"source": ["2", 0]}))  # fmt: skip
    errors = await refused(client, prompt)
    assert [(error["type"], error["extra_info"]["input_name"]) for error in errors["2"]] == [
        ("custom_validation_failed", "even")
    ]
    assert errors["2"][0]["details"] == "even - 3 is odd {'free': 'STRING'}"


async def test_V10_constants_are_coerced(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldSum", a=str(salt), b={"__value__": "2"})) == [str(salt + 2)]
    errors = await refused(client, shown("OldSum", a="many"))
    assert [error["type"] for error in errors["1"]] == ["invalid_input_type"]


async def test_V11_limits_hold_for_constants_but_not_where_the_node_checks_itself(client: Client) -> None:
    errors = await refused(client, shown("OldSum", a=-1))
    assert [error["type"] for error in errors["1"]] == ["value_smaller_than_min"]
    errors = await refused(client, shown("OldChecked", even=100, free=100))
    assert [(error["type"], error["details"]) for error in errors["1"]] == [("value_bigger_than_max", "free")]


async def test_V12_a_combo_allows_what_it_lists(client: Client, salt: int) -> None:
    errors = await refused(client, shown("OldChanged", kind="other", salt=salt))
    assert [error["type"] for error in errors["1"]] == ["value_not_in_list"]


async def test_V14_a_circle_is_refused(client: Client) -> None:
    prompt = graph(n1=("OldSum", {"a": ["2", 0]}), n2=("OldSum", {"a": ["1", 0]}), n3=("OldShow", {"source": ["2", 0]}))
    errors = await refused(client, prompt)
    assert "dependency_cycle" in {error["type"] for entry in errors.values() for error in entry}


async def test_V16_is_changed_inside_a_node_is_accepted(client: Client, salt: int) -> None:
    prompt = shown("OldSum", a=salt, b=0)
    prompt["1"]["is_changed"] = ["x"]
    assert await texts(client, prompt) == [str(salt)]
