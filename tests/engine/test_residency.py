from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mezzotint.engine import residency as residency_module
from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.engine.free_memory import cgroup_free_nbytes, free_nbytes
from mezzotint.engine.residency import Loaded, Residency


@dataclass(frozen=True)
class Toy:
    """A recipe of bytes. Its options change nothing that is loaded."""

    name: str
    nbytes: int = 10
    options: tuple[str, ...] = ()
    kind: str = "toy"

    @property
    def weights(self) -> Toy:
        return Toy(self.name, self.nbytes, kind=self.kind)

    def load(self, residency: Residency) -> Loaded:
        return Loaded(Weights(self.name), self.nbytes)

    def configure(self, loaded: Any) -> Any:
        return (loaded, *self.options) if self.options else loaded


class Weights:
    def __init__(self, name: str) -> None:
        self.name = name


def residency(budget_nbytes: int = 100) -> Residency:
    return Residency("cpu", budget_nbytes)


def names(models: Residency) -> list[str]:
    return [resident.recipe.name for resident in models.residents()]


def use(models: Residency, *recipes: Toy) -> None:
    for recipe in recipes:
        with models.borrow(recipe):
            pass


@pytest.fixture
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency_module, "free_nbytes", lambda device: 10**12)


@dataclass(frozen=True)
class OnTop(Toy):
    """A recipe whose object stands on those of others."""

    parts: tuple[Toy, ...] = ()

    @property
    def weights(self) -> OnTop:
        return self

    def load(self, residency: Residency) -> Loaded:
        with residency.borrow(self.parts[0]) as base:
            return Loaded((self.name, base), self.nbytes)


def test_a_recipe_is_materialised_once() -> None:
    models = residency()
    with models.borrow(Toy("a")) as first:
        pass
    with models.borrow(Toy("a")) as second:
        assert second is first


def test_recipes_that_differ_in_options_share_their_weights() -> None:
    models = residency()
    with models.borrow(Toy("a")) as plain, models.borrow(Toy("a", options=("skip",))) as configured:
        assert configured == (plain, "skip")
    assert models.total_nbytes == 10


def test_a_registered_loader_goes_before_the_recipes_own() -> None:
    models = residency()
    models.register("toy", lambda recipe, manager: Loaded((recipe.name, manager), 1))
    with models.borrow(Toy("a")) as loaded:
        assert loaded == ("a", models)


def test_the_least_recently_used_is_evicted_when_the_budget_is_exceeded() -> None:
    models = residency(budget_nbytes=25)
    use(models, Toy("a"), Toy("b"), Toy("a"), Toy("c"))
    assert names(models) == ["a", "c"]
    assert models.total_nbytes == 20


def test_what_is_borrowed_is_not_evicted() -> None:
    models = residency(budget_nbytes=15)
    with models.borrow(Toy("a")) as borrowed:
        use(models, Toy("b"))
        assert names(models) == ["a", "b"]
        with models.borrow(Toy("a")) as again:
            assert again is borrowed
    use(models, Toy("c"))
    assert "c" in names(models)
    assert models.total_nbytes <= 20


def test_an_evicted_recipe_is_made_anew() -> None:
    models = residency(budget_nbytes=15)
    with models.borrow(Toy("a")) as first:
        pass
    use(models, Toy("b"))
    with models.borrow(Toy("a")) as second:
        assert second is not first


def test_many_threads_that_ask_at_once_cause_one_load() -> None:
    models, loads = residency(), []
    everyone_asked = threading.Barrier(8)

    def load(recipe: Toy, manager: Residency) -> Loaded:
        loads.append(recipe)
        return Loaded(Weights(recipe.name), 10)

    def ask(_: int) -> Any:
        everyone_asked.wait(5)
        with models.borrow(Toy("a")) as loaded:
            return loaded

    models.register("toy", load)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert len(loads) == 1
    assert len(set(map(id, answers))) == 1


def test_a_load_that_fails_is_tried_again_by_those_who_waited() -> None:
    models = residency()
    is_loading, may_fail = threading.Event(), threading.Event()
    outcomes: list[Callable[[], Loaded]] = [lambda: fail_slowly(is_loading, may_fail), lambda: Loaded("made", 1)]
    models.register("toy", lambda recipe, manager: outcomes.pop(0)())

    def ask() -> Any:
        with models.borrow(Toy("a")) as loaded:
            return loaded

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask)
        assert is_loading.wait(5)
        second = pool.submit(ask)
        may_fail.set()
        with pytest.raises(RuntimeError, match="no such luck"):
            first.result(5)
        assert second.result(5) == "made"


def fail_slowly(is_loading: threading.Event, may_fail: threading.Event) -> Loaded:
    is_loading.set()
    may_fail.wait(5)
    raise RuntimeError("no such luck")


def test_a_failed_load_leaves_nothing_behind() -> None:
    models = residency()
    models.register("toy", lambda recipe, manager: Loaded(1 // 0, 0))
    with pytest.raises(ZeroDivisionError):
        use(models, Toy("a"))
    assert models.residents() == []


def test_an_error_while_borrowing_gives_the_recipe_back() -> None:
    models = residency()
    with pytest.raises(KeyError), models.borrow(Toy("a")):
        raise KeyError
    assert [resident.is_borrowed for resident in models.residents()] == [False]


# recipes that stand on others


def test_what_stands_on_others_shares_them_and_is_counted_apart() -> None:
    models = residency()
    base, adapter = Toy("base", 50), Toy("adapter", 5)
    with (
        models.borrow(base) as plain,
        models.borrow(OnTop("one", 1, parts=(base, adapter))) as one,
        models.borrow(OnTop("two", 1, parts=(base, adapter))) as two,
    ):
        assert one == ("one", plain)
        assert two == ("two", plain)
    assert models.total_nbytes == 57


def test_what_others_stand_on_is_evicted_after_them() -> None:
    models = residency(budget_nbytes=100)
    base = Toy("base", 60)
    use(models, OnTop("top", 10, parts=(base,)), Toy("other", 30))
    assert names(models) == ["top", "base", "other"]
    use(models, Toy("more", 5))
    assert names(models) == ["base", "other", "more"]
    use(models, OnTop("top", 10, parts=(base,)))  # the base is newer than the two now
    assert names(models) == ["more", "top", "base"]


def test_a_use_of_what_stands_on_others_is_one_of_theirs() -> None:
    models = residency(budget_nbytes=100)
    top = OnTop("top", 1, parts=(Toy("base", 10),))
    use(models, top, Toy("other", 10), top)
    assert names(models) == ["other", "top", "base"]


@pytest.mark.usefixtures("plenty")
def test_room_can_be_made_of_what_only_idle_ones_stand_on() -> None:
    models = residency(budget_nbytes=100)
    top = OnTop("top", 10, parts=(Toy("base", 60), Toy("adapter", 10)))
    use(models, top)
    with models.borrow(top), pytest.raises(OutOfMemoryError):
        models.reserve(90, "decoding")
    models.reserve(90, "decoding")
    assert names(models) == ["adapter"]
    use(models, top)
    models.clear()
    assert models.residents() == []


def test_a_part_that_fails_leaves_nothing_behind() -> None:
    models = residency()
    models.register("broken", lambda recipe, manager: Loaded(1 // 0, 0))
    with pytest.raises(ZeroDivisionError):
        use(models, OnTop("top", 1, parts=(Toy("base"), Toy("bad", kind="broken"))))
    assert [(resident.recipe.name, resident.is_borrowed) for resident in models.residents()] == [("base", False)]


@pytest.mark.usefixtures("plenty")
def test_what_fits_beside_the_residents_is_reserved_without_evicting() -> None:
    models = residency(budget_nbytes=100)
    use(models, Toy("a"))
    models.reserve(90, "decoding")
    assert names(models) == ["a"]


@pytest.mark.usefixtures("plenty")
def test_room_is_made_by_evicting_what_nobody_borrows() -> None:
    models = residency(budget_nbytes=100)
    use(models, Toy("a"), Toy("b"), Toy("c"))
    with models.borrow(Toy("b")):
        models.reserve(75, "decoding")
        assert names(models) == ["c", "b"]
        models.reserve(90, "decoding")
        assert names(models) == ["b"]


@pytest.mark.usefixtures("plenty")
def test_what_does_not_fit_is_refused_in_a_sentence_and_evicts_nothing() -> None:
    models = Residency("cpu", 8 * 10**9)
    use(models, Toy("a"))
    with pytest.raises(OutOfMemoryError) as refusal:
        models.reserve(70 * 10**9, "decoding a 16384×16384 picture")
    assert str(refusal.value) == (
        "decoding a 16384×16384 picture needs about 70.0 GB of memory, and 8.0 GB can be had on this machine; "
        "choose a smaller size or batch, or free some memory"
    )
    assert names(models) == ["a"]


def test_free_memory_bounds_a_reservation_whatever_the_budget_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency_module, "free_nbytes", lambda device: 50)
    with pytest.raises(OutOfMemoryError):
        Residency("cpu", 10**9).reserve(51, "sampling")


def test_the_default_budget_is_a_share_of_the_memory_that_is_free_when_first_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = [1000]
    monkeypatch.setattr(residency_module, "free_nbytes", lambda device: free[0])
    models = Residency("cpu")
    use(models, Toy("a"))
    free[0] = 10
    assert models.budget_nbytes == 900


def test_clearing_keeps_what_is_borrowed() -> None:
    models = residency()
    use(models, Toy("a"), Toy("empty", nbytes=0))
    with models.borrow(Toy("b")):
        models.clear()
        assert names(models) == ["b"]


def test_a_manager_for_a_named_device_does_not_import_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would now fail
    models = residency()
    use(models, Toy("a"))
    assert models.device == "cpu"


def test_without_torch_the_device_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert Residency().device == "cpu"


def test_free_memory_is_a_plausible_number() -> None:
    assert 2**20 < free_nbytes("cpu") < 2**50


def test_a_containers_limit_counts_less_what_it_uses(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\nactive_file 50\n")
    assert cgroup_free_nbytes(tmp_path) == 450


@pytest.mark.parametrize("limit", ["max\n", None])
def test_without_a_containers_limit_there_is_none(tmp_path: Path, limit: str | None) -> None:
    if limit:
        (tmp_path / "memory.max").write_text(limit)
    assert cgroup_free_nbytes(tmp_path) is None


def test_what_the_same_recipe_borrows_again_is_the_same_until_it_is_let_go() -> None:
    models, recipe = residency(), Toy("a", options=("x",))
    with models.borrow(recipe) as first, models.borrow(recipe) as again:
        assert again is first
        assert [resident.is_borrowed for resident in models.residents()] == [True]
    assert [resident.is_borrowed for resident in models.residents()] == [False]
    with models.borrow(Toy("b")), models.borrow(recipe) as again:
        assert again == first
    models.clear()
    assert names(models) == []
    with models.borrow(recipe) as anew:
        assert anew[0] is not first[0]


def test_what_is_borrowed_again_counts_as_used() -> None:
    models, first, second = residency(25), Toy("a"), Toy("b")
    use(models, second, first, first)
    with models.borrow(first):
        use(models, Toy("c"))
    assert names(models) == ["a", "c"]
