"""Configurations of new networks, as diffusers and transformers read them, and a tokeniser of the captions' words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .state import TrainingError

START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
SMALLEST_VOCABULARY = 2 * 256 + 2
"""The bytes within words and at their ends, and the ends of a prompt."""
MAX_GROUPS = 32
CLASS_NAMES = "_class_names"
"""In the configuration of a new U-Net that is conditioned by class: what these are called, for saving."""


def unet_config(
    widths: Sequence[int], layers: int, head_channels: int, text_width: int, latent_channels: int, cells: int
) -> dict[str, Any]:
    """Of a `UNet2DConditionModel` with cross-attention at all levels.

    Raises:
        TrainingError: a width is no multiple of the width of a head.
    """
    uneven = [width for width in widths if width % head_channels]
    if uneven:
        raise TrainingError(
            f"a level of {uneven[0]} channels cannot be parted into heads of {head_channels}; choose channels that are "
            f"multiples of head_channels"
        )
    return {
        "sample_size": cells,
        "in_channels": latent_channels,
        "out_channels": latent_channels,
        "block_out_channels": list(widths),
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D"] * len(widths),
        "up_block_types": ["CrossAttnUpBlock2D"] * len(widths),
        "cross_attention_dim": text_width,
        # diffusers takes the number of heads under this name
        "attention_head_dim": [width // head_channels for width in widths],
        "norm_num_groups": _groups(widths, 16),
    }


def text_encoder_config(vocabulary: int, width: int, layers: int, tokens: int) -> dict[str, Any]:
    """Of a `CLIPTextModel`; the last two words of the vocabulary are the ends of a prompt."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": width * 3,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 32,
        "max_position_embeddings": tokens,
        "projection_dim": width,
        "hidden_act": "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def autoencoder_config(widths: Sequence[int], latent_channels: int, layers: int, size: int) -> dict[str, Any]:
    """Of an `AutoencoderKL`.

    Raises:
        TrainingError: the widths have no common divisor for their norms.
    """
    return {
        "sample_size": size,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": latent_channels,
        "block_out_channels": list(widths),
        "layers_per_block": layers,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "norm_num_groups": _groups(widths, 8),
        "scaling_factor": 1.0,
    }


def _groups(widths: Sequence[int], wanted: int) -> int:
    for groups in range(min(wanted, MAX_GROUPS), 1, -1):
        if all(width % groups == 0 for width in widths):
            return groups
    raise TrainingError(
        f"the channels {', '.join(map(str, widths))} have no common divisor to form groups for norms; choose multiples "
        f"of 8"
    )


def train_tokenizer(captions: Iterable[str], vocabulary: int) -> tuple[str, int]:
    """A byte-level BPE tokeniser as CLIP has it, of at most `vocabulary` tokens, its two special ones last.

    Returns:
        its JSON, and how many tokens it has.
    """
    import json

    from tokenizers import pre_tokenizers, trainers

    learner = _tokenizer({}, [])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, end_of_word_suffix=WORD_END, show_progress=False
    )
    learner.train_from_iterator(captions, trainer)
    learnt = json.loads(learner.to_str())["model"]["merges"]
    merges = [(one, other) for one, other in learnt[: vocabulary - SMALLEST_VOCABULARY]]
    # All bytes, within words and at their ends, whether the captions have them or not: a prompt may.
    words = [*alphabet, *(f"{letter}{WORD_END}" for letter in alphabet), *(one + other for one, other in merges)]
    tokens = [*dict.fromkeys(words), START, END]
    tokenizer = _tokenizer({token: index for index, token in enumerate(tokens)}, merges)
    tokenizer.add_special_tokens([START, END])
    return tokenizer.to_str(), len(tokens)


def _tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    named: Any = {"vocab": vocabulary, "merges": merges, "unk_token": END} if vocabulary else {}
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END, continuing_subword_prefix="", **named))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
