"""A diffusers folder of any pipeline with a transformer: SD3, Flux, PixArt, Z-Image, Qwen-Image and whatever comes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from mezzotint.engine.errors import ModelFileError

from ..models.component_weights import ComponentWeights, names_of_today, one_line
from ..models.weights_file import read_headers
from .diffusers_folder import INDEX_NAME, DiffusersFolder

TRANSFORMER = "transformer"
LIBRARIES = ("transformers", "diffusers")
"""Nothing else is imported because a file says so."""
NEEDED = ("latents", "height", "width")
"""What a pipeline must take to be called with latents that are drawn already; encoded prompts, too."""
SMALL_SUFFIXES = frozenset({".json", ".txt", ".model", ".jinja"})
"""Of the files that are no weights and decide what a component is."""


class PipelinePart(NamedTuple):
    """A component: the library that its class comes from, and the class's name."""

    library: str
    class_name: str


@dataclass(frozen=True)
class PipelineFolder(DiffusersFolder):
    """A folder whose `model_index.json` names a transformer."""

    @cached_property
    def parts(self) -> dict[str, PipelinePart]:
        """The components that are there.

        Raises:
            ModelFileError: `model_index.json` cannot be read.
        """
        pairs = {key: value for key, value in self._json(INDEX_NAME).items() if isinstance(value, list)}
        return {key: PipelinePart(*map(str, value)) for key, value in pairs.items() if len(value) == 2 and value[1]}

    @property
    def text_parts(self) -> dict[str, PipelinePart]:
        """The text encoders and their tokenizers."""
        return {name: part for name, part in self.parts.items() if name.startswith(("text_encoder", "tokenizer"))}

    @property
    def text_encoders(self) -> tuple[str, ...]:
        return tuple(name for name in self.parts if name.startswith("text_encoder"))

    @property
    def networks(self) -> list[str]:
        """The components with weights that are used."""
        return [TRANSFORMER, "vae", *self.text_encoders]

    def check(self) -> None:
        for component in (TRANSFORMER, "vae"):
            if component not in self.parts:
                raise ModelFileError(
                    f"the checkpoint '{self.name}' ({self.pipeline_class}) has no {component}; fetch the folder again"
                )
        self.config("scheduler")
        for component in self.networks:
            self.config(component)
            read_headers(self.weights_paths(component))

    def file_names(self) -> list[str]:
        folders = [self.path / component for component in self.parts]
        small = [path for folder in folders for path in folder.glob("*") if path.suffix in SMALL_SUFFIXES]
        weights = [path for component in self.networks for path in self.weights_paths(component)]
        return sorted({INDEX_NAME, *(path.relative_to(self.path).as_posix() for path in (*small, *weights))})

    def weights(self, component: str) -> ComponentWeights:
        paths = self.weights_paths(component)
        return ComponentWeights(paths, read_headers(paths), names_of_today)

    def pipeline(self) -> Any:
        """The class of the pipeline.

        Raises:
            ModelFileError: the installed diffusers has none of that name.
        """
        import diffusers

        from .pipeline_call import TOKENS, tokens_name

        found = getattr(diffusers, self.pipeline_class, None)
        if found is None:
            raise ModelFileError(
                f"the checkpoint '{self.name}' is a {self.pipeline_class}, which the installed diffusers "
                f"{diffusers.__version__} does not know; a newer one may"
            )
        lacking = [name for name in NEEDED if name not in inspect.signature(found.__call__).parameters]
        if not tokens_name(found):
            lacking.insert(0, TOKENS[0])
        if lacking:
            raise ModelFileError(
                f"the checkpoint '{self.name}' is a {self.pipeline_class}, which takes no {lacking[0]}: models of this "
                f"kind cannot be used yet; known are SD3, Flux, PixArt, Z-Image, Qwen-Image and pipelines like theirs"
            )
        return found

    def component_class(self, component: str) -> Any:
        """The class of a component. Raises ModelFileError: the installed libraries have none of that name."""
        from importlib import import_module

        library, class_name = self.parts[component]
        try:
            return getattr(
                import_module(library if library in ("transformers", "diffusers") else "diffusers"), class_name
            )
        except (ImportError, AttributeError) as error:
            raise ModelFileError(
                f"the {component} of the checkpoint '{self.name}' is a {class_name}, which the installed {library} "
                f"does not know ({one_line(error)}); a newer one may"
            ) from None

    def sampling_config(self) -> Mapping[str, Any]:
        """What tells how it is sampled: of the VAE's latents and of the scheduler."""
        vae = self.config("vae")
        latents = vae.get("latent_channels") or vae.get("z_dim") or 4
        levels = vae.get("block_out_channels") or vae.get("dim_mult") or [0] * 4
        return {**vae, "latent_channels": latents, "downscale": 2 ** (len(levels) - 1)}
