"""What is sent over a websocket: JSON messages and binary previews (wire protocol §2.2 and §2.4)."""

from __future__ import annotations

import struct
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

from mezzotint.engine.encoded_picture import EncodedPicture

from .json_body import to_json

if TYPE_CHECKING:
    from PIL.Image import Image

PREVIEW_IMAGE, TEXT, PREVIEW_IMAGE_WITH_METADATA = 1, 3, 4
"""Binary events: a preview for clients that say nothing, a text on a node, a preview for those that take metadata."""
FORMATS = {"image/jpeg": 1, "image/png": 2}
PREVIEW_SIDE, PREVIEW_QUALITY = 512, 95

_REPLACEABLE = frozenset({"progress", "progress_state"})
_PASSING = _REPLACEABLE | {"status", "feature_flags"}


@dataclass
class Frame:
    """A JSON message.

    Attributes:
        is_for_all: sent to everybody when the job it tells of has no client of its own.
        sequence: its number among all messages of jobs, once it has one.
    """

    type: str
    data: dict[str, Any]
    is_for_all: bool = False
    sequence: int | None = None

    def encoded(self) -> str:
        """The message as it is sent: made once, however many it is sent to."""
        return self._encoded

    @cached_property
    def _encoded(self) -> str:
        return encoded(self.type, self.data_text, self.sequence)

    @cached_property
    def data_text(self) -> str:
        """The data as JSON."""
        return to_json(self.data)

    @property
    def is_kept(self) -> bool:
        """Whether the message is still of use to who hears it later."""
        return self.type not in _PASSING

    @property
    def topic(self) -> Hashable | None:
        """A later frame of the same topic makes this one worthless; None when none does."""
        return (self.type, self.data.get("prompt_id"), self.data.get("node")) if self.type in _REPLACEABLE else None


class PreviewPicture:
    """A picture of what a sampler has so far; encoded when somebody takes it."""

    media_type = "image/jpeg"

    def __init__(self, picture: Image) -> None:
        self._picture = picture

    @cached_property
    def content(self) -> bytes:
        """The picture as JPEG, no side longer than 512 pixels."""
        from PIL.Image import Resampling

        picture = self._picture.convert("RGB")
        picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Resampling.BILINEAR)
        file = BytesIO()
        picture.save(file, "JPEG", quality=PREVIEW_QUALITY)
        return file.getvalue()


@dataclass(frozen=True, slots=True)
class Preview:
    """A binary preview, or a picture that a node sends, in one of its two forms.

    Attributes:
        picture: a preview, or a picture to be sent as it is.
        metadata: what goes before the picture for clients that take it; None makes the other form.
    """

    picture: PreviewPicture | EncodedPicture
    job_id: str
    metadata: dict[str, Any] | None = None
    is_for_all: bool = False

    def encoded(self) -> bytes:
        """The frame as it is sent."""
        if self.metadata is None:
            return struct.pack(">II", PREVIEW_IMAGE, FORMATS[self.picture.media_type]) + self.picture.content
        text = to_json(self.metadata).encode()
        return struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(text)) + text + self.picture.content

    @property
    def topic(self) -> Hashable | None:
        """A later frame of the same topic makes this one worthless; None when it is a result."""
        return ("preview", self.job_id) if isinstance(self.picture, PreviewPicture) else None


@dataclass(frozen=True, slots=True)
class ProgressText:
    """What a node that runs says of itself ("loss 0.12"), shown on it."""

    node_id: str
    text: str
    job_id: str
    is_for_all: bool = True

    def encoded(self) -> bytes:
        """The frame as it is sent."""
        name = self.node_id.encode()
        return struct.pack(">II", TEXT, len(name)) + name + self.text.encode()

    @property
    def topic(self) -> Hashable | None:
        """A later frame of the same topic makes this one worthless."""
        return ("text", self.job_id, self.node_id)


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a plugin, as it is sent. No later one takes its place."""

    payload: str | bytes
    topic: Hashable | None = None
    is_for_all: bool = False

    def encoded(self) -> str | bytes:
        """The message."""
        return self.payload


AnyFrame = Frame | Preview | ProgressText | Message


def encoded(kind: str, data_text: str, sequence: int | None) -> str:
    """A message as it is sent; one that has no number carries none."""
    number = "" if sequence is None else f',"sequence":{sequence}'
    return f'{{"type":{to_json(kind)},"data":{data_text}{number}}}'


def closing(code: int, reason: str = "") -> bytes:
    """The frame that closes a websocket, as bytes for its connection (RFC 6455, 5.5.1)."""
    payload = struct.pack(">H", code) + reason.encode()
    return b"\x88" + bytes([len(payload)]) + payload


def status(queue_remaining: int, sid: str | None = None) -> Frame:
    """How many jobs wait or run; `sid` only in the first message to a client."""
    data: dict[str, Any] = {"status": {"exec_info": {"queue_remaining": queue_remaining}}}
    return Frame("status", data if sid is None else {**data, "sid": sid})


def end_of_job(job_id: str) -> Frame:
    """The last message of a job, whatever became of it."""
    return Frame("executing", {"node": None, "prompt_id": job_id})
