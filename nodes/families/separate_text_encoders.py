"""Text encoders of pipelines with a transformer, each from a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Loaded, Residency

from ..models.component_weights import ComponentWeights, names_of_today, one_line
from ..models.recipe import Recipe
from ..models.weight_scales import FILE_SCALE
from ..models.weights_file import read_tensors
from .diffusers_networks import Loading, joined, loading_weights
from .file_parts import CHECKPOINT_G, CHECKPOINT_L, CHECKPOINT_T5, LLAMA, T5, TOKENIZER_TENSOR
from .ldm_config import OF_OPENAI
from .single_file import SingleFile
from .tokenizer_folder import TOKENIZER_FOLDERS, tokenizer_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

CLIP_L, CLIP_G, T5_XXL, LLAMA_8B = "CLIP L", "CLIP G", "T5", "Llama"
PREFIXES = {CHECKPOINT_L: CLIP_L, CHECKPOINT_G: CLIP_G}
PADDING = {CLIP_L: "<|endoftext|>", CLIP_G: "!"}
"""What fills the rest of a text for each."""


class Wanted(NamedTuple):
    """The text encoders of a family.

    Attributes:
        pipeline: the class of diffusers that encodes with them. encoders: in its order; those that it can do without
            are in `optional`. is_projected: whether the pooled output of CLIP is projected.
    """

    pipeline: str
    encoders: tuple[str, ...]
    optional: frozenset[str] = frozenset()
    is_projected: bool = False


WANTED: Mapping[str, Wanted] = {
    "sd3": Wanted("StableDiffusion3Pipeline", (CLIP_L, CLIP_G, T5_XXL), frozenset({T5_XXL}), is_projected=True),
    "flux": Wanted("FluxPipeline", (CLIP_L, T5_XXL)),
    "pixart": Wanted("PixArtSigmaPipeline", (T5_XXL,)),
    "hidream": Wanted("HiDreamImagePipeline", (CLIP_L, CLIP_G, T5_XXL, LLAMA_8B), is_projected=True),
}
"""By what the nodes call the family."""
ALIKE = {"FluxKontextPipeline": "flux", "PixArtAlphaPipeline": "pixart"}
"""Further pipelines with the text encoders of a family."""
CHECKPOINT_PREFIXES = {CLIP_L: CHECKPOINT_L, CLIP_G: CHECKPOINT_G, T5_XXL: CHECKPOINT_T5}


def text_family(pipeline: Any) -> str:
    """The family in `WANTED` whose text encoders a pipeline has; empty where it is none of these."""
    name = type(pipeline).__name__
    return next((family for family, wanted in WANTED.items() if wanted.pipeline == name), ALIKE.get(name, ""))


class SeparateTextEncoders:
    """Which file holds which text encoder; of `Components`, what they need.

    Args:
        family: one of `WANTED`. files: in any order; a checkpoint may hold several text encoders.

    Raises:
        ModelFileError: they are not the text encoders of the family.
    """

    def __init__(self, family: str, files: list[SingleFile]) -> None:
        self.name = "', '".join(file.name for file in files)
        self.wanted = WANTED[family]
        found = [(_kind(file, component), file, component) for file in files for component in file.text_encoders]
        self.files = {kind: (file, component) for kind, file, component in found}
        lacking = [kind for kind in self.wanted.encoders if kind not in {*self.files, *self.wanted.optional}]
        if lacking or len(self.files) < len(found) or self.files.keys() - {*self.wanted.encoders}:
            optional = dict.fromkeys(self.wanted.optional, " (optional)")
            known = ", ".join(kind + optional.get(kind, "") for kind in self.wanted.encoders)
            given = ", ".join(f"'{file.name}' is {kind}" for kind, file, _ in found) or f"'{self.name}' holds none"
            raise ModelFileError(
                f"the type '{family}' wants the text encoders {known}, and {given}; choose these files"
            )

    def _found(self, component: str) -> tuple[SingleFile, str]:
        number = int(component.removeprefix("text_encoder").removeprefix("_") or 1) - 1
        return self.files[self.wanted.encoders[number]]

    def config(self, component: str) -> Mapping[str, Any]:
        file, there = self._found(component)
        return file.config(there)

    def weights(self, component: str) -> ComponentWeights:
        file, there = self._found(component)
        given = file.weights(there)
        return ComponentWeights(given.paths, given.header, lambda tensors, net: _whole(given, tensors, net))

    def parts(self, recipe: Recipe, residency: Residency) -> tuple[dict[str, Any], list[Loaded]]:
        """The text encoders and tokenizers by the pipeline's names, and the former for the residency manager."""
        made: dict[str, Any] = {}
        loaded: list[Loaded] = []
        for number, kind in enumerate(self.wanted.encoders):
            component = "text_encoder" if number == 0 else f"text_encoder_{number + 1}"
            tokenizer = component.replace("text_encoder", "tokenizer")
            made |= {component: None, tokenizer: None}
            if kind in self.files:
                made[tokenizer] = _tokenizer(kind, *self.files[kind], residency.folders)
                loading = Loading(self, component, recipe, residency)
                build = partial(self._network, kind, self.config(component))
                made[component] = loading.network(build, is_whole=kind == LLAMA_8B)
                loaded.append(loading.loaded(made[component]))
        return made, loaded

    def beside(self) -> dict[str, Any]:
        """What the pipeline looks at to encode without T5: how wide the zeros are that stand for its tokens."""
        if T5_XXL in self.files:
            return {}
        import torch
        from diffusers import SD3Transformer2DModel

        with torch.device("meta"):
            return {"transformer": SD3Transformer2DModel(num_layers=1)}

    def _network(self, kind: str, config: Mapping[str, Any]) -> Any:
        if kind == T5_XXL:
            from transformers import T5Config, T5EncoderModel

            return T5EncoderModel(T5Config(**config))
        if kind == LLAMA_8B:
            from transformers import LlamaConfig, LlamaModel

            return LlamaModel(LlamaConfig(**config))
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

        network_class = CLIPTextModelWithProjection if self.wanted.is_projected else CLIPTextModel
        return network_class(CLIPTextConfig.from_dict(dict(config)))


def load_separate_text_encoders(encoders: SeparateTextEncoders, recipe: Recipe, residency: Residency) -> Loaded:
    """The `PipelineTextEncoder` of a family.

    Raises:
        ModelFileError: the files are damaged, or T5's tokenizer is not there.
        OutOfMemoryError: they do not fit.
    """
    import diffusers
    import torch

    from .pipeline_call import bare_pipeline
    from .pipeline_text import PipelineTextEncoder

    with loading_weights():
        parts, loaded = encoders.parts(recipe, residency)
        device = torch.device(residency.device)
        made = bare_pipeline(getattr(diffusers, encoders.wanted.pipeline), device)
        made.register_modules(**parts, **encoders.beside())
        return joined(PipelineTextEncoder(made, device), loaded)


def _kind(file: SingleFile, component: str) -> str:
    """Which text encoder a part of a file is. Raises ModelFileError: it is not whole."""
    part, config = file.parts[component], file.config(component)
    if part.layout == T5:
        return T5_XXL
    if part.layout == LLAMA:
        return LLAMA_8B
    if part.prefix in PREFIXES:
        return PREFIXES[part.prefix]
    return CLIP_L if config["hidden_act"] == OF_OPENAI else CLIP_G


def _whole(given: ComponentWeights, tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """With what files leave out: T5's vectors a second time, and a projection of CLIP L that changes nothing."""
    import torch

    named = names_of_today(given.names_for(tensors, network), network)
    wanted = network.state_dict()
    named = {name: tensor for name, tensor in named.items() if name in wanted or name.endswith(FILE_SCALE)}
    for end in ("weight", FILE_SCALE):
        if "encoder.embed_tokens.weight" in wanted and f"shared.{end}" in named:
            named.setdefault(f"encoder.embed_tokens.{end}", named[f"shared.{end}"])
    projection = wanted.get("text_projection.weight")
    if projection is not None and "text_projection.weight" not in named and projection.shape[0] == projection.shape[1]:
        like = next(iter(named.values()))
        named["text_projection.weight"] = torch.eye(len(projection), dtype=like.dtype, device=like.device)
    return named


def _tokenizer(kind: str, file: SingleFile, component: str, folders: Folders) -> Any:
    if kind == LLAMA_8B:
        return _llama_tokenizer(file, folders)
    if kind != T5_XXL:
        from ..text.clip_vocabulary import transformers_tokenizer

        return transformers_tokenizer(PADDING[kind])
    if file.has_tokenizer(component):
        return _own_tokenizer(file, component)
    folder = tokenizer_folder(file.path, T5, folders)
    if folder is None:
        raise ModelFileError(
            f"'{file.name}' has T5 as a text encoder, whose tokenizer no file of weights brings: put the files of the "
            f"folder tokenizer_2 of Flux, or tokenizer_3 of SD3 (tokenizer.json or spiece.model, and "
            f"tokenizer_config.json), into '{file.path.with_name(TOKENIZER_FOLDERS[T5])}'"
        )
    return _t5_tokenizer(folder)


def _llama_tokenizer(file: SingleFile, folders: Folders) -> Any:
    from transformers import PreTrainedTokenizerFast

    folder = tokenizer_folder(file.path, LLAMA, folders)
    if folder is None:
        raise ModelFileError(
            f"'{file.name}' is Llama, whose tokenizer no file of weights brings: put tokenizer.json and "
            f"tokenizer_config.json of Llama 3.1 8B into '{file.path.with_name(TOKENIZER_FOLDERS[LLAMA])}'"
        )
    try:
        made = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises the bare class for what it cannot read
        raise ModelFileError(
            f"Llama's tokenizer cannot be read from '{folder}' ({one_line(error)}); fetch it again"
        ) from None
    made.pad_token = made.eos_token  # as the pipeline has it
    return made


def _own_tokenizer(file: SingleFile, component: str) -> Any:
    """T5's, where its file brings one."""
    from tokenizers import Tokenizer
    from transformers import T5TokenizerFast

    name = file.parts[component].prefix + TOKENIZER_TENSOR
    try:
        text = bytes(read_tensors(file.path, "cpu", [name])[name].tolist()).decode()
        return T5TokenizerFast(tokenizer_object=Tokenizer.from_str(text), extra_ids=0)
    except Exception as error:  # the tokenizers library raises the bare class for what it cannot read
        raise ModelFileError(
            f"the tokenizer in '{file.name}' cannot be read ({one_line(error)}); fetch the file again"
        ) from None


def _t5_tokenizer(folder: Path) -> Any:
    from transformers import T5TokenizerFast

    try:
        return T5TokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises the bare class for what it cannot read
        raise ModelFileError(
            f"T5's tokenizer cannot be read from '{folder}' ({one_line(error)}); fetch it again"
        ) from None
