"""Draws the pictures of the templates anew: what each bundled workflow makes, enlarged for the editor's dialog.

Run it when a workflow's picture has changed: `.venv/bin/python tools/draw_thumbnails.py`, or with the workflows' names.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageOps

import mezzotint

FOLDER = Path(__file__).parents[1] / "workflows"
SIDE = 320


def main() -> None:
    index = json.loads((FOLDER / "templates" / "index.json").read_text(encoding="utf-8"))
    for name in sys.argv[1:] or [template["name"] for group in index for template in group["templates"]]:
        with tempfile.TemporaryDirectory() as output:
            result = mezzotint.run(FOLDER / f"{name}.json", output_dir=output)
            shown = [image for outputs in result.outputs.values() for image in outputs.get("images", [])][-1]
            with Image.open(Path(output) / shown["subfolder"] / shown["filename"]) as picture:
                enlarged = ImageOps.pad(picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS, "white")
        enlarged.save(FOLDER / "templates" / f"{name}-1.webp", quality=88)
        print(name)


if __name__ == "__main__":
    main()
