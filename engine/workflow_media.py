"""Texts that pictures and model files carry about themselves: the workflow that made them, above all.

Only metadata is read. No pixel is decoded and no weight loaded, so neither the size of a picture nor that of a model
matters, and a file that was cut short still gives what it has.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator
from typing import IO

from .errors import WorkflowError

MAX_TEXT_BYTES = 64 * 2**20

_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\0\0"
_ASCII = 2  # the type of a tag that holds a text
_OTHER_KINDS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"PK\x03\x04": "zip",
    b"\x1aE\xdf\xa3": "WebM",
}
_KEYED = re.compile(r"\s*([A-Za-z_]\w*)\s*:(.*)", re.DOTALL)


def media_kind(head: bytes) -> str | None:
    """What a file is by its first 16 bytes: `"PNG"`, `"WebP"`, `"JPEG"`, `"safetensors"`, another's name, or None."""
    if head.startswith(_PNG):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= MAX_TEXT_BYTES:
        return "safetensors"
    if head[4:8] == b"ftyp":
        return "MP4 or AVIF"
    return next((name for start, name in _OTHER_KINDS.items() if head.startswith(start)), None)


def read_media_texts(file: IO[bytes], kind: str) -> dict[str, str] | None:
    """The texts in a file of a kind, by key (`workflow`, `prompt`, ...); None for a kind that is not read.

    `file` is open for reading, at its start, and can seek.

    Raises:
        WorkflowError: a text is larger than 64 MiB.
    """
    reader = {"PNG": _png_texts, "WebP": _webp_texts, "JPEG": _jpeg_texts, "safetensors": _safetensors_texts}.get(kind)
    if reader is None:
        return None
    texts: dict[str, str] = {}
    total = 0
    for key, text in reader(file):
        total += len(text)
        _check_size(total)
        texts.setdefault(key, text)
    return texts


def _png_texts(file: IO[bytes]) -> Iterator[tuple[str, str]]:
    file.seek(len(_PNG))
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in _PNG_READERS:
            found = _PNG_READERS[kind](_read(file, length))
            if found is not None:
                yield found
            file.seek(4, 1)
        elif kind == b"IEND":
            return
        else:
            file.seek(length + 4, 1)


def _plain_text(data: bytes) -> tuple[str, str] | None:
    key, separator, text = data.partition(b"\0")
    return (_decode(key), _decode(text)) if separator else None


def _packed_text(data: bytes) -> tuple[str, str] | None:
    key, separator, packed = data.partition(b"\0")
    return (_decode(key), _decode(_inflate(packed[1:]))) if separator else None


def _international_text(data: bytes) -> tuple[str, str] | None:
    # key, 0, compressed or not, method, language, 0, translated key, 0, text
    key, separator, rest = data.partition(b"\0")
    fields = rest[2:].split(b"\0", 2)
    if not separator or len(fields) < 3:
        return None
    return _decode(key), _decode(_inflate(fields[2]) if rest[:1] == b"\x01" else fields[2])


# Animated pictures keep their texts in a chunk of the field's own, behind the first frame.
_PNG_READERS = {b"tEXt": _plain_text, b"zTXt": _packed_text, b"iTXt": _international_text, b"comf": _plain_text}


def _webp_texts(file: IO[bytes]) -> Iterator[tuple[str, str]]:
    file.seek(12)
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        if kind == b"EXIF":
            yield from _exif_texts(_read(file, length))
            return
        file.seek(length + length % 2, 1)


def _jpeg_texts(file: IO[bytes]) -> Iterator[tuple[str, str]]:
    file.seek(2)
    while len(head := file.read(4)) == 4:
        marker, length = struct.unpack(">HH", head)
        if not 0xFFE0 <= marker <= 0xFFEF and marker != 0xFFFE:
            return  # the picture itself begins
        data = file.read(max(length - 2, 0))
        if marker == 0xFFE1 and data.startswith(_EXIF):
            yield from _exif_texts(data)


def _exif_texts(data: bytes) -> Iterator[tuple[str, str]]:
    """The texts of the form `key:text` among the tags of the first directory, whatever tag they stand in."""
    data = data.removeprefix(_EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 10:
        return
    start = struct.unpack_from(f"{order}I", data, 4)[0]
    count = struct.unpack_from(f"{order}H", data, start)[0] if start + 2 <= len(data) else 0
    unread = len(data)  # texts do not overlap, so together they are no longer than the block
    for entry in range(start + 2, min(start + 2 + count * 12, len(data) - 11), 12):
        _, kind, length, offset = struct.unpack_from(f"{order}HHII", data, entry)
        if kind != _ASCII or not 4 < length <= unread:
            continue
        unread -= length
        match = _KEYED.match(_decode(data[offset : offset + length].rstrip(b"\0")))
        if match:
            yield match.group(1), match.group(2)


def _safetensors_texts(file: IO[bytes]) -> Iterator[tuple[str, str]]:
    length = struct.unpack("<Q", file.read(8))[0]
    try:
        header = json.loads(_read(file, length))
    except (ValueError, RecursionError):
        return
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if isinstance(metadata, dict):
        yield from ((key, text) for key, text in metadata.items() if isinstance(text, str))


def _read(file: IO[bytes], length: int) -> bytes:
    _check_size(length)
    return file.read(length)


def _inflate(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, MAX_TEXT_BYTES + 1)
    except zlib.error:
        return b""
    _check_size(len(text))
    return text


def _check_size(length: int) -> None:
    if length > MAX_TEXT_BYTES:
        raise WorkflowError(f"it carries more than {MAX_TEXT_BYTES:,} bytes of text, which are not read")


def _decode(text: bytes) -> str:
    """Metadata is ASCII as a rule; some programs write UTF-8 where Latin-1 is meant."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")
