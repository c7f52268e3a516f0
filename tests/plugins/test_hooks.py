"""Each hook has a test that is named for it, with a plugin that is a tiny class."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer

from mezzotint import GraphBuilder, Settings, hookimpl, node
from mezzotint.engine.event import Event, StepFinished
from mezzotint.engine.key import step_key
from mezzotint.engine.output_store import OutputName
from mezzotint.engine.plan import Step
from mezzotint.engine.value_type import Codec, canonical, pack, unpack
from mezzotint.engine.workflow import Workflow
from mezzotint.plugins import host as host_module
from mezzotint.plugins.hook_check import hook_names

from .conftest import OpenHost, Write


@pytest.mark.parametrize("hook", hook_names())
def test_every_hook_has_a_test(hook: str) -> None:
    assert callable(getattr(sys.modules[__name__], f"test_hook_{hook}", None)), f"write test_hook_{hook}"


@node("AddOne")
def add_one(a: int) -> int:
    return a + 1


@node("Fail")
def fail(a: int) -> int:
    raise ValueError("as asked")


class Nodes:
    @hookimpl
    def register_nodes(self, register: Any) -> None:
        register(add_one)
        register(fail)


def graph_of(function: Any, **inputs: Any) -> GraphBuilder:
    graph = GraphBuilder()
    graph.node(function, **inputs)
    return graph


def run(host: Any, graph: GraphBuilder, **options: Any) -> Any:
    return asyncio.run(host.engine.run(host.load(graph), targets=["1"], **options))


def test_hook_register_nodes(open_host: OpenHost) -> None:
    host = open_host(Nodes())
    assert run(host, graph_of("AddOne", a=2)).value("1") == 3
    assert [*host.registry.names] == ["AddOne", "Fail"]


def downwards(x: Any, sigmas: Any, step_noise: Any, scaling: Any, *, by: float = 0.0) -> Iterator[Any]:
    for sigma in sigmas.tolist()[:-1]:
        x = (yield x, sigma) - by
    return x


class Samplers:
    @hookimpl
    def register_samplers(self, register: Any) -> None:
        register("downwards", downwards, traits={"takes_single_steps"}, by=1.0)
        register("imported", "mezzotint.nodes.samplers.basic_samplers:heun")


def choices(host: Any, node_type: str, name: str) -> list[str]:
    inputs = host.definitions[node_type]["input"]
    found: list[str] = {**inputs["required"], **inputs.get("optional", {})}[name][0]
    return found


def test_hook_register_samplers(open_host: OpenHost) -> None:
    host = open_host(Samplers(), built_in=True)
    assert choices(host, "KSampler", "sampler_name")[-2:] == ["downwards", "imported"]
    assert choices(host, "SchedulerStep", "sampler_name")[-1] == "downwards"
    from mezzotint.nodes.sampling.sampler_value import NamedSampler

    steps = NamedSampler("downwards").function(5.0, FakeSigmas([2.0, 0.0]), None, None)
    assert next(steps) == (5.0, 2.0)
    with pytest.raises(StopIteration) as end:
        steps.send(4.0)
    assert end.value.value == 3.0
    host.close()
    with open_again(open_host) as plain:
        assert "downwards" not in choices(plain, "KSampler", "sampler_name")


@contextmanager
def open_again(open_host: OpenHost) -> Iterator[Any]:
    yield open_host(built_in=True)


class FakeSigmas(list[float]):
    def tolist(self) -> list[float]:
        return [*self]


def test_a_step_that_names_a_plugin_s_sampler_is_computed_anew_when_the_sampler_changes(open_host: OpenHost) -> None:
    host = open_host(Samplers(), built_in=True)
    spec = host.registry["KSamplerSelect"]

    def key(name: str) -> str | None:
        return step_key(spec, {"sampler_name": name}, {}, lambda step_id: None)

    before, built_in = key("downwards"), key("euler")
    plugin = host.plugins.loaded[-1]
    plugin.undo.close()
    plugin.version = "another"
    host.plugins._registration.register(plugin)
    assert key("downwards") != before
    assert key("euler") == built_in


class Schedules:
    @hookimpl
    def register_schedules(self, register: Any) -> None:
        register("halves", halves)


def halves(model: Any, steps: int) -> Any:
    import torch

    return torch.tensor([model.sigma_max * 0.5**k for k in range(steps)] + [0.0])


def test_hook_register_schedules(open_host: OpenHost) -> None:
    host = open_host(Schedules(), built_in=True)
    assert choices(host, "KSampler", "scheduler")[-1] == "halves"
    from mezzotint.nodes.samplers.schedules import FlowSigmas, schedule_sigmas

    assert schedule_sigmas(FlowSigmas(shift=1.0), "halves", 3).tolist() == [1.0, 0.5, 0.25, 0.0]


class Guiders:
    @hookimpl
    def register_guiders(self, register: Any) -> None:
        register("pair", lambda model, positive, negative, cfg: (positive, negative, cfg))


def test_hook_register_guiders(open_host: OpenHost) -> None:
    host = open_host(Guiders(), built_in=True)
    assert choices(host, "GuiderSelect", "guider_name") == ["cfg", "positive only", "pair"]
    select = host.registry["GuiderSelect"].body
    assert select("model", "good", "bad", "pair", 2.0) == ("good", "bad", 2.0)


class Family:
    def recognises(self, path: Path) -> bool:
        return path.name.endswith(".toy.safetensors")

    def file_names(self, path: Path, name: str) -> Sequence[str]:
        return ()

    def check(self, path: Path, name: str) -> None:
        assert path.read_bytes()

    def sampling(self, path: Path, name: str, digest: str) -> Any:
        return "how"

    def load(self, recipe: Any, path: Path, residency: Any) -> Any:
        from mezzotint.engine.residency import Loaded

        return Loaded((recipe.kind, path.read_bytes()), 1)


class Families:
    @hookimpl
    def register_model_families(self, register: Any) -> None:
        register("toy", Family())


def test_hook_register_model_families(open_host: OpenHost, tmp_path: Path, write: Write) -> None:
    file = write("models/checkpoints/a.toy.safetensors", "weights")
    host = open_host(Families(), built_in=True, models_dir=tmp_path / "models")
    loaded = run(host, graph_of("CheckpointLoaderSimple", ckpt_name=file.name))
    recipe = loaded.values["1"].outputs[2][0]
    with host.models.borrow(recipe) as borrowed:
        assert borrowed == ("vae", b"weights")
    write("models/checkpoints/a.toy.safetensors", "others")
    host.models.clear()
    with pytest.raises(Exception, match="its files have changed"), host.models.borrow(recipe):
        pass


class Kind:
    kind, weights = "toy", None

    def __init__(self) -> None:
        self.weights = self  # type: ignore[assignment]

    def configure(self, loaded: Any) -> Any:
        return loaded


class Models:
    @hookimpl
    def register_models(self, models: Any) -> None:
        from mezzotint.engine.residency import Loaded

        models.register("toy", lambda recipe, residency: Loaded("made", 1))


def test_hook_register_models(open_host: OpenHost) -> None:
    recipe: Any = Kind()
    with open_host(Models()).models.borrow(recipe) as borrowed:
        assert borrowed == "made"


class Palette:
    def __init__(self, names: list[str]) -> None:
        self.names = names


class ValueTypes:
    @hookimpl
    def register_value_types(self, register: Any) -> None:
        register(
            Codec(
                "tests.Palette",
                Palette,
                pack=lambda palette: palette.names,
                unpack=Palette,
                fingerprint=lambda palette: sorted(palette.names),
                show=lambda palette: " and ".join(palette.names),
            )
        )


def test_hook_register_value_types(open_host: OpenHost) -> None:
    open_host(ValueTypes())
    again = unpack(pack([Palette(["red", "blue"])]))
    assert again[0].names == ["red", "blue"]
    assert [*canonical(Palette(["a", "b"]))] == [*canonical(Palette(["b", "a"]))] != [*canonical(Palette(["b"]))]
    from mezzotint.nodes.basics.primitive import as_text

    assert as_text(Palette(["red", "blue"])) == "red and blue"


class Shelf:
    """An output store that keeps files in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def save(self, data: bytes, name: OutputName) -> Mapping[str, str]:
        filename = f"{name.prefix}-{len(self.kept)}{name.extension}"
        self.kept[filename] = data
        return {"filename": filename, "subfolder": "", "type": "output", "url": f"shelf:{filename}"}

    def read(self, filename: str, subfolder: str) -> bytes | None:
        return self.kept.get(filename)


class Stores:
    @hookimpl
    def register_output_stores(self, register: Any) -> None:
        register("shelf", lambda folders: Shelf())


def test_hook_register_output_stores(open_host: OpenHost) -> None:
    host = open_host(Stores(), built_in=True, output_store="shelf")
    graph = GraphBuilder()
    image = graph.node("EmptyImage", width=8, height=8)
    graph.node("SaveImage", images=image.out(0), filename_prefix="%width%")
    shown = asyncio.run(host.engine.run(host.load(graph))).outputs["2"]["images"]
    assert [item["filename"] for item in shown] == ["8-0.png"]
    assert (host.outputs.store.read("8-0.png", "") or b"")[:4] == b"\x89PNG"
    assert not host.folders.output.exists()


async def test_the_server_gives_out_what_an_output_store_keeps(open_host: OpenHost) -> None:
    host = open_host(Stores(), output_store="shelf")
    shown = host.outputs.series("note").save(b"hello", ".txt")
    assert await get(host, f"/view?filename={shown['filename']}&type=output") == (200, "hello")
    assert (await get(host, "/view?filename=other.txt&type=output"))[0] == 404


def test_an_output_store_that_is_not_there_is_told_with_those_that_are(open_host: OpenHost) -> None:
    with pytest.raises(Exception, match="there is no store 'shelv'; there are local, shelf"):
        open_host(Stores(), output_store="shelv")


class Web:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def register_web_directory(self, register: Any) -> None:
        register(self.folder)

    @hookimpl
    def register_routes(self, register: Any, host: Any) -> None:
        from aiohttp import web

        async def hello(request: web.Request) -> web.Response:
            return web.json_response({"nodes": len(host.registry)})

        register(web.get("/hello", hello))
        register(web.get("/queue", hello))


async def get(host: Any, path: str) -> tuple[int, str]:
    from aiohttp.test_utils import TestClient, TestServer

    from mezzotint.server.app import make_app

    async with TestClient(TestServer(make_app(host))) as client:
        answer = await client.get(path)
        return answer.status, await answer.text()


async def test_hook_register_routes(open_host: OpenHost, tmp_path: Path) -> None:
    host = open_host(Web(tmp_path), Nodes())
    assert await get(host, "/api/hello") == (200, '{"nodes": 2}')
    (problem,) = host.plugins.problems()
    assert problem.startswith("plugin 'Web' (object Web): a route was skipped: GET /queue is taken; give it another")


async def test_hook_register_web_directory(open_host: OpenHost, tmp_path: Path, write: Write) -> None:
    write("web/main.js", "export {};")
    host = open_host(Web(tmp_path / "web"))
    assert await get(host, "/extensions") == (200, '["/extensions/Web/main.js"]')
    assert await get(host, "/extensions/Web/main.js") == (200, "export {};")


COMMANDS = """
from mezzotint import hookimpl

def greet(name: str) -> None:
    print(f"hello {name}")

@hookimpl
def register_commands(app):
    app.command()(greet)
    app.command("run")(greet)
"""


def test_hook_register_commands(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mezzotint.cli.app import app
    from mezzotint.plugins.consent import Consents

    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path / "home"))
    Consents(tmp_path / "home").allow(write("home/plugins/greeting.py", COMMANDS))
    command: Any = typer.main.get_command(app)
    command.main(["greet", "you"], prog_name="mezzotint", standalone_mode=False)
    written = capsys.readouterr()
    assert written.out == "hello you\n"
    assert "there is a command 'run' already" in " ".join(written.err.split())
    command.main(["--help"], prog_name="mezzotint", standalone_mode=False)
    assert "greet" in capsys.readouterr().out


class Log:
    """Notes in a list what is entered and left around what."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.__name__, self.notes = name, notes

    @contextmanager
    def noting(self, what: str) -> Iterator[None]:
        self.notes.append(f"{self.__name__}({what}")
        try:
            yield
        except ValueError as error:
            self.notes.append(f"{self.__name__}!{error}")
            raise
        finally:
            self.notes.append(f"{what}){self.__name__}")


class Bodies(Log):
    @hookimpl
    def surround_bodies(self) -> Any:
        return lambda spec: self.noting(spec.name)


class Steps(Log):
    @hookimpl
    def surround_step(self, step: Step) -> AbstractContextManager[None]:
        return self.noting(step.id)


class Runs(Log):
    @hookimpl
    def surround_run(self, job_id: str, workflow: Workflow) -> AbstractContextManager[None]:
        return self.noting(f"{job_id} of {len(workflow.nodes)}")


def test_hook_surround_bodies(open_host: OpenHost) -> None:
    notes: list[str] = []
    run(open_host(Nodes(), Bodies("a", notes), Bodies("b", notes)), graph_of("AddOne", a=1))
    assert notes == ["a(AddOne", "b(AddOne", "AddOne)b", "AddOne)a"]


def test_hook_surround_step(open_host: OpenHost) -> None:
    notes: list[str] = []
    host = open_host(Nodes(), Steps("a", notes), Steps("b", notes))
    run(host, graph_of("AddOne", a=1))
    run(host, graph_of("AddOne", a=1))  # not computed again
    assert notes == ["a(1", "b(1", "1)b", "1)a"]
    notes.clear()
    run(host, graph_of("Fail", a=1))
    assert notes == ["a(1", "b(1", "b!as asked", "1)b", "a!as asked", "1)a"]


def test_hook_surround_run(open_host: OpenHost) -> None:
    notes: list[str] = []
    run(open_host(Nodes(), Runs("a", notes), Runs("b", notes)), graph_of("AddOne", a=1), job_id="j")
    assert notes == ["a(j of 1", "b(j of 1", "j of 1)b", "j of 1)a"]


class Observer:
    def __init__(self, name: str, notes: list[str]) -> None:
        self.__name__, self.notes = name, notes

    @hookimpl
    def observe_event(self, event: Event) -> None:
        self.notes.append(f"{self.__name__} {event.kind}")


def test_hook_observe_event(open_host: OpenHost) -> None:
    notes: list[str] = []
    host = open_host(Nodes(), Observer("a", notes), Observer("b", notes))
    run(host, graph_of("AddOne", a=1), on_event=lambda event: notes.append(f"caller {event.kind}"))
    kinds = ["run_started", "step_started", "step_finished", "run_finished"]
    assert notes == [f"{who} {kind}" for kind in kinds for who in ("caller", "a", "b")]


class Broken:
    @hookimpl
    def observe_event(self, event: Event) -> None:
        raise RuntimeError("no ears")

    @hookimpl
    def surround_run(self) -> AbstractContextManager[None]:
        raise RuntimeError("no arms")

    @hookimpl
    def surround_step(self) -> AbstractContextManager[Any]:
        return Swallower()


class Swallower(AbstractContextManager[None]):
    def __exit__(self, *_: object) -> bool:
        return True


def test_what_surrounds_and_observes_never_breaks_a_run(open_host: OpenHost, caplog: pytest.LogCaptureFixture) -> None:
    host = open_host(Nodes(), Broken())
    heard: list[Event] = []
    assert run(host, graph_of("AddOne", a=1), on_event=heard.append).value("1") == 2
    assert any(isinstance(event, StepFinished) for event in heard)
    failed = run(host, graph_of("Fail", a=1))
    assert [failure.message for failure in failed.failures] == ["as asked"]
    reported = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(reported) == 2, reported  # each once, however many events there are
    assert all("plugin 'Broken': its hook" in text and "test_hooks.py:" in text for text in reported)


def test_hooks_that_nobody_implements_put_nothing_around_steps_and_events(open_host: OpenHost) -> None:
    around = open_host(Nodes()).engine.surroundings
    assert [*around.runs, *around.steps, *around.observers] == []
    assert around.listener(None) is None


def test_settings_of_hosts_take_objects_and_paths() -> None:
    assert host_module._settings({"plugins": [Nodes], "blocked_plugins": ["a"]}) == Settings(
        plugins=(Nodes,), blocked_plugins=("a",)
    )
