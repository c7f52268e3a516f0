"""Draws what the embedded model makes of 32 prompts, and of the eight in the README: docs/images/*sheet.png.

Run it when the embedded model has changed: `.venv/bin/python tools/draw_contact_sheets.py`. Every prompt is drawn once,
with the seed of its place in the list (the eight with seed 1): nothing is picked out.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont

import mezzotint

WORKFLOW = Path(__file__).parents[1] / "workflows" / "text_to_image.json"
IMAGES = Path(__file__).parents[1] / "docs" / "images"
EIGHT = (
    "a red apple", "a blue car", "a sunflower", "a rocket on a black background",
    "a house", "a cactus on a yellow background", "a red fish on a yellow background", "a slice of pizza",
)  # fmt: skip
THIRTY_TWO = (
    "a red apple",
    "a banana",
    "a bunch of grapes",
    "a strawberry on a green background",
    "a slice of pizza",
    "a donut on a blue background",
    "an ice cream cone",
    "a cup of coffee on a pink background",
    "a cat face",
    "a fox on a yellow background",
    "a panda on a red background",
    "a penguin",
    "a purple owl on a yellow background",
    "a blue fish on an orange background",
    "a pink octopus",
    "a butterfly on a green background",
    "a sunflower on a blue background",
    "a cactus",
    "a pine tree on a pink background",
    "a rainbow",
    "a yellow star on a purple background",
    "a small purple star",
    "a crescent moon on a black background",
    "a planet on a black background",
    "a green car on a pink background",
    "a rocket on a purple background",
    "a sailboat on a blue background",
    "a house on a grey background",
    "a red balloon on a green background",
    "a small blue crown",
    "a green triangle on a yellow background",
    "a banana and a red apple",
)
COLUMNS, SIDE, MARGIN, CAPTION = 8, 128, 4, 30


def main() -> None:
    """Draw both, or with --model and --folder those of another model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--model", default="mezzotint-emoji")
    parser.add_argument("--models-dir", type=Path, help="where the model lies, if not in the usual folders")
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where the sheets go")
    asked = parser.parse_args()
    with mezzotint.Host(mezzotint.Settings(models_dir=asked.models_dir)) as host:
        plain_sheet([draw(host, asked.model, prompt, 1) for prompt in EIGHT]).save(asked.folder / "sheet.png")
        pictures = [draw(host, asked.model, prompt, seed) for seed, prompt in enumerate(THIRTY_TWO)]
    captioned_sheet(pictures).save(asked.folder / "contact_sheet.png", optimize=True)


def draw(host: Any, model: str, prompt: str, seed: int) -> Any:
    """What text_to_image.json makes of a prompt, enlarged."""
    graph = host.load(WORKFLOW).to_api()
    loader, sampler, decode = (_node(graph, name) for name in ("CheckpointLoaderSimple", "KSampler", "VAEDecode"))
    graph[loader]["inputs"]["ckpt_name"] = model
    graph[sampler]["inputs"]["seed"] = seed
    graph[graph[sampler]["inputs"]["positive"][0]]["inputs"]["text"] = prompt
    result = asyncio.run(host.engine.run(host.load(graph), targets=[decode])).raise_for_status()
    pixels = (result.value(decode)[0] * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.numpy()).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _node(graph: dict[str, Any], class_type: str) -> str:
    return next(node_id for node_id, node in graph.items() if node["class_type"] == class_type)


def plain_sheet(pictures: list[Any]) -> Any:
    """Four in a row, with narrow gaps."""
    sheet = Image.new("RGB", (4 * (SIDE + MARGIN) - MARGIN, len(pictures) // 4 * (SIDE + MARGIN) - MARGIN), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % 4 * (SIDE + MARGIN), index // 4 * (SIDE + MARGIN)))
    return sheet


def captioned_sheet(pictures: list[Any]) -> Any:
    """Eight in a row, each above its prompt."""
    width, height = SIDE + MARGIN, SIDE + CAPTION
    sheet = Image.new("RGB", (COLUMNS * width, len(pictures) // COLUMNS * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for index, (picture, prompt) in enumerate(zip(pictures, THIRTY_TWO, strict=True)):
        left, top = index % COLUMNS * width, index // COLUMNS * height
        sheet.paste(picture, (left, top))
        thing, on, ground = prompt.partition(" on ")
        pen.multiline_text(
            (left + 2, top + SIDE + 2), f"{thing}\n{on.strip()} {ground}".strip(), "black", font, spacing=1
        )
    return sheet


if __name__ == "__main__":
    main()
