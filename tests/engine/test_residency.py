from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.engine import memory_account
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
    monkeypatch.setattr(memory_account, "free_nbytes", lambda device: 10**12)


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
    monkeypatch.setattr(memory_account, "free_nbytes", lambda device: 50)
    with pytest.raises(OutOfMemoryError):
        Residency("cpu", 10**9).reserve(51, "sampling")


def test_the_default_budget_is_a_share_of_the_memory_that_is_free_when_first_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = [1000]
    monkeypatch.setattr(memory_account, "free_nbytes", lambda device: free[0])
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


# what waits in main memory


class Shelf:
    """Weights that tell where they are. They can do with half of their bytes on the device."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes, self.here = nbytes, nbytes

    @property
    def least_nbytes(self) -> int:
        return self.nbytes // 2

    def to_host(self) -> None:
        self.here = 0

    def to_device(self, most_nbytes: int) -> int:
        assert most_nbytes >= self.least_nbytes
        self.here = min(most_nbytes, self.nbytes)
        return self.here


@dataclass(frozen=True)
class Movable(Toy):
    """A recipe whose object can wait in main memory, and be there in part while it is used."""

    @property
    def weights(self) -> Movable:
        return self

    def load(self, residency: Residency) -> Loaded:
        granted = residency.reserve_part(self.nbytes, self.nbytes // 2, f"loading {self.name}")
        shelf = Shelf(self.nbytes)
        return Loaded(shelf, shelf.to_device(granted), shelf, self.nbytes)


def two_memories(budget_nbytes: int = 100, host_nbytes: int = 100) -> Residency:
    return Residency("cpu", budget_nbytes, host_nbytes=host_nbytes)


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_account, "free_nbytes", lambda device: 10**12)


@pytest.mark.usefixtures("roomy")
def test_what_is_evicted_waits_in_main_memory_and_comes_back_as_it_was() -> None:
    models = two_memories()
    with models.borrow(Movable("a", 60)) as first:
        pass
    use(models, Movable("b", 60))
    assert first.here == 0
    assert [(each.nbytes, each.offloaded_nbytes) for each in models.residents()] == [(0, 60), (60, 0)]
    with models.borrow(Movable("a", 60)) as again:
        assert again is first
        assert first.here == 60
    assert models.total_nbytes == 60


@pytest.mark.usefixtures("roomy")
def test_what_waited_longest_is_dropped_when_main_memory_is_full() -> None:
    models = two_memories(host_nbytes=60)
    use(models, Movable("a", 60), Movable("b", 60), Movable("c", 60))
    assert [(each.recipe.name, each.offloaded_nbytes) for each in models.residents()] == [("b", 60), ("c", 0)]


@pytest.mark.usefixtures("roomy")
def test_with_no_room_in_main_memory_it_is_dropped() -> None:
    models = two_memories(host_nbytes=59)
    use(models, Movable("a", 60), Movable("b", 60))
    assert names(models) == ["b"]


@pytest.mark.usefixtures("roomy")
def test_weights_that_main_memory_does_not_take_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(shelf: Shelf) -> None:
        raise MemoryError

    monkeypatch.setattr(Shelf, "to_host", fails)
    models = two_memories()
    use(models, Movable("a", 60), Movable("b", 60))
    assert names(models) == ["b"]


@pytest.mark.usefixtures("roomy")
def test_what_is_larger_than_the_budget_is_there_in_part() -> None:
    models = two_memories()
    with models.borrow(Movable("a", 150)) as shelf:
        assert shelf.here == 90  # a tenth is left for adapters
        assert models.residents()[0].offloaded_nbytes == 60
    with pytest.raises(OutOfMemoryError) as refusal:
        use(models, Movable("b", 202))
    assert str(refusal.value) == (
        "loading b needs about 0.0 MB of memory, and 0.0 MB can be had on this machine; use a smaller model, or one in "
        "a narrower dtype, or free some memory"
    )


@pytest.mark.usefixtures("roomy")
def test_what_is_loaded_leaves_room_for_the_work_under_way() -> None:
    models = two_memories()
    recipe = Movable("a", 80)
    use(models, recipe)
    with models.reserve(60, "sampling"):  # the model makes way, for nobody uses it yet
        with models.borrow(recipe) as shelf:
            assert shelf.here == 40
            assert models.total_nbytes + models.working_nbytes == 100
        with pytest.raises(OutOfMemoryError):
            use(models, Movable("b", 202))
    with models.borrow(recipe) as shelf:  # all of it comes back as soon as it can; what is small waits with the rest
        assert shelf.here == 80


@pytest.mark.usefixtures("roomy")
def test_a_part_that_waits_comes_back_with_what_stands_on_it() -> None:
    models = two_memories()
    top = OnTop("top", 1, parts=(Movable("base", 60),))
    use(models, top, Movable("other", 60))
    assert [(each.recipe.name, each.nbytes) for each in models.residents()] == [("base", 0), ("other", 60)]
    with models.borrow(top) as (_, shelf):
        assert shelf.here == 60


@pytest.mark.usefixtures("roomy")
def test_many_threads_that_ask_for_what_waits_all_get_it() -> None:
    models = two_memories()
    use(models, Movable("a", 60), Movable("b", 60))
    everyone_asked = threading.Barrier(8)

    def ask(_: int) -> int:
        everyone_asked.wait(5)
        with models.borrow(Movable("a", 60)) as shelf:
            return int(shelf.here)

    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(ask, range(8))] == [60] * 8


@pytest.mark.usefixtures("roomy")
def test_clearing_lets_go_of_main_memory_too() -> None:
    models = two_memories()
    use(models, Movable("a", 60), Movable("b", 60))
    models.clear()
    assert models.residents() == []


@pytest.mark.usefixtures("roomy")
def test_what_a_loader_reserved_counts_while_it_loads() -> None:
    models = residency(budget_nbytes=100)

    def load(recipe: Toy, manager: Residency) -> Loaded:
        manager.reserve(60, "loading its first half")
        assert manager.total_nbytes == 60
        with pytest.raises(OutOfMemoryError):
            manager.reserve(60, "loading its second half")
        return Loaded(recipe, 60)

    models.register("halves", load)
    use(models, Toy("a", kind="halves"))
    assert models.total_nbytes == 60


sizes = st.integers(1, 60)
moves = st.lists(
    st.tuples(st.sampled_from(["use", "use again", "work", "clear"]), sizes, st.integers(0, 5)), max_size=30
)


@dataclass(frozen=True)
class Fixed(Toy):
    """A recipe whose object cannot wait elsewhere; `parts` are what it stands on."""

    parts: tuple[Toy, ...] = ()

    @property
    def weights(self) -> Fixed:
        return self

    def load(self, residency: Residency) -> Loaded:
        with ExitStack() as loans:
            stood_on = [loans.enter_context(residency.borrow(part)) for part in self.parts]
            residency.reserve(self.nbytes, f"loading {self.name}")
            return Loaded((self.name, *stood_on), self.nbytes)


PLAIN = [Movable(f"movable {n}", 10 * n) for n in (1, 3, 5, 8)] + [Fixed(f"fixed {n}", 10 * n) for n in (1, 2, 6)]
RECIPES = [*PLAIN, *(Fixed(f"on {each.name}", 5, parts=(each, PLAIN[4])) for each in PLAIN)]
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["borrow", "fetch ahead"]), st.integers(0, len(RECIPES) - 1)),
        st.tuples(st.sampled_from(["return", "end work"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(["work", "reserve"]), st.integers(1, 110)),
        st.tuples(st.just("clear"), st.just(0)),
    ),
    max_size=40,
)


class Account:
    """A manager to which things happen, and what must hold after each.

    Attributes:
        loans: recipes that are borrowed now, with what they gave. rooms: memory that is kept for work.
    """

    def __init__(self, budget_nbytes: int, host_nbytes: int) -> None:
        self.models = two_memories(budget_nbytes, host_nbytes)
        self.loans: list[tuple[Toy, Any, ExitStack]] = []
        self.rooms: list[ExitStack] = []

    def take(self, what: str, number: int) -> None:
        models, stack = self.models, ExitStack()
        if what == "borrow":
            recipe = RECIPES[number]
            self.loans.append((recipe, stack.enter_context(models.borrow(recipe)), stack))
        elif what == "fetch ahead":
            before = {each.recipe: each.nbytes for each in models.residents()}
            models.fetch_ahead(RECIPES[number], lambda: True)
            after = {each.recipe: each.nbytes for each in models.residents()}
            assert all(after[recipe] >= nbytes for recipe, nbytes in before.items())  # nothing made way
        elif what == "work":
            stack.enter_context(models.reserve(number, "working"))
            self.rooms.append(stack)
        elif what == "reserve":
            models.reserve(number, "working")
        elif what == "clear":
            models.clear()
        elif ended := (self.loans if what == "return" else self.rooms):
            found = ended.pop(number % len(ended))
            (found[-1] if isinstance(found, tuple) else found).close()

    def check(self) -> None:
        models, residents = self.models, self.models.residents()
        assert models.total_nbytes == sum(each.nbytes for each in residents)
        assert models.total_nbytes <= models.budget_nbytes
        assert sum(each.offloaded_nbytes for each in residents if not each.nbytes) <= models.host_nbytes
        assert all(each.nbytes + each.offloaded_nbytes == each.recipe.nbytes for each in residents)
        stood_on = {part for each in residents for part in getattr(each.recipe, "parts", ())}
        borrowed = {recipe for recipe, _, _ in self.loans}
        assert {each.recipe for each in residents if each.is_borrowed} == borrowed | stood_on
        for recipe, given_object, _ in self.loans:
            with models.borrow(recipe) as now:
                assert now is given_object
            if isinstance(given_object, Shelf):
                assert given_object.here == next(each.nbytes for each in residents if each.recipe == recipe)


@settings(deadline=None)
@given(steps, st.integers(10, 150), st.integers(0, 150))
def test_whatever_happens_the_account_is_right_and_within_the_budget(
    happened: list[tuple[str, int]], budget_nbytes: int, host_nbytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(memory_account, "free_nbytes", lambda device: 10**12)
        patched.setattr(memory_account.gc, "collect", int)  # beside torch, each takes long
        account = Account(budget_nbytes, host_nbytes)
        for what, number in happened:
            with suppress(OutOfMemoryError):
                account.take(what, number)
            account.check()
        while account.loans or account.rooms:
            account.take("return" if account.loans else "end work", 0)
            account.check()
        account.models.clear()
        assert account.models.residents() == []


@settings(deadline=None)
@given(moves, st.integers(0, 150))
def test_no_more_than_the_budget_is_ever_held(actions: list[tuple[str, int, int]], host_nbytes: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(memory_account, "free_nbytes", lambda device: 10**12)
        patched.setattr(memory_account.gc, "collect", int)  # beside torch, each takes long
        models = two_memories(100, host_nbytes)
        most = 0

        def look() -> None:
            nonlocal most
            most = max(most, models.total_nbytes + models.working_nbytes)
            here = sum(each.nbytes for each in models.residents())
            assert here <= 100
            assert sum(each.offloaded_nbytes for each in models.residents() if not each.nbytes) <= host_nbytes

        for action, nbytes, which in actions:
            recipe = Movable(str(which), 10 + 10 * which)
            if action == "clear":
                models.clear()
            elif action == "work":
                with models.reserve(nbytes, "working"), suppress(OutOfMemoryError), models.borrow(recipe) as shelf:
                    assert shelf.here == next(e.nbytes for e in models.residents() if e.recipe == recipe)
                    look()
            else:
                with models.borrow(recipe) as shelf:
                    assert shelf.here >= shelf.least_nbytes
                    look()
        assert most <= 100
