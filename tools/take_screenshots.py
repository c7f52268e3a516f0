"""Takes the pictures of the editor and of the page anew: docs/images/editor.png and page.png.

It starts servers with a home of their own, and looks at them with Debian's Chromium, which must be installed as well as
the extra 'dev': `.venv/bin/python tools/take_screenshots.py`, or with the name of one of them behind it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PROMPTS = (
    "a sunflower", "a rocket on a black background", "a house", "a cactus on a yellow background", "a blue car",
    "a red fish on a yellow background", "a slice of pizza", "a red apple",
)  # fmt: skip
LATER = ("a yellow duck", "a green frog", "a lighthouse", "a violet umbrella")
PATIENCE_MS = 240_000
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@contextmanager
def serving(home: str, *options: str) -> Iterator[str]:
    """A server; gives its address."""
    command = [sys.executable, "-m", "mezzotint", "serve", "--port", "0", *options]
    environment = {**os.environ, "MEZZOTINT_HOME": home}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            yield next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
        finally:
            process.terminate()


def show_page(view: Page, url: str) -> None:
    """Eight pictures, others under way, the rest waiting."""
    view.goto(url)
    view.get_by_role("button", name="Text to image").click()
    text, run = view.get_by_label("Positive prompt"), view.get_by_role("button", name="Run", exact=True)
    for prompt in PROMPTS:
        text.fill(prompt)
        run.click()
        view.wait_for_timeout(300)
    expect(view.locator("#finished img")).to_have_count(len(PROMPTS))
    view.request.post(f"{url}/api/queue/pause")
    for prompt in LATER:
        text.fill(prompt)
        run.click()
        view.wait_for_timeout(300)
    view.request.post(f"{url}/api/queue/resume")
    expect(view.locator("#running .step").first).to_have_text(re.compile(r"step ([5-9]|1\d) of"))


def show_editor(view: Page, url: str) -> None:
    """A template that has run."""
    view.goto(url)
    view.get_by_text("Text to image", exact=True).click()
    view.wait_for_function("window.app?.graph?.getNodeById(7)?.type === 'SaveImage'")
    view.get_by_test_id("queue-button").click()
    view.wait_for_function("app.graph.getNodeById(7).imgs?.[0]?.naturalWidth > 0")
    view.wait_for_timeout(8000)  # until it has drawn everything and said that the job is done


def save(view: Page, name: str) -> None:
    with Image.open(BytesIO(view.screenshot())) as picture:
        picture.convert("RGB").save(IMAGES / name, optimize=True)
    print(f"{name}: {(IMAGES / name).stat().st_size:,} bytes")


def main() -> None:
    expect.set_options(timeout=PATIENCE_MS)
    shots = (
        ("page.png", show_page, "--no-editor", {"width": 1280, "height": 800}),
        ("editor.png", show_editor, "--editor", {"width": 1440, "height": 900}),  # narrower, it leaves out the texts
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for name, show, option, size in [shot for shot in shots if shot[0] in (sys.argv[1:] or [shot[0]])]:
            with tempfile.TemporaryDirectory() as home, serving(home, option) as url:
                view = browser.new_page(viewport=size, color_scheme="light", reduced_motion="reduce")
                view.set_default_timeout(PATIENCE_MS)
                show(view, url)
                save(view, name)
                view.close()
        browser.close()


if __name__ == "__main__":
    main()
