"""Our own page: a workflow is dropped, runs, and its picture is in the gallery; others wait, move and are cancelled."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from mezzotint.workflows import bundled_workflows

from .watched_page import WatchedPage

STEPS = 6


@pytest.fixture(scope="module")
def options() -> list[str]:
    return ["--no-editor"]


def drop(page: Page, name: str, content: bytes) -> None:
    """Drop a file on the page, as a file manager does."""
    page.evaluate(
        """([name, bytes]) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
            for (const type of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        [name, list(content)],
    )


def record(page: Page, selector: str) -> Callable[[], list[str]]:
    """Remember what a part of the page shows from now on, however shortly; gives what it showed."""
    page.evaluate(
        """selector => {
            const shown = document.querySelector(selector), told = (window.told = []);
            const look = () => told.push(shown.textContent + (shown.querySelector("img") ? " [picture]" : ""));
            new MutationObserver(look).observe(shown, { subtree: true, childList: true, characterData: true });
        }""",
        selector,
    )
    return lambda: list(page.evaluate("told"))


def text_to_image() -> dict[str, Any]:
    document = json.loads(bundled_workflows()["text_to_image"])
    document["5"]["inputs"]["steps"] = STEPS
    return dict(document)


def submit_sleepers(page: WatchedPage, *names: str) -> list[str]:
    """Queue jobs that go on until they are cancelled; their ids."""
    ids = []
    for name in names:
        sleep = {"class_type": "SmallSleep", "inputs": {"ticks": 2000, "seconds": 0.05, "salt": name}}
        prompt = {"1": sleep, "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}}}
        ids.append(page.api("prompt", "POST", {"prompt": prompt})["prompt_id"])
    return ids


def test_a_dropped_workflow_runs_with_progress_and_its_picture_opens_with_its_prompt(page: WatchedPage) -> None:
    view = page.open()
    drop(view, "saved.json", json.dumps(text_to_image()).encode())
    told = record(view, "#running")
    view.get_by_label("Positive prompt").fill("a blue car")
    view.get_by_label("Seed (KSampler)").fill("41")
    view.get_by_label("Positive prompt").press("Control+Enter")
    picture = view.locator("#finished img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    expect(view.locator("#running")).to_be_empty()
    assert any("a blue car" in text and re.search(rf"KSampler, step \d of {STEPS}", text) for text in told())
    assert any("[picture]" in text for text in told())

    picture.click()
    about = view.get_by_role("dialog")
    expect(about).to_contain_text("a blue car")
    expect(about).to_contain_text("41")
    assert about.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    about.get_by_role("button", name="Run again").click()
    expect(view.locator("#finished li")).to_have_count(2)


def test_a_dropped_picture_opens_the_workflow_that_made_it(page: WatchedPage) -> None:
    (job,) = page.api("jobs?status=completed&limit=1")["jobs"]
    name = job["preview_output"]["filename"]
    content = page.page.request.get(f"{page.url}/api/view?filename={name}").body()
    view = page.open()
    drop(view, name, content)
    expect(view.get_by_label("Positive prompt")).to_have_value("a blue car")
    expect(view.get_by_label("Seed (KSampler)")).to_have_value("41")


def test_a_file_that_is_no_workflow_gets_a_sentence(page: WatchedPage) -> None:
    page.may_lack = "/mezzotint/convert$"
    view = page.open()
    drop(view, "notes.txt", b"{}")
    expect(view.get_by_role("alert")).to_contain_text("is no workflow")


def test_waiting_jobs_move_up_and_every_job_can_be_cancelled(page: WatchedPage) -> None:
    view = page.open()
    page.api("queue/pause", "POST")
    expect(view.get_by_role("status")).to_have_text("Paused")
    ids = submit_sleepers(page, "first", "second", "third")
    waiting = view.locator("#pending li")
    expect(waiting).to_have_count(3)
    assert [row.get_attribute("data-key") for row in waiting.all()] == ids
    waiting.nth(2).get_by_role("button", name=re.compile("up$")).click()
    expect(waiting.nth(1)).to_have_attribute("data-key", ids[2])
    for left in (2, 1):
        waiting.nth(1).get_by_role("button", name=re.compile("^Cancel")).click()
        expect(waiting).to_have_count(left)
    view.get_by_role("button", name="Resume").click()
    expect(view.locator("#running .step")).to_have_text(re.compile(r"step \d+ of 2000"))
    view.locator("#running").get_by_role("button", name=re.compile("^Cancel")).click()
    expect(view.locator("#running")).to_be_empty()
    assert page.api(f"jobs/{ids[0]}")["status"] == "cancelled"
    expect(view.get_by_role("status")).to_have_text("Idle")
