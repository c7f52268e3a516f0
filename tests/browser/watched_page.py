"""A browser's page that remembers what went wrong on it."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, Request, Response


class WatchedPage:
    """A page, with the errors of its console, its failed requests and its requests to anybody but the server.

    Attributes:
        may_lack: addresses that may be 404, as a regular expression.
    """

    def __init__(self, page: Page, url: str, may_lack: str = "$^") -> None:
        self.page, self.url, self.may_lack = page, url, may_lack
        self.complaints: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(f"error {error}"))
        page.on("request", self._asked)
        page.on("response", self._answered)

    def open(self, path: str = "/") -> Page:
        """Go there."""
        self.page.goto(self.url + path)
        return self.page

    def api(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """What the server says, asked beside the page."""
        answer = self.page.request.fetch(f"{self.url}/api/{path}", method=method, data=body)
        assert answer.ok, answer.text()
        return answer.json() if answer.text() else None

    def _hear(self, message: ConsoleMessage) -> None:
        # That a resource is not there is known from its answer.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(f"console {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.complaints.append(f"foreign {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and not re.search(self.may_lack, response.url):
            self.complaints.append(f"{response.status} {response.request.method} {response.url}")
