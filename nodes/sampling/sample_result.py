"""What a sampling gives."""

from __future__ import annotations

from typing import NamedTuple

from ..ports import Latent


class SampleResult(NamedTuple):
    """Two latents, unscaled, on the CPU.

    Attributes:
        output: the latent at the last noise level. denoised_output: the last prediction of the clean latent.
    """

    output: Latent
    denoised_output: Latent
