"""Models fetched while a step before them computes: what is fetched, who waits for it, and what is never done."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest

from mezzotint.engine import memory_account, read_ahead, residency
from mezzotint.engine.context import Context
from mezzotint.engine.engine import Engine
from mezzotint.engine.errors import MezzotintError, OutOfMemoryError
from mezzotint.engine.expansion import GraphBuilder
from mezzotint.engine.look_ahead import REACH, LookAhead, models_of, wanted_next
from mezzotint.engine.memory_cache import StepValue
from mezzotint.engine.node import node
from mezzotint.engine.plan import Step
from mezzotint.engine.port import Port
from mezzotint.engine.registry import Registry
from mezzotint.engine.residency import Loaded, Residency
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.workflow import Link, Workflow

SECONDS = 5
AHEAD = "mezzotint-ahead"


@dataclass(frozen=True)
class Toy:
    """A recipe of bytes whose loader asks for them first."""

    name: str
    nbytes: int = 10
    parts: tuple[Toy, ...] = ()
    kind: str = "toy"

    @property
    def weights(self) -> Toy:
        return self

    def files(self, folders: Any) -> list[Path]:
        return [Path(self.name)]

    def load(self, residency: Residency) -> Loaded:
        residency.reserve(self.nbytes, f"loading {self.name}")
        shelf = Shelf(self.nbytes)
        return Loaded(shelf, self.nbytes, shelf)

    def configure(self, loaded: Any) -> Any:
        return loaded


class Shelf:
    """Weights that can wait in main memory."""

    least_nbytes = 1

    def __init__(self, nbytes: int) -> None:
        self.nbytes = self.here = nbytes

    def to_host(self) -> None:
        self.here = 0

    def to_device(self, most_nbytes: int) -> int:
        self.here = min(self.nbytes, most_nbytes)
        return self.here


Model = Annotated[Any, Port("MODEL")]


@node
def Open(name: str, nbytes: int = 10) -> Model:
    return Toy(name, nbytes)


@node
def Guide(model: Model, text: str) -> Annotated[Any, Port("GUIDER")]:
    return model, text


@node(lane="device")
def Encode(clip: Model, *, ctx: Context) -> str:
    with ctx.models.borrow(clip):
        STAGE.while_encoding(ctx)
    return clip.name


@node(lane="device", sink=True)
def Sample(model: Model, text: str, *, ctx: Context) -> None:
    with ctx.models.borrow(model) as borrowed:
        STAGE.sampled_with.append(borrowed)


@node(lane="device", sink=True)
def SampleGuided(guider: Annotated[Any, Port("GUIDER")], *, ctx: Context) -> None:
    with ctx.models.borrow(guider[0]) as borrowed:
        STAGE.sampled_with.append(borrowed)


@dataclass
class Stage:
    """What happens while the toys are loaded and used."""

    while_encoding: Callable[[Context], Any] = lambda ctx: None
    sampled_with: list[Any] = field(default_factory=list)


STAGE = Stage()


class Loads:
    """A loader that tells which thread made what; `stop` surrounds it."""

    def __init__(self) -> None:
        self.made: list[tuple[str, bool]] = []
        self.begun, self.ended = threading.Event(), threading.Event()
        self.during: Callable[[Toy], Any] = lambda recipe: None

    def __call__(self, recipe: Toy, models: Residency) -> Loaded:
        is_ahead = threading.current_thread().name.startswith(AHEAD)
        self.made.append((recipe.name, is_ahead))
        if is_ahead:
            self.begun.set()
        try:
            self.during(recipe)
            return recipe.load(models)
        finally:
            if is_ahead:
                self.ended.set()


@pytest.fixture(autouse=True)
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read ahead; the device is as large as its budget."""
    read: list[str] = []
    monkeypatch.setattr(memory_account, "free_nbytes", lambda device: 10**12)
    monkeypatch.setattr(residency, "read_ahead", lambda path, is_wanted: read.append(path.name))
    return read


@pytest.fixture
def stage() -> Iterator[Stage]:
    vars(STAGE).update(vars(Stage()))
    yield STAGE
    vars(STAGE).update(vars(Stage()))


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def models(loads: Loads) -> Residency:
    """Of a device with memory of its own."""
    models = Residency("cpu", 100, host_nbytes=100)
    models.register("toy", loads)
    return models


@pytest.fixture
def engine(make_engine: Callable[..., Engine], models: Residency) -> Engine:
    return make_engine(Open, Guide, Encode, Sample, SampleGuided, models=models)


def graph(model_nbytes: int = 10) -> GraphBuilder:
    g = GraphBuilder()
    text = g.node(Encode, clip=g.node(Open, name="clip"))
    g.node(Sample, model=g.node(Open, name="model", nbytes=model_nbytes), text=text)
    return g


Run = Callable[..., RunResult]


def test_a_model_is_loaded_while_the_step_before_computes(engine: Engine, run: Run, stage: Stage, loads: Loads) -> None:
    stage.while_encoding = lambda ctx: loads.ended.wait(SECONDS)
    assert run(engine, graph()).status == "done"
    assert sorted(loads.made) == [("clip", False), ("model", True)]
    assert [shelf.nbytes for shelf in stage.sampled_with] == [10]


def test_who_borrows_what_is_being_loaded_waits_for_that(
    engine: Engine, run: Run, stage: Stage, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.while_encoding = lambda ctx: loads.begun.wait(SECONDS)
    is_borrowed = threading.Event()
    acquire = Residency._acquire

    def watched(models: Residency, weights: Any) -> Any:
        if weights.name == "model" and threading.current_thread().name.startswith("mezzotint-device"):
            is_borrowed.set()
        return acquire(models, weights)

    monkeypatch.setattr(Residency, "_acquire", watched)
    loads.during = lambda recipe: recipe.name == "model" and is_borrowed.wait(SECONDS)
    assert run(engine, graph()).status == "done"
    assert is_borrowed.is_set()
    assert sorted(loads.made) == [("clip", False), ("model", True)]


def test_what_fails_ahead_fails_where_it_is_borrowed(engine: Engine, run: Run, stage: Stage, loads: Loads) -> None:
    def fails(recipe: Toy) -> None:
        if recipe.name == "model":
            raise MezzotintError("the model is damaged")

    loads.during = fails
    stage.while_encoding = lambda ctx: loads.ended.wait(SECONDS)
    (failure,) = run(engine, graph()).failures
    assert failure.node_type == "Sample"
    assert failure.sentence.endswith("the model is damaged")
    assert ("model", True) in loads.made


def test_what_fails_ahead_alone_is_no_failure(engine: Engine, run: Run, stage: Stage, loads: Loads) -> None:
    loads.during = lambda recipe: 1 // (not threading.current_thread().name.startswith(AHEAD))
    stage.while_encoding = lambda ctx: loads.ended.wait(SECONDS)
    assert run(engine, graph()).status == "done"
    assert sorted(loads.made) == [("clip", False), ("model", False), ("model", True)]


def test_what_does_not_fit_is_not_loaded_ahead_but_its_file_is_read(
    engine: Engine, run: Run, stage: Stage, loads: Loads, models: Residency, read: list[str]
) -> None:
    found: list[Any] = []

    def look(ctx: Context) -> None:
        loads.ended.wait(SECONDS)
        found.extend((each.recipe.name, each.nbytes) for each in models.residents())

    stage.while_encoding = look
    assert run(engine, graph(model_nbytes=95)).status == "done"
    assert found == [("clip", 10)]
    assert read == ["model"]
    assert loads.made == [("clip", False), ("model", True), ("model", False)]


def test_on_the_cpu_files_are_read_and_nothing_is_made(
    make_engine: Callable[..., Engine], run: Run, stage: Stage, loads: Loads, read: list[str]
) -> None:
    models = Residency("cpu", 100)
    models.register("toy", loads)
    engine = make_engine(Open, Encode, Sample, models=models)
    looked = threading.Event()
    fetch = models.fetch_ahead
    models.fetch_ahead = lambda *args: (fetch(*args), looked.set())  # type: ignore[method-assign,assignment]
    stage.while_encoding = lambda ctx: looked.wait(SECONDS)
    assert run(engine, graph()).status == "done"
    assert read == ["model"]
    assert loads.made == [("clip", False), ("model", False)]


def test_a_cancelled_run_fetches_no_more(engine: Engine, stage: Stage, loads: Loads, models: Residency) -> None:
    is_cancelled = threading.Event()

    async def main() -> RunResult:
        going = await engine.prepare(Workflow.from_api(graph().finalize()))

        def cancel(ctx: Context) -> None:
            assert loads.begun.wait(SECONDS)
            asyncio.run_coroutine_threadsafe(stop(), loop).result(SECONDS)
            is_cancelled.set()
            ctx.check()

        async def stop() -> None:
            going.cancel()

        loop = asyncio.get_running_loop()
        stage.while_encoding = cancel
        return await going.execute()

    loads.during = lambda recipe: recipe.name == "model" and is_cancelled.wait(SECONDS)
    assert asyncio.run(main()).status == "cancelled"
    assert loads.ended.wait(SECONDS)
    engine.close()
    assert [each.recipe.name for each in models.residents()] == ["clip"]


def test_values_of_an_earlier_run_say_what_comes_next_too(
    engine: Engine, run: Run, stage: Stage, loads: Loads, models: Residency
) -> None:
    run(engine, graph())
    models.clear()
    loads.made.clear()
    loads.ended.clear()
    stage.while_encoding = lambda ctx: loads.ended.wait(SECONDS)
    g = graph()
    again = g.node(Encode, clip=g.node(Open, name="another"))
    g.node(Sample, model=g.node(Open, name="model"), text=again)
    run(engine, g)
    assert ("model", True) in loads.made


def test_a_model_is_seen_behind_steps_that_have_not_run(engine: Engine, run: Run, stage: Stage, loads: Loads) -> None:
    stage.while_encoding = lambda ctx: loads.ended.wait(SECONDS)
    g = GraphBuilder()
    text = g.node(Encode, clip=g.node(Open, name="clip"))
    g.node(SampleGuided, guider=g.node(Guide, model=g.node(Open, name="model"), text=text))
    assert run(engine, g).status == "done"
    assert ("model", True) in loads.made


# what is decided


@pytest.fixture
def steps() -> Callable[..., dict[str, Step]]:
    registry = Registry()
    for function in (Open, Guide, Encode, Sample, SampleGuided):
        registry.register(function)

    def make(**given: tuple[Any, dict[str, str]]) -> dict[str, Step]:
        return {
            step_id: Step(
                step_id, registry[function.__name__], {}, {name: Link(parent, 0) for name, parent in links.items()},
                None, (), step_id, None, step_id,
            )
            for step_id, (function, links) in given.items()
        }  # fmt: skip

    return make


def test_what_comes_first_is_wanted_first_and_each_once(steps: Callable[..., dict[str, Step]]) -> None:
    plan = steps(
        a=(Encode, {"clip": "clip"}), b=(Sample, {"model": "model", "text": "a"}),
        c=(Sample, {"model": "model", "text": "a"}), d=(Encode, {"clip": "later"}), e=(Encode, {"clip": "unknown"}),
    )  # fmt: skip
    recipes = {name: Toy(name) for name in ("clip", "model", "later")}
    values = {name: StepValue(([recipe],)) for name, recipe in recipes.items()}
    status = {"a": "running", "b": "waiting", "c": "ready", "d": "waiting", "e": "waiting"}
    found = wanted_next(plan.values(), plan, status, values)
    assert found == ([recipes["model"], recipes["later"]], True)
    assert wanted_next(plan.values(), plan, {"a": "done"}, values) == ([], True)


def test_a_model_that_is_still_to_be_named_is_waited_for(steps: Callable[..., dict[str, Step]]) -> None:
    plan = steps(o=(Open, {}), g=(Guide, {"model": "o", "text": "t"}), s=(SampleGuided, {"guider": "g"}))
    status = {"o": "running", "g": "waiting", "s": "waiting"}
    assert wanted_next([plan["s"]], plan, status, {}) == ([], False)
    assert wanted_next([plan["s"]], plan, {**status, "o": "waiting"}, {}) == ([], True)
    model = Toy("model")
    assert wanted_next([plan["s"]], plan, {**status, "o": "done"}, {"o": StepValue(([model],))}) == ([model], True)


def test_looking_at_one_step_takes_so_many_steps_at_most(steps: Callable[..., dict[str, Step]]) -> None:
    long = {f"g{k}": (Guide, {"model": f"m{k}", "text": f"g{k + 1}"}) for k in range(1000)}
    plan = steps(s=(SampleGuided, {"guider": "g0"}), **long)
    values = {f"m{k}": StepValue(([Toy(str(k))],)) for k in range(1000)}
    assert len([*models_of(plan["s"], plan, {}, values)]) == REACH - 1


def test_a_long_plan_is_gone_through_once(
    make_engine: Callable[..., Engine], run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = 0
    of = models_of

    def counted(*args: Any) -> Any:
        nonlocal looked_at
        looked_at += 1
        return of(*args)

    monkeypatch.setattr("mezzotint.engine.look_ahead.models_of", counted)
    monkeypatch.setattr("mezzotint.engine.memory_account.gc.collect", int)  # beside torch, each takes long
    engine = make_engine(Open, Encode, Sample, models=Residency("cpu", 100))
    g = GraphBuilder()
    text: Any = "a"
    for k in range(200):
        text = g.node(Encode, clip=g.node(Open, name=f"{k}"))
        g.node(Sample, model=g.node(Open, name=f"m{k}"), text=text)
    assert run(engine, g).status == "done"
    assert looked_at <= 400 * REACH


# what the residency manager does of it


def fetched(models: Residency, recipe: Toy) -> None:
    models.fetch_ahead(recipe, lambda: True)


def here(models: Residency) -> dict[str, int]:
    return {each.recipe.name: each.nbytes for each in models.residents()}


def use(models: Residency, *recipes: Toy) -> None:
    for recipe in recipes:
        with models.borrow(recipe):
            pass


def test_what_is_fetched_is_idle_and_makes_way(models: Residency) -> None:
    fetched(models, Toy("a", 60))
    assert not models.residents()[0].is_borrowed
    use(models, Toy("b", 60))
    assert here(models) == {"a": 0, "b": 60}


def test_nothing_makes_way_for_what_is_fetched(models: Residency) -> None:
    use(models, Toy("a", 60))
    fetched(models, Toy("b", 60))
    assert here(models) == {"a": 60}


def test_what_waits_in_main_memory_is_brought_back_if_it_fits(models: Residency) -> None:
    use(models, Toy("a", 60))
    with models.reserve(50, "working"):
        fetched(models, Toy("a", 60))
        assert here(models) == {"a": 0}
    fetched(models, Toy("a", 60))
    assert here(models) == {"a": 60}


def test_room_that_somebody_found_is_left_free(models: Residency) -> None:
    room = models.reserve(50, "working")  # to be entered soon
    fetched(models, Toy("a", 60))
    assert here(models) == {}
    del room
    fetched(models, Toy("a", 60))
    assert here(models) == {"a": 60}


def test_what_stands_on_others_is_fetched_with_them(models: Residency, read: list[str]) -> None:
    base = Toy("base", 50)
    use(models, base)
    fetched(models, Toy("top", 10, parts=(base, Toy("adapter", 10))))
    assert read == ["top", "adapter"]
    assert here(models) == {"base": 50, "top": 10, "adapter": 10}
    assert not any(each.is_borrowed for each in models.residents() if each.recipe.name == "top")


def test_what_another_thread_is_loading_is_left_to_it(models: Residency, loads: Loads) -> None:
    may_end, has_begun = threading.Event(), threading.Event()

    def slowly(recipe: Toy) -> None:
        has_begun.set()
        may_end.wait(SECONDS)

    loads.during = slowly
    base = Toy("base")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(use, models, base)
        assert has_begun.wait(SECONDS)
        fetched(models, base)
        fetched(models, Toy("top", parts=(base,)))
        may_end.set()
        other.result(SECONDS)
    assert here(models) == {"base": 10}


@pytest.mark.parametrize(
    "needs", [lambda models: models.reserve(70, "working"), lambda models: use(models, Toy("b", 70))]
)
def test_who_needs_the_room_of_what_is_being_fetched_has_it_when_that_is_there(
    models: Residency, needs: Callable[[Residency], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, has_reserved = threading.Event(), threading.Event()

    def load(recipe: Toy, manager: Residency) -> Loaded:
        loaded = recipe.load(manager)
        if recipe.name == "ahead":
            has_reserved.set()
            may_end.wait(SECONDS)
        return loaded

    wait = Residency._let_ahead_end
    monkeypatch.setattr(Residency, "_let_ahead_end", lambda *args, **kw: (may_end.set(), wait(*args, **kw)))
    models.register("toy", load)
    with ThreadPoolExecutor(2) as pool:
        ahead = pool.submit(fetched, models, Toy("ahead", 60))
        assert has_reserved.wait(SECONDS)
        waiting = pool.submit(needs, models)
        ahead.result(SECONDS)
        waiting.result(SECONDS)
    assert here(models)["ahead"] == 0


def test_others_borrow_while_weights_are_brought_back(models: Residency, monkeypatch: pytest.MonkeyPatch) -> None:
    use(models, Toy("small"), Toy("a", 60))
    models.reserve(95, "working")
    use(models, Toy("small"))
    is_moving, may_end = threading.Event(), threading.Event()
    to_device = Shelf.to_device

    def slowly(shelf: Shelf, most_nbytes: int) -> int:
        is_moving.set()
        may_end.wait(SECONDS)
        return to_device(shelf, most_nbytes)

    with ThreadPoolExecutor(2) as pool:
        monkeypatch.setattr(Shelf, "to_device", slowly)
        ahead = pool.submit(fetched, models, Toy("a", 60))
        assert is_moving.wait(SECONDS)
        use(models, Toy("small"))
        assert models.total_nbytes == 70
        waiting = pool.submit(use, models, Toy("a", 60))
        assert not waiting.done()
        may_end.set()
        ahead.result(SECONDS)
        waiting.result(SECONDS)
    assert here(models) == {"small": 10, "a": 60}


def test_weights_that_could_not_be_brought_back_are_loaded_anew(
    models: Residency, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(shelf: Shelf, most_nbytes: int) -> int:
        raise RuntimeError("no memory")

    use(models, Toy("a", 60))
    models.reserve(95, "working")
    monkeypatch.setattr(Shelf, "to_device", fails)
    with pytest.raises(RuntimeError, match="no memory"):
        fetched(models, Toy("a", 60))
    assert here(models) == {}
    use(models, Toy("a", 60))
    assert here(models) == {"a": 60}
    assert [name for name, _ in loads.made] == ["a", "a"]


@pytest.mark.parametrize("seed", range(3))
def test_threads_that_use_and_fetch_at_once_stay_within_the_budget(models: Residency, seed: int) -> None:
    base = Toy("base", 40)
    recipes = [Toy(str(n), 10 * n) for n in range(1, 6)] + [base, Toy("top", 5, parts=(base, Toy("adapter", 5)))]
    most: list[int] = []
    is_over = threading.Event()

    def work(number: int) -> None:
        chosen = random.Random(f"{seed} {number}")
        for _ in range(200):
            with suppress(OutOfMemoryError):
                if chosen.random() < 0.3:
                    with models.reserve(chosen.randint(1, 60), "working"):
                        most.append(models.total_nbytes)
                else:
                    recipe = chosen.choice(recipes)
                    with models.borrow(recipe) as shelf:
                        assert shelf.here == here(models)[recipe.name] > 0
                        most.append(models.total_nbytes)

    def look() -> None:
        chosen = random.Random(seed)
        while not is_over.is_set():
            fetched(models, chosen.choice(recipes))
            most.append(models.total_nbytes)

    with ThreadPoolExecutor(4) as pool:
        ahead = pool.submit(look)
        try:
            for worker in [pool.submit(work, number) for number in range(3)]:
                worker.result(60)
        finally:
            is_over.set()
        ahead.result(SECONDS)
    assert max(most) <= 100
    assert not any(each.is_borrowed for each in models.residents() if each.recipe.name not in ("base", "adapter"))
    models.clear()
    assert models.residents() == []


# files


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no advice on files")
def test_a_file_is_asked_for_part_by_part_and_only_as_long_as_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked = tmp_path / "weights", []
    path.write_bytes(bytes(25))
    monkeypatch.setattr(read_ahead, "PART_NBYTES", 10)
    monkeypatch.setattr(os, "posix_fadvise", lambda file, start, nbytes, advice: asked.append((start, nbytes, advice)))
    read_ahead.read_ahead(path, lambda: True)
    assert asked == [(start, 10, os.POSIX_FADV_WILLNEED) for start in (0, 10, 20)]
    asked.clear()
    read_ahead.read_ahead(path, lambda: not asked)
    assert len(asked) == 1
    monkeypatch.setattr(read_ahead, "free_nbytes", lambda device: 24)
    asked.clear()
    read_ahead.read_ahead(path, lambda: True)
    read_ahead.read_ahead(tmp_path / "missing", lambda: True)
    assert asked == []


def test_with_nothing_to_fetch_there_is_no_thread(engine: Engine, run: Run, stage: Stage) -> None:
    g = GraphBuilder()
    g.node(Sample, model=g.node(Open, name="model"), text="a")
    assert run(engine, g).status == "done"
    ahead: LookAhead = engine._ahead
    assert not ahead._thread._threads
