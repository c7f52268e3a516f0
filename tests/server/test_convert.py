"""Any saved form of a workflow becomes API format at `/mezzotint/convert`, with values changed in both of its forms."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mezzotint.workflows import bundled_workflows

from .serving import Client

DOCUMENTS = bundled_workflows()
PROMPT = json.loads(DOCUMENTS["text_to_image"])
DRAWN = json.loads(DOCUMENTS["text_to_image.ui"])


async def convert_file(client: Client, content: bytes) -> tuple[int, Any]:
    async with client.session.post("/api/mezzotint/convert", data=content) as response:
        return response.status, await response.json()


def picture(**texts: Any) -> bytes:
    file, info = BytesIO(), PngInfo()
    for key, value in texts.items():
        info.add_text(key, json.dumps(value))
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


async def test_a_picture_gives_its_graph_and_the_editors_document(client: Client) -> None:
    status, found = await convert_file(client, picture(workflow=DRAWN, prompt=PROMPT))
    assert (status, found["workflow"], found["warnings"]) == (200, DRAWN, [])
    assert {name: node["inputs"] for name, node in found["prompt"].items()} == {
        name: node["inputs"] for name, node in PROMPT.items()
    }


async def test_a_file_in_either_format_is_taken(client: Client) -> None:
    for document, drawn in ((PROMPT, None), (DRAWN, DRAWN)):
        status, found = await convert_file(client, json.dumps(document).encode())
        assert (status, found["workflow"], found["prompt"].keys()) == (200, drawn, PROMPT.keys())


async def test_values_change_in_the_graph_and_in_the_document(client: Client) -> None:
    values = [{"node_id": "5", "input": "seed", "value": 77}, {"node_id": "2", "input": "text", "value": "a cup"}]
    status, found = await client.post("/mezzotint/convert", {"document": DRAWN, "values": values})
    assert status == 200
    assert (found["prompt"]["5"]["inputs"]["seed"], found["prompt"]["2"]["inputs"]["text"]) == (77, "a cup")
    drawn = {node["id"]: node.get("widgets_values") for node in found["workflow"]["nodes"]}
    assert (drawn[5][0], drawn[2]) == (77, ["a cup"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\x00\x01", "neither UTF-8 text nor a picture"),
        (b"{", "not valid JSON"),
        (b'{"a": 1}', "no workflow"),
        (b"GIF89a and more than sixteen bytes", "is GIF"),
        (picture(), "carries no workflow"),
        (json.dumps({"nodes": [{"id": 1, "type": "Nothing", "outputs": [{"links": [1]}]}]}).encode(), "Nothing"),
    ],
)
async def test_a_file_that_is_no_workflow_gets_a_sentence(client: Client, content: bytes, said: str) -> None:
    status, found = await convert_file(client, content)
    assert status == 400
    assert said in found["error"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"document": 1},
        {"document": PROMPT, "values": {}},
        {"document": PROMPT, "values": [1]},
        {"document": PROMPT, "values": [{"node_id": "5", "input": "seed"}]},
        {"document": PROMPT, "values": [{"node_id": "99", "input": "seed", "value": 1}]},
    ],
)
async def test_a_body_with_a_mistake_gets_a_sentence(client: Client, body: Any) -> None:
    status, found = await client.post("/mezzotint/convert", body)
    assert status == 400
    assert len(found["error"]) > 20
