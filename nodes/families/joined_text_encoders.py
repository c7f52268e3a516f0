"""The two text encoders of SDXL, each from a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import ModelFileError

from ..models.component_weights import SDXL_READING, ComponentWeights, TextReading
from ..models.network_names import TEXT_ENCODERS
from .ldm_config import OF_OPEN_CLIP, OF_OPENAI

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

    from ..text.prompt_chunks import ChunkLayout
    from .file_parts import Part
    from .single_file import SingleFile


class JoinedTextEncoders:
    """Of `CheckpointFiles`, what text encoders need.

    Args:
        files: in any order.

    Raises:
        ModelFileError: they are not the two of SDXL.
    """

    text_encoders = TEXT_ENCODERS[:2]

    def __init__(self, *files: SingleFile) -> None:
        self.name = "', '".join(file.name for file in files)
        by_activation = {str(file.config(TEXT_ENCODERS[0])["hidden_act"]): file for file in files}
        if by_activation.keys() != {OF_OPENAI, OF_OPEN_CLIP}:
            raise ModelFileError(
                f"'{self.name}' are not the two text encoders of SDXL; choose CLIP L (768 numbers for each token) and "
                f"CLIP G (1280) in DualCLIPLoader"
            )
        self._files = dict(
            zip(self.text_encoders, (by_activation[OF_OPENAI], by_activation[OF_OPEN_CLIP]), strict=True)
        )

    def reading(self, component: str) -> TextReading:
        return SDXL_READING

    def config(self, component: str) -> Mapping[str, Any]:
        return self._files[component].config(TEXT_ENCODERS[0])

    def origin(self, component: str) -> tuple[Path, Part]:
        """Where a text encoder lies in which file."""
        return self._files[component].origin(TEXT_ENCODERS[0])

    def weights(self, component: str) -> ComponentWeights:
        return self._files[component].weights(TEXT_ENCODERS[0])

    def tokenizer(self, component: str, length: int) -> tuple[Tokenizer, ChunkLayout]:
        return self._files[component].tokenizer(TEXT_ENCODERS[0], length)
