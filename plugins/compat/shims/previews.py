"""`latent_preview`: what samplers show on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mezzotint.nodes.sampling.latent_preview import latent_colours
from mezzotint.plugins.compat import surroundings

from .tensors import ProgressBar

MAX_PREVIEW_RESOLUTION = 512


class LatentPreviewer:
    """Makes pictures of latents as a model sees them."""

    def __init__(self, model: Any) -> None:
        self._colours, self._sampling = latent_colours(model.plain), model.sampling

    def decode_latent_to_preview(self, x0: Any) -> Any:
        """A picture of the first latent of a batch [B, C, h, w]; None where that is not known for the model."""
        return None if self._colours is None else self._colours.picture(self._sampling.to_latent(x0[:1]))

    def decode_latent_to_preview_image(self, preview_format: str, x0: Any) -> Any:
        """The same as `ProgressBar.update_absolute` takes it."""
        picture = self.decode_latent_to_preview(x0)
        return None if picture is None else (preview_format, picture, MAX_PREVIEW_RESOLUTION)


def prepare_callback(
    model: Any, steps: int, x0_output_dict: dict[str, Any] | None = None
) -> Callable[[int, Any, Any, int], None]:
    """What a sampler calls after each step (step, x0, x, total): tells progress with a preview, keeps the last x0."""
    bar, previewer = ProgressBar(steps), LatentPreviewer(model)

    def callback(step: int, x0: Any, x: Any, total_steps: int) -> None:
        if x0_output_dict is not None:
            x0_output_dict["x0"] = x0
        here = surroundings.context()
        wanted = here is not None and here.wants_previews
        bar.update_absolute(
            step + 1, total_steps, previewer.decode_latent_to_preview_image("JPEG", x0) if wanted else None
        )

    return callback
