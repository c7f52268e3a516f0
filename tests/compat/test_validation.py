"""§3: what is checked when a prompt is submitted."""

from __future__ import annotations

from typing import Any

import pytest

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


async def test_V1_a_node_without_a_class_refuses_the_whole_prompt(client: Client, salt: int) -> None:
    status, body = await client.post("/prompt", {"prompt": {**shown("OldSum", a=salt), "9": {"inputs": {}}}})
    assert (status, body["error"]["type"], body["error"]["details"]) == (400, "invalid_prompt", "Node ID '#9'")


async def test_V5_V14_what_no_output_needs_is_not_checked(client: Client, salt: int) -> None:
    apart = graph(n7=("OldSum", {"a": "many"}), n8=("OldSum", {"a": ["9", 0]}), n9=("OldSum", {"a": ["8", 0]}))
    assert await texts(client, {**shown("OldSum", a=salt, b=0), **apart}) == [str(salt)]


@pytest.mark.parametrize("link", [["7", 0], ["3", 1], ["4", 0]], ids=["no node", "no output", "no inputs"])
async def test_V7_a_link_that_leads_nowhere_is_an_exception_of_the_validation(
    client: Client, salt: int, link: list[Any]
) -> None:
    prompt = graph(n1=("OldSum", {"a": link}), n2=("OldShow", {"source": ["1", 0]}), n3=("OldSum", {"a": salt}))
    prompt["4"] = {"class_type": "OldSum"}
    errors = await refused(client, prompt)
    (error,) = errors["1"]
    assert (error["type"], error["extra_info"]["linked_node"]) == ("exception_during_inner_validation", link)
    prompt["2"]["inputs"]["source"] = link
    errors = await refused(client, prompt)
    assert [error["type"] for error in errors["2"]] == ["exception_during_validation"]


async def test_V7_an_output_node_without_inputs_is_an_exception_of_the_validation(client: Client) -> None:
    errors = await refused(client, {"1": {"class_type": "PackFacts"}})
    assert [error["type"] for error in errors["1"]] == ["exception_during_validation"]
    assert "it has no 'inputs'; give it an object, {} if it takes none" in errors["1"][0]["message"]


async def test_V7_a_number_is_no_id(client: Client, salt: int) -> None:
    errors = await refused(client, shown("OldSum", a=[1, 0]))
    assert [error["type"] for error in errors["1"]] == ["exception_during_inner_validation"]


STRING, STAR, CHOICE, NEW_CHOICE, NUMBERS, ROCK, WILD = range(7)


@pytest.mark.parametrize(
    ("slot", "kind"),
    [
        (NUMBERS, "TakesInt"), (NUMBERS, "TakesUnion"), (STRING, "TakesUnion"), (STAR, "TakesInt"), (ROCK, "TakesAny"),
        (WILD, "TakesInt"), (CHOICE, "TakesChoice"), (NEW_CHOICE, "TakesChoice"), (STRING, "TakesNewChoice"),
    ],
)  # fmt: skip
async def test_V8_types_that_fit(client: Client, salt: int, slot: int, kind: str) -> None:
    prompt = graph(n1=("Gives", {"salt": salt}), n2=(kind, {"given": ["1", slot]}))
    assert await texts(client, prompt) != []


@pytest.mark.parametrize(
    ("slot", "kind"), [(STRING, "TakesInt"), (ROCK, "TakesUnion"), (CHOICE, "TakesInt"), (NUMBERS, "TakesRock")]
)
async def test_V8_types_that_do_not_fit(client: Client, salt: int, slot: int, kind: str) -> None:
    errors = await refused(client, graph(n1=("Gives", {"salt": salt}), n2=(kind, {"given": ["1", slot]})))
    assert [error["type"] for error in errors["2"]] == ["return_type_mismatch"]


async def test_V10_what_was_read_is_in_the_stored_prompt_and_in_the_one_that_nodes_see(
    client: Client, salt: int
) -> None:
    inputs = {"salt": str(salt), "how": 5, "scale": {"__value__": "2"}, "on": "false"}
    job_id, _ = await client.run(graph(n1=("ShowsItself", inputs)))
    entry = await client.finished(job_id)
    read = {"salt": salt, "how": "5", "scale": 2.0, "on": True}
    assert entry["prompt"][2]["1"]["inputs"] == read
    assert str(read) in entry["outputs"]["1"]["text"][0]


async def test_V10_a_list_stays_wrapped_so_that_it_is_no_link(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldFlexible", {"x": salt}), n2=("OldShow", {"source": {"__value__": ["1", 0]}}))
    job_id, _ = await client.run(prompt)
    entry = await client.finished(job_id)
    assert entry["outputs"]["2"]["text"] == ["['1', 0]"]
    assert entry["prompt"][2]["2"]["inputs"] == prompt["2"]["inputs"]


async def test_V11_limits_hold_for_any_type_and_never_for_links(client: Client, salt: int) -> None:
    errors = await refused(client, graph(n1=("TakesRock", {"given": 2})))
    assert [error["type"] for error in errors["1"]] == ["value_smaller_than_min"]
    prompt = graph(n1=("OldList", {"start": -salt, "count": 1}), n2=("OldSum", {"a": ["1", 0], "b": 0}),
                   n3=("OldShow", {"source": ["2", 0]}))  # fmt: skip
    assert await texts(client, prompt, "3") == [str(-salt)]


async def test_V11_V13_a_check_that_takes_all_inputs_exempts_all(client: Client, salt: int) -> None:
    prompt = graph(n1=("ChecksAll", {"a": 12, "b": "other", "linked": ["2", 0]}), n2=("OldSum", {"a": salt, "b": 0}),
                   n3=("OldShow", {"source": ["1", 0]}))  # fmt: skip
    assert await texts(client, prompt, "3") == [str(salt + 12)]
    prompt["1"]["inputs"]["a"] = 13
    errors = await refused(client, prompt)
    assert {error["details"] for error in errors["1"]} == {"a", "b", "linked"}  # once for each input, and no reason
    assert {error["type"] for error in errors["1"]} == {"custom_validation_failed"}


async def test_V12_a_choice_is_not_coerced_and_each_of_several_is_checked(client: Client) -> None:
    assert await texts(client, graph(n1=("TakesChoice", {"given": "1"})), "1") == ["1"]
    for kind, given in (("TakesChoice", 1), ("TakesNewChoice", "c"), ("TakesChoices", {"__value__": ["a", "c"]})):
        errors = await refused(client, graph(n1=(kind, {"given": given})))
        assert [error["type"] for error in errors["1"]] == ["value_not_in_list"], kind
    prompt = graph(n1=("TakesChoices", {"given": {"__value__": ["b", "a"]}}))
    assert await texts(client, prompt, "1") == ["['b', 'a']"]


async def test_V13_a_node_that_takes_lists_is_asked_with_lists(client: Client) -> None:
    assert await texts(client, shown("ChecksLists", a=1)) == ["1"]
    assert [error["details"] for error in (await refused(client, shown("ChecksLists", a=2)))["1"]] == ["a - got [2]"]


async def test_V15_what_runs_does_not_depend_on_the_order_of_the_outputs(client: Client, salt: int) -> None:
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "1": ("OldSum", {"a": salt}), "2": ("OldShow", {"source": ["1", 0]}),
        "3": ("OldShow", {"source": ["4", 0]}), "4": ("OldSum", {"a": ["1", 0], "b": 1}),
        "5": ("OldShow", {"source": ["6", 0]}), "6": ("OldSum", {}),
    }  # fmt: skip
    outcomes = []
    for order in ("123456", "654321", "354162"):
        prompt = graph(**{f"n{node_id}": nodes[node_id] for node_id in order})
        status, body = await client.post("/prompt", {"prompt": prompt})
        entry = await client.finished(body["prompt_id"])
        outcomes.append((status, body["node_errors"]["6"]["dependent_outputs"], entry["outputs"]))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0][1:] == (["5"], {"2": {"text": [str(salt + 1000)]}, "3": {"text": [str(salt + 1001)]}})
