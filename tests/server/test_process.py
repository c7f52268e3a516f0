"""The server as a process: how it starts, what it refuses, how it stops, whom it does not wait for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from .serving import COMMAND, PATIENCE_S, Client, Server, labels


def refusal(*options: str, home: Path | None = None) -> str:
    """What the command says that does not serve."""
    environment = os.environ if home is None else {**os.environ, "MEZZOTINT_HOME": str(home)}
    done = subprocess.run(
        [*COMMAND, *options], capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_address_that_others_can_reach_is_refused() -> None:
    said = refusal("--host", "0.0.0.0", "--port", "0")
    assert "--host 0.0.0.0" in said
    assert "--insecure" in said


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port}: another program listens there" in refusal("--port", str(port), home=tmp_path)


def test_a_plugin_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "gone.py" in refusal("--port", "0", "--plugin", str(tmp_path / "gone.py"))


def test_the_server_and_the_definitions_of_all_nodes_load_without_what_is_needed_later(tmp_path: Path) -> None:
    code = (
        "import sys; from mezzotint.cli import serve; from mezzotint.plugins.host import Host, Settings\n"
        "from pathlib import Path; from mezzotint.server.app import make_app\n"
        "with Host(Settings(home=Path(sys.argv[1]))) as host:\n"
        "    make_app(host); [host.definitions[name] for name in host.definitions]\n"
        "later = {'torch', 'diffusers', 'transformers', 'PIL', 'scipy', 'numpy', 'alembic', 'psutil', 'rich'}\n"
        "print((later | {'prometheus_client'}) & sys.modules.keys())"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert done.stdout.strip() == "set()"


async def test_asked_to_end_it_hands_jobs_back_says_so_and_leaves_with_0(tmp_path: Path) -> None:
    server = Server(tmp_path, "--grace", "0")
    prompt = {
        "1": {"class_type": "SmallSleep", "inputs": {"ticks": 5000}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    async with Client.of(server, "me") as client:
        jobs = [await client.submit(prompt) for _ in range(4)]
        await client.until("progress", node="1")
        server.process.send_signal(signal.SIGINT)
        assert client.socket is not None
        heard = [json.loads(message) async for message in client.socket if isinstance(message, str)]
        assert "execution_interrupted" not in labels(heard)
        assert client.socket.close_code == 1001
    assert await asyncio.to_thread(server.ended) == 0
    assert "Traceback" not in "".join(server.said)
    again = Server(tmp_path, "--grace", "0")
    async with Client.of(again, "me") as client:
        queue = await client.get("/queue")
        assert [item[1] for item in queue["queue_running"] + queue["queue_pending"]] == jobs
        await client.post("/queue", {"clear": True})
    again.stop()


async def test_a_node_that_cannot_be_stopped_does_not_keep_the_process(tmp_path: Path) -> None:
    server = Server(tmp_path, "--grace", "0")
    async with Client.of(server, "me") as client:
        await client.submit({"1": {"class_type": "SmallStubborn", "inputs": {"seconds": 60.0}}})
        await client.until("executing", node="1")
    began = time.monotonic()
    assert await asyncio.to_thread(server.stop) == 0
    assert time.monotonic() - began < 10
    assert "did not stop" in "".join(server.said)


async def test_a_client_that_does_not_read_holds_nobody_up(server: Server, salt: int) -> None:
    """It asks for everything that the others are told too, and reads none of it."""
    sluggard, deaf = await asyncio.open_connection(*server.address.split(":"), limit=1)
    deaf.write(
        b"GET /ws HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" % server.address.encode()
    )
    await deaf.drain()
    prompt: dict[str, Any] = {
        "1": {"class_type": "SmallSleep", "inputs": {"ticks": 20_000, "seconds": 0.0, "salt": str(salt)}},
        "2": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }
    async with Client.of(server) as script:
        entry = await script.finished(await script.submit(prompt))
    assert entry["status"]["completed"] is True
    deaf.close()
    del sluggard


@pytest.mark.parametrize(
    "frame",
    [
        "", "{", "[]", "null", '{"type":"feature_flags"}', '{"type":"feature_flags","data":7}', '{"type":[],"data":{}}',
        "[" * 100_000, "NaN", '"\\ud800"', b"", b"\x00\x00\x00\x01", b"\xff" * 1000, "x" * (900 << 10),
    ],
)  # fmt: skip
async def test_frames_that_mean_nothing_do_nothing(client: Client, chain: dict[str, Any], frame: str | bytes) -> None:
    assert client.socket is not None
    await client.socket.send(frame)
    await client.socket.send(frame)
    _, heard = await client.run(chain)
    assert "execution_success" in labels(heard)


async def test_a_frame_that_is_too_large_ends_its_own_connection_only(
    server: Server, client: Client, chain: dict[str, Any]
) -> None:
    async with Client.of(server, f"{client.sid}-large") as large:
        assert large.socket is not None
        with suppress(ConnectionClosed):  # the server may close before all of it is sent
            await large.socket.send("x" * (2 << 20))
        await large.socket.wait_closed()
        assert large.socket.close_code == 1009
    _, heard = await client.run(chain)
    assert "execution_success" in labels(heard)


@pytest.mark.slow
async def test_an_uploaded_picture_is_loaded_saved_and_seen(client: Client, server: Server) -> None:
    import io

    import aiohttp
    from PIL import Image

    file = io.BytesIO()
    Image.effect_noise((20, 10), 90).convert("RGB").save(file, "PNG")
    form = aiohttp.FormData()
    form.add_field("image", file.getvalue(), filename="noise.png", content_type="image/png")
    async with client.session.post("/upload/image", data=form) as response:
        stored = await response.json()
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": stored["name"]}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "seen/noise"}},
    }
    job_id, heard = await client.run(prompt, extra_data={"extra_pnginfo": {"workflow": {"nodes": []}}})
    assert "execution_success" in labels(heard)
    (saved,) = (await client.finished(job_id))["outputs"]["2"]["images"]
    assert (saved["subfolder"], saved["type"]) == ("seen", "output")
    async with client.session.get("/view", params=saved) as response:
        with Image.open(io.BytesIO(await response.read())) as seen, Image.open(file) as sent:
            assert seen.tobytes() == sent.tobytes()
            assert seen.text["workflow"] == '{"nodes": []}'  # type: ignore[attr-defined]
