"""Files to the server and back."""

from __future__ import annotations

import asyncio
import filecmp
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp

from mezzotint.engine.atomic_file import new_file, publish_new
from mezzotint.engine.errors import OutputError
from mezzotint.engine.output_file import output_error

from .errors import ConnectionLostError, ServerError
from .transport import Transport

CHUNK_NBYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file in a folder of the server. `folder_type`: "input", "output" or "temp"."""

    name: str
    subfolder: str
    folder_type: str

    @property
    def value(self) -> str:
        """What an input that names files takes: `sub/a.png`, `a.png [temp]`."""
        path = f"{self.subfolder}/{self.name}" if self.subfolder else self.name
        return path if self.folder_type == "input" else f"{path} [{self.folder_type}]"


async def upload(
    transport: Transport,
    data: bytes,
    name: str,
    *,
    subfolder: str = "",
    folder_type: str = "input",
    overwrite: bool = False,
    mask_of: Mapping[str, str] | None = None,
) -> UploadedFile:
    """Put a file into a folder of the server; see `Client.upload`."""
    form = aiohttp.FormData()
    form.add_field("image", data, filename=name, content_type="application/octet-stream")
    fields = {"type": folder_type, "subfolder": subfolder, "overwrite": "true" if overwrite else ""}
    for field, value in fields.items():
        if value:
            form.add_field(field, value)
    if mask_of is not None:
        form.add_field("original_ref", json.dumps(dict(mask_of)))
    found = await transport.ask("POST", "/upload/image" if mask_of is None else "/upload/mask", data=form)
    if not isinstance(found, Mapping) or "name" not in found:
        raise ServerError(f"the server at {transport.address} did not say where it put the file '{name}'")
    return UploadedFile(str(found["name"]), str(found.get("subfolder", "")), str(found.get("type", folder_type)))


async def download(transport: Transport, file: Mapping[str, Any], folder: Path) -> Path:
    """Fetch a file that an output node shows; see `Client.download`."""
    target = target_of(file, folder)
    query = {
        "filename": str(file["filename"]),
        "subfolder": str(file.get("subfolder") or ""),
        "type": str(file.get("type") or "output"),
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with new_file(target.parent) as (temporary, opened):
            async with transport.answer("GET", "/view", query=query) as response:
                written = 0
                async for chunk in response.content.iter_chunked(CHUNK_NBYTES):
                    written += opened.write(chunk)
                _check_whole(response, written, target.name)
            opened.close()
            return await asyncio.to_thread(_publish, temporary, target)
    except OSError as error:
        raise output_error(target, error) from error


def _check_whole(response: aiohttp.ClientResponse, written: int, name: str) -> None:
    is_encoded = "Content-Encoding" in response.headers
    if response.content_length is not None and not is_encoded and response.content_length != written:
        raise ConnectionLostError(
            f"the file '{name}' broke off after {written} of {response.content_length} bytes; ask again"
        )


def target_of(file: Mapping[str, Any], folder: Path) -> Path:
    """Where a file of the server is put below a local folder.

    Raises:
        OutputError: its name would leave the folder.
    """
    filename, subfolder = str(file.get("filename") or ""), str(file.get("subfolder") or "")
    path = f"{subfolder}/{filename}" if subfolder else filename
    parts = PurePosixPath(path).parts
    is_plain = filename and "/" not in filename and "\\" not in path and ":" not in path and "\0" not in path
    target = folder.joinpath(*parts)
    if not is_plain or ".." in parts or path.startswith("/") or not _is_below(target, folder):
        raise OutputError(
            f"the server names a file '{path}', which would leave the folder '{folder}'; it is not fetched"
        )
    return target


def _is_below(target: Path, folder: Path) -> bool:
    return target.parent.resolve().is_relative_to(folder.resolve())


def _publish(temporary: Path, target: Path) -> Path:
    """Give a file its name, or one beside it; a file that is there already with the same content stands for it."""
    for name in _names(target):
        path = target.with_name(name)
        if path.is_file() and filecmp.cmp(temporary, path, shallow=False):
            return path
        try:
            return target.with_name(publish_new(temporary, [name]))
        except FileExistsError:
            continue
    raise FileExistsError(target)  # not reached: the names do not end


def _names(target: Path) -> Iterator[str]:
    yield target.name
    number = 0
    while True:
        number += 1
        yield f"{target.stem} ({number}){target.suffix}"
