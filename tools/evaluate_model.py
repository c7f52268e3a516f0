"""Judges text-to-image models by captions that none was trained on: one model, or several side by side.

    python tools/evaluate_model.py training/input training/models/mezzotint-emoji mezzotint-emoji

A small evaluator, a picture tower and a caption tower, is trained on `emoji` of the input folder to tell which caption
belongs to which picture. For each caption of `emoji-heldout` each model then draws a picture, from the same noise, and
its score is the share of pictures whose own caption is the nearest of all. The same score of the real pictures is the
ceiling, that of real pictures with shuffled captions the floor. All is told once more of those captions alone whose
words all models know, so that none loses for a word it never saw. The numbers are printed as JSON, with the reach of
chance (95%), and a contact sheet of each model is written.

A model is a name of a checkpoint, or its name behind that of a models folder. What comes with the package is found by
its name alone. Captions that one model was trained on after all, because its data were others, favour that model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import mezzotint
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.training.caption_files import captioned_pictures
from mezzotint.nodes.training.picture_set import ready_pixels

WORKFLOW = Path(__file__).parents[1] / "workflows" / "text_to_image.json"
WIDTH = 128
BATCH = 64
TEMPERATURE = 0.07
ROUNDING = 1e-6
SHEET_COLUMNS = 8


def main() -> None:
    """Train the evaluator, draw, compare, print."""
    asked = _arguments()
    torch.manual_seed(0)
    pixels, captions = read_pictures(asked.input / "emoji", asked.most)
    real, wanted = read_pictures(asked.input / "emoji-heldout", asked.count)
    began = time.perf_counter()
    evaluator = trained_evaluator(pixels, captions, asked.steps)
    known = set.intersection(*(known_words(model, wanted) for model in asked.models))
    drawn = {str(model): draw(model, wanted, asked.cfg) for model in asked.models}
    common = [index for index, caption in enumerate(wanted) if {*plain_words(caption)} <= known]
    found = {
        "all captions": scores(evaluator, real, drawn, wanted, range(len(wanted))),
        "captions of words that all models know": scores(evaluator, real, drawn, wanted, common),
        "seconds": round(time.perf_counter() - began),
    }
    print(json.dumps(found, indent=2))
    for number, (name, pictures) in enumerate(drawn.items()):
        path = asked.sheet.with_stem(f"{asked.sheet.stem}-{number + 1}") if number else asked.sheet
        write_sheet(pictures, path)
        print(f"{name}: its first pictures are on {path}", file=sys.stderr)


class Model(NamedTuple):
    """A checkpoint, and the models folder that it is in; None for the usual ones."""

    name: str
    folder: Path | None

    @classmethod
    def of(cls, text: str) -> Model:
        """`NAME` or `FOLDER/NAME`."""
        path = Path(text)
        return cls(path.name, path.parent if len(path.parts) > 1 else None)

    def __str__(self) -> str:
        return self.name if self.folder is None else f"{self.folder}/{self.name}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("input", type=Path, help="the folder with emoji and emoji-heldout")
    parser.add_argument("models", type=Model.of, nargs="+", metavar="model", help="NAME, or MODELS_FOLDER/NAME")
    parser.add_argument("--count", type=int, default=128, help="captions drawn")
    parser.add_argument("--most", type=int, default=12_000, help="pictures the evaluator is trained on")
    parser.add_argument("--steps", type=int, default=1500, help="of its training")
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--sheet", type=Path, default=Path("sheet.png"), help="where the contact sheets go")
    return parser.parse_args()


def scores(
    evaluator: Evaluator, real: Tensor, drawn: dict[str, Tensor], captions: list[str], chosen: Sequence[int]
) -> dict[str, Any]:
    """Of some of the captions: how often each model's pictures, the real ones and shuffled ones are recognised."""
    indices, asked = [*chosen], [captions[index] for index in chosen]
    if len(asked) < 2:
        return {"captions": len(asked)}
    models = {name: retrieval(evaluator, pictures[indices], asked) for name, pictures in drawn.items()}
    return {
        "captions": len(asked),
        **{name: {"accuracy": share, "95%": chance(share, len(asked))} for name, share in models.items()},
        "real pictures": retrieval(evaluator, real[indices], asked),
        "shuffled captions": retrieval(evaluator, real[indices], asked[1:] + asked[:1]),
    }


def chance(share: float, count: int, z: float = 1.96) -> list[float]:
    """Where the true share lies, by Wilson's interval (1927)."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return [round(max(middle - reach, 0.0), 4), round(min(middle + reach, 1.0), 4)]


def plain_words(caption: str) -> list[str]:
    """The words of a caption, without commas."""
    return caption.replace(",", " ").split()


def known_words(model: Model, captions: list[str]) -> set[str]:
    """The words that the tokeniser of a model has as one token each: those that its captions had often enough."""
    words = {word for caption in captions for word in plain_words(caption)}
    with _host(model) as host:
        context = mezzotint.Context(folders=host.folders)
        clip = load_checkpoint(model.name, ctx=context).CLIP
        with context.models.borrow(clip) as encoder:
            tokenizer = encoder.tokenizer
            return {word for word in words if len(tokenizer.encode(word, add_special_tokens=False).ids) == 1}


def _host(model: Model) -> mezzotint.Host:
    return mezzotint.Host(mezzotint.Settings(models_dir=model.folder))


def read_pictures(folder: Path, most: int) -> tuple[Tensor, list[str]]:
    """Pictures uint8 [N, 64, 64, 3] and their captions; captions that occur again are left out."""
    found = {picture.caption: picture.name for picture in captioned_pictures(folder) if picture.caption}
    chosen = list(found.items())[:most]
    return torch.stack([ready_pixels(folder / name, 64) for _, name in chosen]), [caption for caption, _ in chosen]


class Evaluator(nn.Module):
    """Pictures and captions as unit vectors, near where they belong together."""

    def __init__(self, captions: list[str]) -> None:
        super().__init__()
        words = sorted({word for caption in captions for word in words_of(caption)})
        self.indices = {word: index for index, word in enumerate(words, 1)}
        self.words = nn.EmbeddingBag(len(words) + 1, WIDTH, mode="sum", padding_idx=0)
        self.caption = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        widths = (3, 32, 64, 96, WIDTH)
        blocks = [
            nn.Sequential(nn.Conv2d(one, other, 3, 2, 1), nn.GroupNorm(8, other), nn.SiLU())
            for one, other in pairwise(widths)
        ]
        self.picture = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(WIDTH * 16, WIDTH))

    def of_captions(self, captions: list[str]) -> Tensor:
        """[N, WIDTH]; words in order, so that "a red car on a blue background" is not its reverse."""
        rows = [[self.indices.get(word, 0) for word in words_of(caption)] for caption in captions]
        offsets = torch.tensor([0, *(len(row) for row in rows[:-1])]).cumsum(0)
        summed = self.words(torch.tensor([index for row in rows for index in row]), offsets)
        return functional.normalize(summed + self.caption(summed), dim=1)

    def of_pictures(self, pixels: Tensor) -> Tensor:
        """uint8 or 0..255 [N, 64, 64, 3] → [N, WIDTH]."""
        return functional.normalize(self.picture(pixels.movedim(-1, 1).float() / 127.5 - 1), dim=1)


def words_of(caption: str) -> list[str]:
    """The words of a caption that tell something, each marked by the part it stands in: the thing or the background."""
    thing, _, ground = caption.partition(",")[0].partition(" on ")
    return [f"{part}:{word}" for part, text in (("thing", thing), ("ground", ground)) for word in text.split()]


def trained_evaluator(pixels: Tensor, captions: list[str], steps: int) -> Evaluator:
    """An evaluator trained to find the caption of each picture of a batch, and the other way (as CLIP is)."""
    evaluator = Evaluator(captions)
    optimiser = torch.optim.AdamW(evaluator.parameters(), lr=2e-3, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randperm(len(captions))[:BATCH]
        likeness = evaluator.of_pictures(pixels[chosen]) @ evaluator.of_captions([captions[i] for i in chosen]).T
        own = torch.arange(len(chosen))
        loss = sum(functional.cross_entropy(logits / TEMPERATURE, own) for logits in (likeness, likeness.T)) / 2
        optimiser.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimiser.step()
        rates.step()
    return evaluator.eval()


@torch.no_grad()
def retrieval(evaluator: Evaluator, pixels: Tensor, captions: list[str]) -> float:
    """The share of pictures to which no caption is nearer than their own; one of the same words counts as their own."""
    likeness = evaluator.of_pictures(pixels) @ evaluator.of_captions(captions).T
    own = likeness.diagonal()[:, None] + ROUNDING
    return round((likeness <= own).all(1).float().mean().item(), 4)


def draw(model: Model, captions: list[str], cfg: float) -> Tensor:
    """A picture of each caption by a model, from noise of the caption's number: uint8 [N, 64, 64, 3]."""
    drawn = []
    with _host(model) as host:
        for index, caption in enumerate(captions):
            given = host.load(WORKFLOW).to_api()
            for node in given.values():
                inputs = node["inputs"]
                if node["class_type"] == "CheckpointLoaderSimple":
                    inputs["ckpt_name"] = model.name
                elif node["class_type"] == "KSampler":
                    inputs |= {"seed": index, "cfg": cfg}
                    positive = inputs["positive"][0]
            given[positive]["inputs"]["text"] = caption
            decoded = next(node_id for node_id, node in given.items() if node["class_type"] == "VAEDecode")
            result = asyncio.run(host.engine.run(host.load(given), targets=[decoded])).raise_for_status()
            drawn.append((result.value(decoded)[0] * 255).round().to(torch.uint8))
    return torch.stack(drawn)


def write_sheet(pixels: Tensor, path: Path) -> None:
    """The first 32 pictures side by side, each twice as large."""
    count, side = min(len(pixels), 32), 128
    rows = math.ceil(count / SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * side, rows * side), "white")
    for index in range(count):
        picture = Image.fromarray(pixels[index].numpy()).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(picture, (index % SHEET_COLUMNS * side, index // SHEET_COLUMNS * side))
    sheet.save(path)


if __name__ == "__main__":
    main()
