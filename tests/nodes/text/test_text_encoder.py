from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.nodes.conditioning.conditioning import set_last_layer
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.text.text_encoder import ClipLayerError, TextEncoder

PROMPTS = [
    "",
    "a red apple on a blue background, fluent style",
    "It's THE cat's face!!  12,345\n\tünïcödé 日本語 🍎",
    "don't [touch] BREAK <lora:x:1>, embed",
]


@pytest.fixture
def encoder(embedded: Checkpoint, model_context: Context) -> Iterator[TextEncoder]:
    with model_context.models.borrow(embedded.CLIP) as encoder:
        yield encoder


@pytest.fixture(scope="module")
def tokenizer(embedded_path: Path) -> Any:
    from transformers import CLIPTokenizerFast

    return CLIPTokenizerFast.from_pretrained(embedded_path / "tokenizer", local_files_only=True)


@pytest.fixture(scope="module")
def pipeline(embedded_path: Path, tokenizer: Any) -> Any:
    """diffusers' own pipeline, text part only."""
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTextModel

    network, report = CLIPTextModel.from_pretrained(
        embedded_path / "text_encoder", local_files_only=True, output_loading_info=True
    )
    if report["missing_keys"]:
        pytest.skip("this transformers cannot read what a newer one wrote (we can)")
    return StableDiffusionPipeline(
        vae=None,
        text_encoder=network.float().eval(),
        tokenizer=tokenizer,
        unet=None,
        scheduler=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tokens_of(encoder: TextEncoder, text: str) -> Tensor:
    ((tokens, _),) = encoder.encode(text)
    assert isinstance(tokens, Tensor)
    return tokens


def expected(pipeline: Any, prompt: str) -> Tensor:
    with torch.no_grad():
        encoded = pipeline.encode_prompt(prompt, "cpu", 1, False)[0]
    assert isinstance(encoded, Tensor)
    return encoded


@pytest.mark.parametrize("prompt", PROMPTS[:2])
def test_a_plain_prompt_is_encoded_as_diffusers_pipeline_does(encoder: TextEncoder, pipeline: Any, prompt: str) -> None:
    torch.testing.assert_close(tokens_of(encoder, prompt), expected(pipeline, prompt), rtol=1e-4, atol=1e-5)


def test_stopping_one_layer_early_is_as_if_the_last_layer_were_not_there(
    embedded: Checkpoint, model_context: Context, embedded_path: Path
) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    with model_context.models.borrow(set_last_layer(embedded.CLIP, -2)) as encoder:
        tokens = tokens_of(encoder, "a red apple")
        ids = torch.tensor([encoder.tokenize("a red apple")[0].tokens])
        weights = encoder.network.state_dict()
    config = CLIPTextConfig.from_pretrained(embedded_path / "text_encoder", local_files_only=True)
    config.num_hidden_layers = 1
    shorter = CLIPTextModel(config).float().eval()
    left_over = shorter.load_state_dict(weights, strict=False)
    assert not left_over.missing_keys
    with torch.no_grad():
        torch.testing.assert_close(tokens, shorter(ids).last_hidden_state, rtol=1e-4, atol=1e-5)


def test_both_ends_share_the_weights(embedded: Checkpoint, model_context: Context) -> None:
    stopped = set_last_layer(embedded.CLIP, -2)
    with model_context.models.borrow(embedded.CLIP) as whole, model_context.models.borrow(stopped) as early:
        assert early.network is whole.network
        assert (whole.reading.layer, early.reading.layer) == (-1, -2)


def test_stopping_where_there_is_no_layer_is_refused(embedded: Checkpoint, model_context: Context) -> None:
    message = "stop_at_clip_layer is -3, and this text encoder has 2 layers; allowed are -1 .* to -2"
    with (
        pytest.raises(ClipLayerError, match=message),
        model_context.models.borrow(set_last_layer(embedded.CLIP, -3)),
    ):
        pass


@pytest.mark.parametrize("prompt", PROMPTS)
def test_tokens_are_those_of_transformers(encoder: TextEncoder, tokenizer: Any, prompt: str) -> None:
    plain = prompt.replace("(", r"\(").replace(")", r"\)")
    chunks = encoder.tokenize(plain)
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    ours = [token for chunk in chunks for token in chunk.tokens if token not in special]
    assert ours == tokenizer(prompt, add_special_tokens=False).input_ids


def test_a_tokenizer_of_vocabulary_and_merges_alone_is_the_same(
    own_context: Context, copy_path: Path, encoder: TextEncoder
) -> None:
    (copy_path / "tokenizer" / "tokenizer.json").unlink()
    with own_context.models.borrow(load_checkpoint("copy", ctx=own_context).CLIP) as from_merges:
        for prompt in PROMPTS:
            assert from_merges.tokenize(prompt) == encoder.tokenize(prompt)


def test_a_weight_moves_a_token_away_from_the_empty_prompts(encoder: TextEncoder) -> None:
    plain, empty = tokens_of(encoder, "a red apple"), tokens_of(encoder, "")
    weighted = tokens_of(encoder, "a (red:1.5) apple")
    at = encoder.tokenize("a (red:1.5) apple")[0].weights.index(1.5)
    want = plain.clone()
    want[:, at] = (plain[:, at] - empty[:, at]) * 1.5 + empty[:, at]
    torch.testing.assert_close(weighted, want, rtol=1e-4, atol=1e-5)


def test_a_weight_of_one_is_no_weight(encoder: TextEncoder) -> None:
    assert torch.equal(tokens_of(encoder, "a (red:1.0) apple"), tokens_of(encoder, "a red apple"))


def test_a_long_prompt_takes_chunks_that_are_encoded_alone_and_joined(encoder: TextEncoder) -> None:
    first, second = " ".join(["apple"] * 18), "a blue car"
    ((joined, options),) = encoder.encode(f"{first} {second}")
    assert joined.shape == (1, 40, 128)
    want = torch.cat([tokens_of(encoder, first), tokens_of(encoder, second)], dim=1)
    torch.testing.assert_close(joined, want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(options["pooled_output"], encoder.encode(first)[0][1]["pooled_output"])


def test_the_pooled_output_is_the_state_at_the_end_token(encoder: TextEncoder, pipeline: Any) -> None:
    ((_, options),) = encoder.encode("a red apple")
    tokens = torch.tensor([encoder.tokenize("a red apple")[0].tokens])
    with torch.no_grad():
        want = pipeline.text_encoder(tokens).pooler_output
    torch.testing.assert_close(options["pooled_output"], want, rtol=1e-4, atol=1e-5)


def test_encoding_is_deterministic_and_float32_on_the_cpu(encoder: TextEncoder) -> None:
    once, again = tokens_of(encoder, "a (cat:1.2)"), tokens_of(encoder, "a (cat:1.2)")
    assert torch.equal(once, again)
    assert (once.dtype, once.device.type) == (torch.float32, "cpu")


def test_unknown_embeddings_stay_text(encoder: TextEncoder) -> None:
    assert tokens_of(encoder, "embedding:nosuch apple").shape == (1, 20, 128)


def test_weights_named_as_transformers_4_does_load_too(
    own_context: Context, copy_path: Path, encoder: TextEncoder
) -> None:
    from safetensors.torch import load_file, save_file

    path = copy_path / "text_encoder" / "model.safetensors"
    renamed = {f"text_model.{name}": tensor for name, tensor in load_file(path).items()}
    renamed["text_model.embeddings.position_ids"] = torch.arange(20)[None]  # older files hold it
    shutil.move(path, path.with_suffix(".old"))
    save_file(renamed, path)
    with own_context.models.borrow(load_checkpoint("copy", ctx=own_context).CLIP) as loaded:
        assert torch.equal(tokens_of(loaded, "a red apple"), tokens_of(encoder, "a red apple"))
