"""The editor's own frontend: a template opens and runs with progress and its picture, another run is cancelled."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from mezzotint.server.editor import editor_folder

from ..server.serving import Server
from .watched_page import WatchedPage

pytestmark = pytest.mark.skipif(editor_folder() is None, reason="the extra 'editor' is not installed")

MAY_LACK = (
    r"/user\.css$|/userdata\?dir=(workflows|subgraphs)&|/userdata/(comfy\.templates|workflows%2F\.index)\.json$"
    r"|/global_subgraphs$"
)
"""What a user has not kept yet, and what the editor looks for though it was never promised."""
STEPS = "app.graph.getNodeById(5).widgets.find(widget => widget.name === 'steps').value"
SAVE_NODE = 7


@pytest.fixture(scope="module")
def editor(context: BrowserContext, server: Server) -> WatchedPage:
    """The editor as somebody finds it who opens it for the first time; the tests go on with it one after the other."""
    watched = WatchedPage(context.new_page(), server.url, MAY_LACK)
    watched.open()
    return watched


def shown_progress(page: Page, node: str) -> None:
    """Wait until the editor names the node that runs."""
    page.wait_for_function(f"/Current node:\\s*{node}/.test(document.body.textContent)")


def test_a_template_opens_and_runs_with_progress_and_its_picture(editor: WatchedPage) -> None:
    view = editor.page
    pictures = view.get_by_role("img", name="Text to image")
    expect(pictures.first).to_be_visible()
    view.get_by_text("Text to image", exact=True).click()
    view.wait_for_function("window.app?.graph?.getNodeById(7)?.type === 'SaveImage'")
    view.get_by_test_id("queue-button").click()
    shown_progress(view, "(KSampler|Load Checkpoint)")
    view.wait_for_function(f"app.graph.getNodeById({SAVE_NODE}).imgs?.[0]?.naturalWidth === 64")
    (job,) = editor.api("jobs?status=completed")["jobs"]
    jobs = view.get_by_text(re.compile(r"^\d+ active$"))
    jobs.click()
    expect(view.get_by_text(job["preview_output"]["filename"])).to_be_visible()
    jobs.click()


def test_another_run_is_cancelled(editor: WatchedPage) -> None:
    view = editor.page
    view.evaluate(f"{STEPS} = 5000")
    view.get_by_test_id("queue-button").click()
    shown_progress(view, "KSampler")
    view.get_by_role("button", name="Cancel current run").click()
    expect(view.get_by_text("0 active")).to_be_visible()
    (job,) = editor.api("jobs?status=cancelled")["jobs"]
    assert job["outputs_count"] == 0


def test_the_workflow_is_saved_and_is_open_again_after_a_reload(editor: WatchedPage) -> None:
    view = editor.page
    view.keyboard.press("Control+s")
    name = view.get_by_role("textbox", name="Enter the filename")
    name.fill("mine")
    name.press("Enter")
    is_open = "app.extensionManager?.workflow?.activeWorkflow?.path === 'workflows/mine.json'"
    view.wait_for_function(is_open)
    view.reload()
    view.wait_for_function(f"window.app?.graph?.getNodeById(5) && {is_open} && {STEPS} === 5000")
    assert [node["type"] for node in editor.api("userdata/workflows%2Fmine.json")["nodes"]].count("KSampler") == 1


def test_nothing_went_wrong_and_nobody_else_was_asked(editor: WatchedPage) -> None:
    assert editor.complaints == []
