"""`/upload/image` and `/upload/mask`: files that clients bring (wire protocol §1.5)."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from mezzotint.engine.atomic_file import write_atomically, write_new
from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.folder_path import why_refused
from mezzotint.engine.folders import Folders
from mezzotint.engine.workflow_file import parse_json

from .app_key import HOST
from .file_place import inside, place
from .json_body import json_answer
from .picture import PictureError, check_size, with_alpha_of

Form = Mapping[str, Any]


async def upload_image(request: web.Request) -> web.Response:
    """Store a file. An equal one of that name is left as it is; a different one makes the new one `a (1).png`."""
    form = await _form(request)
    content = _content(form)
    try:
        await asyncio.to_thread(check_size, content)
    except PictureError as error:
        raise web.HTTPBadRequest(text=f"{error}.") from None
    return json_answer(await asyncio.to_thread(_store, request.app[HOST].folders, form, content))


async def upload_mask(request: web.Request) -> web.Response:
    """Store a picture that is there already with another alpha: that of the file that is sent."""
    form = await _form(request)
    folders = request.app[HOST].folders
    original = await asyncio.to_thread(_original, folders, form)
    try:
        content = await asyncio.to_thread(with_alpha_of, original, _content(form))
    except PictureError as error:
        raise web.HTTPBadRequest(text=f"{error}.") from None
    return json_answer(await asyncio.to_thread(_store, folders, form, content))


async def _form(request: web.Request) -> Form:
    if request.content_type != "multipart/form-data":
        raise web.HTTPBadRequest(text="Send the file as multipart/form-data, in the field 'image'.")
    try:
        return await request.post()
    except (ValueError, AssertionError) as error:  # what aiohttp makes of a body that is no form
        raise web.HTTPBadRequest(text=f"The form cannot be read: {error}.") from None


def _field(form: Form) -> FileField:
    field = form.get("image")
    if not isinstance(field, FileField):
        raise web.HTTPBadRequest(text="The form has no file in its field 'image'.")
    if why := why_refused(field.filename) or ("it names a folder" if "/" in field.filename else None):
        raise web.HTTPBadRequest(text=f"The file name cannot be used: {why}.")
    return field


def _content(form: Form) -> bytes:
    return _field(form).file.read()


def _text(form: Form, name: str, default: str = "") -> str:
    value = form.get(name, default)
    return value if isinstance(value, str) and value else default


def _store(folders: Folders, form: Form, content: bytes) -> dict[str, str]:
    """Raises web.HTTPBadRequest: the type or the sub-folder cannot be used, or nothing can be written there."""
    folder_type, subfolder = _text(form, "type", "input"), _text(form, "subfolder")
    filename = _field(form).filename
    try:
        folder = inside(folders, subfolder, folder_type)
    except (web.HTTPForbidden, web.HTTPNotFound) as refused:
        raise web.HTTPBadRequest(text=refused.text) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        name = _write(folder, filename, content, is_new=_text(form, "overwrite") not in ("true", "1"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise web.HTTPBadRequest(text=f"The file cannot be written: {reason}.") from None
    return {"name": name, "subfolder": subfolder, "type": folder_type}


def _write(folder: Path, filename: str, content: bytes, *, is_new: bool) -> str:
    if not is_new:
        write_atomically(folder / filename, content)
        return filename
    for name in _numbered(filename):
        if _is_same(folder / name, content):
            return name
        if not os.path.lexists(folder / name):
            try:
                return write_new(folder, [name], content)
            except FileExistsError:  # somebody was faster
                continue
    raise AssertionError("the names never end")


def _numbered(filename: str) -> Iterator[str]:
    stem, suffix = os.path.splitext(filename)  # noqa: PTH122 - a plain name, no path
    yield filename
    yield from (f"{stem} ({number}){suffix}" for number in itertools.count(1))


def _is_same(path: Path, content: bytes) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    return path.stat().st_size == len(content) and path.read_bytes() == content


def _original(folders: Folders, form: Form) -> Path:
    try:
        named = parse_json(_text(form, "original_ref"), "original_ref")
    except WorkflowError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    if not isinstance(named, dict) or not isinstance(named.get("filename"), str):
        raise web.HTTPBadRequest(text="'original_ref' must be a JSON object with a 'filename'.")
    path = place(folders, named["filename"], str(named.get("subfolder") or ""), str(named.get("type") or "output"))
    if not path.is_file():
        raise web.HTTPNotFound(text="There is no such file to mask.")
    return path


ROUTES = (web.post("/upload/image", upload_image), web.post("/upload/mask", upload_mask))
