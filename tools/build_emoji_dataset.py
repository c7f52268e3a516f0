"""Builds the pictures that the embedded model is trained on, from icons of published packages.

    pip install resvg-py
    python tools/build_emoji_dataset.py training/input

It fetches npm packages with `npm pack`, draws their icons with resvg, composes captioned pictures of them into
`training/input/emoji` (for training) and `training/input/emoji-heldout` (captions that training never sees), and puts
notices of the licences beside them. The same seed gives the same pictures.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from emoji_pictures import Icon, Shares, compose, is_held_out
from PIL import Image

CONCEPTS = Path(__file__).with_name("emoji_concepts.txt")
PACKAGES = {"fluent": "@iconify-json/fluent-emoji-flat@1.2.6", "noto": "@iconify-json/noto@1.2.9"}
NOTICES = {
    "fluent": "Fluent UI Emoji, (c) Microsoft Corporation, MIT licence (npm @iconify-json/fluent-emoji-flat 1.2.6)",
    "noto": "Noto Emoji, (c) Google, Apache licence 2.0 (npm @iconify-json/noto 1.2.9)",
}
RASTER_SIDE = 128
HELD_OUT_SHARE = 0.05


def main() -> None:
    """Build and say what was built."""
    asked = _arguments()
    icons = [icon for style in asked.styles.split(",") for icon in read_icons(style, asked.packages)]
    chance = random.Random(asked.seed)
    wanted = {"emoji": asked.count, "emoji-heldout": max(1, round(asked.count * HELD_OUT_SHARE))}
    folders = {name: _new_folder(asked.folder / name) for name in wanted}
    rows: dict[str, list[str]] = {name: [] for name in wanted}
    while any(len(rows[name]) < count for name, count in wanted.items()):
        picture, caption = compose(icons, chance, asked.size, Shares())
        name = "emoji-heldout" if is_held_out(caption) else "emoji"
        if len(rows[name]) == wanted[name]:
            continue
        file_name = f"{len(rows[name]):06d}.png"
        picture.save(folders[name] / file_name)
        rows[name].append(json.dumps({"file_name": file_name, "text": caption}))
    for name, folder in folders.items():
        (folder / "metadata.jsonl").write_text("\n".join(rows[name]) + "\n", encoding="utf-8")
        notices = "\n".join(NOTICES[style] for style in asked.styles.split(","))
        (folder / "NOTICE").write_text(f"{notices}\n", encoding="utf-8")
        print(f"{len(rows[name])} pictures of {len(icons)} icons in {folder}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="the input folder of the trainings")
    parser.add_argument("--count", type=int, default=30_000, help="pictures to train with")
    parser.add_argument("--size", type=int, default=64, help="their side in pixels")
    parser.add_argument("--styles", default="fluent", help="fluent, noto or both, parted by a comma")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--packages", type=Path, help="a folder with the .tgz files, to fetch nothing")
    return parser.parse_args()


def read_icons(style: str, packages: Path | None) -> list[Icon]:
    """The icons of the concepts in one style, drawn."""
    icons = json.loads(_member(_package(style, packages), "package/icons.json"))
    found = []
    for name, noun, takes_colour in read_concepts():
        body = svg_of(icons, name)
        if body is not None:
            found.append(Icon(_rasterised(body), noun, style, takes_colour))
    return found


def read_concepts() -> list[tuple[str, str, bool]]:
    """Icon, noun, and whether it may take any colour."""
    lines = [line for line in CONCEPTS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pairs = [line.split(": ", 1) for line in lines]
    return [(name, noun.removesuffix(" *"), noun.endswith(" *")) for name, noun in pairs]


def svg_of(icons: dict[str, Any], name: str) -> str | None:
    """The SVG document of an icon of an Iconify package, or of what its alias stands for; None when it has none."""
    name = icons.get("aliases", {}).get(name, {}).get("parent", name)
    icon = icons["icons"].get(name)
    if icon is None:
        return None
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'


def _rasterised(svg: str) -> Any:
    try:
        import resvg_py
    except ImportError:
        sys.exit("drawing the icons needs resvg: pip install resvg-py")
    data = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=RASTER_SIDE, height=RASTER_SIDE))
    return Image.open(io.BytesIO(data)).convert("RGBA")


def _package(style: str, folder: Path | None) -> Path:
    if folder is not None:
        pattern = PACKAGES[style].removeprefix("@").replace("/", "-").replace("@", "-")
        return folder / f"{pattern}.tgz"
    into = Path(tempfile.mkdtemp(prefix="mezzotint-npm-"))
    subprocess.run(["npm", "pack", PACKAGES[style], "--silent"], cwd=into, check=True, stdout=subprocess.DEVNULL)
    return next(into.glob("*.tgz"))


def _member(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as opened:
        file = opened.extractfile(name)
        assert file is not None
        return file.read()


def _new_folder(folder: Path) -> Path:
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"'{folder}' is there already and not empty; remove it, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
