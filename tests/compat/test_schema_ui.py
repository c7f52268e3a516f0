"""`ui` of the newer class API: what output nodes show, and the files they save."""

from __future__ import annotations

import json
import wave
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from ..server.serving import Client
from .prompts import failure, graph


def showing(way: str) -> dict[str, Any]:
    return graph(n1=("EmptyImage", {"width": 16, "height": 8, "color": 0xFF0000}),
                 n2=("AtelierShow", {"image": ["1", 0], "way": way}))  # fmt: skip


async def shown(client: Client, way: str) -> dict[str, Any]:
    job_id, _ = await client.run(showing(way), extra_data={"extra_pnginfo": {"workflow": {"n": 1}}})
    entry = await client.finished(job_id)
    assert entry["status"]["status_str"] == "success"
    return dict(entry["outputs"].get("2", {}))


async def content(client: Client, file: dict[str, str]) -> BytesIO:
    async with client.session.get("/view", params=file) as response:
        assert response.status == 200
        return BytesIO(await response.read())


@pytest.mark.parametrize("way", ["preview", "mask"])
async def test_previews_are_pictures_in_the_temp_folder(client: Client, way: str) -> None:
    (file,) = (await shown(client, way))["images"]
    assert file["type"] == "temp"
    picture = Image.open(await content(client, file))
    assert picture.size == (16, 8)
    assert picture.convert("RGB").getpixel((0, 0)) == ((255, 0, 0) if way == "preview" else (255, 255, 255))


async def test_saved_pictures_are_numbered_and_carry_the_workflow(client: Client) -> None:
    first, second = (await shown(client, "save"))["images"]
    assert (first["subfolder"], first["type"], first["filename"] != second["filename"]) == ("atelier", "output", True)
    picture = Image.open(await content(client, first))
    assert json.loads(picture.text["workflow"]) == {"n": 1}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("way", "kind"), [("apng", "PNG"), ("webp", "WEBP")])
async def test_animations_have_their_frames_and_the_workflow(client: Client, way: str, kind: str) -> None:
    outputs = await shown(client, way)
    (file,) = outputs["images"]
    assert outputs["animated"] == [True]
    data = await content(client, file)
    picture = Image.open(data)
    assert (picture.format, picture.n_frames) == (kind, 2)  # type: ignore[attr-defined]
    assert b'{"n": 1}' in data.getvalue()


async def test_sounds_are_saved_as_wav(client: Client) -> None:
    (file,) = (await shown(client, "sound"))["audio"]
    with wave.open(await content(client, file)) as sound:
        assert (sound.getnchannels(), sound.getframerate(), sound.getnframes()) == (2, 8000, 100)
    error = await failure(client, showing("flac"))
    assert "flac needs an encoder that Mezzotint does not bring" in error["exception_message"]


async def test_a_solid_is_named_and_nothing_is_shown_of_nothing(client: Client) -> None:
    assert (await shown(client, "solid"))["result"] == ["mesh.glb", None]
    assert await shown(client, "nothing") == {}
