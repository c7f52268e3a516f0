"""`clip.tokenize` of text encoders that are made of two, as those of SDXL are. No server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint.engine.context import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.text.dual_text_encoder import DualTextEncoder
from mezzotint.plugins.compat import surroundings
from mezzotint.plugins.compat.pack_value import as_pack_value
from mezzotint.plugins.compat.text_value import ClipValue

TEXT = "a red (apple:1.3) on a table"


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ClipValue, DualTextEncoder]]:
    """A text encoder as packs hold it, and what it is made of: the embedded model's, twice."""
    folders = Folders(tmp_path)
    models = Residency("cpu", folders=folders)
    recipe = load_checkpoint(ctx=Context(folders=folders, models=models)).CLIP
    with models.borrow(recipe) as encoder:
        both = DualTextEncoder(encoder, encoder)

        class Lender:
            @contextmanager
            def borrow(self, _: Any) -> Iterator[DualTextEncoder]:
                yield both

        monkeypatch.setattr(surroundings, "models", Lender)
        yield as_pack_value(recipe), both


def test_each_has_its_tokens(pair: tuple[ClipValue, DualTextEncoder]) -> None:
    clip, both = pair
    tokens = clip.tokenize(TEXT)
    assert [*tokens] == ["l", "g"]
    (chunk,) = tokens["g"]
    assert len(chunk) == both.first.layout.length
    assert 1.3 in [weight for _, weight in chunk]


def test_tokens_that_a_pack_made_itself_are_encoded_side_by_side(pair: tuple[ClipValue, DualTextEncoder]) -> None:
    clip, both = pair
    with torch.inference_mode():
        ((expected, options),) = both.encode(TEXT)
    encoded, pooled = clip.encode_from_tokens(dict(clip.tokenize(TEXT)), return_pooled=True)
    assert torch.equal(encoded, expected)
    assert torch.equal(pooled, options["pooled_output"])


def test_tokens_for_other_encoders_are_refused(pair: tuple[ClipValue, DualTextEncoder]) -> None:
    clip, _ = pair
    with pytest.raises(ValueError, match="tokens are for the encoders t5xxl; this text encoder has"):
        clip.encode_from_tokens({"t5xxl": clip.tokenize(TEXT)["l"]})
