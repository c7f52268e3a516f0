"""Provokes each error as people meet it: class → a function that makes it happen, in a folder of its own."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from aiohttp import web
from aiohttp.test_utils import TestServer

import mezzotint
from mezzotint import Expand, GraphBuilder, Settings, node
from mezzotint.client import Client
from mezzotint.engine import errors
from mezzotint.engine.errors import MezzotintError
from mezzotint.server.submission import _restored

from ..server.in_process import open_host, serving

Provoke = Callable[[Path], Any]
EXAMPLES: dict[str, Provoke] = {}


def example(provoke: Provoke) -> Provoke:
    """Register a function that is named for the class it provokes, which it raises or returns."""
    EXAMPLES[provoke.__name__] = provoke
    return provoke


async def provoked(name: str, folder: Path) -> BaseException:
    """The error of an example."""
    try:
        outcome = EXAMPLES[name](folder)
        outcome = await outcome if isinstance(outcome, Awaitable) else outcome
    except MezzotintError as error:
        return error
    assert isinstance(outcome, BaseException), f"{name} was not raised"
    return outcome


def run(folder: Path, graph: GraphBuilder | dict[str, Any], **settings: Any) -> mezzotint.Host:
    settings = {"home": folder / "home", "output_dir": folder / "pictures", "models_dir": folder / "models", **settings}
    with mezzotint.Host(Settings(**settings)) as host:
        asyncio.run(host.engine.run(host.load(graph))).raise_for_status()
        return host


async def failing(folder: Path, graph: GraphBuilder, **settings: Any) -> BaseException:
    """What the one step that fails raised."""

    def work() -> BaseException:
        try:
            run(folder, graph, **settings)
        except errors.RunFailedError as error:
            return error.failures[0].error
        raise AssertionError("nothing failed")

    return await asyncio.to_thread(work)


def linked(node_type: str, name: str, text: str, **inputs: Any) -> GraphBuilder:
    """A node that gets a text by a link, which is not checked before it runs."""
    graph = GraphBuilder()
    made = graph.node(node_type, **{name: graph.node("PrimitiveString", value=text)}, **inputs)
    graph.node("PreviewAny", source=made) if node_type != "SaveImage" else None
    return graph


# Python


@example
def DeclarationError(folder: Path) -> None:
    @node("Brighten")
    def brighten(image: mezzotint.Image, by) -> mezzotint.Image:  # type: ignore[no-untyped-def]
        return image + by

    mezzotint.Host(Settings(home=folder, nodes=(brighten,)))


@example
def RegistrationError(folder: Path) -> None:
    @node("KSampler")
    def sampler(steps: int) -> int:
        return steps

    mezzotint.Host(Settings(home=folder, nodes=(sampler,)))


@example
def WorkflowError(folder: Path) -> None:
    (folder / "notes.json").write_text('{"shopping": ["bread"]}')
    mezzotint.Host(Settings(home=folder)).load(folder / "notes.json")


@example
async def InvalidWorkflowError(folder: Path) -> None:
    graph = GraphBuilder()
    image = graph.node("EmptyImage", width=100_000, height=8)
    graph.node("SaveImage", image=image)
    graph.node("PreviewImage", images=image)
    await asyncio.to_thread(run, folder, graph)


@node("Divide", sink=True)
def divide(a: float, b: float) -> float:
    return a / b


@example
async def RunFailedError(folder: Path) -> None:
    await asyncio.to_thread(run, folder, {"1": {"class_type": "Divide", "inputs": {"a": 1, "b": 0}}}, nodes=(divide,))


@node("Grow", sink=True)
def grow(how: str, *, ctx: mezzotint.Context) -> int:
    graph = ctx.graph()
    inner = graph.node({"unknown": "Shrink"}.get(how, "PrimitiveInt"), **({} if how == "unknown" else {"value": 1}))
    if how == "circle":
        inner.set_input("value", inner.out(0))
    return Expand(graph, inner.out(3 if how == "wrong" else 0))  # type: ignore[return-value]


def growing(how: str) -> Provoke:
    def provoke(folder: Path) -> Any:
        graph = GraphBuilder()
        graph.node("Grow", how=how)
        return failing(folder, graph, nodes=(grow,))

    return provoke


EXAMPLES.update(GraphError=growing("wrong"), CircleError=growing("circle"), UnknownNodeError=growing("unknown"))


@example
async def MissingModelError(folder: Path) -> BaseException:
    return await failing(folder, linked("CheckpointLoaderSimple", "ckpt_name", "dreamy.safetensors"))


@example
async def ModelFileError(folder: Path) -> BaseException:
    file = folder / "models" / "checkpoints" / "broken" / "model_index.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"unet": ')
    return await failing(folder, linked("CheckpointLoaderSimple", "ckpt_name", "broken"))


@node("Hoard", sink=True)
def hoard(gigabytes: int) -> int:
    raise MemoryError


@example
async def OutOfMemoryError(folder: Path) -> BaseException:
    graph = GraphBuilder()
    graph.node("Hoard", gigabytes=10_000)
    return await failing(folder, graph, nodes=(hoard,))


@example
async def OutputError(folder: Path) -> BaseException:
    graph = GraphBuilder()
    image = graph.node("EmptyImage", width=8, height=8)
    graph.node("SaveImage", images=image, filename_prefix=graph.node("PrimitiveString", value="../cat"))
    return await failing(folder, graph)


@example
async def FolderError(folder: Path) -> BaseException:
    (folder / "input").mkdir()
    return await failing(folder, linked("LoadImage", "image", "lake.png"), input_dir=folder / "input")


@example
async def OutsideFolderError(folder: Path) -> BaseException:
    (folder / "input").mkdir()
    (folder / "input" / "here").symlink_to(folder)
    return await failing(folder, linked("LoadImage", "image", "here/lake.png"), input_dir=folder / "input")


# nodes


@node("Latents")
def latents(channels: int) -> mezzotint.Latent:
    import torch

    return {"samples": torch.ones(1, channels, 2, 2)}


@node("Tokens")
def tokens(width: int) -> mezzotint.Conditioning:
    import torch

    return [[torch.zeros(1, 77, width), {}]]


NODES = (latents, tokens)


def shown(node_type: str, **inputs: Any) -> GraphBuilder:
    """A graph of one node and an output node; inputs may be `(node type, inputs)`."""
    graph = GraphBuilder()

    def made(node_type: str, inputs: dict[str, Any]) -> Any:
        given = {name: made(*value) if isinstance(value, tuple) else value for name, value in inputs.items()}
        return graph.node(node_type, **given)

    graph.node("PreviewAny", source=made(node_type, inputs))
    return graph


@example
async def BranchError(folder: Path) -> BaseException:
    return await failing(folder, shown("Switch", switch=True, on_false=1))


@example
async def MathsError(folder: Path) -> BaseException:
    return await failing(folder, shown("MathFloat", a=1, b=0, operation="divide"))


@example
async def NoiseLevelError(folder: Path) -> BaseException:
    return await failing(folder, shown("KarrasScheduler", steps=4, rho=0))


@example
async def MaskError(folder: Path) -> BaseException:
    return await failing(folder, shown("ImageToMask", image=("EmptyImage", {"width": 8, "height": 8}), channel="alpha"))


@example
async def ImageFileError(folder: Path) -> BaseException:
    (folder / "input").mkdir()
    (folder / "input" / "lake.png").write_text("a lake")
    return await failing(folder, linked("LoadImage", "image", "lake.png"), input_dir=folder / "input")


@example
async def LatentError(folder: Path) -> BaseException:
    graph = shown("LatentAdd", samples1=("Latents", {"channels": 4}), samples2=("Latents", {"channels": 16}))
    return await failing(folder, graph, nodes=NODES)


@example
async def ConditioningMismatchError(folder: Path) -> BaseException:
    pair = {"conditioning_to": ("Tokens", {"width": 768}), "conditioning_from": ("Tokens", {"width": 1024})}
    return await failing(folder, shown("ConditioningConcat", **pair), nodes=NODES)


@example
def ConditioningError(folder: Path) -> None:
    from mezzotint.nodes.sampling.region import box_of

    box_of({"area": (8, 8, 0, 80)}, (1, 4, 64, 64))


@example
def SamplerError(folder: Path) -> None:
    from mezzotint.nodes.sampling.sampler_value import NamedSampler

    assert NamedSampler("dreamy").function


@example
def NetworkChangeError(folder: Path) -> None:
    from torch import nn

    from mezzotint.nodes.patches.free_u import FreeUChange

    FreeUChange((1.1, 1.2), (0.9, 0.2), is_adaptive=False).around(nn.Linear(1, 1))


@example
def SamplingChangeError(folder: Path) -> None:
    from mezzotint.nodes.samplers.schedules import DiscreteSigmas
    from mezzotint.nodes.sampling.model_sampling import ModelSampling
    from mezzotint.nodes.sampling.sampling_change import ShiftChange

    discrete = ModelSampling(DiscreteSigmas.from_config(), "epsilon", 4, 8, 1.0, 0.0, {})
    ShiftChange(3.0, "ModelSamplingSD3").applied(discrete)


@example
def MergeError(folder: Path) -> None:
    from torch import nn

    from mezzotint.nodes.merging.network_merge import _require_alike

    unet = type("UNet2DConditionModel", (nn.Module,), {})()
    _require_alike(unet, nn.Linear(1, 1), ("dreamy", "tiny"), "denoiser")


@example
def ModelSaveError(folder: Path) -> None:
    from mezzotint.nodes.merging.save_nodes import _require_together

    def network(**config: int) -> SimpleNamespace:
        return SimpleNamespace(config=SimpleNamespace(**config))

    unet = {"unet": network(cross_attention_dim=768)}
    model: Any = SimpleNamespace(name="a.safetensors", networks=unet, family="")
    encoders = {"text_encoder": network(hidden_size=768), "text_encoder_2": network(hidden_size=1280)}
    clip: Any = SimpleNamespace(name="b.safetensors", networks=encoders, text_family="")
    _require_together(model, clip, vae=clip)


def with_model(node_type: str, output: int, name: str, **inputs: Any) -> GraphBuilder:
    """A graph of a node that takes an output of the embedded model's loader, and an output node."""
    graph = shown(node_type, **inputs)
    checkpoint = graph.node("CheckpointLoaderSimple", ckpt_name="mezzotint-emoji")
    asked = next(made for made in graph.nodes.values() if made.class_type == node_type)
    asked.set_input(name, checkpoint.out(output))
    return graph


LEVELS = ("KarrasScheduler", {"steps": 1})
SEVEN = ("Latents", {"channels": 7})


@example
async def TrainingDataError(folder: Path) -> BaseException:
    three = ("EmptyImage", {"width": 64, "height": 64, "batch_size": 3})
    graph = shown("TrainingPicturesFromImages", images=three, captions="a red car\na blue car")
    return await failing(folder, graph)


@example
def TrainingError(folder: Path) -> None:
    from mezzotint.nodes.training.new_configs import unet_config

    unet_config([96, 200], 1, 32, 128, 4, 8)


@example
def NotANumberError(folder: Path) -> None:
    import torch

    from mezzotint.nodes.training.step import optimise

    optimise(SimpleNamespace(step=7), torch.tensor(torch.nan))  # type: ignore[arg-type]


@example
def NoiseProcessError(folder: Path) -> None:
    from mezzotint.nodes.training.noise_process import NoiseProcess

    NoiseProcess.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler"})


@example
async def StepError(folder: Path) -> BaseException:
    last = ("SplitSigmas", {"sigmas": ("KarrasScheduler", {"steps": 1}), "step": 0})
    graph = with_model("LatentNoise", 0, "model", sigmas=last, latent=SEVEN)
    return await failing(folder, graph, nodes=NODES)


@example
async def SamplingError(folder: Path) -> BaseException:
    return await failing(folder, with_model("LatentNoise", 0, "model", sigmas=LEVELS, latent=SEVEN), nodes=NODES)


@example
async def LatentChannelsError(folder: Path) -> BaseException:
    return await failing(folder, with_model("VAEDecode", 2, "vae", samples=SEVEN), nodes=NODES)


@example
async def ClipLayerError(folder: Path) -> BaseException:
    graph = with_model("CLIPSetLastLayer", 1, "clip", stop_at_clip_layer=-24)
    layer = next(made for made in graph.nodes.values() if made.class_type == "CLIPSetLastLayer")
    graph.node("PreviewAny", source=graph.node("CLIPTextEncode", clip=layer, text="a red apple"))
    return await failing(folder, graph)


@example
async def EmbeddingError(folder: Path) -> BaseException:
    import torch
    from safetensors.torch import save_file

    (folder / "models" / "embeddings").mkdir(parents=True)
    save_file({"emb_params": torch.zeros(1, 5)}, folder / "models" / "embeddings" / "gloomy.safetensors")
    return await failing(folder, with_model("CLIPTextEncode", 1, "clip", text="a lake, embedding:gloomy"))


@example
async def IPAdapterError(folder: Path) -> BaseException:
    import torch
    from safetensors.torch import save_file

    (folder / "models" / "ipadapter").mkdir(parents=True)
    tensors = {"image_proj.proj.weight": torch.zeros(1, 1), "ip_adapter.1.to_k_ip.weight": torch.zeros(1, 1)}
    save_file(tensors, folder / "models" / "ipadapter" / "style.safetensors")
    graph = with_model("IPAdapterAdvanced", 0, "model")
    adapter = next(made for made in graph.nodes.values() if made.class_type == "IPAdapterAdvanced")
    adapter.set_input("ipadapter", graph.node("IPAdapterModelLoader", ipadapter_file="style.safetensors"))
    adapter.set_input("image", graph.node("EmptyImage", width=8, height=8))
    return await failing(folder, graph)


@example
async def LatentFileError(folder: Path) -> BaseException:
    (folder / "input").mkdir()
    (folder / "input" / "lake.latent").write_text("a lake")
    return await failing(folder, linked("LoadLatent", "latent", "lake.latent"), input_dir=folder / "input")


@example
async def UpscaleModelError(folder: Path) -> BaseException:
    (folder / "models" / "upscale_models").mkdir(parents=True)
    (folder / "models" / "upscale_models" / "sharp.safetensors").touch()
    graph = GraphBuilder()
    model = graph.node("UpscaleModelLoader", model_name="sharp.safetensors")
    picture = graph.node("EmptyImage", width=8, height=8)
    graph.node("PreviewImage", images=graph.node("ImageUpscaleWithModel", upscale_model=model, image=picture))
    with mock.patch.dict(sys.modules, {"spandrel": None}):
        return await failing(folder, graph)


# the command line and the server


@example
def UsageError(folder: Path) -> None:
    from mezzotint.cli.size import read_size

    read_size("much", "--max-memory")


@example
def NewPluginError(folder: Path) -> None:
    from mezzotint.cli.new_plugin import write_plugin

    write_plugin("json", folder)


def database(folder: Path, text: str = "sqlite:///jobs.sqlite") -> Any:
    from mezzotint.server.database import Database

    return Database(text.replace("///", f"///{folder}/"))


@example
def DatabaseError(folder: Path) -> None:
    database(folder, "jobs.sqlite")


@example
def DatabaseInUseError(folder: Path) -> None:
    first = database(folder)
    try:
        database(folder)
    finally:
        first.close()


@example
def SchemaError(folder: Path) -> None:
    database(folder).close()
    with sqlite3.connect(folder / "jobs.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    database(folder)


# the client


@asynccontextmanager
async def server(folder: Path, **options: Any) -> Any:
    with open_host(folder / "home") as host:
        async with serving(host, **options) as (name, port):
            yield f"http://{name}:{port}"


@example
async def ServerError(folder: Path) -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.json_response(["hello"])

    app = web.Application()
    app.router.add_get("/{rest:.*}", hello)
    async with TestServer(app) as other, Client(f"http://{other.host}:{other.port}") as client:
        await client.object_info()


@example
async def ServerUnreachableError(folder: Path) -> None:
    async with Client("http://127.0.0.1:9", patience_s=0) as client:
        await client.object_info()


@example
async def ConnectionLostError(folder: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with listening, Client(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}") as client:
        await client.interrupt()


@example
async def AccessDeniedError(folder: Path) -> None:
    async with server(folder, token="secret") as url, Client(url) as client:
        await client.object_info()


UNKNOWN = "00000000-0000-4000-8000-000000000000"


@example
async def RequestRefusedError(folder: Path) -> None:
    async with server(folder) as url, Client(url) as client:
        job = await client.wait(await client.submit({"1": {"class_type": "SmallShow", "inputs": {"source": 1}}}))
        await client.prioritise(job.id, 1)


@example
async def JobNotFoundError(folder: Path) -> None:
    async with server(folder) as url, Client(url) as client:
        await client.job(UNKNOWN)


@example
async def NodeFailedError(folder: Path) -> BaseException:
    async with server(folder) as url, Client(url) as client:
        job_id = await client.submit({"1": {"class_type": "SmallFail", "inputs": {"source": 1, "message": "too dark"}}})
        async for event in client.events(job_id):
            if isinstance(event, mezzotint.engine.event.StepFailed):
                return event.error
    raise AssertionError("nothing failed")


@example
def LostJobError(folder: Path) -> None:
    row: Any = SimpleNamespace(
        id=UNKNOWN, number=1, is_fixed=False, retry_of=None, prompt="{}", targets="[]", extra_data="{}",
        secret_names='["api_key_comfy_org"]',
    )  # fmt: skip
    with open_host(folder) as host:
        _restored(row, host)
