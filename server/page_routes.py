"""`/`: the editor where it is installed, else our own page, which is at `/mezzotint/` in any case (protocol §0)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from aiohttp import web

from .static_file import FRESH, static_file

PAGE = Path(__file__).parent / "page"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page_routes(editor: Path | None) -> list[web.RouteDef]:
    """The routes of the two.

    Args:
        editor: the folder of the editor's files; None leaves `/` to our own page.
    """
    if editor is None:
        return [*_own("/"), web.get("/mezzotint{slash:/?}", partial(_redirect, "/"))]
    # Only what is there becomes a route, so that every other address stays an ordinary 404.
    files = [route for entry in sorted(editor.iterdir()) for route in _routes(entry)]
    return [
        web.get("/", partial(_file, editor, "index.html", headers=FRESH)),
        *files,
        *_own("/mezzotint/"),
        web.get("/mezzotint", partial(_redirect, "/mezzotint/")),
    ]


def _own(at: str) -> list[web.RouteDef]:
    headers = {**FRESH, "Content-Security-Policy": PAGE_POLICY}
    return [web.get(at, partial(_file, PAGE, "index.html", headers=headers)), _folder(f"{at}page", PAGE)]


def _routes(entry: Path) -> list[web.RouteDef]:
    if entry.name == "extensions":  # plugins have theirs beside the editor's own
        return [_folder(f"/extensions/{own.name}", own) for own in entry.iterdir() if own.is_dir()]
    if entry.is_dir():
        return [_folder(f"/{entry.name}", entry)]
    return [web.get(f"/{entry.name}", partial(_file, entry.parent, entry.name))]


def _folder(at: str, folder: Path) -> web.RouteDef:
    return web.get(f"{at}/{{name:.+}}", partial(_file, folder, None))


async def _file(
    folder: Path, name: str | None, request: web.Request, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    return await static_file(folder, name or request.match_info["name"], headers)


async def _redirect(to: str, request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(to)
