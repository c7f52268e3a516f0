"""Embeddings in prompts: what transformers itself makes of their vectors in these places."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.conditioning.conditioning import encode_text, text_identity
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.models.pickle_file import PickleSwitch
from mezzotint.nodes.text.dual_text_encoder import DualTextEncoder
from mezzotint.nodes.text.text_embedding import EmbeddingError, TextEmbedding, with_embeddings

WIDTH, LENGTH = 128, 20


@pytest.fixture
def context(tmp_path: Path) -> Context:
    folders = Folders(tmp_path / "home", models=[tmp_path / "models"])
    (tmp_path / "models" / "embeddings" / "sub").mkdir(parents=True)
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture
def checkpoint(context: Context) -> Checkpoint:
    return load_checkpoint(ctx=context)


def random(count: int, width: int = WIDTH, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def save(context: Context) -> Callable[..., Path]:
    def write(name: str, tensors: Mapping[str, Tensor]) -> Path:
        path = context.folders.model_folders("embeddings")[0] / name
        save_file(dict(tensors), path)
        return path

    return write


Save = Callable[..., Path]


def reference(checkpoint: Checkpoint, context: Context, parts: list[str | Tensor]) -> Tensor:
    """The encoding [1, T, D] of words and vectors in one chunk, with the rows of its table set to them."""
    from copy import deepcopy

    with context.models.borrow(checkpoint.CLIP) as encoder:
        network, layout = deepcopy(encoder.network), encoder.layout
        table = network.get_input_embeddings().weight
        free = iter(range(len(table) // 2, len(table)))  # tokens that the texts here do not have
        tokens: list[int] = []
        for part in parts:
            if isinstance(part, str):
                tokens += encoder.tokenizer.encode(part, add_special_tokens=False).ids
            else:
                for vector in part:
                    tokens.append(next(token for token in free if token not in tokens))
                    table.data[tokens[-1]] = vector
        padding = [layout.padding] * (layout.capacity - len(tokens))
        with torch.inference_mode():
            encoded: Tensor = network(torch.tensor([[layout.start, *tokens, layout.end, *padding]])).last_hidden_state
    return encoded


def encoded(text: str, checkpoint: Checkpoint, context: Context) -> Tensor:
    with torch.inference_mode():
        tokens: Tensor = encode_text(text, checkpoint.CLIP, ctx=context)[0][0]
        return tokens


@pytest.mark.parametrize(
    "text", ["a embedding:cat apple", "a embedding:cat.safetensors apple", "a (embedding:cat:1.0) apple"]
)
@pytest.mark.parametrize("count", [1, 3])
def test_a_word_stands_for_its_vectors(
    count: int, text: str, save: Save, checkpoint: Checkpoint, context: Context
) -> None:
    save("cat.safetensors", {"emb_params": random(count)})
    wanted = reference(checkpoint, context, ["a", random(count), "apple"])
    torch.testing.assert_close(encoded(text, checkpoint, context), wanted, rtol=1e-4, atol=1e-5)
    assert (wanted - encoded("a apple", checkpoint, context)).abs().max() > 0.1


def test_a_comma_that_follows_is_text(save: Save, checkpoint: Checkpoint, context: Context) -> None:
    save("cat.safetensors", {"<cat>": random(1)[0]})
    wanted = reference(checkpoint, context, [random(1), ",", "apple"])
    torch.testing.assert_close(encoded("embedding:cat, apple", checkpoint, context), wanted, rtol=1e-4, atol=1e-5)


def test_names_have_folders_and_may_end_in_a_comma(save: Save, checkpoint: Checkpoint, context: Context) -> None:
    save("sub/a,.safetensors", {"clip_l": random(2)})
    wanted = reference(checkpoint, context, [random(2)])
    torch.testing.assert_close(encoded("embedding:sub/a,", checkpoint, context), wanted, rtol=1e-4, atol=1e-5)


def test_several_embeddings_in_one_prompt(save: Save, checkpoint: Checkpoint, context: Context) -> None:
    save("one.safetensors", {"emb_params": random(2)})
    save("two.safetensors", {"emb_params": random(1, seed=1)})
    wanted = reference(checkpoint, context, [random(1, seed=1), "and", random(2), random(1, seed=1)])
    text = "embedding:two and embedding:one embedding:two"
    torch.testing.assert_close(encoded(text, checkpoint, context), wanted, rtol=1e-4, atol=1e-5)


def test_a_weight_is_that_of_all_its_vectors(save: Save, checkpoint: Checkpoint, context: Context) -> None:
    save("cat.safetensors", {"emb_params": random(3)})
    plain = reference(checkpoint, context, ["a", random(3)])
    empty = reference(checkpoint, context, [])
    weights = torch.ones(LENGTH)
    weights[2:5] = 1.3
    wanted = (plain - empty) * weights[:, None] + empty
    actual = encoded("a (embedding:cat:1.3)", checkpoint, context)
    torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-5)


def test_many_vectors_go_on_in_the_next_chunk(save: Save, checkpoint: Checkpoint, context: Context) -> None:
    save("long.safetensors", {"emb_params": random(30)})
    wanted = [reference(checkpoint, context, [part]) for part in random(30).split(LENGTH - 2)]
    actual = encoded("embedding:long", checkpoint, context)
    torch.testing.assert_close(actual, torch.cat(wanted, dim=1), rtol=1e-4, atol=1e-5)


def test_prompts_without_it_are_as_they_were(save: Save, checkpoint: Checkpoint, context: Context) -> None:
    save("cat.safetensors", {"emb_params": random(1)})
    before = encoded("a red apple", checkpoint, context)
    encoded("embedding:cat", checkpoint, context)
    assert torch.equal(encoded("a red apple", checkpoint, context), before)
    with context.models.borrow(checkpoint.CLIP) as encoder:
        assert with_embeddings(encoder, ["a red apple"], context) is encoder


def test_one_that_is_missing_is_left_out_with_a_warning(
    checkpoint: Checkpoint, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        actual = encoded("a embedding:nosuch, apple", checkpoint, context)
    assert torch.equal(actual, encoded("a , apple", checkpoint, context))
    assert "the prompt's 'embedding:nosuch,' is left out: no such file is in the folder of embeddings" in caplog.text


def test_two_text_encoders_take_the_vectors_of_their_width(checkpoint: Checkpoint, context: Context) -> None:
    with context.models.borrow(checkpoint.CLIP) as encoder:
        both = DualTextEncoder(encoder, encoder)
        (embedding,) = [TextEmbedding("cat", [random(2, 64), random(1)])]
        known = both.with_embeddings({"cat": embedding})
        assert both.widths == (WIDTH, WIDTH)
        assert [known.first.learned, known.second.learned] == [{"cat": [-1]}] * 2
        assert both.with_embeddings({"cat": TextEmbedding("cat", [random(2, 64)])}).first is encoder


# errors


def test_one_for_another_text_encoder(save: Save, checkpoint: Checkpoint, context: Context) -> None:
    save("wide.safetensors", {"emb_params": random(2, 768)})
    with pytest.raises(EmbeddingError) as raised:
        encoded("embedding:wide", checkpoint, context)
    assert str(raised.value) == (
        "the embedding 'wide' has vectors of 768 numbers, and the text encoder takes 128; use one that was made for "
        "this kind of model"
    )


def test_files_that_hold_none(save: Save, checkpoint: Checkpoint, context: Context) -> None:
    path = save("model.safetensors", {"weight": torch.zeros(1, 2, 3)})
    with pytest.raises(ModelFileError, match="holds no embedding"):
        encoded("embedding:model", checkpoint, context)
    os.truncate(path, 20)
    with pytest.raises(ModelFileError, match="is no safetensors file, or is damaged"):
        encoded("embedding:model", checkpoint, context)
    path.with_name("old.pt").write_bytes(b"\x80\x02")
    with pytest.raises(ModelFileError, match=r"old\.pt' is a pickle"):
        encoded("embedding:old", checkpoint, context)


def test_a_pickle_is_read_where_pickles_are_allowed(
    checkpoint: Checkpoint, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PickleSwitch, "is_on", True)
    path = context.folders.model_folders("embeddings")[0] / "old.pt"
    vectors = torch.nn.Parameter(random(2))
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": "old", "step": 100}, path)
    wanted = reference(checkpoint, context, ["a", random(2)])
    torch.testing.assert_close(encoded("a embedding:old", checkpoint, context), wanted, rtol=1e-4, atol=1e-5)


# what the value depends on


def test_a_file_that_is_written_or_replaced_is_another_value(save: Save, context: Context) -> None:
    folders = context.folders
    assert text_identity("a red apple, embeddingless", folders) is None
    missing = text_identity("(embedding:cat:1.2)", folders)
    save("cat.safetensors", {"emb_params": random(1)})
    there = text_identity("(embedding:cat:1.2)", folders)
    assert text_identity("(embedding:cat:1.2)", folders) == there != missing
    save("new.safetensors", {"emb_params": random(1)}).replace(
        folders.model_folders("embeddings")[0] / "cat.safetensors"
    )
    assert text_identity("(embedding:cat:1.2)", folders) != there


def test_of_a_prompt_that_is_linked_all_embeddings_count(save: Save, context: Context) -> None:
    before: Any = text_identity(None, context.folders)
    save("cat.safetensors", {"emb_params": random(1)})
    after = text_identity(None, context.folders)
    assert (before, len(after)) == ([], 1)
