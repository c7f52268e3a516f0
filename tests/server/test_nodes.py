"""What clients read about the installation: nodes, models, system; and what there is not (wire protocol §1.6, §1.7)."""

from __future__ import annotations

import pytest

from .serving import Client, Server


async def test_all_nodes_are_described(client: Client) -> None:
    nodes = await client.get("/object_info")
    assert {"KSampler", "SaveImage", "SmallNumber"} <= nodes.keys()
    assert nodes["SmallNumber"]["input"]["required"]["value"] == ["INT", {"min": 0, "max": 1000}]
    assert nodes["SmallNumber"]["input_order"] == {"required": ["value", "kind"]}


TEXTS = ("name", "display_name", "description", "python_module", "category")
FLAGS = ("output_node", "is_input_list", "deprecated", "experimental")
OPTIONS = {
    "default", "tooltip", "forceInput", "lazy", "rawLink", "advanced", "hidden", "display_name", "socketless",
    "min", "max", "step", "round", "display", "control_after_generate", "multiline", "dynamicPrompts",
    "placeholder", "label_on", "label_off", "options", "image_upload", "image_folder", "multiselect",
    "upload_subfolder",
}  # fmt: skip
"""What the protocol knows of an input."""


async def test_every_node_is_described_as_the_protocol_says(client: Client) -> None:
    described = await client.get("/object_info")
    assert {"SmallShow", "KSampler"} <= described.keys()
    for name, node in described.items():
        assert node["name"] == name
        assert [key for key in TEXTS if not isinstance(node[key], str)] == [], name
        assert [key for key in FLAGS if not isinstance(node[key], bool)] == [], name
        outputs = [len(node[key]) for key in ("output", "output_name", "output_is_list", "output_tooltips")]
        assert len({*outputs}) == 1, name
        assert {group: [*inputs] for group, inputs in node["input"].items()} == node["input_order"], name
        for inputs in node["input"].values():
            for given, (kind, *options) in inputs.items():
                where = f"{name}.{given}"
                assert isinstance(kind, str) or all(isinstance(choice, str) for choice in kind), where
                assert len(options) <= 1, where
                assert {*(options[0] if options else ())} <= OPTIONS, where


async def test_one_node_is_described(client: Client) -> None:
    described = await client.get("/api/object_info/SmallShow")
    assert described.keys() == {"SmallShow"}
    assert described["SmallShow"]["output_node"] is True
    assert await client.get("/object_info/Nothing") == {}


async def test_models_are_listed_by_kind(client: Client, server: Server) -> None:
    embeddings = server.home / "models" / "embeddings" / "sub"
    embeddings.mkdir(parents=True, exist_ok=True)
    (embeddings / "style.v2.safetensors").touch()
    assert {"checkpoints", "loras", "vae"} <= {*await client.get("/models")}
    assert "mezzotint-emoji" in await client.get("/models/checkpoints")
    assert await client.get("/embeddings") == ["sub/style.v2"]
    async with client.session.get("/models/unheard-of") as response:
        assert response.status == 404


async def test_the_system_is_described_without_torch(client: Client) -> None:
    stats = await client.get("/system_stats")
    assert stats["system"].keys() >= {
        "os", "ram_total", "ram_free", "comfyui_version", "required_frontend_version", "python_version",
        "pytorch_version", "embedded_python", "argv", "installed_templates_version", "required_templates_version",
    }  # fmt: skip
    (device,) = stats["devices"]
    assert device.keys() == {
        "name", "type", "index", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free",
    }  # fmt: skip


async def test_editors_are_told_that_no_node_is_a_paid_service(client: Client) -> None:
    assert "--disable-api-nodes" in (await client.get("/system_stats"))["system"]["argv"]


async def test_features_are_those_that_exist(client: Client) -> None:
    assert await client.get("/features") == {"supports_preview_metadata": True, "max_upload_size": 104857600}


@pytest.mark.parametrize("path", ["/api", "/nothing", "/api/assets", "/prompt/", "/../etc/passwd"])
async def test_what_there_is_not_is_not_found(client: Client, path: str) -> None:
    async with client.session.get(path) as response:
        assert response.status == 404


async def test_a_route_asked_with_another_method_is_refused(client: Client) -> None:
    async with client.session.delete("/prompt") as response:
        assert response.status == 405
