"""What packs do although nobody told them to: see `packs/attic`."""

from __future__ import annotations

from io import BytesIO

import aiohttp
import numpy as np
from PIL import Image

from ..server.serving import Client, Server, of_kind
from .prompts import graph, refused, shown, texts


async def test_files_of_a_kind_of_a_pack_s_own_have_its_endings(server: Server, client: Client, salt: int) -> None:
    folder = server.home / "models" / "attic"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (f"{salt}.onnx", f"{salt}.txt"):
        (folder / name).write_bytes(b"")
    assert await client.get("/models/attic_models") == [f"{salt}.onnx"]
    (told,) = await texts(client, shown("AtticTell", sampler="euler"))
    assert f"['{salt}.onnx']" in told
    assert "'pictures.py', 'tables.py'" in told
    assert told.endswith("Save Image")


async def test_nodes_that_were_put_into_the_host_s_table_are_nodes(client: Client) -> None:
    (told,) = await texts(client, shown("AtticGlobal", sampler="euler"))
    assert told.startswith("euler ['AtticAnything', 'AtticGlobal', 'AtticLoad', 'AtticTell']")
    defined = (await client.get("/object_info/AtticGlobal"))["AtticGlobal"]
    assert (defined["display_name"], defined["python_module"]) == ("Put into the host's table", "custom_nodes.attic")


async def test_a_pack_s_own_picture_loader(client: Client, salt: int) -> None:
    pixels = np.random.default_rng(salt).integers(0, 255, (8, 12, 3), np.uint8)

    async def upload(colours: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
        file = BytesIO()
        Image.fromarray(colours).save(file, "PNG")
        form = aiohttp.FormData({"overwrite": "true"})
        form.add_field("image", file.getvalue(), filename=f"attic{salt}.png", content_type="image/png")
        async with client.session.post("/upload/image", data=form) as response:
            assert response.status == 200

    await upload(pixels)
    prompt = graph(n1=("AtticLoad", {"image": f"attic{salt}.png"}), n2=("PreviewImage", {"images": ["1", 0]}))
    for colours in (pixels, 255 - pixels):  # the second time under the same name: IS_CHANGED sees it
        await upload(colours)
        job_id, messages = await client.run(prompt)
        assert of_kind(messages, "execution_error") == []
        (file,) = (await client.finished(job_id))["outputs"]["2"]["images"]
        async with client.session.get("/view", params=file) as response:
            assert np.abs(np.asarray(Image.open(BytesIO(await response.read()))).astype(int) - colours).max() <= 1
    errors = await refused(client, {**prompt, "1": {"class_type": "AtticLoad", "inputs": {"image": "nosuch.png"}}})
    assert errors["1"][0]["details"] == "image - Invalid image file: nosuch.png"


async def test_types_that_are_equal_to_all_or_to_some(client: Client, salt: int) -> None:
    both = {"anything": ["3", 0], "either": ["4", 0]}
    numbers = graph(n3=("OldSum", {"a": salt, "b": 0}), n4=("OldSum", {"a": salt, "b": 1}))
    assert await texts(client, {**shown("AtticAnything", **both), **numbers}) == [str(salt)]
    assert await texts(client, shown("AtticAnything", anything=salt, either="yes")) == [str(salt)]
    picture = {**numbers, **graph(n4=("EmptyImage", {"width": 8, "height": 8}))}
    errors = await refused(client, {**shown("AtticAnything", **both), **picture})
    assert [error["type"] for error in errors["1"]] == ["return_type_mismatch"]
