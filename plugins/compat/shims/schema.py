"""The parts of a node schema: inputs, outputs and what they are called."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_WIRE = {
    "display_mode": "display", "force_input": "forceInput", "raw_link": "rawLink", "dynamic_prompts": "dynamicPrompts",
    "image_upload": "image_upload",
}  # fmt: skip


class Input:
    """An input of a schema."""

    io_type = "*"

    def __init__(self, id: str, display_name: str | None = None, optional: bool = False, **options: Any) -> None:
        self.id, self.optional = id, optional
        extra = options.pop("extra_dict", None) or {}
        given = {"display_name": display_name, **options, **extra}
        self.options = {_WIRE.get(name, name): value for name, value in given.items() if value is not None}

    def declaration(self) -> tuple[str, dict[str, Any]]:
        """The input as INPUT_TYPES declares it."""
        return self.io_type, dict(self.options)


class Output:
    """An output of a schema."""

    io_type = "*"

    def __init__(
        self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:  # fmt: skip
        self.id, self.display_name, self.tooltip, self.is_output_list = id, display_name, tooltip, is_output_list


class _ComboInput(Input):
    def __init__(self, id: str, options: Any = None, *, multiselect: bool = False, **more: Any) -> None:
        if isinstance(options, type) and issubclass(options, enum.Enum):
            options = [member.value for member in options]
        super().__init__(id, options=[*(options or ())], multiselect=multiselect or None, **more)


class _MultiComboInput(_ComboInput):
    def __init__(self, id: str, options: Any = None, **more: Any) -> None:
        super().__init__(id, options, multiselect=True, **more)


def io_type(name: str, input: type[Input] = Input) -> type:
    """A type with its `Input` and `Output`."""
    members = {"io_type": name}
    return type(name, (), {**members, "Input": type("Input", (input,), members),
                           "Output": type("Output", (Output,), members)})  # fmt: skip


Int, Float, String, Boolean = (io_type(name) for name in ("INT", "FLOAT", "STRING", "BOOLEAN"))
Combo, MultiCombo = io_type("COMBO", _ComboInput), io_type("COMBO", _MultiComboInput)
Image, Mask, Latent, Conditioning = (io_type(name) for name in ("IMAGE", "MASK", "LATENT", "CONDITIONING"))
Model, Clip, Vae, ControlNet = (io_type(name) for name in ("MODEL", "CLIP", "VAE", "CONTROL_NET"))
Sampler, Sigmas, Noise, Guider = (io_type(name) for name in ("SAMPLER", "SIGMAS", "NOISE", "GUIDER"))
Audio, Video, UpscaleModel, AnyType = (io_type(name) for name in ("AUDIO", "VIDEO", "UPSCALE_MODEL", "*"))


def Custom(name: str) -> type:
    """A type of the pack's own."""
    return io_type(name)


class MultiType:
    """An input of several types."""

    class Input(Input):
        def __init__(self, id: Any, types: Sequence[Any] = (), **options: Any) -> None:
            inner = id if isinstance(id, Input) else None
            names = [*([inner.io_type] if inner else []), *(kind.io_type for kind in types)]
            super().__init__(inner.id if inner else id, **{**(inner.options if inner else {}), **options})
            self.io_type = ",".join(dict.fromkeys(names))


class Hidden(enum.StrEnum):
    """What a node can ask to know of its surroundings."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"
    auth_token_comfy_org = "AUTH_TOKEN_COMFY_ORG"
    api_key_comfy_org = "API_KEY_COMFY_ORG"


@dataclass
class Schema:
    """What a node is. Ids among its inputs, and among its outputs, must differ.

    Raises:
        ValueError: two are equal.
    """

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False
    search_aliases: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for ids in ([given.id for given in self.inputs], [given.id for given in self.outputs if given.id is not None]):
            if len(ids) != len(set(ids)):
                raise ValueError(f"the schema of '{self.node_id}' names an input or output twice: {', '.join(ids)}")

    def hidden_kinds(self) -> Iterator[Hidden]:
        """What the node is told: what it asks for, and of output nodes the graph."""
        kinds = [*self.hidden]
        kinds += [Hidden.prompt, Hidden.extra_pnginfo] if self.is_output_node else []
        yield from dict.fromkeys(kinds)
