"""Node definitions as editors get them, and a canvas to draw documents on. Reached through the fixtures of conftest."""

from __future__ import annotations

from typing import Any

SAMPLERS = ["euler", "heun"]


def definition(name: str, required: dict[str, Any], output: list[str], **more: Any) -> dict[str, Any]:
    optional = more.pop("optional", {})
    return {
        "input": {"required": required, "optional": optional},
        "input_order": {"required": list(required), "optional": list(optional)},
        "output": output,
        "output_is_list": [False] * len(output),
        "output_name": output,
        "name": name,
        "display_name": more.pop("display_name", name),
        "output_node": False,
        **more,
    }


_LIST = [
    definition("CheckpointLoaderSimple", {"ckpt_name": [["a.safetensors", "b.safetensors"]]}, ["MODEL", "CLIP", "VAE"]),
    definition(
        "CLIPTextEncode",
        {"text": ["STRING", {"multiline": True, "dynamicPrompts": True}], "clip": ["CLIP"]},
        ["CONDITIONING"],
        display_name="CLIP Text Encode (Prompt)",
    ),
    definition(
        "EmptyLatentImage",
        {
            "width": ["INT", {"default": 512, "min": 16}],
            "height": ["INT", {"default": 512, "min": 16}],
            "batch_size": ["INT", {"default": 1, "min": 1}],
        },
        ["LATENT"],
    ),
    definition(
        "KSampler",
        {
            "model": ["MODEL"],
            "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}],
            "steps": ["INT", {"default": 20, "min": 1, "max": 10000}],
            "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1}],
            "sampler_name": [SAMPLERS],
            "scheduler": ["COMBO", {"options": ["normal", "karras"]}],
            "positive": ["CONDITIONING"],
            "negative": ["CONDITIONING"],
            "latent_image": ["LATENT"],
            "denoise": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0}],
        },
        ["LATENT"],
    ),
    definition("VAEDecode", {"samples": ["LATENT"], "vae": ["VAE"]}, ["IMAGE"]),
    definition(
        "SaveImage",
        {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "Mezzotint"}]},
        [],
        output_node=True,
    ),
    definition("LoadImage", {"image": [["a.png", "b.png"], {"image_upload": True}]}, ["IMAGE", "MASK"]),
    definition("LoadMask", {"image": [["a.png"], {"image_upload": True}], "channel": [["alpha", "red"]]}, ["MASK"]),
    definition("PrimitiveInt", {"value": ["INT", {"control_after_generate": True}]}, ["INT"]),
    definition("RandomNoise", {"noise_seed": ["INT", {"default": 0}]}, ["NOISE"]),
    definition(
        "ModelPick",
        {"name": ["COMBO", {"options": ["x", "y", "z"], "control_after_generate": True}], "strength": ["FLOAT", {}]},
        ["MODEL"],
    ),
    definition(
        "Anything",
        {"value": ["*"], "number": ["INT,FLOAT", {"default": 3}], "label": ["STRING", {"default": "l"}]},
        ["*"],
    ),
    definition(
        "Forced",
        {
            "first": ["INT", {"default": 1}],
            "text": ["STRING", {"forceInput": True}],
            "last": ["FLOAT", {"default": 2.0}],
        },
        ["STRING"],
    ),
    definition("Switch", {"on": ["BOOLEAN", {"default": True}]}, ["BOOLEAN"], optional={"note": ["STRING", {}]}),
    definition("MultiPick", {"names": ["COMBO", {"options": ["a", "b"], "multiselect": True}]}, ["STRING"]),
    definition("Custom", {"before": ["INT", {}], "curve": ["PACK_CURVE"], "after": ["INT", {}]}, ["IMAGE"]),
    definition("Curve", {"curve": ["CURVE"], "gain": ["FLOAT", {"default": 1.0}]}, ["IMAGE"]),
    definition(
        "Resize",
        {
            "mode": [
                "COMFY_DYNAMICCOMBO_V3",
                {
                    "options": [
                        {"key": "by", "inputs": {"required": {"factor": ["FLOAT", {"default": 2.0}]}}},
                        {"key": "to", "inputs": {"required": {"width": ["INT", {}], "height": ["INT", {}]}}},
                    ]
                },
            ],
            "crop": [["none", "center"]],
            "image": ["IMAGE"],
        },
        ["IMAGE"],
    ),
    definition("MaskAndImage", {"mask": ["MASK"], "image": ["IMAGE"]}, ["IMAGE", "MASK", "LATENT"]),
    definition("JoinConditioning", {"one": ["CONDITIONING"], "two": ["CONDITIONING"]}, ["CONDITIONING"]),
]

DEFINITIONS = {each["name"]: each for each in _LIST}

_WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


class Canvas:
    """Draws a document of the editor: nodes with the sockets of their definition, and wires between them."""

    def __init__(self, version: float = 0.4, links_as_objects: bool = False) -> None:
        self.as_objects = links_as_objects
        self.nodes: dict[Any, dict[str, Any]] = {}
        self.links: list[Any] = []
        self.definition: dict[str, Any] = {}
        self.raw: dict[str, Any] = {"version": version, "nodes": [], "links": self.links, "groups": [], "extra": {}}

    def add(self, node_type: str, *values: Any, id: Any = None, **fields: Any) -> Any:
        """Draw a node and return its id. `sockets` and `outputs` stand in for those of the definition."""
        node_id = len(self.nodes) + 1 if id is None else id
        known = DEFINITIONS.get(node_type, {"input": {}, "output": []})
        sockets = fields.pop("sockets", None) or _sockets(known)
        outputs = fields.pop("outputs", None) or known["output"]
        node = {
            "id": node_id,
            "type": node_type,
            "order": len(self.nodes),
            "mode": 0,
            "inputs": [{"name": name, "type": kind, "link": None} for name, kind in sockets],
            "outputs": [{"name": kind, "type": kind, "links": []} for kind in outputs],
            "properties": {},
            "widgets_values": list(values),
            **fields,
        }
        self.nodes[node_id] = node
        self.raw["nodes"].append(node)
        return node_id

    def wire(self, origin: Any, slot: int, target: Any, name: str, **fields: Any) -> int:
        """Link an output to an input by name; a name without a socket becomes the socket of a widget."""
        link_id = len(self.links) + 1
        kind = "*"
        if origin in self.nodes:
            output = self.nodes[origin]["outputs"][slot]
            kind = output["type"]
            output["links"].append(link_id)
        target_slot = self._plug(target, name, link_id, kind) if target != -20 else int(name)
        self._link(link_id, origin, slot, target, target_slot, kind)
        if origin == -10:
            self.definition["inputs"][slot]["linkIds"].append(link_id)
        if target == -20:
            self.definition["outputs"][target_slot]["linkIds"].append(link_id)
        return link_id

    def subgraph(self, definition_id: str, inputs: list[tuple[str, str]], outputs: list[str]) -> Canvas:
        """Begin the definition of a subgraph; wire from -10 and to -20 (by slot number) inside it."""
        inner = Canvas(1)
        inner.as_objects = True
        inner.definition = inner.raw
        inner.raw |= {
            "id": definition_id,
            "name": f"sub {definition_id}",
            "inputNode": {"id": -10},
            "outputNode": {"id": -20},
            "inputs": [{"id": name, "name": name, "type": kind, "linkIds": []} for name, kind in inputs],
            "outputs": [{"id": kind, "name": kind, "type": kind, "linkIds": []} for kind in outputs],
        }
        self.raw.setdefault("definitions", {"subgraphs": []})["subgraphs"].append(inner.raw)
        return inner

    def _plug(self, target: Any, name: str, link_id: int, kind: str) -> int:
        sockets = self.nodes[target]["inputs"]
        for slot, socket in enumerate(sockets):
            if socket["name"] == name:
                socket["link"] = link_id
                return slot
        sockets.append({"name": name, "type": kind, "link": link_id, "widget": {"name": name}})
        return len(sockets) - 1

    def _link(self, *fields: Any) -> None:
        keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        self.links.append(dict(zip(keys, fields, strict=True)) if self.as_objects else list(fields))


def _sockets(known: dict[str, Any]) -> list[tuple[str, str]]:
    specs = {**known["input"].get("required", {}), **known["input"].get("optional", {})}
    return [
        (name, spec[0])
        for name, spec in specs.items()
        if not isinstance(spec[0], list) and (spec[0] not in _WIDGETS or (len(spec) > 1 and spec[1].get("forceInput")))
    ]


def text_to_image(version: float = 0.4, links_as_objects: bool = False) -> Canvas:
    """The usual workflow: 1 checkpoint, 2 and 3 texts, 4 latent, 5 sampler, 6 decoder, 7 save."""
    canvas = Canvas(version, links_as_objects)
    loader = canvas.add("CheckpointLoaderSimple", "b.safetensors")
    positive = canvas.add("CLIPTextEncode", "a red apple")
    negative = canvas.add("CLIPTextEncode", "blurry", title="What not")
    latent = canvas.add("EmptyLatentImage", 64, 48, 2)
    sampler = canvas.add("KSampler", 5, "randomize", 20, 8, "euler", "normal", 1)
    decoder = canvas.add("VAEDecode")
    save = canvas.add("SaveImage", "apple")
    for text, name in ((positive, "positive"), (negative, "negative")):
        canvas.wire(loader, 1, text, "clip")
        canvas.wire(text, 0, sampler, name)
    canvas.wire(loader, 0, sampler, "model")
    canvas.wire(latent, 0, sampler, "latent_image")
    canvas.wire(sampler, 0, decoder, "samples")
    canvas.wire(loader, 2, decoder, "vae")
    canvas.wire(decoder, 0, save, "images")
    return canvas


TEXT_TO_IMAGE_API: dict[str, Any] = {
    "1": {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "b.safetensors"},
        "_meta": {"title": "CheckpointLoaderSimple"},
    },
    "2": {
        "class_type": "CLIPTextEncode",
        "inputs": {"text": "a red apple", "clip": ["1", 1]},
        "_meta": {"title": "CLIP Text Encode (Prompt)"},
    },
    "3": {
        "class_type": "CLIPTextEncode",
        "inputs": {"text": "blurry", "clip": ["1", 1]},
        "_meta": {"title": "What not"},
    },
    "4": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 64, "height": 48, "batch_size": 2},
        "_meta": {"title": "EmptyLatentImage"},
    },
    "5": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 5,
            "steps": 20,
            "cfg": 8,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1,
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["3", 0],
            "latent_image": ["4", 0],
        },
        "_meta": {"title": "KSampler"},
    },
    "6": {
        "class_type": "VAEDecode",
        "inputs": {"samples": ["5", 0], "vae": ["1", 2]},
        "_meta": {"title": "VAEDecode"},
    },
    "7": {
        "class_type": "SaveImage",
        "inputs": {"filename_prefix": "apple", "images": ["6", 0]},
        "_meta": {"title": "SaveImage"},
    },
}
