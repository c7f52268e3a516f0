"""`/view` and `/upload`: files of the input, output and temp folders, and of no other (wire protocol §1.5)."""

from __future__ import annotations

import io
import json
import os
import zlib
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image, PngImagePlugin

from .serving import Client, Server


def picture(
    mode: str = "RGBA", colour: Any = (200, 100, 50, 128), size: tuple[int, int] = (4, 3), **texts: str
) -> bytes:
    file, info = io.BytesIO(), PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new(mode, size, colour).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def opened(content: bytes) -> Image.Image:
    made = Image.open(io.BytesIO(content))
    made.load()
    return made


async def view(client: Client, **query: str) -> tuple[int, bytes, Any]:
    async with client.session.get("/view", params=query) as response:
        return response.status, await response.read(), response.headers


async def upload(client: Client, filename: str, content: bytes, route: str = "image", **fields: str) -> tuple[int, Any]:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("image", content, filename=filename, content_type="image/png")
    for name, value in fields.items():
        form.add_field(name, value)
    async with client.session.post(f"/upload/{route}", data=form) as response:
        text = await response.text()
        return response.status, json.loads(text) if response.status == 200 else text


async def test_a_file_is_given_as_it_is(client: Client, server: Server) -> None:
    content = picture()
    (server.home / "output" / "sub").mkdir(exist_ok=True)
    (server.home / "output" / "sub" / "a ü.png").write_bytes(content)
    status, body, headers = await view(client, filename="a ü.png", subfolder="sub", rand="0.1")
    assert (status, body) == (200, content)
    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Disposition"] == "filename=\"a _.png\"; filename*=UTF-8''a%20%C3%BC.png"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert {"ETag", "Last-Modified"} <= headers.keys()
    async with client.session.get(
        "/api/view?filename=a+ü.png&subfolder=sub", headers={"Range": "bytes=1-3"}
    ) as response:
        assert (response.status, await response.read()) == (206, b"PNG")


async def test_the_folder_is_chosen_by_type_or_by_the_name_itself(client: Client, server: Server) -> None:
    (server.home / "temp" / "t.txt").write_text("temp")
    assert (await view(client, filename="t.txt", type="temp"))[:2] == (200, b"temp")
    assert (await view(client, filename="t.txt [temp]", type="input"))[:2] == (200, b"temp")
    assert (await view(client, filename="t.txt"))[0] == 404
    assert (await view(client, filename="t.txt", type="secrets"))[0] == 400


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 404),
        ({"filename": ""}, 400),
        ({"filename": "../secret.txt"}, 400),
        ({"filename": "a/../../secret.txt"}, 400),
        ({"filename": "/etc/passwd"}, 400),
        ({"filename": "C:\\secret.txt"}, 400),
        ({"filename": "..\\secret.txt"}, 400),
        ({"filename": "a\0.png"}, 400),
        ({"filename": "secret.txt", "subfolder": ".."}, 403),
        ({"filename": "secret.txt", "subfolder": "a/../.."}, 403),
        ({"filename": "passwd", "subfolder": "/etc"}, 403),
        ({"filename": "secret.txt", "subfolder": "../output-not"}, 403),
        ({"filename": "secret.txt", "subfolder": "a\0"}, 404),
        ({"filename": "link.txt"}, 403),
        ({"filename": "secret.txt", "subfolder": "linked"}, 403),
        ({"filename": "itself"}, 404),
        ({"filename": "sub"}, 404),
        ({"filename": "a" * 5000}, 404),
        ({"filename": ".."}, 400),
        ({"filename": "secret.txt", "type": "../output"}, 400),
    ],
)
async def test_nothing_outside_is_given(
    client: Client, server: Server, links: None, query: dict[str, str], status: int
) -> None:
    got, body, _ = await view(client, **query)
    assert got == status
    assert b"secret!" not in body


@pytest.fixture
def links(server: Server) -> None:
    """A secret beside the output folder, and ways that lead to it."""
    output = server.home / "output"
    (server.home / "output-not").mkdir(exist_ok=True)
    for folder in (server.home, server.home / "output-not"):
        (folder / "secret.txt").write_text("secret!")
    (output / "sub").mkdir(exist_ok=True)
    for name, target in (("link.txt", "../secret.txt"), ("linked", ".."), ("itself", "itself")):
        if not os.path.lexists(output / name):
            (output / name).symlink_to(target)


@pytest.mark.parametrize("name", ["page.html", "code.js", "style.css", "drawing.svg", "feed.xml"])
async def test_what_a_browser_would_run_is_given_as_plain_data(client: Client, server: Server, name: str) -> None:
    (server.home / "output" / name).write_text("<script>alert(1)</script>")
    status, _, headers = await view(client, filename=name)
    assert status == 200
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith("attachment;")


async def test_previews_and_channels(client: Client, server: Server) -> None:
    (server.home / "output" / "c.png").write_bytes(picture())
    made = {}
    for query in (
        {"preview": "webp;80"},
        {"preview": "jpeg"},
        {"preview": "gif;x"},
        {"channel": "rgb"},
        {"channel": "a"},
    ):
        _, body, headers = await view(client, filename="c.png", **query)
        image = opened(body)
        made["".join(query.values())] = (image.format, image.mode, headers["Content-Type"])
        if query.get("channel") == "a":
            assert image.getpixel((0, 0)) == (0, 0, 0, 128)
    assert made == {
        "webp;80": ("WEBP", "RGBA", "image/webp"),
        "jpeg": ("JPEG", "RGB", "image/jpeg"),
        "gif;x": ("WEBP", "RGBA", "image/webp"),
        "rgb": ("PNG", "RGB", "image/png"),
        "a": ("PNG", "RGBA", "image/png"),
    }


async def test_a_preview_of_what_is_no_picture_is_the_file(client: Client, server: Server) -> None:
    (server.home / "output" / "notes.txt").write_text("notes")
    assert (await view(client, filename="notes.txt", preview="webp;90"))[:2] == (200, b"notes")


async def test_an_equal_upload_is_stored_once_and_a_different_one_gets_a_number(client: Client, server: Server) -> None:
    first, other = picture(), picture(colour=(1, 2, 3, 4))
    stored = {"subfolder": "", "type": "input"}
    assert await upload(client, "up.png", first) == (200, {"name": "up.png", **stored})
    assert await upload(client, "up.png", first) == (200, {"name": "up.png", **stored})
    assert await upload(client, "up.png", other) == (200, {"name": "up (1).png", **stored})
    assert await upload(client, "up.png", other) == (200, {"name": "up (1).png", **stored})
    assert await upload(client, "up.png", other, overwrite="true") == (200, {"name": "up.png", **stored})
    assert (server.home / "input" / "up.png").read_bytes() == other
    assert sorted(path.name for path in (server.home / "input").glob("*up*")) == ["up (1).png", "up.png"]


async def test_an_upload_goes_where_it_is_told(client: Client, server: Server) -> None:
    answer = await upload(client, "b.png", b"b", type="temp", subfolder="x/y")
    assert answer == (200, {"name": "b.png", "subfolder": "x/y", "type": "temp"})
    assert (server.home / "temp" / "x" / "y" / "b.png").read_bytes() == b"b"


@pytest.mark.parametrize(
    ("filename", "fields"),
    [
        ("../up.png", {}),
        ("/tmp/up.png", {}),
        ("C:\\up.png", {}),
        ("sub/up.png", {}),
        ("..", {}),
        ("up.png", {"subfolder": ".."}),
        ("up.png", {"subfolder": "/tmp"}),
        ("up.png", {"subfolder": "linked", "type": "output"}),
        ("up.png", {"type": "models"}),
        ("a" * 300 + ".png", {}),
        ("NUL.png", {}),
        ("up.png", {"subfolder": "com1"}),
        ("up.png", {"subfolder": "..\\x"}),
        ("sub", {"type": "output", "overwrite": "1"}),
    ],
)
async def test_an_upload_that_leaves_its_folder_writes_nothing(
    client: Client, server: Server, links: None, filename: str, fields: dict[str, str]
) -> None:
    before = sorted(server.home.rglob("*"))
    status, text = await upload(client, filename, b"content", **fields)
    assert status == 400
    assert text
    assert sorted(server.home.rglob("*")) == before


async def test_an_upload_replaces_a_link_and_never_writes_where_it_leads(
    client: Client, server: Server, links: None
) -> None:
    for overwrite, name in (("false", "link (1).txt"), ("true", "link.txt")):
        status, stored = await upload(client, "link.txt", b"mine", type="output", overwrite=overwrite)
        assert (status, stored["name"]) == (200, name)
        assert (server.home / "output" / name).read_bytes() == b"mine"
    assert (server.home / "secret.txt").read_text() == "secret!"
    assert not (server.home / "output" / "link.txt").is_symlink()
    (server.home / "output" / "link.txt").unlink()


async def test_a_form_without_a_file_is_refused(client: Client) -> None:
    for data in (None, b"no form", {"image": "text"}):
        async with client.session.post("/upload/image", data=data) as response:
            assert response.status == 400
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (b"", b"--y\r\n", b"--x\r\nContent-Disposition: form-data; name=image; filename=a.png\r\n\r\nab"):
        async with client.session.post("/upload/image", data=body, headers=broken) as response:
            assert response.status == 400


async def test_a_body_that_is_too_large_is_refused(client: Client) -> None:
    headers = {"Content-Length": str(200 << 20), "Content-Type": "application/json"}

    async def slowly() -> Any:
        for _ in range(101):
            yield b"0" * (1 << 20)

    del headers["Content-Length"]
    try:
        async with client.session.post("/prompt", data=slowly(), headers=headers) as response:
            assert response.status == 413
    except aiohttp.ClientConnectionError:
        pass  # refused while it was being sent


async def test_a_mask_replaces_the_alpha_and_keeps_the_texts(client: Client, server: Server) -> None:
    (server.home / "output" / "masked.png").write_bytes(picture("RGB", (9, 8, 7), prompt="{}"))
    reference = json.dumps({"filename": "masked.png [output]", "subfolder": "", "type": "input"})
    status, stored = await upload(client, "m.png", picture(colour=(0, 0, 0, 40)), "mask", original_ref=reference)
    assert (status, stored["name"]) == (200, "m.png")
    made = opened((server.home / "input" / "m.png").read_bytes())
    assert made.getpixel((0, 0)) == (9, 8, 7, 40)
    assert made.text == {"prompt": "{}"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("reference", "status"),
    [("{", 400), ("[]", 400), ('{"filename": "../secret.txt"}', 400), ('{"filename": "gone.png"}', 404), ("", 400)],
)
async def test_a_mask_for_nothing_is_refused(client: Client, server: Server, reference: str, status: int) -> None:
    assert (await upload(client, "n.png", picture(), "mask", original_ref=reference))[0] == status
    assert not (server.home / "input" / "n.png").exists()


async def test_what_was_uploaded_is_a_choice_of_the_node_that_loads_it(client: Client, tmp_path: Path) -> None:
    await upload(client, "loadable.png", picture())
    definition = (await client.get("/object_info/LoadImage"))["LoadImage"]
    names, options = definition["input"]["required"]["image"]
    assert "loadable.png" in names
    assert options["image_upload"] is True
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": "gone.png"}},
              "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}}}  # fmt: skip
    status, body = await client.post("/prompt", {"prompt": prompt})
    assert (status, body["node_errors"]["1"]["errors"][0]["type"]) == (400, "value_not_in_list")


def bomb() -> bytes:
    """A PNG of 20000×20000 pixels in few bytes, by what its head says."""
    content = bytearray(picture())
    content[16:24] = (20_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


async def test_a_picture_of_too_many_pixels_is_refused_and_never_decoded(client: Client, server: Server) -> None:
    (server.home / "output" / "bomb.png").write_bytes(bomb())
    (server.home / "output" / "small.png").write_bytes(picture())
    references = [json.dumps({"filename": name, "type": "output"}) for name in ("bomb.png", "small.png")]
    answers = [
        await upload(client, "bomb.png", bomb()),
        await upload(client, "bomb.png", picture(), "mask", original_ref=references[0]),
        await upload(client, "bomb.png", bomb(), "mask", original_ref=references[1]),
    ]
    for query in ({"preview": "webp"}, {"channel": "rgb"}, {"channel": "a"}):
        status, body, _ = await view(client, filename="bomb.png", **query)
        answers.append((status, body.decode()))
    assert {status for status, _ in answers} == {400}
    assert all("more than 178,956,970 pixels" in text for _, text in answers)
    assert not (server.home / "input" / "bomb.png").exists()
    assert (await view(client, filename="bomb.png"))[:2] == (200, bomb())


async def test_a_mask_of_another_size_is_refused(client: Client, server: Server) -> None:
    (server.home / "output" / "large.png").write_bytes(picture(size=(9, 9)))
    status, text = await upload(client, "m2.png", picture(), "mask", original_ref='{"filename": "large.png"}')
    assert (status, text) == (400, "The picture is 9×9 and its mask 4×3; they must be equal.")


async def test_a_file_that_did_not_change_is_not_sent_again(client: Client, server: Server) -> None:
    (server.home / "output" / "same.png").write_bytes(picture())
    _, _, headers = await view(client, filename="same.png")
    for condition in ({"If-None-Match": headers["ETag"]}, {"If-Modified-Since": headers["Last-Modified"]}):
        async with client.session.get("/view?filename=same.png", headers=condition) as response:
            assert (response.status, await response.read()) == (304, b"")


@pytest.mark.parametrize(
    ("class_type", "input_name"),
    [("CheckpointLoaderSimple", "ckpt_name"), ("LoadImage", "image")],
)
@pytest.mark.parametrize(
    "name",
    ["../secret.txt", "../../x", "/etc/passwd", "C:\\x", "a/../../secret.txt", "../secret.txt [output]", "nul", "\0"],
)
async def test_no_node_is_given_a_file_outside(
    client: Client, links: None, class_type: str, input_name: str, name: str
) -> None:
    prompt = {
        "1": {"class_type": class_type, "inputs": {input_name: name}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    status, body = await client.post("/prompt", {"prompt": prompt})
    assert status == 400
    assert body["node_errors"]["1"]["errors"][0]["type"] == "value_not_in_list"


async def test_no_picture_is_loaded_through_a_link_that_leads_out(client: Client, links: None) -> None:
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "link.txt [output]"}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    status, body = await client.post("/prompt", {"prompt": prompt})
    assert (status, body["node_errors"]["1"]["errors"][0]["type"]) == (400, "value_not_in_list")
