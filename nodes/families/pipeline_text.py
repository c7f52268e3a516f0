"""Text encoders of a pipeline, through its own `encode_prompt`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..sampling.network_call import POOLED
from ..text.prompt_weights import parse_weights
from ..text.text_embedding import EmbeddingError, TextEmbedding
from .pipeline_call import LAYERS_FIRST, POOLED_TOKENS, PROMPT_INPUTS, tokens_name


@dataclass(frozen=True, eq=False)
class PipelineTextEncoder:
    """Encodes prompts as the pipeline does.

    Attributes:
        pipeline: with text encoders and tokenizers, and without its transformer and VAE. device: where they are.
    """

    pipeline: Any = field(repr=False)
    device: torch.device

    def with_options(self, options: Mapping[str, Any]) -> PipelineTextEncoder:
        """The same: which layers are used is the pipeline's."""
        return self

    @property
    def networks(self) -> Mapping[str, Any]:
        """What adapters change, by its name in `lora_keys`, which is the pipeline's."""
        components = self.pipeline.components
        return {name: part for name, part in components.items() if name.startswith("text_encoder") and part is not None}

    def with_networks(self, networks: Mapping[str, Any]) -> PipelineTextEncoder:
        """One like this with other networks."""
        made = copy(self.pipeline)
        made.register_modules(**networks)
        return replace(self, pipeline=made)

    @property
    def widths(self) -> Sequence[int]:
        """Of all text encoders in it."""
        return [int(part.config.get_text_config().hidden_size) for part in self.networks.values()]

    def with_embeddings(self, embeddings: Mapping[str, TextEmbedding]) -> PipelineTextEncoder:
        """Raises EmbeddingError: `encode_prompt` knows none."""
        raise EmbeddingError(
            f"the embedding '{next(iter(embeddings))}' cannot be used with this model, whose prompts its own pipeline "
            f"encodes; leave it out of the prompt"
        )

    def encode(self, text: str) -> list[Any]:
        """The conditioning of a prompt, read by all encoders. Weights in it are left out: the pipeline knows none."""
        return self.encode_texts(prompt=text)

    def encode_texts(self, **texts: str) -> list[Any]:
        """As `encode`, with a text for each of the pipeline's prompts: `prompt`, `prompt_2`, `prompt_3`.

        Returns:
            One item: tokens float32 [1, T, D] on the CPU, and options.
        """
        encode = self.pipeline.encode_prompt
        known = inspect.signature(encode).parameters
        settled = {"device": self.device, "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        given = {name: value for name, value in settled.items() if name in known}
        for name in known:
            if name in ("prompt", "prompt_2", "prompt_3", "prompt_4"):
                given[name] = _plain(texts[name]) if name in texts else (None if name != "prompt" else "")
        with torch.no_grad():
            returned = encode(**given)
        named = dict(zip(_returned_names(type(self.pipeline)), returned, strict=True))
        taken = inspect.signature(type(self.pipeline).__call__).parameters
        kept = {
            name: _one(value.movedim(1, 0) if name in LAYERS_FIRST else value)
            for name, value in named.items()
            if name in taken and not name.startswith("negative_") and value is not None
        }
        options: dict[str, Any] = {}
        tokens = kept.pop(tokens_name(type(self.pipeline)))
        if POOLED_TOKENS in kept:
            options[POOLED] = kept.pop(POOLED_TOKENS)
        if kept:
            options[PROMPT_INPUTS] = kept
        return [[tokens, options]]


def _plain(text: str) -> str:
    """A prompt without the syntax of weights."""
    return "".join(piece.text for piece in parse_weights(text))


def _one(value: Any) -> Tensor:
    """What a pipeline has for one prompt, [1, ...] on the CPU; some have lists of such without the first dimension."""
    tensor: Tensor = value[0][None] if isinstance(value, list) else value
    return tensor.float().cpu() if tensor.is_floating_point() else tensor.cpu()


def gives_lists(pipeline_class: Any) -> bool:
    """Whether a pipeline takes its prompts as a list of texts of different lengths."""
    annotation = str(inspect.signature(pipeline_class.__call__).parameters[tokens_name(pipeline_class)].annotation)
    return annotation.startswith(("list", "typing.List", "List"))


def _returned_names(pipeline_class: Any) -> list[str]:
    """What `encode_prompt` calls the values that it returns; they are named as the pipeline's own arguments are."""
    source = ast.parse(textwrap.dedent(inspect.getsource(pipeline_class.encode_prompt)))
    returns = [node.value for node in ast.walk(source) if isinstance(node, ast.Return) and node.value is not None]
    last = returns[-1]
    names = last.elts if isinstance(last, ast.Tuple) else [last]
    return [name.id for name in names if isinstance(name, ast.Name)]
