"""Models in packs: the methods of their values, and the host's functions that sample, with the embedded model."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from ..server.serving import Client, Server, of_kind

Node = dict[str, Any]
UNET = next((Path(__file__).parents[2] / "nodes" / "embedded").glob("*/unet/*.safetensors"))
STEPS = 3


def node(kind: str, **inputs: Any) -> Node:
    return {"class_type": kind, "inputs": inputs}


def drawing(sampler: Node, *, denoise: float = 1.0, **others: Node) -> dict[str, Node]:
    """A picture, whose latent the given node samples; other nodes take the place of the native ones."""
    sampled = {
        "model": ["m", 0], "seed": 7, "steps": STEPS, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal",
        "positive": ["p", 0], "negative": ["n", 0], "latent_image": ["l", 0], "denoise": denoise,
    }  # fmt: skip
    native = {
        "m": node("CheckpointLoaderSimple"),
        "p": node("CLIPTextEncode", text="a red (apple:1.2)", clip=["m", 1]),
        "n": node("CLIPTextEncode", text="", clip=["m", 1]),
        "l": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "k": {**sampler, "inputs": {**sampled, **sampler["inputs"]}},
        "d": node("VAEDecode", samples=["k", 0], vae=["m", 2]),
        "s": node("PreviewImage", images=["d", 0]),
    }
    return {**native, **others}


async def picture(client: Client, prompt: dict[str, Node], node_id: str = "s") -> np.ndarray[Any, Any]:
    job_id, messages = await client.run(prompt)
    assert of_kind(messages, "execution_error") == []
    (shown,) = (await client.finished(job_id))["outputs"][node_id]["images"]
    async with client.session.get("/view", params=shown) as response:
        return np.asarray(Image.open(BytesIO(await response.read()))).astype(int)


@pytest.mark.parametrize(
    "way", ["common", "class", "mapping", "sample", "ksampler", "custom", "guider", "function", "changed guider"]
)
async def test_a_pack_s_sampling_gives_the_pixels_of_ours(client: Client, way: str) -> None:
    ours = await picture(client, drawing(node("KSampler")))
    assert ours.std() > 5
    theirs = await picture(client, drawing(node("StudioSampler", way=way)))
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("way", ["common", "sample", "ksampler"])
async def test_so_it_does_when_a_part_of_a_picture_is_made_anew(client: Client, way: str) -> None:
    begun = {
        "l": node("VAEEncode", pixels=["i", 0], vae=["m", 2]),
        "i": node("EmptyImage", width=64, height=64, color=0xC06020),
    }
    ours = await picture(client, drawing(node("KSampler"), denoise=0.6, **begun))
    theirs = await picture(client, drawing(node("StudioSampler", way=way), denoise=0.6, **begun))
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("way", ["method", "class"])
async def test_vae_decode_gives_the_pixels_of_ours(client: Client, way: str) -> None:
    decoded = node("StudioDecode", samples=["k", 0], vae=["m", 2], way=way)
    ours = await picture(client, drawing(node("KSampler")))
    assert np.array_equal(ours, await picture(client, drawing(node("KSampler"), d=decoded)))


async def test_tiles_are_nearly_the_whole(client: Client) -> None:
    decoded = node("StudioDecode", samples=["k", 0], vae=["m", 2], way="tiled")
    ours = await picture(client, drawing(node("KSampler")))
    tiled = await picture(client, drawing(node("KSampler"), d=decoded))
    assert ours.shape == tiled.shape
    assert 0 < np.abs(ours - tiled).mean() < 0.25 * ours.std()


@pytest.mark.parametrize("way", ["method", "class", "tiled"])
async def test_vae_encode_gives_the_latent_of_ours(client: Client, way: str) -> None:
    image = node("EmptyImage", width=64, height=64, color=0x4080C0)
    encoded = {"i": image, "k": node("StudioEncode", pixels=["i", 0], vae=["m", 2], way=way)}
    native = {"i": image, "k": node("VAEEncode", pixels=["i", 0], vae=["m", 2])}
    ours = await picture(client, {**drawing(node("KSampler")), **native})
    assert np.array_equal(ours, await picture(client, {**drawing(node("KSampler")), **encoded}))


@pytest.mark.parametrize("way", ["scheduled", "pooled", "dict", "class", "changed"])
async def test_clip_tokenize_and_encode_give_the_conditioning_of_ours(client: Client, way: str) -> None:
    encoded = node("StudioText", text="a red (apple:1.2)", clip=["m", 1], way=way)
    ours = await picture(client, drawing(node("KSampler")))
    assert np.array_equal(ours, await picture(client, drawing(node("KSampler"), p=encoded)))


async def test_a_clone_of_a_text_encoder_is_changed_alone(client: Client) -> None:
    def text(clip: list[Any]) -> Node:
        return node("CLIPTextEncode", text="a red (apple:1.2)", clip=clip)

    skip = node("StudioSkip", clip=["m", 1])
    native = node("CLIPSetLastLayer", clip=["m", 1], stop_at_clip_layer=-2)
    usual = await picture(client, drawing(node("KSampler")))
    skipped = await picture(client, drawing(node("KSampler"), x=native, p=text(["x", 0])))
    assert not np.array_equal(usual, skipped)
    assert np.array_equal(skipped, await picture(client, drawing(node("KSampler"), x=skip, p=text(["x", 0]))))
    assert np.array_equal(usual, await picture(client, drawing(node("KSampler"), x=skip, p=text(["x", 1]))))


async def test_a_checkpoint_is_loaded_by_its_path_and_told_about(client: Client) -> None:
    prompt = drawing(node("KSampler"), m=node("StudioCheckpoint", name="mezzotint-emoji"))
    prompt["t"] = node("OldShow", source=["m", 3])
    job_id, messages = await client.run(prompt)
    assert of_kind(messages, "execution_error") == []
    (told,) = (await client.finished(job_id))["outputs"]["t"]["text"]
    sigma_max, timestep, channels, scale, nothing = told.split()
    assert float(sigma_max) > 10
    assert (float(timestep), channels, scale, nothing) == (500.0, "8", "8", "None")
    assert np.array_equal(await picture(client, drawing(node("KSampler"))), await picture(client, prompt))


async def test_functions_take_part_in_guidance_of_the_clone_they_were_set_on(client: Client) -> None:
    def guided(way: str, slot: int = 0, cfg: float = 4.0) -> dict[str, Node]:
        patched = {"x": node("StudioGuide", model=["m", 0], way=way)}
        return drawing(node("KSampler", model=["x", slot], cfg=cfg), **patched)

    ours, unguided = await picture(client, drawing(node("KSampler"))), drawing(node("KSampler", cfg=1.0))
    assert np.abs(ours - await picture(client, guided("formula"))).max() <= 1
    assert np.abs(await picture(client, unguided) - await picture(client, guided("positive"))).max() <= 1
    assert np.abs(ours - await picture(client, guided("post"))).mean() > 5
    assert np.array_equal(ours, await picture(client, guided("double")))
    assert np.array_equal(ours, await picture(client, guided("post", slot=1)))


async def test_functions_change_the_network_of_the_clone_they_were_set_on(client: Client) -> None:
    def patched(way: str, slot: int = 0) -> dict[str, Node]:
        return drawing(node("KSampler", model=["x", slot]), x=node("StudioAttention", model=["m", 0], way=way))

    ours = await picture(client, drawing(node("KSampler")))
    for way in ("values", "skips", "told"):
        assert np.abs(ours - await picture(client, patched(way))).mean() > 1, way
    assert np.array_equal(ours, await picture(client, patched("double")))
    assert np.abs(ours - await picture(client, patched("replace"))).max() <= 1
    assert np.array_equal(ours, await picture(client, patched("values", slot=1)))


@pytest.fixture
def lora(server: Server) -> Iterator[str]:
    """The name of a LoRA that is there during a test."""
    path = server.home / "models" / "loras" / "studio.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_lora(), path)
    yield path.name
    path.unlink()


async def test_a_lora_is_added_by_what_was_read_of_its_file(client: Client, lora: str) -> None:
    native = node("LoraLoader", model=["m", 0], clip=["m", 1], lora_name=lora, strength_model=0.8)
    theirs = node("StudioLora", model=["m", 0], clip=["m", 1], name=lora, strength=0.8)
    with_lora = await picture(client, drawing(node("KSampler", model=["x", 0]), x=native))
    assert not np.array_equal(with_lora, await picture(client, drawing(node("KSampler"))))
    assert np.array_equal(with_lora, await picture(client, drawing(node("KSampler", model=["x", 0]), x=theirs)))


def _lora() -> dict[str, torch.Tensor]:
    """Random changes of the embedded model's queries."""
    made: dict[str, torch.Tensor] = {}
    with safe_open(UNET, framework="pt") as file:
        for name in (name for name in file.keys() if name.endswith("attn1.to_q.weight")):  # noqa: SIM118
            flat = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
            outputs, inputs = file.get_slice(name).get_shape()
            made[f"{flat}.lora_up.weight"] = torch.full((outputs, 2), 0.1)
            made[f"{flat}.lora_down.weight"] = torch.full((2, inputs), 0.1)
            made[f"{flat}.alpha"] = torch.tensor(2.0)
    return made


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("attribute", "model.set_model_unet_function_wrapper"),
        ("options", "model.model_options"),
        ("inner", "model.model.diffusion_model"),
    ],
)
async def test_what_is_not_offered_is_said(client: Client, what: str, named: str) -> None:
    patched = node("StudioPatch", model=["m", 0], what=what)
    prompt = drawing(node("KSampler", model=["x", 0]), x=patched)
    _, messages = await client.run(prompt)
    (error,) = of_kind(messages, "execution_error")
    assert error["node_id"] == "x"
    assert f"'{named}' belongs to" in error["exception_message"]
    assert "docs/packs.md" in error["exception_message"]


async def test_a_pack_s_saver_is_made_of_ours(server: Server, client: Client) -> None:
    prompt = drawing(node("KSampler"), s=node("StudioSave", images=["d", 0]), t=node("OldShow", source=["s", 0]))
    job_id, _ = await client.run(prompt, extra_data={"extra_pnginfo": {"workflow": {"v": 2}}})
    outputs = (await client.finished(job_id))["outputs"]
    (saved,) = outputs["s"]["images"]
    assert (saved["subfolder"], saved["type"], outputs["t"]["text"]) == ("studio", "output", ["1"])
    file = Image.open(server.home / "output" / "studio" / saved["filename"])
    assert file.text["workflow"] == '{"v": 2}'  # type: ignore[attr-defined]


async def test_a_saver_that_says_temp_previews(client: Client) -> None:
    job_id, _ = await client.run(drawing(node("KSampler"), s=node("StudioPreview", images=["d", 0])))
    (shown,) = (await client.finished(job_id))["outputs"]["s"]["images"]
    assert shown["type"] == "temp"


async def test_files_of_a_pack_s_own_are_numbered(client: Client, salt: int) -> None:
    for number in (1, 2):
        job_id, _ = await client.run({"1": node("StudioOwnFile", text=str(number), prefix=f"s{salt}/%width%x%height%")})
        (told,) = (await client.finished(job_id))["outputs"]["1"]["text"]
        assert told == f"s{salt}|8x9_{number:05}_.txt"
        file = {"filename": told.partition("|")[2], "subfolder": f"s{salt}", "type": "output"}
        async with client.session.get("/view", params=file) as response:
            assert await response.text() == str(number)


async def test_tiles_fade_into_each_other(client: Client) -> None:
    prompt = {
        "i": node("EmptyImage", width=60, height=40, color=0x4080C0),
        "x": node("StudioScale", image=["i", 0]),
        "s": node("PreviewImage", images=["x", 0]),
        "t": node("OldShow", source=["x", 1]),
    }
    shown = await picture(client, prompt)
    assert shown.shape == (40, 60, 3)
    assert np.abs(shown - [0x40, 0x80, 0xC0]).max() <= 1
    job_id, _ = await client.run(prompt)
    assert (await client.finished(job_id))["outputs"]["t"]["text"] == ["8 8 0"]
