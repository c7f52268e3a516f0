"""The model library, `/internal` and what images become in a cache (wire protocol §0, §1.5, §1.7)."""

from __future__ import annotations

import io
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from yarl import URL

from .serving import Client, Server, of_kind


def safetensors(metadata: Any) -> bytes:
    header = json.dumps({"__metadata__": metadata} if metadata is not None else {}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.fixture
def loras(server: Server) -> Path:
    """Models with all that can be beside them."""
    folder = server.home / "models" / "loras"
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    (folder / "sub" / "style.v2.safetensors").write_bytes(safetensors({"author": "ann", "steps": "9"}))
    (folder / "silent.safetensors").write_bytes(safetensors(None))
    (folder / "torn.safetensors").write_bytes(safetensors({"a": "b"})[:20])
    (folder / "other.ckpt").write_bytes(b"pickle")
    Image.new("RGB", (8, 6), (200, 10, 10)).save(folder / "sub" / "style.v2.preview.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


async def test_the_library_lists_kinds_and_models(client: Client, loras: Path) -> None:
    kinds = {kind["name"]: kind["folders"] for kind in await client.get("/experiment/models")}
    assert {"checkpoints", "loras", "vae"} <= kinds.keys()
    assert not {"configs", "custom_nodes"} & kinds.keys()
    assert kinds["loras"] == [str(loras)]
    models = {model["name"]: model for model in await client.get("/api/experiment/models/loras")}
    status = (loras / "other.ckpt").stat()
    assert models["other.ckpt"] == {
        "name": "other.ckpt", "pathIndex": 0, "size": 6, "modified": status.st_mtime, "created": status.st_ctime,
    }  # fmt: skip
    assert "sub/style.v2.safetensors" in models
    (embedded,) = [m for m in await client.get("/experiment/models/checkpoints") if m["name"] == "mezzotint-emoji"]
    assert embedded["size"] > 100_000
    async with client.session.get("/experiment/models/unheard-of") as response:
        assert response.status == 404


async def test_a_model_shows_the_picture_beside_it(client: Client, loras: Path) -> None:
    async with client.session.get("/api/experiment/models/preview/loras/0/sub/style.v2.webp") as response:
        assert (response.status, response.content_type) == (200, "image/webp")
        assert Image.open(io.BytesIO(await response.read())).size == (8, 6)
    address = client.server.url + "/experiment/models/preview/loras/0/sub%2Fstyle.v2.webp"
    async with client.session.get(URL(address, encoded=True)) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [("loras/0/silent.webp", 404), ("loras/0/broken.webp", 404), ("loras/7/sub/style.v2.webp", 404),
     ("unheard-of/0/a.webp", 404), ("loras/x/a.webp", 404), ("loras/0/..%2F..%2F..%2Fsecret.webp", 403),
     ("loras/0/%2Fetc%2Fa.webp", 403), ("loras/0/a%00.webp", 404)],
)  # fmt: skip
async def test_a_picture_that_there_is_not(client: Client, loras: Path, path: str, status: int) -> None:
    address = URL(f"{client.server.url}/experiment/models/preview/{path}", encoded=True)
    async with client.session.get(address) as response:
        assert response.status == status


async def test_a_model_says_what_it_says_about_itself(client: Client, loras: Path) -> None:
    address = "/view_metadata/loras?filename=sub/style.v2.safetensors"
    assert await client.get(address) == {"author": "ann", "steps": "9"}
    for query in ("silent.safetensors", "torn.safetensors", "other.ckpt", "gone.safetensors", "../../x", "", "sub"):
        async with client.session.get("/view_metadata/loras", params={"filename": query}) as response:
            assert response.status == 404
    async with client.session.get("/view_metadata/unheard-of?filename=a") as response:
        assert response.status == 404


async def test_the_newest_files_come_first(client: Client, server: Server, salt: int) -> None:
    folder = server.home / "temp"
    for age, name in enumerate(("new", "middle", "old")):
        (folder / f"{name}-{salt}.png").touch()
        os.utime(folder / f"{name}-{salt}.png", (2e9 - age, 2e9 - age))
    (folder / f".hidden-{salt}").touch()
    found = [name for name in await client.get("/internal/files/temp") if str(salt) in name]
    assert found == [f"new-{salt}.png", f"middle-{salt}.png", f"old-{salt}.png"]
    async with client.session.get("/internal/files/models") as response:
        assert response.status == 400


async def test_what_is_internal_has_no_form_under_api(client: Client, loras: Path) -> None:
    assert (await client.get("/internal/folder_paths"))["loras"] == [str(loras)]
    async with client.session.get("/api/internal/folder_paths") as response:
        assert response.status == 404


async def test_the_log_is_told_to_who_asks(client: Client, salt: int) -> None:
    async def subscribe(is_enabled: bool) -> int:
        body = {"clientId": client.sid, "enabled": is_enabled}
        async with client.session.patch("/internal/logs/subscribe", json=body) as response:
            return response.status

    failing = {"1": {"class_type": "SmallFail", "inputs": {"source": 1, "message": f"first {salt}"}}}
    assert await subscribe(True) == 200
    await client.submit(failing)
    (told,) = of_kind(await client.until("logs"), "logs")
    assert f"first {salt}" in "".join(entry["m"] for entry in told["entries"])
    assert told["entries"][0].keys() == {"t", "m"}
    assert told["size"].keys() == {"cols", "rows"}
    raw = await client.get("/internal/logs/raw")
    assert raw["entries"][-1] in told["entries"]
    assert f"first {salt}" in await client.get("/internal/logs")
    assert await subscribe(False) == 200
    async with client.session.patch("/internal/logs/subscribe", json={"enabled": True}) as response:
        assert response.status == 400


async def test_pictures_in_addresses_are_kept_a_day_and_their_absence_an_hour(client: Client, server: Server) -> None:
    for path, kept in (
        ("/nothing.png", "public, max-age=3600"),
        ("/nothing.js", "no-cache"),
        ("/templates/index.de.json", "no-cache"),
        ("/prompt", None),
    ):
        async with client.session.get(path) as response:
            assert response.headers.get("Cache-Control") == kept
