"""Nodes that make and combine conditioning.

Conditioning is a list of `[tokens, options]`, tokens float32 [1, T, D]. Each item is an evaluation of the model of its
own, and their predictions are averaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mezzotint import Clip, Conditioning, Context, Widget, node
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.folders import Folders

from ..sampling.network_call import CLASS_LABEL
from ..text.text_embedding import texts_identity, with_embeddings

if TYPE_CHECKING:
    from torch import Tensor

STOP_OPTION = "stop_at_clip_layer"
POOLED = "pooled_output"


class ConditioningMismatchError(MezzotintError):
    """Conditionings of different text encoders are to be joined, or there is nothing to join."""


def text_identity(text: str | None, folders: Folders) -> Any:
    """What changes when an embedding that the prompt names is written or replaced."""
    return texts_identity([text], folders)


@node(
    "CLIPTextEncode",
    title="CLIP Text Encode (Prompt)",
    category="conditioning",
    lane="device",
    fingerprint=text_identity,
    quick_fingerprint=True,
)
def encode_text(
    text: Annotated[str, Widget(multiline=True, dynamic_prompts=True)], clip: Clip, *, ctx: Context
) -> Conditioning:
    """Encode a prompt. `(words:1.3)` gives words more weight, `(words)` a little more, `\\(` is a plain parenthesis.

    `embedding:name` stands for the learned vectors of a file in the folder of embeddings.

    Raises:
        ModelFileError: the file of an embedding is damaged, or holds none. EmbeddingError: it is for another model.
    """
    with ctx.models.borrow(clip) as encoder:
        encoded: list[Any] = with_embeddings(encoder, [text], ctx).encode(text)
        return encoded


@node("CLIPSetLastLayer", title="CLIP Set Last Layer", category="conditioning")
def set_last_layer(clip: Clip, stop_at_clip_layer: Annotated[int, Field(ge=-24, le=-1)] = -1) -> Clip:
    """Let the text encoder stop early: -1 is its last layer, -2 the one before ("clip skip 2")."""
    return clip.with_option(STOP_OPTION, stop_at_clip_layer)


@node("ConditioningCombine", title="Conditioning (Combine)", category="conditioning")
def combine(conditioning_1: Conditioning, conditioning_2: Conditioning) -> Conditioning:
    """Both, each as an evaluation of the model of its own; the predictions are averaged."""
    return [*conditioning_1, *conditioning_2]


@node("ConditioningConcat", title="Conditioning (Concat)", category="conditioning")
def concat(conditioning_to: Conditioning, conditioning_from: Conditioning) -> Conditioning:
    """Append the tokens of the first item of `conditioning_from` to each item of `conditioning_to`."""
    import torch

    source, _ = _first(conditioning_from)
    _check_width(conditioning_to, source)
    return [[torch.cat([tokens, source], dim=1), dict(options)] for tokens, options in conditioning_to]


@node("ConditioningAverage", category="conditioning")
def average(
    conditioning_to: Conditioning,
    conditioning_from: Conditioning,
    conditioning_to_strength: Annotated[float, Field(ge=0, le=1), Widget(step=0.01)] = 1.0,
) -> Conditioning:
    """to * strength + from * (1 - strength), with the first item of `conditioning_from` cut or padded with zeros."""
    source, source_options = _first(conditioning_from)
    _check_width(conditioning_to, source)
    strength = conditioning_to_strength
    averaged = []
    for tokens, options in conditioning_to:
        mixed = tokens * strength + _of_length(source, tokens.shape[1]) * (1 - strength)
        averaged.append([mixed, _with_averaged_pooled(options, source_options, strength)])
    return averaged


@node("ConditioningZeroOut", category="advanced/conditioning")
def zero_out(conditioning: Conditioning) -> Conditioning:
    """Zeros in place of the tokens and of the pooled output."""
    import torch

    zeroed = []
    for tokens, options in conditioning:
        pooled = options.get(POOLED)
        changed = {} if pooled is None else {POOLED: torch.zeros_like(pooled)}
        zeroed.append([torch.zeros_like(tokens), {**options, **changed}])
    return zeroed


@node("FluxGuidance", category="advanced/conditioning/flux")
def flux_guidance(
    conditioning: Conditioning, guidance: Annotated[float, Field(ge=0, le=100), Widget(step=0.1)] = 3.5
) -> Conditioning:
    """Tell a model that guides itself (Flux) how strongly; it needs no negative prompt and a `cfg` of 1."""
    return with_options(conditioning, guidance=guidance)


@node("ConditioningSetClass", title="Conditioning (Set Class)", category="conditioning")
def set_class(
    conditioning: Conditioning,
    class_label: Annotated[int, Field(ge=0, le=1_000_000, description="The number of the class.")] = 0,
) -> Conditioning:
    """Ask a model that is conditioned by class for one of them; other models take no notice of it.

    A conditioning that names none, such as the negative one, stands for the model's last class, which means any.
    Models saved by Save Trained Checkpoint name their classes in model_index.json (`id2label`).
    """
    return with_options(conditioning, **{CLASS_LABEL: class_label})


def with_options(conditioning: list[Any], **options: Any) -> list[Any]:
    """The same items, each with these options in place of earlier ones."""
    return [[tokens, {**given, **options}] for tokens, given in conditioning]


def _first(conditioning: list[Any]) -> tuple[Tensor, dict[str, Any]]:
    if not conditioning:
        raise ConditioningMismatchError("conditioning_from is empty; connect one that was made from a text")
    tokens, options = conditioning[0]
    return tokens, options


def _check_width(conditioning: list[Any], source: Tensor) -> None:
    for tokens, _ in conditioning:
        if tokens.shape[-1] != source.shape[-1]:
            raise ConditioningMismatchError(
                f"conditioning_to has {tokens.shape[-1]} numbers a token and conditioning_from {source.shape[-1]}; "
                f"encode both with the same CLIP"
            )


def _of_length(tokens: Tensor, length: int) -> Tensor:
    """The tokens [1, T, D], cut or padded with zeros to [1, length, D]."""
    from torch.nn.functional import pad

    return pad(tokens[:, :length], (0, 0, 0, max(length - tokens.shape[1], 0)))


def _with_averaged_pooled(options: dict[str, Any], source: dict[str, Any], strength: float) -> dict[str, Any]:
    pooled = source.get(POOLED)
    if pooled is None:
        return dict(options)
    return {**options, POOLED: options.get(POOLED, pooled) * strength + pooled * (1 - strength)}
