"""Files of ControlNets and T2I-Adapters, in the layout of diffusers and in those of the original code."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import MissingModelError, ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.engine.signature import read_node
from mezzotint.nodes.adapters import control_net as nodes
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.sampling.control import ControlledForward
from mezzotint.nodes.sampling.network_call import ConditioningError
from mezzotint.nodes.tensor_value import tensor_value

from .. import single_files

BLOCKS = {
    "block_out_channels": (32, 64), "layers_per_block": 2, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "conditioning_embedding_out_channels": (8, 16, 24, 32),
}  # fmt: skip
SD1 = {**BLOCKS, "cross_attention_dim": 48, "attention_head_dim": 8}
SDXL = {
    **BLOCKS, "cross_attention_dim": 48, "attention_head_dim": (1, 1), "use_linear_projection": True,
    "transformer_layers_per_block": (1, 2), "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 6 * 256 + 20,
}  # fmt: skip
UNION = {"num_trans_channel": 32, "num_proj_channel": 32}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    folders = Folders(tmp_path / "home", models=[tmp_path / "models"])
    (tmp_path / "models" / "controlnet").mkdir(parents=True)
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture
def save(context: Context) -> Callable[..., str]:
    """Write tensors into the folder of ControlNets; the file's name."""

    def write(tensors: Mapping[str, Tensor], name: str = "net.safetensors") -> str:
        path = context.folders.model_folders("controlnet")[0] / name
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        return name

    return write


def random_network(class_name: str, **config: Any) -> Any:
    import diffusers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = getattr(diffusers, class_name)(**config).eval().requires_grad_(False)
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.3)
    return network


IMAGE = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(4))


def forward(inputs: Mapping[str, Tensor] | None = None, width: int = 48) -> ControlledForward:
    generator = torch.Generator().manual_seed(1)
    x, tokens = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 5, width, generator=generator)
    return ControlledForward(x, torch.tensor([500.0]), tokens, inputs or {}, [0, 1], None, (8, 8))


def given(name: str, context: Context, call: ControlledForward, control_type: int = -1) -> dict[str, Any]:
    """What the file's network adds."""
    net = nodes.load_control_net(name, ctx=context).with_type(control_type)
    with context.models.borrow(net) as network, torch.inference_mode():
        return dict(network.options(call, tensor_value(IMAGE), 0.5))


def expected(network: Any, call: ControlledForward) -> list[Tensor]:
    picture = IMAGE.movedim(-1, 1).expand(2, -1, -1, -1)
    down, middle = network(
        call.x, call.timestep, call.tokens, picture, 0.5, added_cond_kwargs=dict(call.inputs), return_dict=False
    )
    return [*down, middle]


def assert_same(actual: Mapping[str, Any], wanted: list[Tensor]) -> None:
    flat = [*actual["down_block_additional_residuals"], actual["mid_block_additional_residual"]]
    assert len(flat) == len(wanted)
    for one, other in zip(flat, wanted, strict=True):
        assert other.abs().max() > 1e-3
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def original(name: str) -> str:
    """A name of diffusers as the original code had it (two residual blocks to a level)."""
    parts = {
        "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
        "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
    }  # fmt: skip
    rules: list[tuple[str, Callable[[re.Match[str]], str]]] = [
        (r"^conv_in\.", lambda m: "input_blocks.0.0."),
        (r"^time_embedding\.linear_(\d)", lambda m: f"time_embed.{2 * int(m[1]) - 2}"),
        (r"^add_embedding\.linear_(\d)", lambda m: f"label_emb.0.{2 * int(m[1]) - 2}"),
        (
            r"^down_blocks\.(\d)\.resnets\.(\d)\.(\w+)",
            lambda m: f"input_blocks.{1 + 3 * int(m[1]) + int(m[2])}.0.{parts[m[3]]}",
        ),
        (r"^down_blocks\.(\d)\.attentions\.(\d)", lambda m: f"input_blocks.{1 + 3 * int(m[1]) + int(m[2])}.1"),
        (r"^down_blocks\.(\d)\.downsamplers\.0\.conv", lambda m: f"input_blocks.{3 + 3 * int(m[1])}.0.op"),
        (r"^mid_block\.resnets\.(\d)\.(\w+)", lambda m: f"middle_block.{2 * int(m[1])}.{parts[m[2]]}"),
        (r"^mid_block\.attentions\.0", lambda m: "middle_block.1"),
        (r"^controlnet_down_blocks\.(\d+)", lambda m: f"zero_convs.{m[1]}.0"),
        (r"^controlnet_mid_block", lambda m: "middle_block_out.0"),
        (r"^controlnet_cond_embedding\.conv_in", lambda m: "input_hint_block.0"),
        (r"^controlnet_cond_embedding\.blocks\.(\d)", lambda m: f"input_hint_block.{2 * int(m[1]) + 2}"),
        (r"^controlnet_cond_embedding\.conv_out", lambda m: "input_hint_block.14"),
    ]
    for pattern, replacement in rules:
        if re.search(pattern, name):
            return re.sub(pattern, replacement, name)
    raise AssertionError(name)


def sized(config: Mapping[str, Any]) -> dict[str, Tensor]:
    if "addition_embed_type" not in config:
        return {}
    return {"text_embeds": torch.randn(2, 20), "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)}


@pytest.mark.parametrize("config", [SD1, SDXL], ids=["sd1", "sdxl"])
@pytest.mark.parametrize("prefix", [None, "", "control_model."], ids=["diffusers", "original", "original-inside"])
def test_a_single_file_control_net(
    prefix: str | None, config: dict[str, Any], context: Context, save: Callable[..., str]
) -> None:
    network = random_network("ControlNetModel", **config)
    weights = network.state_dict()
    name = save(weights if prefix is None else {prefix + original(key): each for key, each in weights.items()})
    call = forward(sized(config))
    assert_same(given(name, context, call), expected(network, call))


@pytest.mark.parametrize("layout", ["diffusers", "original"])
@pytest.mark.parametrize("kind", ["full_adapter", "full_adapter_xl", "light_adapter"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_single_file_adapter(
    channels: int, kind: str, layout: str, context: Context, save: Callable[..., str]
) -> None:
    factor = 16 if kind.endswith("xl") else 8
    widths = [32, 64, 96] if kind.startswith("light") else [32, 64, 96, 96]
    blocks = 3 if kind.startswith("light") else 2
    network = random_network("T2IAdapter", in_channels=channels, channels=widths, num_res_blocks=blocks,
                             downscale_factor=factor, adapter_type=kind)  # fmt: skip
    weights = network.state_dict()
    if layout == "original":
        weights = {adapter_original(key, kind.startswith("light")): each for key, each in weights.items()}
    picture = IMAGE.movedim(-1, 1)
    wanted = network(picture.mean(1, keepdim=True) if channels == 1 else picture)
    added = given(save(weights), context, forward())["down_intrablock_additional_residuals"]
    assert len(added) == len(wanted)
    for one, other in zip(added, wanted, strict=True):
        torch.testing.assert_close(one, (other * 0.5).expand(2, -1, -1, -1), rtol=1e-4, atol=1e-5)


def adapter_original(name: str, is_light: bool) -> str:
    name = name.removeprefix("adapter.")
    if is_light:
        return name.replace("resnets", "body")
    name = re.sub(r"body\.(\d)\.resnets\.(\d)", lambda m: f"body.{2 * int(m[1]) + int(m[2])}", name)
    return re.sub(r"body\.(\d)\.in_conv", lambda m: f"body.{2 * int(m[1])}.in_conv", name)


@pytest.mark.parametrize("control_type", [-1, 0, 3])
def test_a_union_is_told_what_kind_of_picture_it_gets(
    control_type: int, context: Context, save: Callable[..., str]
) -> None:
    network = random_network("ControlNetUnionModel", **SDXL, num_control_type=4, **UNION)
    call, told = forward(sized(SDXL)), torch.zeros(2, 4)
    if control_type >= 0:
        told[:, control_type] = 1
    name = save(network.state_dict())
    actual = given(name, context, call, control_type)
    if control_type < 0:  # of no kind: the embedding of the kind is zeros
        network.task_embedding.data.zero_()
    down, middle = network(
        call.x, call.timestep, call.tokens, [IMAGE.movedim(-1, 1).expand(2, -1, -1, -1)], told, [max(control_type, 0)],
        0.5, added_cond_kwargs=dict(call.inputs), return_dict=False,
    )  # fmt: skip
    assert_same(actual, [*down, middle])


def test_types_of_unions_have_their_numbers(context: Context, save: Callable[..., str]) -> None:
    network = random_network("ControlNetUnionModel", **SDXL, num_control_type=6, **UNION)
    net = nodes.load_control_net(save(network.state_dict()), ctx=context)
    assert nodes.set_union_type(net, "auto") == net
    assert nodes.set_union_type(net, "openpose").control_type == 0
    assert nodes.set_union_type(net, "segment").control_type == 5
    with pytest.raises(ConditioningError, match="knows 6 kinds of picture, not the one of"):
        context.models.borrow(nodes.set_union_type(net, "repaint")).__enter__()


def test_the_configuration_beside_the_weights_goes_before_what_shapes_tell(context: Context) -> None:
    """Numbers of heads and of groups, say, change no shape."""
    network = random_network("ControlNetModel", **{**SD1, "attention_head_dim": 4}, norm_num_groups=16)
    folder = context.folders.model_folders("controlnet")[0] / "own"
    network.save_pretrained(folder)
    name = "own/diffusion_pytorch_model.safetensors"
    before = nodes.load_control_net(name, ctx=context)
    assert_same(given(name, context, forward()), expected(network, forward()))
    config = json.loads((folder / "config.json").read_text())
    identity = nodes.control_net_identity(name, context.folders)
    (folder / "config.json").write_text(json.dumps({**config, "norm_num_groups": 8}))
    assert nodes.control_net_identity(name, context.folders) != identity
    assert nodes.load_control_net(name, ctx=context) != before


def test_a_file_by_the_name_of_shuffle_adds_the_same_everywhere(context: Context, save: Callable[..., str]) -> None:
    network = random_network("ControlNetModel", **SD1, global_pool_conditions=True)
    name = save(network.state_dict(), "control_shuffle.safetensors")
    actual = given(name, context, forward())
    assert actual["mid_block_additional_residual"].shape[-2:] == (1, 1)
    assert_same(actual, expected(network, forward()))


# what is wrong, in a sentence


def refusal(name: str, context: Context) -> str:
    with pytest.raises((ModelFileError, MissingModelError)) as raised:
        given(name, context, forward())
    return str(raised.value)


def test_a_control_net_for_another_family(context: Context, save: Callable[..., str]) -> None:
    name = save(random_network("ControlNetModel", **SD1).state_dict())
    with pytest.raises(ConditioningError) as raised:
        given(name, context, forward(width=32))
    assert str(raised.value) == (
        "the ControlNet 'net.safetensors' is for another kind of model: it takes 4 latent channels and text of 48 "
        "numbers, and the model has 4 and 32; use a ControlNet that was made for this kind of model"
    )


@pytest.mark.parametrize("levels", [(32, 64), (16, 32, 64), None])
def test_a_network_with_other_levels_than_the_models(
    levels: tuple[int, ...] | None, context: Context, save: Callable[..., str]
) -> None:
    name = save(random_network("ControlNetModel", **SD1).state_dict())
    config = {"block_out_channels": levels, "down_block_types": ["CrossAttnDownBlock2D"]} if levels else {"levels": 3}
    call = forward()._replace(config=config)
    if levels == (32, 64):
        assert given(name, context, call)
    else:
        with pytest.raises(ConditioningError, match="is for another kind of model"):
            given(name, context, call)


@pytest.mark.parametrize(
    ("levels", "first", "fits"),
    [
        ((32, 64, 96, 96), "CrossAttnDownBlock2D", True),
        ((32, 64), "CrossAttnDownBlock2D", True),
        ((16, 64), "CrossAttnDownBlock2D", False),
        ((32, 64), "DownBlock2D", False),
    ],
)
def test_an_adapter_with_other_levels_than_the_models(
    levels: tuple[int, ...], first: str, fits: bool, context: Context, save: Callable[..., str]
) -> None:
    name = save(random_network("T2IAdapter", channels=[32, 64, 96, 96]).state_dict())
    call = forward()._replace(config={"block_out_channels": levels, "down_block_types": [first]})
    if fits:
        assert given(name, context, call)
    else:
        with pytest.raises(ConditioningError, match=r"the T2I-Adapter .* is for another kind of model"):
            given(name, context, call)


def test_files_that_are_none(context: Context, save: Callable[..., str]) -> None:
    qwen = {"controlnet_x_embedder.weight": torch.zeros(2, 2), "img_in.weight": torch.zeros(2, 2)}
    refused = refusal(save(qwen, "qwen.safetensors"), context)
    assert refused.startswith("the ControlNet 'qwen.safetensors' is one for Qwen-Image, which is not supported")
    lora = refusal(save({"lora_controlnet": torch.zeros(0), "x": torch.zeros(1)}, "lora.safetensors"), context)
    assert "is one for Control-LoRA, which is not supported" in lora
    other = refusal(save({"model.weight": torch.zeros(2)}, "other.safetensors"), context)
    assert "is of no known layout (its first tensor is 'model.weight'); known are ControlNets and T2I-Adapters" in other


def test_a_file_that_lacks_a_part(context: Context, save: Callable[..., str]) -> None:
    weights = random_network("ControlNetModel", **SD1).state_dict()
    middle = {key: each for key, each in weights.items() if not key.startswith("mid_block.attentions")}
    assert "lacks a part ('mid_block.attentions.0.proj_in.weight'); fetch it again" in refusal(save(middle), context)
    one = {key: each for key, each in weights.items() if key != "controlnet_mid_block.weight"}
    assert "its weights do not fit its configuration" in refusal(save(one, "one.safetensors"), context)


def test_missing_damaged_and_pickled_files(context: Context, save: Callable[..., str]) -> None:
    assert "the model 'nosuch' (controlnet) is missing" in refusal("nosuch", context)
    name = save(random_network("ControlNetModel", **SD1).state_dict())
    path = context.folders.require("controlnet", name)
    path.with_name("old.pth").write_bytes(b"\x80\x02")
    assert "is a pickle (.pth)" in refusal("old.pth", context)
    path.with_name("config.json").write_text("{")
    assert "config.json' cannot be read" in refusal(name, context)
    path.with_name("config.json").unlink()
    os.truncate(path, 1000)
    assert "is no safetensors file, or is damaged" in refusal(name, context)


def test_the_nodes_are_declared_as_saved_workflows_know_them() -> None:
    loader, old, new, union = (
        read_node(body)
        for body in (
            nodes.load_control_net, nodes.apply_control_net, nodes.apply_control_net_advanced, nodes.set_union_type,
        )
    )  # fmt: skip
    assert (loader.name, loader.title, [*loader.inputs]) == (
        "ControlNetLoader", "Load ControlNet Model", ["control_net_name"],
    )  # fmt: skip
    assert [output.port for output in loader.outputs] == ["CONTROL_NET"]
    assert (old.name, old.title, old.category) == (
        "ControlNetApply", "Apply ControlNet (OLD)", "conditioning/controlnet",
    )  # fmt: skip
    assert [*old.inputs] == ["conditioning", "control_net", "image", "strength"]
    assert (new.name, new.title) == ("ControlNetApplyAdvanced", "Apply ControlNet")
    assert [*new.inputs] == [
        "positive", "negative", "control_net", "image", "strength", "start_percent", "end_percent", "vae",
    ]  # fmt: skip
    assert [(output.name, output.port) for output in new.outputs] == [
        ("positive", "CONDITIONING"), ("negative", "CONDITIONING"),
    ]  # fmt: skip
    assert new.inputs["vae"].is_optional
    assert (new.inputs["strength"].limits, new.inputs["strength"].widget.step) == ({"ge": 0, "le": 10}, 0.01)
    assert (new.inputs["end_percent"].default, new.inputs["end_percent"].widget.step) == (1.0, 0.001)
    assert (union.name, [*union.inputs], union.inputs["type"].default) == (
        "SetUnionControlNetType", ["control_net", "type"], "auto",
    )  # fmt: skip


@pytest.mark.parametrize("layout", ["diffusers", "marked nothing"])
def test_differences_are_added_to_the_model(layout: str, context: Context, save: Callable[..., str]) -> None:
    from diffusers import ControlNetModel

    torch.manual_seed(0)
    family = single_files.sd1()
    family.write(context.folders.model_folders("checkpoints")[0] / "sd1.safetensors")
    model = load_checkpoint("sd1.safetensors", ctx=context).MODEL
    net = ControlNetModel.from_unet(family.unet).eval().requires_grad_(False)
    weights = {name: tensor + 0.1 for name, tensor in net.state_dict().items()}
    ours = family.unet.state_dict()
    told = {name: tensor - ours[name] if name in ours else tensor for name, tensor in weights.items()}
    if layout == "marked nothing":
        name = save(weights)
    else:
        name = save({**told, "difference": torch.ones(1)})
        with pytest.raises(ModelFileError, match="load it with DiffControlNetLoader"):
            nodes.load_control_net(name, ctx=context)
    with context.models.borrow(nodes.load_diff_control_net(model, name, ctx=context)) as loaded:
        made = loaded.network.state_dict()
        assert made.keys() == weights.keys()
        for key, tensor in weights.items():
            torch.testing.assert_close(made[key], tensor, rtol=1e-5, atol=1e-6)


def test_a_node_with_a_vae_steers_as_the_one_without(context: Context, save: Callable[..., str]) -> None:
    net = nodes.load_control_net(save(random_network("ControlNetModel", **SD1).state_dict()), ctx=context)
    text: Any = [[torch.ones(1, 2, 48), {}]]
    made = nodes.apply_control_net_with_vae(text, text, net, None, IMAGE, 0.5, 0.1, 0.9)  # type: ignore[arg-type]
    plain = nodes.apply_control_net_advanced(text, text, net, IMAGE, 0.5, 0.1, 0.9)
    assert made.positive[0][1]["control"] == plain.positive[0][1]["control"]
    inputs = ["positive", "negative", "control_net", "vae", "image", "strength", "start_percent", "end_percent"]
    assert [*read_node(nodes.apply_control_net_with_vae).inputs] == inputs
