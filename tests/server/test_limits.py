"""One client cannot wear the server out: slow, large, many, silent and hostile ones, by HTTP and websocket."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol

from mezzotint.plugins.host import Host
from mezzotint.server.body_limit import Patience
from mezzotint.server.clients import TOO_SLOW
from mezzotint.server.frame import closing
from mezzotint.server.limited_site import Connections
from mezzotint.server.limits import Limits

from .in_process import Address, open_host, serving
from .test_metrics import samples

PATIENCE_S = 10.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with open_host(tmp_path_factory.mktemp("limits")) as host:
        yield host


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.close()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What is sent until the connection ends, which it must."""
    received = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while chunk := await reader.read(1 << 16):
                received += chunk
    except ConnectionError:
        pass
    return received


async def drip(writer: asyncio.StreamWriter, pause_s: float = 0.05) -> None:
    """Send a byte now and then, for ever."""
    try:
        while True:
            writer.write(b"a")
            await asyncio.sleep(pause_s)
    except ConnectionError:
        pass


async def status(address: Address, method: str = "GET", path: str = "/prompt", body: bytes = b"") -> int:
    """What a well-behaved client gets, on a connection of its own."""
    async with (
        aiohttp.ClientSession(f"http://{address[0]}:{address[1]}") as session,
        session.request(method, path, data=io.BytesIO(body) if body else None) as response,
    ):
        return response.status


async def until_status(
    wanted: int, address: Address, method: str = "GET", path: str = "/prompt", body: bytes = b""
) -> None:
    """Ask again until this is answered, which it must be."""
    for _ in range(int(PATIENCE_S / 0.01)):
        if await status(address, method, path, body) == wanted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path} never answered {wanted}")


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET /prompt HTTP/1.1\r\nHost: localhost\r\nX: "])
async def test_a_head_that_comes_a_byte_at_a_time_is_not_waited_for(host: Host, sent: bytes) -> None:
    async with serving(host, Limits(idle_seconds=0.3)) as address, connected(address) as (reader, writer):
        writer.write(sent)
        dripping = asyncio.create_task(drip(writer) if sent else asyncio.sleep(0))
        await rest(reader)
        dripping.cancel()
        assert await status(address) == 200


async def test_a_second_head_that_comes_slowly_is_not_waited_for_either(host: Host) -> None:
    async with serving(host, Limits(idle_seconds=0.3)) as address, connected(address) as (reader, writer):
        writer.write(b"GET /prompt HTTP/1.1\r\nHost: localhost\r\n\r\nGET /")
        dripping = asyncio.create_task(drip(writer))
        assert b"200 OK" in await rest(reader)
        dripping.cancel()


def post(path: str, length: int | None, body: bytes = b"") -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{size}\r\n\r\n".encode() + body


@pytest.mark.parametrize("path", ["/prompt", "/upload/image", "/userdata/slow.json"])
async def test_a_body_that_comes_a_byte_at_a_time_is_answered_with_408(host: Host, path: str) -> None:
    head = post(path, 5000).replace(b"\r\n\r\n", b"\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n")
    async with (
        serving(host, Limits(body_seconds=0.3, linger_seconds=0.1)) as address,
        connected(address) as (reader, writer),
    ):
        writer.write(head)
        dripping = asyncio.create_task(drip(writer))
        assert b" 408 " in await rest(reader)
        dripping.cancel()


async def test_a_slow_body_that_comes_steadily_is_waited_for(host: Host) -> None:
    limits = Limits(body_seconds=0.3, body_nbytes_per_second=10)
    async with serving(host, limits) as address, connected(address) as (reader, writer):
        writer.write(post("/queue", 40))
        for _ in range(20):
            writer.write(b"  ")
            await asyncio.sleep(0.03)
        assert b" 200 " in await reader.readline()


async def test_a_body_that_ends_in_the_moment_that_its_time_does_raises_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    body = aiohttp.StreamReader(BaseProtocol(loop), 1024, loop=loop)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0) as deadline:
            patience = Patience(body, deadline, Limits())
            loop.call_soon(body.feed_eof)  # after the deadline, before the task hears of it
            await asyncio.sleep(PATIENCE_S)
    assert deadline.expired()
    patience.end()
    assert caplog.records == []


@pytest.mark.parametrize("length", [101, 1 << 40, 10**30])
async def test_a_body_that_says_it_is_too_large_is_refused_unread(host: Host, length: int) -> None:
    async with serving(host, Limits(body_nbytes=100)) as address, connected(address) as (reader, writer):
        writer.write(post("/queue", length))
        assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)).split()[1] in (b"413", b"400")


async def test_a_body_that_does_not_say_how_large_it_is_is_read_up_to_the_limit(host: Host) -> None:
    async with serving(host, Limits(body_nbytes=100)) as address, connected(address) as (reader, writer):
        writer.write(post("/queue", None, b"c8\r\n" + b" " * 200 + b"\r\n0\r\n\r\n"))
        assert b" 413 " in await reader.readline()


async def test_all_bodies_together_are_bounded(host: Host) -> None:
    async with serving(host, Limits(bodies_nbytes=100)) as address:
        async with connected(address) as (_, first):
            first.write(post("/queue", 80))
            await first.drain()
            await until_status(503, address, "POST", "/queue", b" " * 30)
            assert await status(address, "POST", "/queue", b" " * 10) == 200
        await until_status(200, address, "POST", "/queue", b" " * 30)


async def test_connections_are_bounded_and_the_last_is_told(host: Host) -> None:
    async with serving(host, Limits(connections=2)) as address:
        async with connected(address), connected(address) as (reader, _):
            await until_status(503, address)
            assert not reader.at_eof()
        await until_status(200, address)


def test_connections_from_one_address_are_bounded_but_for_this_machine() -> None:
    connections = Connections(Limits(connections=6, connections_per_address=2))
    assert [connections.admit("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert [connections.admit("127.0.0.1") for _ in range(3)] == [True] * 3
    assert [connections.admit(address) for address in ("10.0.0.2", "10.0.0.3")] == [True, False]
    connections.release("10.0.0.1")
    assert connections.admit("10.0.0.1")


async def test_answers_that_nobody_reads_are_not_kept(host: Host) -> None:
    count = 200
    async with serving(host, Limits(unread_seconds=0.3)) as address, connected(address) as (reader, writer):
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        writer.write(b"GET /object_info HTTP/1.1\r\nHost: localhost\r\n\r\n" * count)
        await asyncio.sleep(2.0)
        transport.resume_reading()
        assert (await rest(reader)).count(b"HTTP/1.1 200") < count
        assert await status(address) == 200


@pytest.mark.parametrize(
    "sent", [b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", post("/queue", None, b"xyz\r\n")]
)
async def test_what_is_no_http_is_answered_with_400_and_not_logged(
    host: Host, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(host) as address, connected(address) as (reader, writer):
        writer.write(sent)
        assert b" 400 " in await asyncio.wait_for(reader.readline(), PATIENCE_S)
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


# websockets

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def test_what_waits_for_a_client_that_does_not_read_is_bounded_and_it_hears_why_it_is_left(host: Host) -> None:
    bound = 1 << 20
    async with serving(host, Limits(outbox_nbytes=bound)) as address, connected(address) as (reader, writer):
        writer.write(UPGRADE.replace(b"/ws", b"/ws?clientId=deaf"))
        await reader.readuntil(b'"sid":"deaf"}}')
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with aiohttp.ClientSession(f"http://{address[0]}:{address[1]}") as session:
            unread = [await unread_nbytes(session)]
            for number in range(60):
                body = {"prompt": showing(f"{number} {'x' * 400_000}"), "client_id": "deaf"}
                async with session.post("/prompt", json=body) as response:
                    assert response.status == 200
                unread.append(await unread_nbytes(session))
                if max(unread) > 0 and unread[-1] == 0:
                    break
        assert bound / 2 < max(unread) <= bound
        assert unread[-1] == 0, "nothing is kept for it any more"
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await rest(reader)).endswith(closing(1013, TOO_SLOW))
        assert await status(address) == 200


def showing(text: str) -> dict[str, Any]:
    return {
        "1": {"class_type": "PrimitiveString", "inputs": {"value": text}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }


async def unread_nbytes(session: aiohttp.ClientSession) -> float:
    """What waits for the slowest websocket, as the server tells Prometheus."""
    async with session.get("/metrics") as response:
        return samples(await response.read())["websocket_unread_bytes", ()]


def frame(opcode: int, payload: bytes = b"", *, fin: int = 0x80, rsv: int = 0, length: int | None = None) -> bytes:
    """A masked frame; the mask is zero. `length` may lie."""
    nbytes = len(payload) if length is None else length
    small, more = min(nbytes, 126), struct.pack(">H", nbytes & 0xFFFF) if nbytes > 125 else b""
    if nbytes > 0xFFFF:
        small, more = 127, struct.pack(">Q", nbytes)
    return bytes([fin | rsv | opcode, 0x80 | small]) + more + b"\0\0\0\0" + payload


TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
HOSTILE = {
    "text that is not UTF-8": frame(TEXT, b"\xff\xfe"),
    "an opcode that is none": frame(3, b"x"),
    "a control opcode that is none": frame(0xB, b"x"),
    "reserved bits": frame(TEXT, b"x", rsv=0x20),
    "compressed without being asked": frame(TEXT, b"x", rsv=0x40),
    "a continuation of nothing": frame(CONTINUATION, b"x"),
    "a beginning in a beginning": frame(TEXT, b"x", fin=0) + frame(TEXT, b"x", fin=0),
    "a torn ping": frame(PING, b"x", fin=0),
    "a large ping": frame(PING, b"x" * 126),
    "a close code that is none": frame(CLOSE, struct.pack(">H", 1)),
    "half a close code": frame(CLOSE, b"\x03"),
    "a reason that is not UTF-8": frame(CLOSE, b"\x03\xe8\xff"),
    "a message that says it is too large": frame(TEXT, b"x", length=2 << 20),
    "a length beyond all bounds": frame(BINARY, b"x", length=(1 << 63) - 1),
    "a message too large in parts": frame(TEXT, b"x" * 700_000, fin=0) + frame(CONTINUATION, b"x" * 700_000, fin=0),
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
}


@asynccontextmanager
async def socket(address: Address) -> AsyncIterator[Streams]:
    async with connected(address) as (reader, writer):
        writer.write(UPGRADE)
        assert b" 101 " in await reader.readline()
        await reader.readuntil(b"sid")  # of the first message
        yield reader, writer


async def test_a_hostile_frame_closes_its_own_socket_alone(host: Host) -> None:
    async with (
        serving(host) as address,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://{address[0]}:{address[1]}/ws?clientId=good") as good,
    ):
        await good.receive_json()
        for name, sent in HOSTILE.items():
            async with socket(address) as (reader, writer):
                writer.write(sent)
                received = await rest(reader)
                assert b"\x88" in received, name
            assert not good.closed
        await session.post(f"http://{address[0]}:{address[1]}/queue", json={"clear": True})
        assert (await good.receive_json(timeout=PATIENCE_S))["type"] == "status"


@pytest.mark.parametrize("sent", [b"", b"\x81", frame(TEXT, b"ab", length=100), frame(TEXT, b"ab", fin=0)])
async def test_a_socket_that_falls_silent_is_closed(host: Host, sent: bytes) -> None:
    async with serving(host, Limits(heartbeat_seconds=0.2)) as address, socket(address) as (reader, writer):
        writer.write(sent)
        assert b"\x89\x00" in await rest(reader)  # it was asked whether it is there


async def test_a_socket_that_answers_stays_open_and_may_be_torn_in_any_place(host: Host) -> None:
    async with serving(host, Limits(heartbeat_seconds=0.2)) as address, socket(address) as (reader, writer):
        message = frame(TEXT, b'{"type":"feature_flags","data":{}}')
        for byte in message:
            writer.write(bytes([byte]))
            await writer.drain()
        await asyncio.wait_for(reader.readuntil(b"supports_preview_metadata"), PATIENCE_S)
        for _ in range(4):
            await asyncio.wait_for(reader.readuntil(b"\x89\x00"), PATIENCE_S)
            writer.write(frame(PONG))


@pytest.mark.parametrize("sent", [frame(PING, b"x" * 100), frame(TEXT, b"x" * 1000), frame(PONG)])
async def test_a_flood_closes_its_socket_with_1008(host: Host, sent: bytes) -> None:
    limits = Limits(chatter_nbytes=20_000, chatter_nbytes_per_second=10)
    async with serving(host, limits) as address, socket(address) as (reader, writer):
        for _ in itertools.takewhile(lambda _: not reader.at_eof(), range(20_000 // len(sent) + 50)):
            writer.write(sent)
        assert b"\x88\x02\x03\xf0" in await rest(reader)
        assert await status(address) == 200


async def test_a_refused_websocket_leaves_its_connection_to_http(host: Host) -> None:
    limits = Limits(chatter_nbytes=100, chatter_nbytes_per_second=1)
    async with serving(host, limits, token="t") as address, connected(address) as (reader, writer):
        writer.write(UPGRADE)
        assert b" 401 " in await reader.readline()
        writer.write(post("/queue", 500, b" " * 500).replace(b"Host", b"Authorization: Bearer t\r\nHost"))
        await asyncio.wait_for(reader.readuntil(b" 200 "), PATIENCE_S)


# JSON


def deep(levels: int) -> bytes:
    return b'{"delete":' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (deep(99), 200),
        (deep(100), 400),
        (deep(100_000), 400),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
        (b"[" * 5_000_000, 413),
        (b'{"clear":' + b"9" * 5000 + b"}", 400),
        (b'{"clear":1e999,"delete":[NaN,-Infinity,1e-999]}', 200),
        (b'{"delete":1,"delete":[]}', 200),
        (b'{"delete":["\\ud800"],"\\udfff":1}', 200),
        (b'\xef\xbb\xbf{"delete":[]}', 200),
        (b'{"delete":["\xff"]}', 400),
        (b'{"delete":[]}x', 400),
        (b'"' + b"x" * 1_000_000 + b'"', 400),
        (b"null", 200),
    ],
)
async def test_json_is_taken_as_far_as_it_can_be_used(host: Host, body: bytes, answer: int) -> None:
    async with serving(host) as address:
        assert await status(address, "POST", "/queue", body) == answer
