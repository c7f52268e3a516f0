"""Requests and websocket frames that nobody would write on purpose, and a server in a thread to send them to."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes, urlencode

from aiohttp import web
from hypothesis import strategies as st

from mezzotint.server.app import make_app
from mezzotint.server.limited_site import LimitedSite, limited_runner
from mezzotint.server.limits import Limits

from .in_process import open_host

PATIENCE_S = 5.0
"""An answer that takes longer is a hang."""
LIMITS = Limits(body_seconds=0.2, linger_seconds=0.1)


class Route(NamedTuple):
    """A method, and a path with its variable parts in braces."""

    method: str
    path: str


class Fuzzed:
    """A server that runs in a thread of its own.

    Attributes:
        routes: all that its router knows. complaints: what was logged as an error, which no request may cause.
    """

    def __init__(self, app: web.Application, address: tuple[str, int]) -> None:
        self.address = address
        self.routes = [*dict.fromkeys(_routes(app))]
        self.complaints: list[str] = []

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request as it stands; its status and body (none of a websocket). Raises TimeoutError at a hang."""
        with socket.create_connection(self.address, PATIENCE_S) as connection:
            connection.sendall(request)
            response = HTTPResponse(connection, method=request.split(b" ", 1)[0].decode("latin-1"))
            response.begin()
            return response.status, b"" if response.status == 101 else response.read()

    def ask_json(self, method: str, path: str, body: Any = None) -> Any:
        """What a well-behaved client gets."""
        status, answer = self.ask(written(method, path, {}, b"" if body is None else json.dumps(body).encode()))
        assert status == 200, (status, answer)
        return json.loads(answer) if answer else None

    def listen(self, sid: str) -> socket.socket:
        """A websocket; the first message was not read yet."""
        connection = socket.create_connection(self.address, PATIENCE_S)
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                   "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip
        connection.sendall(written("GET", f"/ws?clientId={sid}", upgrade, b""))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert b" 101 " in head
        return connection


def _routes(app: web.Application) -> Iterator[Route]:
    for route in app.router.routes():
        if route.resource is not None:
            path = route.resource.canonical
            yield Route(route.method, f"{path}/{{file}}" if isinstance(route.resource, web.StaticResource) else path)


class _Complaints(logging.Handler):
    def __init__(self, complaints: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._complaints = complaints
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._complaints.append(self.format(record))


@contextmanager
def fuzzed_server(home: Path) -> Iterator[Fuzzed]:
    """A server to send anything to."""
    began: list[Fuzzed] = []
    is_up, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        with open_host(home) as host:
            app = make_app(host, limits=LIMITS)
            runner = limited_runner(app, LIMITS)
            await runner.setup()
            await LimitedSite(runner, "127.0.0.1", 0, LIMITS).start()
            name, port = runner.addresses[0][:2]
            began.append(Fuzzed(app, (str(name), int(port))))
            is_up.set()
            await stop.wait()
            await runner.cleanup()

    thread = threading.Thread(target=_run, args=(loop, serve), daemon=True)
    thread.start()
    assert is_up.wait(60)
    (server,) = began
    handler = _Complaints(server.complaints)
    logging.getLogger().addHandler(handler)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        logging.getLogger().removeHandler(handler)
        assert not thread.is_alive()


def _run(loop: asyncio.AbstractEventLoop, serve: Any) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(serve())


def written(method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
    """A request as it is sent."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    if not {"Content-Length", "Transfer-Encoding"} & headers.keys():
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1", "replace") + body


# texts

HOSTILE = [
    "", " ", ".", "..", "../..", "../../../etc/passwd", "..\\..\\x", "/etc/passwd", "C:\\x", "a\0b", "\0", "nul",
    "CON.png", "%2e%2e", "a" * 300, "é" * 200, "\ud800", "💥", "-1", "0", "1e999", "NaN", "9" * 400, "null", "true",
    "[]", "{}",
    "a.png [temp]", " [input]", "a;b", "a\r\nb: c", "<script>", "'; drop table jobs; --", "webp;90",
    "jpeg;999999999999",
    "rgb", "a", "input", "output", "temp", "checkpoints", "default", "workflows/a.json", "SmallSum", "a.png", "pending",
    "completed,failed", "desc", "created_at", "front", "back", "00000000-0000-0000-0000-000000000000",
]  # fmt: skip
JOB_IDS = [f"00000000-0000-4000-8000-00000000000{digit}" for digit in range(4)]
"""Ids that submissions choose, so that other requests find jobs under them."""
texts = st.sampled_from(HOSTILE) | st.text(max_size=20)
_job_ids = st.sampled_from(JOB_IDS)
_raw_parts = (_job_ids | texts).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=12)
path_parts = st.builds(lambda raw, safe: quote_from_bytes(raw, safe=safe), _raw_parts, st.sampled_from(["", "/", ".%"]))

# JSON

NAMES = [
    "prompt", "client_id", "prompt_id", "number", "front", "extra_data", "extra_pnginfo", "workflow", "preview_method",
    "partial_execution_targets", "clear", "delete", "unload_models", "free_memory", "job_ids", "to", "before", "after",
    "priority", "username", "clientId", "enabled", "class_type", "inputs", "_meta", "id", "1", "2", "type", "data",
]  # fmt: skip
_numbers = st.sampled_from([0, 1, -1, 2**31, 2**53, 2**63, 2**64, -(2**70), 10**400, 0.5, -0.0, 1e308, 1e-320])
_scalars = _job_ids | st.none() | st.booleans() | _numbers | st.integers() | st.floats() | texts
values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | texts, inner, max_size=4),
    max_leaves=12,
)
_ids = st.sampled_from(["1", "2", "3", "10:3", "", "é"])
_links = st.tuples(_ids | values, st.sampled_from([0, 1, -1, 10**30, 0.5, None, True, "0"])).map(list)
_types = st.sampled_from(
    ["SmallNumber", "SmallSum", "SmallShow", "SmallFail", "SmallExpand", "SmallBlock", "SmallOdd", "SmallSilent",
     "PrimitiveString", "PreviewAny", "LoadImage", "KSampler", "SaveImage", "NoSuchNode"]
)  # fmt: skip
_inputs = st.dictionaries(
    st.sampled_from(["a", "b", "value", "kind", "source", "message", "salt", "image", "images", "filename_prefix"])
    | texts,
    _links | values | st.builds(lambda value: {"__value__": value}, values),
    max_size=4,
)  # fmt: skip
_nodes = st.fixed_dictionaries({"class_type": _types, "inputs": _inputs}, optional={"_meta": values})
prompts = st.dictionaries(_ids, st.one_of(*[_nodes] * 6, values), max_size=4)
submissions = st.fixed_dictionaries(
    {"prompt": prompts},
    optional={
        "client_id": texts, "prompt_id": _job_ids | texts, "number": _scalars, "front": _scalars,
        "extra_data": st.dictionaries(st.sampled_from(NAMES), values, max_size=3) | values,
        "partial_execution_targets": st.lists(_ids, max_size=3) | values,
    },
)  # fmt: skip
_objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=4)
json_bodies = st.one_of(submissions, submissions, _objects, values).map(lambda value: json.dumps(value).encode())

# bodies and headers

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f645400000"
    "000049454e44ae426082"
)
_DEEP = [
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"prompt":' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"number":' + b"9" * 5000 + b"}",
]


def _form(parts: list[tuple[str, str | None, bytes]], *, is_torn: bool) -> bytes:
    body = b""
    for name, filename, content in parts:
        label = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
        label = re.sub(r"[\r\n]", "", label)
        body += b"--x\r\nContent-Disposition: " + label.encode("utf-8", "replace") + b"\r\n\r\n" + content + b"\r\n"
    return body[:-1] if is_torn else body + b"--x--\r\n"


_fields = st.sampled_from(["image", "type", "subfolder", "overwrite", "original_ref"])
_contents = st.sampled_from([PNG, PNG[:40], b"", b"input", b"true", b'{"filename":"a.png"}', b"{}"]) | st.binary(
    max_size=40
)
forms = st.builds(
    lambda parts, is_torn: _form(parts, is_torn=is_torn),
    st.lists(st.tuples(_fields, st.none() | texts, _contents | json_bodies), max_size=4),
    is_torn=st.booleans(),
)
bodies = st.one_of(st.just(b""), json_bodies, json_bodies, forms, st.binary(max_size=60), st.sampled_from(_DEEP))
HEADERS = {
    "Content-Type": ["application/json", "multipart/form-data; boundary=x", "multipart/form-data", "x",
                     "text/plain; charset=bogus", "application/x-www-form-urlencoded", ";;;"],
    "Content-Encoding": ["gzip", "deflate", "br", "identity", "bogus"],
    "Range": ["bytes=0-0", "bytes=5-2", "bytes=-1", "bytes=99999999999999999999-", "lines=1", "bytes=0-1,3-4"],
    "If-None-Match": ["*", '"x"', "x", 'W/"'],
    "If-Match": ["*", '"x"', "x"],
    "If-Modified-Since": ["Thu, 01 Jan 1970 00:00:00 GMT", "never", "Thu, 01 Jan 9999999 00:00:00 GMT"],
    "If-Range": ['"x"', "never"],
    "Expect": ["100-continue", "bogus"],
    "Accept": ["text/html", "*/*", ";;"],
    "Accept-Encoding": ["gzip", "bogus;q=x", "*"],
    "Accept-Language": ["de", ";;", "x" * 500],
    "Cookie": ["a=b", ";;==", "\xff=\xff", "a=" + "b" * 4000],
    "Authorization": ["Bearer x", "Bearer", "\xff"],
    "comfy-user": ["default", "../..", "\xff"],
    "Origin": ["http://localhost", "null", "http://["],
    "Upgrade": ["websocket", "h2c"],
    "Content-Length": ["-1", "x", "99999999999999999999", "1"],
    "Transfer-Encoding": ["chunked", "bogus"],
}  # fmt: skip
_headers = st.dictionaries(st.sampled_from([*HEADERS]), st.integers(0, 7), max_size=3).map(
    lambda picked: {name: HEADERS[name][index % len(HEADERS[name])] for name, index in picked.items()}
)
QUERY = [
    "filename", "type", "subfolder", "preview", "channel", "max_items", "offset", "limit", "status", "sort_by",
    "sort_order", "dir", "path", "recurse", "split", "full_info", "overwrite", "clientId", "after", "token",
    "workflow_id",
]  # fmt: skip
_queries = st.lists(st.tuples(st.sampled_from(QUERY) | texts, texts), max_size=3).map(
    lambda pairs: urlencode(
        [(name.encode("utf-8", "surrogatepass"), value.encode("utf-8", "surrogatepass")) for name, value in pairs]
    )
)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]


@st.composite
def requests(draw: st.DrawFn, routes: list[Route]) -> bytes:
    """A request to one of the routes, mostly by its own method."""
    route = draw(st.sampled_from(routes))
    path = re.sub(r"\{[^}]*\}", lambda _: draw(path_parts), route.path)
    query = draw(_queries)
    method = route.method if route.method != "*" and draw(st.integers(0, 9)) else draw(st.sampled_from(_METHODS))
    target = path + (f"?{query}" if query else "")
    headers, body = draw(_headers), draw(bodies)
    if headers.get("Transfer-Encoding") == "chunked" and draw(st.booleans()):
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    return written(method, target, headers, body)


# websocket frames


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame, or what only looks like one."""
    payload = draw(json_bodies | st.binary(max_size=200) | st.just(b'{"type":"feature_flags","data":{}}'))
    first = draw(st.sampled_from([0x81, 0x81, 0x82, 0x01, 0x00, 0x80, 0x88, 0x89, 0x8A]) | st.integers(0, 255))
    claimed = draw(st.just(len(payload)) | st.sampled_from([0, 1, 125, 126, 70_000, 2**63 - 1, 2**64 - 1]))
    small, more = min(claimed, 126), struct.pack(">H", claimed & 0xFFFF) if claimed > 125 else b""
    if claimed > 0xFFFF:
        small, more = 127, struct.pack(">Q", claimed)
    mask = draw(st.none() | st.binary(min_size=4, max_size=4)) if draw(st.integers(0, 3)) == 0 else b"\0\0\0\0"
    return bytes([first, small if mask is None else small | 0x80]) + more + (mask or b"") + payload
