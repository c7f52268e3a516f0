"""Judges a text-to-image model by captions that it was never trained on.

    python tools/evaluate_model.py training/input mezzotint-emoji --models-dir training/models

A small evaluator, a picture tower and a caption tower, is trained on `emoji` of the input folder to tell which caption
belongs to which picture. For each caption of `emoji-heldout` the model then draws a picture, and the score is the share
of pictures whose own caption is the nearest of all. The same score of the real pictures is the ceiling, that of real
pictures with shuffled captions the floor. The numbers are printed as JSON, and a contact sheet is written.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import mezzotint
from mezzotint.nodes.training.caption_files import captioned_pictures
from mezzotint.nodes.training.picture_set import ready_pixels

WORKFLOW = Path(__file__).parents[1] / "workflows" / "text_to_image.json"
WIDTH = 128
BATCH = 64
TEMPERATURE = 0.07
SHEET_COLUMNS = 8


def main() -> None:
    """Train the evaluator, draw, compare, print."""
    asked = _arguments()
    torch.manual_seed(0)
    pixels, captions = read_pictures(asked.input / "emoji", asked.most)
    real, wanted = read_pictures(asked.input / "emoji-heldout", asked.count)
    began = time.perf_counter()
    evaluator = trained_evaluator(pixels, captions, asked.steps)
    drawn = draw(wanted, asked)
    ceiling, score = (retrieval(evaluator, pictures, wanted) for pictures in (real, drawn))
    floor = retrieval(evaluator, real, wanted[1:] + wanted[:1])
    scores = {"model": asked.model, "captions": len(wanted), "accuracy": score, "real pictures": ceiling,
              "shuffled captions": floor, "seconds": round(time.perf_counter() - began)}  # fmt: skip
    print(json.dumps(scores, indent=2))
    write_sheet(drawn, asked.sheet)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("input", type=Path, help="the folder with emoji and emoji-heldout")
    parser.add_argument("model", help="name of the checkpoint")
    parser.add_argument("--models-dir", type=Path, help="where it lies, if not in the usual folders")
    parser.add_argument("--count", type=int, default=128, help="captions drawn")
    parser.add_argument("--most", type=int, default=12_000, help="pictures the evaluator is trained on")
    parser.add_argument("--steps", type=int, default=1500, help="of its training")
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--sheet", type=Path, default=Path("sheet.png"), help="where the contact sheet goes")
    return parser.parse_args()


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
    """The share of pictures whose own caption is the nearest of all."""
    likeness = evaluator.of_pictures(pixels) @ evaluator.of_captions(captions).T
    return round((likeness.argmax(1) == torch.arange(len(captions))).float().mean().item(), 4)


def draw(captions: list[str], asked: Any) -> Tensor:
    """A picture of each caption by the model, from noise of the caption's number: uint8 [N, 64, 64, 3]."""
    drawn = []
    with mezzotint.Host(mezzotint.Settings(models_dir=asked.models_dir)) as host:
        for index, caption in enumerate(captions):
            given = host.load(WORKFLOW).to_api()
            for node in given.values():
                inputs = node["inputs"]
                if node["class_type"] == "CheckpointLoaderSimple":
                    inputs["ckpt_name"] = asked.model
                elif node["class_type"] == "KSampler":
                    inputs |= {"seed": index, "cfg": asked.cfg}
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
