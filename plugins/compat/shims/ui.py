"""`ui` of `comfy_api.latest`: what nodes show, and helpers that save pictures and sounds."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from mezzotint.engine.context import Context
from mezzotint.engine.output_file import output_series, preview_prefix, workflow_texts
from mezzotint.nodes.images.mask import mask_to_image
from mezzotint.nodes.png import encode_png, to_uint8
from mezzotint.plugins.compat import surroundings

from .schema_types import FolderType

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

PNG_TEXT_CHUNK = b"comf"
EXIF_MODEL, EXIF_MAKE = 0x0110, 0x010F
"""Where animated WebP files carry the graph and what goes with it."""
WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}


class SavedResult(dict[str, str]):
    """A file that was saved, as clients ask for it."""

    def __init__(self, filename: str, subfolder: str, type: Any) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=str(type))

    @property
    def filename(self) -> str:
        return self["filename"]

    @property
    def subfolder(self) -> str:
        return self["subfolder"]

    @property
    def type(self) -> str:
        return self["type"]


class _Shown:
    """What an output node shows: lists by name."""

    def __init__(self, **lists: Sequence[Any]) -> None:
        self.lists = lists

    def as_dict(self) -> dict[str, Any]:
        """The lists, as older nodes return them."""
        return dict(self.lists)


class SavedImages(_Shown):
    """Pictures that were saved."""

    def __init__(self, results: Sequence[SavedResult], is_animated: bool = False) -> None:
        animated = {"animated": (True,)} if is_animated else {}
        super().__init__(images=[*results], **animated)


class SavedAudios(_Shown):
    """Sounds that were saved."""

    def __init__(self, results: Sequence[SavedResult]) -> None:
        super().__init__(audio=[*results])


class PreviewImage(SavedImages):
    """Pictures [B, H, W, C] that are shown and not kept."""

    def __init__(self, image: Tensor, animated: bool = False, cls: Any = None, **_: Any) -> None:
        super().__init__(ImageSaveHelper.save_images(image, None, FolderType.temp, cls, compress_level=1), animated)


class PreviewMask(PreviewImage):
    """Masks [B, H, W] that are shown as grey pictures."""

    def __init__(self, mask: Tensor, animated: bool = False, cls: Any = None, **_: Any) -> None:
        super().__init__(mask_to_image(mask), animated, cls)


class PreviewAudio(SavedAudios):
    """A sound that is shown and not kept."""

    def __init__(self, audio: dict[str, Any], cls: Any = None, **_: Any) -> None:
        super().__init__(AudioSaveHelper.save_audio(audio, None, FolderType.temp, cls, format="wav"))


class PreviewVideo(_Shown):
    """Videos that were saved."""

    def __init__(self, values: Sequence[Any], **_: Any) -> None:
        super().__init__(images=[*values], animated=(True,))


class PreviewText(_Shown):
    """A text."""

    def __init__(self, value: str, **_: Any) -> None:
        super().__init__(text=(value,))


class PreviewUI3D(_Shown):
    """A file with a solid."""

    def __init__(self, model_file: str, camera_info: Any = None, **_: Any) -> None:
        super().__init__(result=[model_file, camera_info])


class ImageSaveHelper:
    """Saves pictures [B, H, W, C], 0..1, with the workflow inside."""

    @staticmethod
    def save_images(
        images: Tensor, filename_prefix: str | None, folder_type: Any = FolderType.output, cls: Any = None,
        compress_level: int = 4,
    ) -> list[SavedResult]:  # fmt: skip
        """Each as PNG."""
        texts = _texts()
        made = (encode_png(to_uint8(image), texts) for image in images)
        return _saved(made, ".png", filename_prefix, folder_type, images.shape)

    @staticmethod
    def get_save_images_ui(
        images: Tensor, filename_prefix: str, cls: Any = None, compress_level: int = 4
    ) -> SavedImages:
        """Save them, and what is to be shown of it."""
        return SavedImages(ImageSaveHelper.save_images(images, filename_prefix, FolderType.output, cls, compress_level))

    @staticmethod
    def save_animated_png(
        images: Tensor, filename_prefix: str | None, folder_type: Any = FolderType.output, cls: Any = None,
        fps: float = 6.0, compress_level: int = 4,
    ) -> SavedResult:  # fmt: skip
        """All as one animated PNG."""
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        for key, text in _texts().items():
            info.add(PNG_TEXT_CHUNK, f"{key}\0{text}".encode("latin-1"), after_idat=True)
        data = _animation(images, "PNG", fps, pnginfo=info, compress_level=compress_level)
        return _saved([data], ".png", filename_prefix, folder_type, images.shape)[0]

    @staticmethod
    def save_animated_webp(
        images: Tensor, filename_prefix: str | None, folder_type: Any = FolderType.output, cls: Any = None,
        fps: float = 6.0, lossless: bool = True, quality: int = 80, method: Any = 4,
    ) -> SavedResult:  # fmt: skip
        """All as one animated WebP."""
        effort = WEBP_METHODS.get(str(method), method)
        more = {"lossless": lossless, "quality": quality, "method": effort, "exif": _exif()}
        data = _animation(images, "WEBP", fps, **more)
        return _saved([data], ".webp", filename_prefix, folder_type, images.shape)[0]

    @staticmethod
    def get_save_animated_png_ui(images: Tensor, filename_prefix: str, cls: Any = None, fps: float = 6.0,
                                 compress_level: int = 4) -> SavedImages:  # fmt: skip
        """Save them, and what is to be shown of it."""
        saved = ImageSaveHelper.save_animated_png(images, filename_prefix, FolderType.output, cls, fps, compress_level)
        return SavedImages([saved], is_animated=len(images) > 1)

    @staticmethod
    def get_save_animated_webp_ui(
        images: Tensor, filename_prefix: str, cls: Any = None, fps: float = 6.0, lossless: bool = True,
        quality: int = 80, method: Any = 4,
    ) -> SavedImages:  # fmt: skip
        """Save them, and what is to be shown of it."""
        saved = ImageSaveHelper.save_animated_webp(
            images, filename_prefix, FolderType.output, cls, fps, lossless, quality, method
        )
        return SavedImages([saved], is_animated=len(images) > 1)


class AudioSaveHelper:
    """Saves sounds, `{"waveform": [B, C, T], "sample_rate": Hz}`, as 16-bit WAV."""

    @staticmethod
    def save_audio(
        audio: dict[str, Any], filename_prefix: str | None, folder_type: Any = FolderType.output, cls: Any = None,
        format: str = "flac", quality: str = "128k",
    ) -> list[SavedResult]:  # fmt: skip
        """Each of a batch.

        Raises:
            NotImplementedError: another format is wanted.
        """
        if format != "wav":
            raise NotImplementedError(
                f"AudioSaveHelper: sounds are saved as wav; {format} needs an encoder that Mezzotint does not bring"
            )
        made = (_wav(waveform, int(audio["sample_rate"])) for waveform in audio["waveform"])
        return _saved(made, ".wav", filename_prefix, folder_type)

    @staticmethod
    def get_save_audio_ui(audio: dict[str, Any], filename_prefix: str, cls: Any = None, format: str = "flac",
                          quality: str = "128k") -> SavedAudios:  # fmt: skip
        """Save them, and what is to be shown of it."""
        return SavedAudios(AudioSaveHelper.save_audio(audio, filename_prefix, FolderType.output, cls, format, quality))


def _context() -> Context:
    return surroundings.context() or surroundings.context_outside_a_call()


def _texts() -> dict[str, str]:
    ctx = _context()
    return workflow_texts(ctx.original_prompt, ctx.extra_pnginfo, metadata=ctx.save_metadata)


def _saved(
    made: Iterable[bytes], extension: str, prefix: str | None, folder_type: Any, shape: Sequence[int] = (0, 0, 0)
) -> list[SavedResult]:
    """Save files of a series; one without a prefix is a preview of the running node."""
    ctx, kind = _context(), str(folder_type)
    height, width = shape[1], shape[2]
    save: Callable[[bytes, int], Any]
    if kind == FolderType.output and prefix is not None:
        names = ctx.outputs.series(prefix, width=width, height=height)

        def save(data: bytes, index: int) -> Any:
            return names.save(data, extension, index)
    else:
        series = output_series(
            ctx.folders.by_type(kind),
            prefix or preview_prefix(ctx.node_id),
            folder_type=kind,
            width=width,
            height=height,
        )

        def save(data: bytes, index: int) -> Any:
            return series.save(data, extension, index).shown()

    shown = [save(data, index) for index, data in enumerate(made)]
    return [SavedResult(one["filename"], one["subfolder"], one["type"]) for one in shown]


def _pictures(images: Tensor) -> list[Image]:
    from PIL import Image

    return [Image.fromarray(to_uint8(image)) for image in images]


def _animation(images: Tensor, kind: str, fps: float, **options: Any) -> bytes:
    first, *others = _pictures(images)
    file = BytesIO()
    first.save(file, kind, save_all=True, append_images=others, duration=int(1000 / fps), **options)
    return file.getvalue()


def _exif() -> bytes:
    from PIL import Image

    exif, texts = Image.Exif(), _texts()
    if "prompt" in texts:
        exif[EXIF_MODEL] = f"prompt:{texts.pop('prompt')}"
    for offset, (key, text) in enumerate(texts.items()):
        exif[EXIF_MAKE - offset] = f"{key}:{text}"
    return exif.tobytes()


def _wav(waveform: Tensor, rate: int) -> bytes:
    """A sound [C, T], -1..1, as a file."""
    samples = (waveform.detach().float().cpu().clamp(-1, 1) * 32767).round().short()
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(samples.shape[0])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.t().contiguous().numpy().astype("<i2").tobytes())
    return file.getvalue()
