"""`/templates/...`: the bundled workflows, as the editor's template dialog shows and opens them (protocol §1.7)."""

from __future__ import annotations

import asyncio
import json
import re
from importlib.resources import as_file, files
from typing import Any

from aiohttp import web

from mezzotint.engine.ui_layout import lay_out
from mezzotint.plugins.host import Host
from mezzotint.workflows import SUFFIX, bundled_workflows

from .app_key import HOST
from .json_body import json_answer
from .static_file import static_file

_INDEX = re.compile(r"index(\.[\w-]+)?\.json")
EDITOR_FORM = ".ui"
"""A workflow `a` that is also there as `a.ui` was laid out by hand."""


async def get_template(request: web.Request) -> web.StreamResponse:
    """The list in whatever language, which is English; the logos of model makers, of which there are none; a template
    as an editor's document; or its picture."""
    name = request.match_info["name"]
    if name == "index_logo.json":
        return json_answer({})
    if name.endswith(SUFFIX) and not _INDEX.fullmatch(name):
        document = await asyncio.to_thread(_document, name.removesuffix(SUFFIX), request.app[HOST])
        return json_answer(document)
    with as_file(files("mezzotint.workflows") / "templates") as folder:
        return await static_file(folder, "index.json" if _INDEX.fullmatch(name) else name)


def _document(name: str, host: Host) -> dict[str, Any]:
    bundled = bundled_workflows()
    if name + EDITOR_FORM in bundled:
        return dict(json.loads(bundled[name + EDITOR_FORM]))
    if name not in bundled:
        raise web.HTTPNotFound(text="There is no such template.")
    return lay_out(host.load(bundled[name]), host.definitions)


BARE_ROUTES = (web.get("/templates/{name}", get_template),)
