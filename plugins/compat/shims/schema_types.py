"""The types of a schema: each has an `Input` and an `Output`."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mezzotint.plugins.compat.dynamic_input import AUTOGROW, CHOICE, MATCHED, SLOT

_WIRE = {
    "display_mode": "display", "force_input": "forceInput", "raw_link": "rawLink", "dynamic_prompts": "dynamicPrompts",
}  # fmt: skip


class FolderType(enum.StrEnum):
    """The folders that editors know."""

    input = "input"
    output = "output"
    temp = "temp"


class UploadType(enum.StrEnum):
    """What can be uploaded for a combo."""

    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"


class NumberDisplay(enum.StrEnum):
    """How a number is shown."""

    number = "number"
    slider = "slider"
    gradient_slider = "gradientslider"


class ControlAfterGenerate(enum.StrEnum):
    """What becomes of a number after it was used."""

    fixed = "fixed"
    increment = "increment"
    decrement = "decrement"
    randomize = "randomize"


class RemoteOptions:
    """Where an editor fetches the options of a combo."""

    def __init__(self, route: str, refresh_button: bool = True, **more: Any) -> None:
        given = {"route": route, "refresh_button": refresh_button, **more}
        self.options = {name: value for name, value in given.items() if value is not None}


class Input:
    """An input of a schema."""

    io_type = "*"

    def __init__(
        self, id: str, display_name: str | None = None, optional: bool = False, tooltip: str | None = None,
        lazy: bool | None = None, **options: Any,
    ) -> None:  # fmt: skip
        self.id, self.optional = id, optional
        extra = options.pop("extra_dict", None) or {}
        given = {"display_name": display_name, "tooltip": tooltip, "lazy": lazy, **options, **extra}
        self.options = {_WIRE.get(name, name): _plain(value) for name, value in given.items() if value is not None}

    def declaration(self) -> tuple[Any, dict[str, Any]]:
        """The input as INPUT_TYPES declares it."""
        return self.io_type, dict(self.options)


class Output:
    """An output of a schema."""

    io_type: Any = "*"
    template: Template | None = None

    def __init__(
        self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:  # fmt: skip
        self.id, self.display_name, self.tooltip, self.is_output_list = id, display_name, tooltip, is_output_list


def _plain(value: Any) -> Any:
    if isinstance(value, RemoteOptions):
        return value.options
    return value.value if isinstance(value, enum.Enum) else value


def _options(given: Any) -> list[Any]:
    if isinstance(given, type) and issubclass(given, enum.Enum):
        return [member.value for member in given]
    return [*(given or ())]


class _ComboInput(Input):
    def __init__(
        self, id: str, options: Any = None, *, multiselect: bool = False, upload: Any = None, **more: Any
    ) -> None:
        uploads: dict[str, Any] = {} if upload is None else {str(_plain(upload)): True}
        super().__init__(id, options=_options(options), multiselect=multiselect or None, **uploads, **more)


class _MultiComboInput(_ComboInput):
    def __init__(self, id: str, options: Any = None, **more: Any) -> None:
        super().__init__(id, options, multiselect=True, **more)


class _ComboOutput(Output):
    def __init__(
        self, id: str | None = None, display_name: str | None = None, options: Any = None, **more: Any
    ) -> None:
        super().__init__(id, display_name, **more)
        if options is not None:
            self.io_type = _options(options)


def io_type(name: str, input: type[Input] = Input, output: type[Output] = Output) -> type:
    """A type with its `Input` and `Output`; `Type` is for annotations."""
    members = {"io_type": name}
    return type(name, (), {**members, "Type": Any, "Input": type("Input", (input,), members),
                           "Output": type("Output", (output,), members)})  # fmt: skip


Int, Float, String, Boolean = (io_type(name) for name in ("INT", "FLOAT", "STRING", "BOOLEAN"))
Combo = io_type("COMBO", _ComboInput, _ComboOutput)
MultiCombo = io_type("COMBO", _MultiComboInput, _ComboOutput)
Image, Mask, Latent, Conditioning = (io_type(name) for name in ("IMAGE", "MASK", "LATENT", "CONDITIONING"))
Model, Clip, Vae, ControlNet = (io_type(name) for name in ("MODEL", "CLIP", "VAE", "CONTROL_NET"))
Sampler, Sigmas, Noise, Guider = (io_type(name) for name in ("SAMPLER", "SIGMAS", "NOISE", "GUIDER"))
Audio, Video, SVG, UpscaleModel, AnyType = (io_type(name) for name in ("AUDIO", "VIDEO", "SVG", "UPSCALE_MODEL", "*"))
ClipVision, ClipVisionOutput = io_type("CLIP_VISION"), io_type("CLIP_VISION_OUTPUT")
StyleModel, Gligen, Hooks, LoraModel = (io_type(name) for name in ("STYLE_MODEL", "GLIGEN", "HOOKS", "LORA_MODEL"))
Mesh, Voxel = io_type("MESH"), io_type("VOXEL")


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


# inputs with dotted names, see `dynamic_input`


def input_groups(inputs: Iterable[Input]) -> dict[str, dict[str, Any]]:
    """Inputs as INPUT_TYPES declares them: those that must be given, and others."""
    groups: dict[str, dict[str, Any]] = {"required": {}, "optional": {}}
    for one in inputs:
        groups["optional" if one.optional else "required"][one.id] = one.declaration()
    return {name: group for name, group in groups.items() if group}


class Template:
    """What several inputs or outputs have in common, in the shape of definitions."""

    def __init__(self, **facts: Any) -> None:
        self.facts: Mapping[str, Any] = facts


class Autogrow:
    """An input of which there are as many as are linked."""

    class TemplatePrefix(Template):
        """Inputs that are called by a prefix and a number from 0."""

        def __init__(self, input: Input, prefix: str, min: int = 1, max: int = 10) -> None:
            super().__init__(input=input_groups([input]), prefix=prefix, min=min, max=max)

    class TemplateNames(Template):
        """Inputs of these names."""

        def __init__(self, input: Input, names: Sequence[str], min: int = 1) -> None:
            super().__init__(input=input_groups([input]), names=[*names], min=min, max=len(names))

    class Input(Input):
        io_type = AUTOGROW

        def __init__(self, id: str, template: Template, **options: Any) -> None:
            super().__init__(id, template=dict(template.facts), **options)

    Type = dict[str, Any]


class DynamicCombo:
    """A choice whose options bring inputs of their own."""

    class Option:
        """One option."""

        def __init__(self, key: str, inputs: Sequence[Input]) -> None:
            self.key, self.inputs = key, inputs

    class Input(Input):
        io_type = CHOICE

        def __init__(self, id: str, options: Sequence[DynamicCombo.Option], **more: Any) -> None:
            given = [{"key": option.key, "inputs": input_groups(option.inputs)} for option in options]
            super().__init__(id, options=given, **more)

    Type = dict[str, Any]


class DynamicSlot:
    """A link that brings inputs of its own."""

    class Input(Input):
        io_type = SLOT

        def __init__(self, slot: Input, inputs: Sequence[Input], **options: Any) -> None:
            kind, given = slot.declaration()
            super().__init__(
                slot.id, slotType=kind, inputs=input_groups(inputs), **{"optional": True, **given, **options}
            )

    Type = dict[str, Any]


class MatchType:
    """Inputs and outputs that carry the same type, whichever that is."""

    class Template(Template):
        """Says which belong together, and what they may carry."""

        def __init__(self, template_id: str, allowed_types: Any = None) -> None:
            listed: Any = allowed_types if isinstance(allowed_types, list | tuple) else [allowed_types or AnyType]
            super().__init__(template_id=template_id, allowed_types=",".join(kind.io_type for kind in listed))

    class Input(Input):
        io_type = MATCHED

        def __init__(self, id: str, template: Template, **options: Any) -> None:
            super().__init__(id, template=dict(template.facts), **options)

    class Output(Output):
        io_type = MATCHED

        def __init__(self, template: Template, id: str | None = None, **options: Any) -> None:
            super().__init__(id, **options)
            self.template = template

    Type = Any
