# mypy: ignore-errors
"""A pack of the newer class API with what that API brought later: dynamic inputs, helpers that save, sync progress."""

import enum

import torch
from comfy_api.latest import ComfyAPISync, ComfyExtension, Input, io, ui


class Mode(enum.Enum):
    fast = "fast"
    slow = "slow"


class AtelierGrow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        numbers = io.Autogrow.TemplatePrefix(input=io.Int.Input("number", min=0), prefix="number", min=2, max=4)
        names = io.Autogrow.TemplateNames(input=io.String.Input("text", lazy=True), names=["first", "last"], min=0)
        return io.Schema(
            node_id="AtelierGrow", category="atelier", outputs=[io.String.Output()],
            inputs=[io.Autogrow.Input("numbers", template=numbers), io.Autogrow.Input("names", template=names)],
        )  # fmt: skip

    @classmethod
    def check_lazy_status(cls, numbers, names):
        return ["names.last"] if "last" in names else []

    @classmethod
    def execute(cls, numbers: io.Autogrow.Type, names: io.Autogrow.Type) -> io.NodeOutput:
        return io.NodeOutput(f"{numbers} {names}")


class AtelierChoose(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        resize = [io.Int.Input("width", min=1), io.Int.Input("height", min=1, optional=True)]
        inner = io.DynamicCombo.Input("kind", options=[io.DynamicCombo.Option("a", [io.Float.Input("amount", max=1)])])
        options = [
            io.DynamicCombo.Option("keep", []),
            io.DynamicCombo.Option("resize", resize),
            io.DynamicCombo.Option("filter", [inner, io.String.Input("width")]),
        ]
        return io.Schema(
            node_id="AtelierChoose", category="atelier", outputs=[io.String.Output()],
            inputs=[
                io.DynamicCombo.Input("mode", options=options),
                io.DynamicSlot.Input(io.Int.Input("mask"), inputs=[io.Int.Input("grow")]),
                io.Combo.Input("speed", options=Mode, default=Mode.fast),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, mode):
        return "never 13" if mode.get("width") == 13 else True

    @classmethod
    def execute(cls, mode, speed, mask=None) -> io.NodeOutput:
        return io.NodeOutput(f"{mode} {mask} {speed}")


class AtelierMatch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        same = io.MatchType.Template("same", allowed_types=[io.Int, io.String])
        return io.Schema(
            node_id="AtelierMatch", category="atelier",
            inputs=[io.MatchType.Input("one", template=same), io.MatchType.Input("two", template=same)],
            outputs=[io.MatchType.Output(template=same, display_name="either")],
        )  # fmt: skip

    @classmethod
    def execute(cls, one, two) -> io.NodeOutput:
        return io.NodeOutput(one or two)


class AtelierAny(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AtelierAny", category="atelier", inputs=[io.Int.Input("a")], outputs=[io.String.Output()],
            accept_all_inputs=True, search_aliases=["whatever"], essentials_category="Texts", is_dev_only=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, a, **more) -> io.NodeOutput:
        return io.NodeOutput(f"{a} {sorted(more.items())}")


class AtelierShow(io.ComfyNode):
    """Shows and saves in all ways."""

    @classmethod
    def define_schema(cls):
        ways = ["preview", "mask", "save", "apng", "webp", "sound", "flac", "solid", "nothing"]
        return io.Schema(
            node_id="AtelierShow", category="atelier", is_output_node=True,
            inputs=[io.Image.Input("image"), io.Combo.Input("way", options=ways)], outputs=[],
        )  # fmt: skip

    @classmethod
    def execute(cls, image: Input.Image, way) -> io.NodeOutput:
        ComfyAPISync().execution.set_progress(1, 2, preview_image=image)
        sound = {"waveform": torch.zeros(1, 2, 100), "sample_rate": 8000}
        images = torch.cat([image, 1 - image])
        if way == "preview":
            return io.NodeOutput(ui=ui.PreviewImage(image, cls=cls))
        if way == "mask":
            return io.NodeOutput(ui=ui.PreviewMask(image[..., 0], cls=cls))
        if way == "save":
            return io.NodeOutput(ui=ui.ImageSaveHelper.get_save_images_ui(images, "atelier/kept", cls=cls))
        if way == "apng":
            return io.NodeOutput(ui=ui.ImageSaveHelper.get_save_animated_png_ui(images, "atelier/moving", cls, 4.0, 4))
        if way == "webp":
            saved = ui.ImageSaveHelper.save_animated_webp(
                images, "atelier/moving", io.FolderType.output, cls, 4.0, True, 80, "fastest"
            )
            return io.NodeOutput(ui=ui.SavedImages([saved], is_animated=True))
        if way == "solid":
            return io.NodeOutput(ui=ui.PreviewUI3D("mesh.glb"))
        if way == "flac":
            return io.NodeOutput(ui=ui.AudioSaveHelper.get_save_audio_ui(sound, "atelier/sound", cls))
        if way == "sound":
            return io.NodeOutput(ui=ui.PreviewAudio(sound, cls=cls))
        return None


class AtelierExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [AtelierGrow, AtelierChoose, AtelierMatch, AtelierAny, AtelierShow]


def comfy_entrypoint():
    return AtelierExtension()
