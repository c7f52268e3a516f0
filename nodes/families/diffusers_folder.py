"""A checkpoint in the diffusers folder layout: what its files say, read with no library and no weights.

model_index.json            component → [library, class]
unet/ vae/ text_encoder/    config.json and *.safetensors
tokenizer/                  tokenizer.json, or vocab.json and merges.txt
scheduler/                  scheduler_config.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import ModelFileError

from ..models.component_weights import LAST_LAYER, SDXL_READING, ComponentWeights, TextReading, names_of_today, one_line
from ..models.pickle_file import pickle_refused
from ..models.weights_file import PICKLE_SUFFIXES, read_headers, read_tensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from ..text.prompt_chunks import ChunkLayout

INDEX_NAME = "model_index.json"
CLASSES = {
    "unet": "UNet2DConditionModel",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
    "vae": "AutoencoderKL",
    "tokenizer": "CLIPTokenizer",
    "tokenizer_2": "CLIPTokenizer",
    "scheduler": "",
}
"""The components of a checkpoint and the class each must have; any will do for the scheduler."""
UNCLIP_CLASSES = {
    "image_encoder": "CLIPVisionModelWithProjection",
    "image_normalizer": "StableUnCLIPImageNormalizer",
    "image_noising_scheduler": "",
}
"""Those that an unCLIP checkpoint has beside them."""
SECOND = ("text_encoder_2", "tokenizer_2")
"""SDXL has a second text encoder, and its refiner that one alone."""
NETWORKS = ("unet", "text_encoder", "text_encoder_2", "vae", "image_encoder", "image_normalizer")
"""The components that have weights."""
SUPPORTED = (
    "folders with a UNet2DConditionModel, CLIP text encoders and an AutoencoderKL, such as Stable Diffusion 1, 2 and XL"
)
WEIGHTS_STEMS = ("diffusion_pytorch_model", "model")
VARIANTS = ("", ".fp16", ".non_ema")
"""Which of several weights files is taken, the first that is there."""


@dataclass(frozen=True)
class DiffusersFolder:
    """A checkpoint folder.

    Attributes:
        path: where it lies. name: what the user calls it, for messages.
    """

    path: Path
    name: str

    @cached_property
    def components(self) -> dict[str, str]:
        """Component → its class, for the components that are there.

        Raises:
            ModelFileError: `model_index.json` cannot be read.
        """
        index = self._json(INDEX_NAME)
        pairs = {key: value for key, value in index.items() if isinstance(value, list) and len(value) == 2}
        return {key: str(class_name) for key, (_, class_name) in pairs.items() if class_name}

    @property
    def pipeline_class(self) -> str:
        return str(self._json(INDEX_NAME).get("_class_name", "pipeline of no class"))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of a U-Net conditioned by class, by number, where `model_index.json` says them (`id2label`)."""
        labels = self._json(INDEX_NAME).get("id2label")
        names = labels if isinstance(labels, dict) else {}
        return tuple(str(names[key]) for key in map(str, range(len(names))) if key in names)

    def config(self, component: str) -> dict[str, Any]:
        """What `config.json` of a component says (`scheduler_config.json` of schedulers).

        Raises:
            ModelFileError: it is missing or cannot be read.
        """
        name = "scheduler_config.json" if component.endswith("scheduler") else "config.json"
        return self._json(f"{component}/{name}")

    @property
    def text_encoders(self) -> tuple[str, ...]:
        return tuple(name for name in ("text_encoder", "text_encoder_2") if name in self.components)

    def reading(self, component: str) -> TextReading:
        return SDXL_READING if "text_encoder_2" in self.components else LAST_LAYER

    def weights(self, component: str) -> ComponentWeights:
        paths = self.weights_paths(component)
        return ComponentWeights(paths, read_headers(paths), names_of_today)

    def picture_statistics(self) -> dict[str, Tensor]:
        if not self.is_unclip:
            return {}
        (path,) = self.weights_paths("image_normalizer")
        return {name: tensor.float() for name, tensor in read_tensors(path, "cpu", ("mean", "std")).items()}

    def tokenizer(self, component: str, length: int) -> tuple[Tokenizer, ChunkLayout]:
        from transformers import CLIPTokenizerFast

        from ..text.prompt_chunks import ChunkLayout

        path = self.path / component.replace("text_encoder", "tokenizer")
        try:
            made = CLIPTokenizerFast.from_pretrained(path, local_files_only=True)
        except Exception as error:  # the tokenizers library raises the bare class for what it cannot read
            raise ModelFileError(
                f"the tokenizer of the checkpoint '{self.name}' cannot be read from '{path}' ({one_line(error)}); "
                f"fetch it again"
            ) from None
        tokenizer = made.backend_tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer, ChunkLayout(made.bos_token_id, made.eos_token_id, made.pad_token_id, length)

    def weights_paths(self, component: str) -> list[Path]:
        """The safetensors files of a component: one, or the parts that an index names.

        Raises:
            ModelFileError: there is none.
        """
        folder = self.path / component
        for variant in VARIANTS:
            for stem in WEIGHTS_STEMS:
                whole = folder / f"{stem}{variant}.safetensors"
                if whole.is_file():
                    return [whole]
                if whole.with_name(f"{stem}.safetensors.index{variant}.json").is_file():
                    return self._parts(component, f"{stem}.safetensors.index{variant}.json")
        pickles = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICKLE_SUFFIXES)
        if pickles:
            raise pickle_refused(pickles[0])
        raise ModelFileError(
            f"the checkpoint '{self.name}' has no weights for its {component}: no {WEIGHTS_STEMS[0]}.safetensors or "
            f"{WEIGHTS_STEMS[1]}.safetensors lies in '{folder}'; fetch the folder again"
        )

    def _parts(self, component: str, index_name: str) -> list[Path]:
        index = self._json(f"{component}/{index_name}").get("weight_map")
        names = sorted({str(name) for name in index.values()}) if isinstance(index, dict) else []
        paths = [self.path / component / Path(name).name for name in names]
        missing = next((str(path) for path in paths if not path.is_file()), None if paths else index_name)
        if missing:
            raise ModelFileError(
                f"the checkpoint '{self.name}' lacks '{missing}', a part of its {component}; fetch the folder again"
            )
        return paths

    def check(self) -> None:
        """See that everything is there and of a known class; reads configurations and the headers of weights.

        Raises:
            ModelFileError: something is missing, damaged, a pickle, or of a class that is not known.
        """
        other = next((name for name in ("transformer", "prior") if name in self.components), None)
        if other:
            raise self._unknown(f"has a {other} ({self.components[other]})")
        for component, class_name in self._classes.items():
            given = self.components.get(component)
            if given is None and not self._can_lack(component):
                raise self._unknown(f"has no {component}")
            if given and class_name and given.removesuffix("Fast") != class_name:
                raise self._unknown(f"has a {component} of class {given}")
        for component in ("scheduler", *(["image_noising_scheduler"] if self.is_unclip else [])):
            self.config(component)
        for component in self.text_encoders:
            self._check_tokenizer(component.replace("text_encoder", "tokenizer"))
        for component in self._networks():
            self.config(component)
            read_headers(self.weights_paths(component))

    @property
    def is_unclip(self) -> bool:
        """Whether its diffusion model is shown pictures as CLIP reads them."""
        return "image_normalizer" in self.components

    @property
    def _classes(self) -> dict[str, str]:
        return {**CLASSES, **(UNCLIP_CLASSES if self.is_unclip else {})}

    def _can_lack(self, component: str) -> bool:
        return component in SECOND or (component in ("text_encoder", "tokenizer") and SECOND[0] in self.components)

    def _networks(self) -> list[str]:
        return [name for name in NETWORKS if name in self.components and name in self._classes]

    def _check_tokenizer(self, component: str) -> None:
        folder = self.path / component
        if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
            raise ModelFileError(
                f"the checkpoint '{self.name}' lacks '{folder / 'tokenizer.json'}', or vocab.json and merges.txt "
                f"beside it; fetch the folder again"
            )

    def _unknown(self, what: str) -> ModelFileError:
        return ModelFileError(
            f"the checkpoint '{self.name}' ({self.pipeline_class}) {what}, which cannot be used; known are {SUPPORTED}"
        )

    def file_names(self) -> list[str]:
        """The files that decide what the checkpoint is, as paths below it with '/', sorted; for its digest.

        Raises:
            ModelFileError: a weights file is missing.
        """
        folders = [self.path / component for component in self._classes]
        small = [path for folder in folders for path in folder.glob("*") if path.suffix in (".json", ".txt")]
        weights = [path for component in self._networks() for path in self.weights_paths(component)]
        inside = {path.relative_to(self.path).as_posix() for path in (*small, *weights)}
        return sorted({INDEX_NAME, *inside})

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise ModelFileError(f"the checkpoint '{self.name}' lacks '{path}'; fetch the folder again") from None
        except OSError as error:
            raise ModelFileError(f"'{path}' cannot be read ({error.strerror}); check its permissions") from None
        except ValueError as error:
            raise ModelFileError(f"'{path}' is not JSON ({error}); fetch it again") from None
        if not isinstance(content, dict):
            raise ModelFileError(f"'{path}' holds a JSON {type(content).__name__}, no object; fetch it again")
        return content
