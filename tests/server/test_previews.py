"""Previews while a sampler runs, and pictures that a node sends: wire protocol §2.4."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from PIL import Image

from .serving import Client, Server, of_kind


def sampling(salt: int, steps: int = 3) -> dict[str, Any]:
    """A prompt that samples with the embedded model."""
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "mezzotint-emoji"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a red apple"}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {"class_type": "KSampler", "inputs": {
            "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0], "seed": salt,
            "steps": steps, "cfg": 1, "sampler_name": "euler", "scheduler": "karras", "denoise": 1}},
        "5": {"class_type": "SmallSilent", "inputs": {"source": ["4", 0]}},
    }  # fmt: skip


def sending(salt: int) -> dict[str, Any]:
    """A prompt that sends two pictures larger than any preview."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 700, "height": 600 + salt % 100, "batch_size": 2,
                                                     "color": 255}},
        "2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}},
    }  # fmt: skip


def binary(messages: list[Any]) -> list[tuple[int, Any, Image.Image]]:
    """Binary messages: event, format or metadata, picture."""
    found = []
    for message in messages:
        if isinstance(message, bytes):
            event, second = struct.unpack(">II", message[:8])
            has_metadata = event == 4
            start = 8 + (second if has_metadata else 0)
            facts = json.loads(message[8:start]) if has_metadata else second
            picture = Image.open(io.BytesIO(message[start:]))
            picture.load()
            found.append((event, facts, picture))
    return found


@pytest.fixture
async def modern(server: Server, salt: int) -> AsyncIterator[Client]:
    """A client that takes metadata with previews."""
    async with Client.of(server, f"modern-{salt}") as client:
        assert client.socket is not None
        await client.socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        await client.until("feature_flags")
        yield client


async def test_a_sampler_shows_what_it_has_to_a_client_of_the_first_form(client: Client, salt: int) -> None:
    _, heard = await client.run(sampling(salt))
    shown = binary(heard)
    assert 1 <= len(shown) <= 3
    for event, number, picture in shown:
        assert (event, number, picture.format, picture.size) == (1, 1, "JPEG", (64, 64))
    red, green, blue = shown[-1][2].resize((1, 1), box=(20, 20, 44, 44)).getpixel((0, 0))  # type: ignore[misc]
    assert red > green + 30 and red > blue + 30  # noqa: PT018 - the apple is red


async def test_a_sampler_tells_with_the_picture_what_it_belongs_to(modern: Client, salt: int) -> None:
    job_id, heard = await modern.run(sampling(salt))
    shown = binary(heard)
    assert shown
    for event, facts, picture in shown:
        assert (event, picture.format) == (4, "JPEG")
        assert facts == {
            "node_id": "4", "display_node_id": "4", "parent_node_id": None, "real_node_id": "4",
            "prompt_id": job_id, "image_type": "image/jpeg",
        }  # fmt: skip
    assert [data["value"] for data in of_kind(heard, "progress")] == [1, 2, 3]


async def test_what_a_node_says_of_itself_is_shown_on_it(client: Client, salt: int) -> None:
    prompt = {
        "node 1": {"class_type": "SmallSay", "inputs": {"texts": "loss:½ loss:¼", "salt": f"{salt}"}},
        "2": {"class_type": "SmallSilent", "inputs": {"source": ["node 1", 0]}},
    }
    _, heard = await client.run(prompt)
    said = [message for message in heard if isinstance(message, bytes)]
    assert [struct.unpack(">II", frame[:8]) for frame in said] == [(3, 6)] * 2
    assert [frame[8:].decode() for frame in said] == ["node 1loss:½", "node 1loss:¼"]


@pytest.mark.parametrize("method", ["none", "auto", "latent2rgb", "taesd", "default", None])
async def test_a_prompt_says_whether_it_wants_previews(client: Client, salt: int, method: str | None) -> None:
    _, heard = await client.run(sampling(salt, steps=2), extra_data={"preview_method": method})
    assert bool(binary(heard)) == (method != "none")


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that makes previews only for prompts that ask."""
    server = Server(tmp_path_factory.mktemp("quiet"), "--preview-method", "none")
    yield server
    assert server.stop() == 0, "".join(server.said)


@pytest.mark.parametrize("method", [None, "auto"])
async def test_a_server_may_leave_previews_out(quiet: Server, salt: int, method: str | None) -> None:
    prompt = {
        "1": {"class_type": "SmallPicture", "inputs": {"width": 1200, "salt": f"{salt}"}},
        "2": {"class_type": "SmallSilent", "inputs": {"source": ["1", 0]}},
    }
    async with Client.of(quiet, f"quiet-{salt}") as client:
        _, heard = await client.run(prompt, extra_data={"preview_method": method})
    assert [picture.size for _, _, picture in binary(heard)] == ([(512, 256)] if method else [])


async def test_a_preview_for_nobody_is_not_made(server: Server, salt: int) -> None:
    prompt = {"1": {"class_type": "SmallIsWatched", "inputs": {"salt": f"{salt}"}}}
    async with Client.of(server) as absent:
        job_id = await absent.submit(prompt, client_id=f"absent-{salt}", extra_data={"preview_method": "auto"})
        assert (await absent.finished(job_id))["outputs"]["1"] == {"text": ["False"]}
    async with Client.of(server, f"present-{salt}") as present:
        _, heard = await present.run({"1": {"class_type": "SmallIsWatched", "inputs": {"salt": f"{salt} "}}})
        assert of_kind(heard, "executed")[0]["output"] == {"text": ["True"]}


async def test_a_node_sends_whole_pictures_whatever_is_said_of_previews(
    client: Client, modern: Client, salt: int
) -> None:
    _, heard = await client.run(sending(salt), extra_data={"preview_method": "none"})
    size = (700, 600 + salt % 100)
    sent = binary(heard)
    assert [(event, number, p.format, p.size) for event, number, p in sent] == [(1, 2, "PNG", size)] * 2
    assert sent[0][2].getpixel((9, 9)) == (0, 0, 255)
    assert of_kind(heard, "executed") == []
    _, again = await modern.run(sending(salt))  # the picture is in the cache, and is sent all the same
    assert [(event, facts["image_type"], p.size) for event, facts, p in binary(again)] == [(4, "image/png", size)] * 2
