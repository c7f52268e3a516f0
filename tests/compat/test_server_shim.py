"""`server.PromptServer.instance`: messages, routes, handlers of prompts, as a large pack uses them."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

from PIL import Image

from ..server.serving import Client, Server, of_kind

PREVIEW, TEXT = 1, 3


def says(value: int) -> dict[str, Any]:
    return {
        "1": {"class_type": "StudioSay", "inputs": {"value": value}},
        "2": {"class_type": "OldShow", "inputs": {"source": ["1", 0]}},
    }


async def test_a_node_sends_messages_of_any_name_to_its_client(client: Client, salt: int) -> None:
    job_id, messages = await client.run(says(salt))
    assert of_kind(messages, "studio.said") == [{"value": salt, "node": "1"}]
    assert of_kind(messages, "studio.all") == [{"prompt": job_id, "node": "1", "bad": None}]
    assert of_kind(messages, "studio.thread") == [{}]


async def test_messages_come_between_those_of_the_node(client: Client, salt: int) -> None:
    for turn in range(12):  # the first runs find out that the node is quick
        _, messages = await client.run(says(salt * 100 + turn))
        dicts = [m for m in messages if isinstance(m, dict)]
        order = [m["type"] for m in dicts if m["type"] == "studio.said" or "node" in m["data"]]
        assert order[:3] == ["executing", "studio.said", "studio.all"]


async def test_binary_messages_have_their_number_first_and_pictures_are_encoded(client: Client, salt: int) -> None:
    _, messages = await client.run(says(salt))
    encoded, raw, text = (message for message in messages if isinstance(message, bytes))
    assert struct.unpack(">II", encoded[:8]) == (PREVIEW, 1)
    assert Image.open(BytesIO(encoded[8:])).size == (16, 8)
    assert raw == struct.pack(">II", PREVIEW, 2) + b"png"
    assert text == struct.pack(">II", TEXT, 1) + b"1" + f"value {salt}".encode()


async def test_others_hear_only_what_is_for_all(server: Server, client: Client, salt: int) -> None:
    async with Client.of(server, f"other-{salt}") as other:
        await client.run(says(salt))
        await other.until("studio.all")
        await client.post("/studio/tell", {"data": {"x": 1}, "sid": other.sid})
        heard = await other.until("studio.told")
        assert {"studio.said", "studio.thread"}.isdisjoint(m["type"] for m in heard if isinstance(m, dict))
        assert not any(isinstance(message, bytes) for message in heard)


async def test_handlers_of_prompts_rewrite_what_is_submitted_and_a_broken_one_is_left_out(
    client: Client, salt: int
) -> None:
    prompt = {**says(salt), "1": {"class_type": "StudioRenamed", "inputs": {"value": salt}}}
    job_id, _ = await client.run(prompt)
    assert (await client.finished(job_id))["outputs"]["2"]["text"] == [str(salt)]


async def test_routes_see_the_server(client: Client) -> None:
    state = await client.get("/studio/state", params={"sid": client.sid})
    assert (state["is_known"], state["has_loop"], state["remaining"]) == (True, True, 0)
    assert state["number"] > 0


async def test_what_packs_add_to_the_application_is_served(client: Client) -> None:
    for path in ("/studio/files/data.txt", "/studio/js/data.txt", "/extensions/studio/data.txt"):
        async with client.session.get(path) as response:
            assert (response.status, await response.text()) == (200, "studio\n")
    async with client.session.get("/system_stats") as response:
        assert response.headers["X-Studio"] == "1"
