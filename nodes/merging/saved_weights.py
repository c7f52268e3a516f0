"""What is written of a model, text encoder or VAE: its tensors by their published names, as their file has them.

Without changes, tensors are the file's own. With LoRAs and merges, they are those that the model computes with, in the
dtypes of its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import MezzotintError

from ..autoencoders.vae_recipe import BESIDE, VaeRecipe
from ..families.file_parts import CLIP, OPEN_CLIP, T5, TOKENIZER_TENSOR, Part, plain_shapes
from ..families.pipeline_folder import TRANSFORMER
from ..families.published_layout import (
    T5_CLASS,
    family_of,
    layout_of,
    published_tensors,
    unlike,
    with_unused_layer,
)
from ..families.separate_text_encoders import CHECKPOINT_PREFIXES, WANTED, text_family
from ..families.single_file import LEFT_OVER
from ..models.component_weights import LAST_LAYER, ComponentWeights, names_of_today
from ..models.model_source import ModelSource, recipe_source
from ..models.network_names import DENOISER, TEXT_ENCODERS
from ..models.weight_scales import parted, scaled
from ..models.weights_file import read_header, read_tensors
from ..models.weights_source import weights_path
from ..models.weights_writer import DeferredTensor
from .merge import WEIGHT_PATCHES

if TYPE_CHECKING:
    from torch import nn

    from mezzotint.engine.folders import Folders

    from ..models.recipe import Kind, Recipe

Tensors = dict[str, DeferredTensor]
SAVED_CLASSES = ("UNet2DConditionModel", "AutoencoderKL", "CLIPTextModel", "CLIPTextModelWithProjection", T5_CLASS)
T5_TIED = ("shared.weight", "encoder.embed_tokens.weight")
SDXL_PREFIXES = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
REFINER_PREFIX = "conditioner.embedders.0.model."


class ModelSaveError(MezzotintError):
    """A model cannot be written as a single file that would be read as that model."""


@dataclass(frozen=True)
class SavedWeights:
    """Where the weights of one recipe come from.

    Attributes:
        kind: what it is. recipe: without what changes no weights. loaded: what it became.
    """

    kind: Kind
    recipe: Recipe
    loaded: Any
    folders: Folders

    @property
    def name(self) -> str:
        return self.recipe.source.name

    @cached_property
    def networks(self) -> Mapping[str, Any]:
        """By the names that diffusers' pipelines have for them. Raises ModelSaveError: of a family that isn't saved."""
        found: dict[str, Any] = dict(getattr(self.loaded, "networks", None) or {"": None})
        if self.kind == "vae":
            found = {"vae": getattr(self.loaded, "network", None)}
        elif self.kind == "model":
            network = found.get(DENOISER)
            found = {TRANSFORMER if family_of(network) else "unet": network}
        is_known = isinstance(self.recipe, VaeRecipe) or hasattr(self._source.family, "files")
        for network in found.values():
            if not is_known or not (type(network).__name__ in SAVED_CLASSES or family_of(network)):
                raise self._of_no_family(network)
        if self.kind == "clip" and not self._is_pipeline_text:
            # A text encoder is the second one of its files, where SDXL's refiner has it alone.
            return dict(zip(self._files.text_encoders, found.values(), strict=True))
        if self.kind == "clip" and not self.text_family:
            raise self._of_no_family(next(iter(found.values())))
        return found

    def _of_no_family(self, network: Any) -> ModelSaveError:
        return ModelSaveError(
            f"'{self.name}' is of a family ({type(network).__name__}) for which there is no layout of single files "
            f"here; saved are Stable Diffusion 1, 2, XL and 3, Flux, PixArt, the transformers of Z-Image, HiDream and "
            f"Qwen-Image, and models merged of them"
        )

    @property
    def family(self) -> str:
        """Of a transformer, as `file_parts` has it; empty of a U-Net."""
        return family_of(self.networks[TRANSFORMER]) if TRANSFORMER in self.networks else ""

    @property
    def text_family(self) -> str:
        """The family of pipelines that text encoders are for; empty where it is Stable Diffusion 1, 2 or XL."""
        return text_family(self.loaded.pipeline) if self._is_pipeline_text else ""

    @property
    def _is_pipeline_text(self) -> bool:
        from ..families.pipeline_text import PipelineTextEncoder

        return isinstance(self.loaded, PipelineTextEncoder)

    def tensors(self, in_checkpoint: bool = False) -> dict[str, Tensors]:
        """For each network the tensors to be written, by published names without a prefix.

        Args:
            in_checkpoint: whether they are to be together in one file.

        Raises:
            ModelSaveError: a single file cannot say what the network is like.
        """
        return {
            name: self._published(name, each, self._part(name, in_checkpoint)) for name, each in self.networks.items()
        }

    def _part(self, component: str, in_checkpoint: bool) -> Part:
        """As what a network is read from its file."""
        layout = layout_of(component, self.networks[component])
        if self.text_family and in_checkpoint:  # such checkpoints have all names of CLIP as transformers has them
            return Part(self.text_prefixes()[component], CLIP if layout == OPEN_CLIP else layout)
        return Part("", layout, family=self.family if component == TRANSFORMER else "")

    def _published(self, component: str, network: Any, part: Part) -> Tensors:
        published = published_tensors(component, network, self._own(component, network), part.layout)
        if why := unlike(component, network, published, part):
            raise ModelSaveError(
                f"the {component} of '{self.name}' cannot be written as a single file, which says nothing of its "
                f"configuration: {why}; keep its folder, or save what was trained on it as a LoRA"
            )
        if part.layout == T5:
            published |= self._tokenizer(component)
        if part.layout == OPEN_CLIP and len(self.networks) == 1 and self.loaded.reading == LAST_LAYER:
            published = with_unused_layer(published, network.config.num_hidden_layers)
        return {**self._left_over(component, part.layout), **published}

    def _tokenizer(self, component: str) -> Tensors:
        """T5's, which no program brings."""
        import torch
        from tokenizers import Tokenizer

        tokenizer = self.loaded.pipeline.components[component.replace("text_encoder", "tokenizer")]
        copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        copy.no_padding()
        copy.no_truncation()
        return {TOKENIZER_TENSOR: DeferredTensor.of(torch.tensor([*copy.to_str().encode()], dtype=torch.uint8))}

    def _own(self, component: str, network: nn.Module) -> Tensors:
        """A network's tensors by its own names, in the dtypes of its file or those that the recipe asks for."""
        import torch

        from ..adapters.patched_layer import adds_bias, own_parameters

        original, scales = parted(self._weights(component).read(network, "cpu"))
        if type(network).__name__ == T5_CLASS:  # folders have its vectors once, or twice
            original |= {
                name: original.get(name, each) for name, each in network.state_dict().items() if name in T5_TIED
            }
        asked = getattr(self.recipe, "dtype", "auto")
        wanted = None if asked == "auto" else getattr(torch, asked)
        is_changed = any(isinstance(patch, WEIGHT_PATCHES) for patch in self.recipe.patches)
        layers = dict(network.named_modules(remove_duplicate=False))
        if original.keys() != network.state_dict().keys() or any(map(adds_bias, layers.values())):
            raise ModelSaveError(
                f"the {component} of '{self.name}' has been given tensors by a LoRA that its layout has no names for; "
                f"leave the LoRA out"
            )
        made = {}
        for name, tensor in original.items():
            found = torch.bfloat16 if name in scales else tensor.dtype
            dtype = wanted if wanted and tensor.is_floating_point() else found
            layer, _, key = name.rpartition(".")
            scale = scales.get(name)
            if is_changed and tensor.is_floating_point() and key in layers[layer]._parameters:

                def make(layer: Any = layers[layer], key: str = key, dtype: Any = dtype) -> Any:
                    return own_parameters(layer)[key].to(dtype)
            else:

                def make(tensor: Any = tensor, scale: Any = scale, dtype: Any = dtype) -> Any:  # type: ignore[misc]
                    return tensor.to(dtype) if scale is None else scaled(tensor, scale, torch.float32).to(dtype)

            made[name] = DeferredTensor(tuple(tensor.shape), dtype, make)
        return made

    def _weights(self, component: str) -> ComponentWeights:
        if isinstance(self.recipe, VaeRecipe):
            path = weights_path(self.recipe.source, self.folders, BESIDE)
            return ComponentWeights([path], read_header(path), names_of_today)
        weights: ComponentWeights = self._files.weights(component)
        return weights

    @cached_property
    def _source(self) -> ModelSource:
        return recipe_source(self.recipe.source, self.folders)

    @cached_property
    def _files(self) -> Any:
        return self._source.family.files(self.recipe, self._source.path, self.folders)  # type: ignore[attr-defined]

    def _left_over(self, component: str, layout: str) -> Tensors:
        """What the file of a text encoder holds beside what its network takes."""
        if layout not in (CLIP, OPEN_CLIP) or not hasattr(self._files, "origin"):
            return {}
        path, part = self._files.origin(component)
        if part.layout != layout:
            return {}
        shapes = plain_shapes(read_header(path).shapes, part.prefix)
        names = {name: f"{part.prefix}{name}" for name in shapes if name.endswith(LEFT_OVER)}
        found = read_tensors(path, "cpu", names.values())
        return {name: DeferredTensor.of(found[full]) for name, full in names.items()}

    def text_prefixes(self) -> dict[str, str]:
        """What the names of text encoders begin with in a checkpoint. Raises ModelSaveError: of no known family."""
        if self.text_family:
            kinds = dict(zip(TEXT_ENCODERS, WANTED[self.text_family].encoders, strict=False))
            return {component: CHECKPOINT_PREFIXES[kinds[component]] for component in self.networks}
        layouts = [layout_of(component, network) for component, network in self.networks.items()]
        if layouts == [CLIP, OPEN_CLIP]:
            return dict(zip(self.networks, SDXL_PREFIXES, strict=True))
        if layouts == [CLIP]:
            return dict.fromkeys(self.networks, "cond_stage_model.transformer.")
        if layouts == [OPEN_CLIP]:
            is_refiner = not self.loaded.reading.is_normed
            return dict.fromkeys(self.networks, REFINER_PREFIX if is_refiner else "cond_stage_model.model.")
        raise ModelSaveError(f"'{self.name}' has text encoders of no family that is saved in single files")
