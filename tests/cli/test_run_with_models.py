"""Pictures of the embedded model by the command line: from the cache, from a picture, from a model of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.workflows import bundled_workflows

if TYPE_CHECKING:
    from .conftest import Command, Outcome

FEW_STEPS = ("--set", "KSampler.steps=2", "--seed", "3")


def test_the_same_picture_comes_from_the_file_from_the_converted_one_and_from_the_picture_itself(
    plain_mezzotint: Command,
) -> None:
    (picture,) = plain_mezzotint("run", "text_to_image", *FEW_STEPS).files
    (again,) = plain_mezzotint("run", picture).files
    plain_mezzotint("convert", picture, "-o", "api.json")
    (converted,) = plain_mezzotint("run", "api.json").files
    assert pixels(picture) == pixels(again) == pixels(converted)


def pixels(path: Path) -> bytes:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.tobytes()


def test_a_second_run_with_the_same_cache_samples_nothing(plain_mezzotint: Command) -> None:
    words = ("run", "text_to_image", *FEW_STEPS, "--cache-dir", "cache", "--json")
    first, second = (types_that_ran(plain_mezzotint(*words)) for _ in range(2))
    assert "KSampler" in first
    assert second == ["SaveImage"]
    changed = types_that_ran(plain_mezzotint(*words, "--negative", "grey"))
    assert changed.count("CLIPTextEncode") == 1
    assert {"KSampler", "VAEDecode"} <= set(changed)
    assert not {"CheckpointLoaderSimple", "EmptyLatentImage"} & set(changed)


def types_that_ran(done: Outcome) -> list[str]:
    assert done.code == 0, done.err
    return [event["node_type"] for event in done.events if event.get("source") == "ran"]


def test_a_diffusers_folder_of_ones_own_draws_the_same(plain_mezzotint: Command, run_own: Command) -> None:
    (own,) = run_own().files
    (embedded,) = plain_mezzotint("run", "text_to_image", *FEW_STEPS).files
    assert pixels(own) == pixels(embedded)


def test_a_lora_is_on_off_and_on_again(plain_mezzotint: Command, tmp_path: Path) -> None:
    save_random_lora(tmp_path / "models" / "loras" / "random.safetensors")
    flow = with_lora("random.safetensors")
    (tmp_path / "lora.json").write_text(json.dumps(flow))

    def drawn(*words: object) -> bytes:
        done = plain_mezzotint("run", *words, *FEW_STEPS, "--models-dir", "models")
        assert done.code == 0, done.err
        return pixels(done.files[0])

    on, off, on_again = drawn("lora.json"), drawn("text_to_image"), drawn("lora.json")
    assert on == on_again != off
    for strength in ("strength_model", "strength_clip"):
        assert drawn("lora.json", "--set", f"LoraLoader.{strength}=0") not in (on, off)
    neither = ("--set", "LoraLoader.strength_model=0", "--set", "LoraLoader.strength_clip=0")
    assert drawn("lora.json", *neither) == off


def with_lora(name: str) -> dict[str, Any]:
    """The bundled text_to_image, with a LoRA."""
    flow: dict[str, Any] = json.loads(bundled_workflows()["text_to_image"])
    settings = {"lora_name": name, "strength_model": 1.0, "strength_clip": 1.0}
    flow["lora"] = {"class_type": "LoraLoader", "inputs": {"model": ["1", 0], "clip": ["1", 1], **settings}}
    for node_id in ("2", "3"):
        flow[node_id]["inputs"]["clip"] = ["lora", 1]
    flow["5"]["inputs"]["model"] = ["lora", 0]
    return flow


def save_random_lora(path: Path) -> None:
    """A LoRA for some layers of the embedded model, in the layout of kohya."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    block = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2"
    layer = "lora_te_text_model_encoder_layers_0_self_attn"
    sizes = {f"{block}_to_q": (192, 192), f"{block}_to_v": (192, 128), f"{layer}_v_proj": (128, 128)}
    tensors = {}
    for name, (outputs, inputs) in sizes.items():
        tensors[f"{name}.lora_up.weight"] = torch.randn(outputs, 2, generator=generator)
        tensors[f"{name}.lora_down.weight"] = torch.randn(2, inputs, generator=generator)
        tensors[f"{name}.alpha"] = torch.tensor(1.0)
    path.parent.mkdir(parents=True)
    save_file(tensors, path)


def test_an_adapter_steers_by_a_picture(plain_mezzotint: Command, tmp_path: Path) -> None:
    save_random_adapter(tmp_path / "models" / "t2i_adapter" / "random.safetensors")
    (tmp_path / "adapter.json").write_text(json.dumps(with_control_net("random.safetensors")))

    def drawn(*words: object) -> bytes:
        done = plain_mezzotint("run", *words, *FEW_STEPS, "--models-dir", "models")
        assert done.code == 0, done.err
        return pixels(done.files[0])

    plain = drawn("text_to_image")
    assert drawn("adapter.json") == drawn("adapter.json") != plain
    assert drawn("adapter.json", "--set", "ControlNetApplyAdvanced.strength=0") == plain


def with_control_net(name: str) -> dict[str, Any]:
    """The bundled text_to_image, steered by a blue picture."""
    flow: dict[str, Any] = json.loads(bundled_workflows()["text_to_image"])
    blue = {"width": 64, "height": 64, "batch_size": 1, "color": 255}
    links = {"positive": ["2", 0], "negative": ["3", 0], "control_net": ["net", 0], "image": ["hint", 0]}
    settings = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    flow |= {
        "net": {"class_type": "ControlNetLoader", "inputs": {"control_net_name": name}},
        "hint": {"class_type": "EmptyImage", "inputs": blue},
        "steered": {"class_type": "ControlNetApplyAdvanced", "inputs": {**links, **settings}},
    }
    flow["5"]["inputs"] |= {"positive": ["steered", 0], "negative": ["steered", 1]}
    return flow


def save_random_adapter(path: Path) -> None:
    """A T2I-Adapter for the embedded model, as one file in the layout of diffusers."""
    import torch
    from diffusers import T2IAdapter
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = T2IAdapter(3, [96, 192], num_res_blocks=2)
        for parameter in network.parameters():
            parameter.data *= 3
    path.parent.mkdir(parents=True)
    save_file(network.state_dict(), path)
