"""Text encoders of pipelines with a transformer, each from a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from ..models.component_weights import ComponentWeights, names_of_today, one_line
from ..models.recipe import Recipe
from .diffusers_networks import Loading, loading_weights
from .file_parts import T5, TEXT_ENCODERS
from .ldm_config import OF_OPENAI
from .single_file import SingleFile

if TYPE_CHECKING:
    from torch import Tensor, nn

CLIP_L, CLIP_G, T5_XXL = "CLIP L", "CLIP G", "T5"
PADDING = {CLIP_L: "<|endoftext|>", CLIP_G: "!"}
"""What fills the rest of a text for each."""
TOKENIZER_FOLDER = "t5_tokenizer"


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
}
"""By what the nodes call the family."""


class SeparateTextEncoders:
    """Which file is which text encoder; of `Components`, what they need.

    Args:
        family: one of `WANTED`. files: in any order.

    Raises:
        ModelFileError: they are not the text encoders of the family.
    """

    def __init__(self, family: str, files: list[SingleFile]) -> None:
        self.name = "', '".join(file.name for file in files)
        self.wanted = WANTED[family]
        self.files = {_kind(file): file for file in files}
        lacking = [kind for kind in self.wanted.encoders if kind not in {*self.files, *self.wanted.optional}]
        if lacking or len(self.files) < len(files) or self.files.keys() - {*self.wanted.encoders}:
            known = ", ".join(
                f"{kind}{' (optional)' * (kind in self.wanted.optional)}" for kind in self.wanted.encoders
            )
            found = ", ".join(f"'{file.name}' is {_kind(file)}" for file in files)
            raise ModelFileError(
                f"the type '{family}' wants the text encoders {known}, and {found}; choose these files"
            )

    def _file(self, component: str) -> SingleFile:
        return self.files[self.wanted.encoders[_number(component)]]

    def config(self, component: str) -> Mapping[str, Any]:
        return self._file(component).config(TEXT_ENCODERS[0])

    def weights(self, component: str) -> ComponentWeights:
        given = self._file(component).weights(TEXT_ENCODERS[0])
        return ComponentWeights(given.paths, given.header, lambda tensors, net: _whole(given, tensors, net))

    def parts(self, recipe: Recipe, residency: Residency) -> tuple[dict[str, Any], int]:
        """The text encoders and tokenizers by the pipeline's names, and what the weights take."""
        made: dict[str, Any] = {}
        nbytes = 0
        for number, kind in enumerate(self.wanted.encoders):
            component = "text_encoder" if number == 0 else f"text_encoder_{number + 1}"
            tokenizer = component.replace("text_encoder", "tokenizer")
            made |= {component: None, tokenizer: None}
            if kind in self.files:
                made[tokenizer] = _tokenizer(kind, self.files[kind])
                loading = Loading(self, component, recipe, residency)
                made[component] = loading.network(partial(self._network, kind, self.config(component)))
                nbytes += loading.nbytes
        return made, nbytes

    def _network(self, kind: str, config: Mapping[str, Any]) -> Any:
        if kind == T5_XXL:
            from transformers import T5Config, T5EncoderModel

            return T5EncoderModel(T5Config(**config))
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

        network_class = CLIPTextModelWithProjection if self.wanted.is_projected else CLIPTextModel
        return network_class(CLIPTextConfig.from_dict(dict(config)))


def load_separate_text_encoders(family: str, files: list[SingleFile], recipe: Recipe, residency: Residency) -> Loaded:
    """The `PipelineTextEncoder` of a family.

    Raises:
        ModelFileError: the files are damaged or others, or T5's tokenizer is not there.
        OutOfMemoryError: they do not fit.
    """
    import diffusers
    import torch

    from .pipeline_call import bare_pipeline
    from .pipeline_text import PipelineTextEncoder

    encoders = SeparateTextEncoders(family, files)
    with loading_weights():
        parts, nbytes = encoders.parts(recipe, residency)
        device = torch.device(residency.device)
        made = bare_pipeline(getattr(diffusers, encoders.wanted.pipeline), device)
        made.register_modules(**parts)
        return Loaded(PipelineTextEncoder(made, device), nbytes)


def _number(component: str) -> int:
    return int(component.removeprefix("text_encoder").removeprefix("_") or 1) - 1


def _kind(file: SingleFile) -> str:
    """Which text encoder a file holds. Raises ModelFileError: none."""
    config = file.config(TEXT_ENCODERS[0])
    if file.parts[TEXT_ENCODERS[0]].layout == T5:
        return T5_XXL
    return CLIP_L if config["hidden_act"] == OF_OPENAI else CLIP_G


def _whole(given: ComponentWeights, tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """With what files leave out: T5's vectors a second time, and a projection of CLIP L that changes nothing."""
    import torch

    named = names_of_today(given.names_for(tensors, network), network)
    wanted = network.state_dict()
    named = {name: tensor for name, tensor in named.items() if name in wanted}
    if "encoder.embed_tokens.weight" in wanted and "shared.weight" in named:
        named.setdefault("encoder.embed_tokens.weight", named["shared.weight"])
    projection = wanted.get("text_projection.weight")
    if projection is not None and "text_projection.weight" not in named and projection.shape[0] == projection.shape[1]:
        like = next(iter(named.values()))
        named["text_projection.weight"] = torch.eye(len(projection), dtype=like.dtype, device=like.device)
    return named


def _tokenizer(kind: str, file: SingleFile) -> Any:
    if kind != T5_XXL:
        from ..text.clip_vocabulary import transformers_tokenizer

        return transformers_tokenizer(PADDING[kind])
    return _t5_tokenizer(file.path.with_name(TOKENIZER_FOLDER), file.name)


def _t5_tokenizer(folder: Path, name: str) -> Any:
    """T5's tokenizer, which no file of weights brings. Raises ModelFileError: it is not there, or cannot be read."""
    from transformers import T5TokenizerFast

    if not (folder / "tokenizer.json").is_file() and not (folder / "spiece.model").is_file():
        raise ModelFileError(
            f"the text encoder '{name}' is T5, whose tokenizer no file of weights brings: put the files of the folder "
            f"tokenizer_2 of Flux, or tokenizer_3 of SD3 (tokenizer.json or spiece.model, and tokenizer_config.json), "
            f"into '{folder}'"
        )
    try:
        return T5TokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises the bare class for what it cannot read
        raise ModelFileError(
            f"T5's tokenizer cannot be read from '{folder}' ({one_line(error)}); fetch it again"
        ) from None
