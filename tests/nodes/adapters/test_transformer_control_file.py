"""Files of ControlNets for Stable Diffusion 3 and Flux with nothing beside them, in every layout that is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.adapters import control_net as nodes

pytestmark = pytest.mark.filterwarnings("ignore:`FluxPosEmbed`:FutureWarning")  # of diffusers' own class

SD3 = {
    "sample_size": 16, "num_layers": 2, "attention_head_dim": 64, "num_attention_heads": 1, "joint_attention_dim": 24,
    "caption_projection_dim": 64, "pooled_projection_dim": 40, "pos_embed_max_size": 16,
}  # fmt: skip
MEDIUM = {"qk_norm": "rms_norm", "dual_attention_layers": [0], "attention_head_dim": 32, "num_attention_heads": 2}
LARGE = {
    "joint_attention_dim": None, "use_pos_embed": False, "pos_embed_type": None, "pos_embed_max_size": None,
    "force_zeros_for_pooled_projection": False,
}  # fmt: skip
FLUX = {
    "num_layers": 2, "num_single_layers": 1, "attention_head_dim": 32, "num_attention_heads": 2,
    "joint_attention_dim": 24, "pooled_projection_dim": 40, "axes_dims_rope": [4, 14, 14], "guidance_embeds": True,
}  # fmt: skip
XLABS = {**FLUX, "patch_size": 2, "num_single_layers": 0, "conditioning_embedding_channels": 16}
IRRELEVANT = {"sample_size"}
Save = Callable[..., str]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    folders = Folders(tmp_path / "home", models=[tmp_path / "models"])
    (tmp_path / "models" / "controlnet").mkdir(parents=True)
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture
def save(context: Context) -> Save:
    """Write tensors into the folder of ControlNets; the file's name."""

    def write(tensors: Mapping[str, Tensor], name: str = "net.safetensors") -> str:
        save_file(
            {key: tensor.contiguous() for key, tensor in tensors.items()},
            context.folders.model_folders("controlnet")[0] / name,
        )
        return name

    return write


def random_network(class_name: str, **config: Any) -> Any:
    import diffusers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = getattr(diffusers, class_name)(**config)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return network


def check(network: Any, name: str, context: Context) -> Any:
    """See that a file becomes this network; what it became."""
    with context.models.borrow(nodes.load_control_net(name, ctx=context)) as made:
        ours = made.network
        told = {key: value for key, value in network.config.items() if key not in IRRELEVANT and key[0] != "_"}
        assert {key: ours.config[key] for key in told} == {
            key: [*value] if isinstance(value, tuple) else value for key, value in told.items()
        }
        theirs = network.state_dict()
        assert ours.state_dict().keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.state_dict().items())
        return made


@pytest.mark.parametrize("change", [{}, MEDIUM, LARGE, {"extra_conditioning_channels": 1}])
def test_for_sd3_in_the_layout_of_diffusers(save: Save, context: Context, change: Mapping[str, Any]) -> None:
    network = random_network("SD3ControlNetModel", **{**SD3, **change})
    name = save(network.state_dict())
    check(network, name, context)
    recipe = nodes.load_control_net(name, ctx=context)
    assert recipe.sees_latents
    assert recipe.sees_mask == ("extra_conditioning_channels" in change)


@pytest.mark.parametrize(
    "change", [{}, {"num_mode": 10}, {"guidance_embeds": False, "num_single_layers": 0}, {"num_layers": 0}]
)
def test_for_flux_in_the_layout_of_diffusers(save: Save, context: Context, change: Mapping[str, Any]) -> None:
    network = random_network("FluxControlNetModel", **{**FLUX, **change})
    name = save(network.state_dict())
    check(network, name, context)
    recipe = nodes.load_control_net(name, ctx=context)
    assert (recipe.sees_latents, recipe.sees_mask) == (True, False)


def test_one_for_flux_that_fills_in(save: Save, context: Context) -> None:
    network = random_network("FluxControlNetModel", **FLUX)
    network.controlnet_x_embedder = nn.Linear(68, 64)
    name = save(network.state_dict())
    check(network, name, context)
    assert nodes.load_control_net(name, ctx=context).sees_mask


@pytest.mark.parametrize(
    ("class_name", "config", "more"),
    [
        ("SD3ControlNetModel", SD3, {"extra_conditioning_channels": 1}),
        ("FluxControlNetModel", FLUX, {"num_mode": 10, "guidance_embeds": True}),
    ],
)
def test_a_configuration_that_leaves_out_what_shapes_tell(
    context: Context, class_name: str, config: Mapping[str, Any], more: Mapping[str, Any]
) -> None:
    """As published ones for filling in do, which diffusers is told of by hand."""
    network = random_network(class_name, **{**config, **more})
    folder = context.folders.model_folders("controlnet")[0] / "published"
    network.save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({key: each for key, each in said.items() if key not in more}))
    check(network, "published/diffusion_pytorch_model.safetensors", context)


def in_stability_layout(network: Any, **more: Tensor) -> dict[str, Tensor]:
    """As Stability AI published its ControlNets for Stable Diffusion 3.5 Large."""
    names = {
        "norm1.linear": "adaLN_modulation.1", "attn.to_out.0": "attn.proj", "ff.net.0.proj": "mlp.fc1",
        "ff.net.2": "mlp.fc2", "attn.to_q": "attn.qkv",
    }  # fmt: skip
    return {**more, **renamed(network.state_dict(), names, {"attn.to_q": ("attn.to_k", "attn.to_v")})}


def renamed(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], joined: Mapping[str, tuple[str, ...]]
) -> dict[str, Tensor]:
    made = {}
    for name, tensor in tensors.items():
        if any(f".{later}." in name for each in joined.values() for later in each):
            continue
        found = next((old for old in names if f".{old}." in f".{name}"), None)
        others = [tensors[name.replace(found, later)] for later in joined.get(found, ())] if found else []
        made[name.replace(found, names[found]) if found else name] = torch.cat([tensor, *others])
    return made


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("net.safetensors", {"control_type": torch.tensor(1)}, True),
        ("sd3.5_large_controlnet_canny.safetensors", {}, True),
        ("sd3.5_large_controlnet_blur.safetensors", {}, False),
        ("canny_but_depth.safetensors", {"control_type": torch.tensor(2)}, False),
    ],
)
def test_for_sd35_in_the_layout_of_stability(
    save: Save, context: Context, name: str, more: Mapping[str, Tensor], expected: bool
) -> None:
    """That for edges was trained on other numbers: what its VAE sees is 255 / 2 of a pixel + 1 / 2."""
    network = random_network("SD3ControlNetModel", **{**SD3, **LARGE})
    save(in_stability_layout(network, **more), name)
    prepare = check(network, name, context)._pictures.prepare
    assert (prepare is not None) == expected
    if prepare is not None:
        pixels = torch.tensor([0.0, 0.5, 1.0])
        assert (prepare(pixels) * 2 - 1).tolist() == [0.5, 64.25, 128.0]


def test_for_flux_in_the_layout_of_xlabs(save: Save, context: Context) -> None:
    network = random_network("FluxControlNetModel", **XLABS)
    published = {
        "attn.to_q": "img_attn.qkv", "attn.add_q_proj": "txt_attn.qkv", "norm1.linear": "img_mod.lin",
        "norm1_context.linear": "txt_mod.lin", "attn.to_out.0": "img_attn.proj", "attn.to_add_out": "txt_attn.proj",
        "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2", "ff_context.net.0.proj": "txt_mlp.0",
        "ff_context.net.2": "txt_mlp.2", "attn.norm_q.weight": "img_attn.norm.query_norm.scale",
        "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
        "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
        "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
        "controlnet_x_embedder": "pos_embed_input", "x_embedder": "img_in", "context_embedder": "txt_in",
        "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
        "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
        "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
        "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
        "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
        "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
        "input_hint_block.conv_in": "input_hint_block.0", "input_hint_block.conv_out": "input_hint_block.14",
        **{f"input_hint_block.blocks.{k}": f"input_hint_block.{2 * k + 2}" for k in range(6)},
    }  # fmt: skip
    joined = {
        "attn.to_q": ("attn.to_k", "attn.to_v"), "attn.add_q_proj": ("attn.add_k_proj", "attn.add_v_proj"),
    }  # fmt: skip
    tensors = renamed({f"{name}.": each for name, each in network.state_dict().items()}, published, joined)
    name = save(
        {key.rstrip(".").replace("transformer_blocks.", "double_blocks."): each for key, each in tensors.items()}
    )
    made = check(network, name, context)
    assert made.sees_pixels
    assert not nodes.load_control_net(name, ctx=context).sees_latents


@pytest.mark.parametrize(("class_name", "config"), [("SD3ControlNetModel", SD3), ("FluxControlNetModel", FLUX)])
def test_one_that_is_cut_short_or_lacks_a_part(
    save: Save, context: Context, class_name: str, config: Mapping[str, Any]
) -> None:
    tensors = random_network(class_name, **config).state_dict()
    path = context.folders.model_folders("controlnet")[0] / save(tensors, "cut.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"cut.safetensors' is no safetensors file, or is damaged"):
        nodes.load_control_net("cut.safetensors", ctx=context)
    save({key: tensor for key, tensor in tensors.items() if "text_embedder" not in key}, "part.safetensors")
    with pytest.raises(ModelFileError, match=r"'part.safetensors' is a ControlNet or T2I-Adapter that lacks a part"):
        nodes.load_control_net("part.safetensors", ctx=context)
    save({key: tensor for key, tensor in tensors.items() if "to_out" not in key}, "layer.safetensors")
    recipe = nodes.load_control_net("layer.safetensors", ctx=context)
    with pytest.raises(ModelFileError, match=r"'layer.safetensors': its weights do not fit"):
        context.models.borrow(recipe).__enter__()
