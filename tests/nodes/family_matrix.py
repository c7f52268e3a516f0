"""Which families are held against which pipelines of diffusers, and in which tasks."""

from __future__ import annotations

from collections.abc import Mapping

TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING = TASKS = ("text to image", "image to image", "inpainting")


def _row(*classes: str | None) -> dict[str, str | None]:
    return dict(zip(TASKS, (name and f"{name}Pipeline" for name in classes), strict=True))


SD = _row("StableDiffusion", "StableDiffusionImg2Img", "StableDiffusionInpaint")
MATRIX: Mapping[str, Mapping[str, str | None]] = {
    "sd1": SD,
    "sd1-inpainting": _row(None, None, "StableDiffusionInpaint"),
    "sd2": SD,
    "sd2-v": SD,
    "sdxl": _row("StableDiffusionXL", "StableDiffusionXLImg2Img", "StableDiffusionXLInpaint"),
    "sdxl-inpainting": _row(None, None, "StableDiffusionXLInpaint"),
    "refiner": _row(None, "StableDiffusionXLImg2Img", "StableDiffusionXLInpaint"),
    "sd3": _row("StableDiffusion3", "StableDiffusion3Img2Img", "StableDiffusion3Inpaint"),
    "flux": _row("Flux", "FluxImg2Img", "FluxInpaint"),
    "pixart": _row("PixArtSigma", None, None),
    "z-image": _row("ZImage", "ZImageImg2Img", "ZImageInpaint"),
    "hidream": _row("HiDreamImage", None, None),
    "qwen-image": _row("QwenImage", "QwenImageImg2Img", "QwenImageInpaint"),
}
"""Family → task → the class of the pipeline; None where diffusers has none for such a model."""
