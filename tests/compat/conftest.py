"""One real server with two packs, the older and the newer class API, for all tests of this folder."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ..server.serving import Client, Server

PACKS = Path(__file__).with_name("packs")
NATIVE_NODES = Path(__file__).with_name("loading_node.py")
_numbers = itertools.count(1000, 1000)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("compat")
    settings = ("--extra-model-paths", str(model_paths(home)), "--plugin", str(NATIVE_NODES))
    server = Server(home, "--custom-nodes", str(PACKS), *settings)
    yield server
    assert server.stop() == 0, "".join(server.said)


def model_paths(home: Path) -> Path:
    """A settings file that names folders of models by old names, and files in them."""
    for file in ("elsewhere/unet/sub/one.safetensors", "elsewhere/clip/two.sft", "elsewhere/clip/notes.txt"):
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).touch()
    settings = home / "extra_model_paths.yaml"
    settings.write_text("other:\n  base_path: elsewhere\n  unet: |\n    unet\n  clip: clip\n", encoding="utf-8")
    return settings


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """A client that listens."""
    async with Client.of(server, f"compat-{next(_numbers)}") as client:
        assert (await client.next())["data"]["sid"] == client.sid
        yield client


@pytest.fixture
def salt() -> int:
    """An even number that no other test has."""
    return next(_numbers)
