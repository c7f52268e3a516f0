"""What one attempt at a run leaves for the next: files are written once, finished output nodes are not run again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest
from blake3 import blake3

from mezzotint import Context, node
from mezzotint.engine.engine import Engine
from mezzotint.engine.expansion import GraphBuilder
from mezzotint.engine.output_file import output_series
from mezzotint.engine.run_record import FileClaim, FileClaims, temporary_name


class Record:
    """A `RunRecord` in memory. `others`: paths that other jobs claimed."""

    def __init__(self, others: tuple[Path, ...] = ()) -> None:
        self.finished: Mapping[str, dict[str, list[Any]] | None] = {}
        self.claims: dict[tuple[str, str], FileClaim] = {}
        self.begun: list[str] = []
        self.others = others

    def began(self, step_id: str, parents: Iterable[str]) -> None:
        assert not {*parents} - {*self.begun}
        self.begun.append(step_id)

    def claimed(self, step_id: str, ordinal: str) -> FileClaim | None:
        return self.claims.get((step_id, ordinal))

    def claim(self, step_id: str, ordinal: str, claim: FileClaim) -> bool:
        if claim.path in self.others:
            return False
        self.claims[step_id, ordinal] = claim
        return True


def save(folder: Path, record: Record, *data: bytes) -> list[str]:
    """What one attempt of step 5 saves, by name."""
    series = output_series(folder, "cat")
    claims = FileClaims(record, "job", "5", 0)
    return [claims.write(series.folder, series._counter.names("cat", ".txt"), each) for each in data]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_second_attempt_writes_nothing_again(tmp_path: Path) -> None:
    record = Record()
    first = save(tmp_path, record, b"a", b"b")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert save(tmp_path, record, b"a", b"b") == first == ["cat_00001_.txt", "cat_00002_.txt"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def save_large(folder: Path, record: Record, *data: bytes) -> list[str]:
    """As `save`, of files that are written bit by bit."""
    series = replace(output_series(folder, "cat"), claims=FileClaims(record, "job", "5", 0))
    return [series.save_large(partial(put, each), ".txt").filename for each in data]


def put(data: bytes, file: IO[bytes]) -> None:
    file.write(data)


def test_a_large_file_is_written_once_too_and_remembered_by_what_it_holds(tmp_path: Path) -> None:
    record = Record()
    assert save_large(tmp_path, record, b"a", b"b") == ["cat_00001_.txt", "cat_00002_.txt"]
    assert record.claims["5", "0.1"] == FileClaim(tmp_path / "cat_00002_.txt", blake3(b"b").hexdigest())
    assert save_large(tmp_path, record, b"other", b"other") == ["cat_00001_.txt", "cat_00002_.txt"]
    assert files(tmp_path) == {"cat_00001_.txt": b"a", "cat_00002_.txt": b"b"}


def test_a_large_file_that_was_begun_is_begun_again_under_its_name(tmp_path: Path) -> None:
    record = Record()

    def stop(file: IO[bytes]) -> None:
        file.write(b"half of")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(output_series(tmp_path, "cat"), claims=FileClaims(record, "job", "5", 0)).save_large(stop, ".txt")
    assert files(tmp_path) == {}
    (tmp_path / temporary_name("job", "5", "0.0")).write_bytes(b"half of")  # as if the process had died
    assert save_large(tmp_path, record, b"a") == ["cat_00001_.txt"]
    assert files(tmp_path) == {"cat_00001_.txt": b"a"}


def test_a_file_that_was_about_to_be_gets_the_name_it_was_to_have(tmp_path: Path) -> None:
    record = Record()
    save(tmp_path, record, b"a", b"b")
    (tmp_path / "cat_00001_.txt").unlink()  # as if the process had died before the rename
    left = tmp_path / temporary_name("job", "5", "0.0")
    left.write_bytes(b"half of")
    assert save(tmp_path, record, b"a", b"b") == ["cat_00001_.txt", "cat_00002_.txt"]
    assert files(tmp_path) == {"cat_00001_.txt": b"a", "cat_00002_.txt": b"b"}


def test_a_file_of_somebody_else_under_that_name_is_left_alone(tmp_path: Path) -> None:
    record = Record()
    record.claims["5", "0.0"] = FileClaim(tmp_path / "cat_00001_.txt", "hash of what was never written")
    (tmp_path / "cat_00001_.txt").write_bytes(b"another program's")
    assert save(tmp_path, record, b"a") == ["cat_00002_.txt"]
    assert files(tmp_path) == {"cat_00001_.txt": b"another program's", "cat_00002_.txt": b"a"}


def test_a_name_that_another_job_has_claimed_is_passed_over_though_no_file_is_there(tmp_path: Path) -> None:
    record = Record(others=(tmp_path / "cat_00001_.txt", tmp_path / "cat_00002_.txt"))
    assert save(tmp_path, record, b"a") == ["cat_00003_.txt"]


@node("RecordSave", sink=True)
def record_save(text: str, *, ctx: Context) -> None:
    """Saves."""
    ctx.show(files=[ctx.outputs.series("cat").save(text.encode(), ".txt")])


@node("RecordPass", sink=True)
def record_pass(text: str) -> str:
    """An output node whose value others take."""
    return text


def test_output_nodes_that_had_finished_are_told_and_not_run(
    make_engine: Callable[..., Engine], run: Callable[..., Any], heard: list[Any]
) -> None:
    engine = make_engine(record_save, record_pass)
    graph = {
        "1": {"class_type": "RecordSave", "inputs": {"text": "a"}},
        "2": {"class_type": "RecordSave", "inputs": {"text": "b"}},
        "3": {"class_type": "RecordPass", "inputs": {"text": "c"}},
    }
    record = Record()
    earlier = {"files": [{"filename": "earlier.txt"}]}
    record.finished = {"1": earlier, "3": None}
    result = run(engine, graph, record=record, on_event=heard.append)
    assert result.outputs["1"] == earlier
    assert sorted(record.begun) == ["2", "3"], "of 3 a value may be wanted, which is not kept"
    sources = {event.node_id: event.source for event in heard if event.kind == "step_finished"}
    assert sources == {"1": "attempt", "2": "ran", "3": "ran"}
    assert [path.name for path in engine.folders.output.iterdir()] == ["cat_00001_.txt"]


ORDER: list[str] = []
GATE = threading.Event()


@node("RankSteps", lane="device")
def rank_steps(name: str, count: int) -> str:
    """Notes its name; the first waits, so that the others have come when it ends."""
    if count == 0:
        GATE.wait(5)
    ORDER.append(name)
    return name


@pytest.mark.parametrize("ranks", [{"a": 1, "b": 2}, {"a": 2, "b": 1}])
async def test_a_lane_does_what_the_first_run_wants_first(
    make_engine: Callable[..., Engine], ranks: dict[str, int]
) -> None:
    import asyncio

    from mezzotint.engine.workflow import Workflow

    ORDER.clear()
    GATE.clear()
    engine = make_engine(rank_steps)

    def graph(name: str, numbers: range) -> Workflow:
        builder = GraphBuilder(prefix=name)
        for number in numbers:
            builder.node("RankSteps", name=f"{name}{number}", count=number)
        return Workflow.from_api(builder.finalize())

    async def go(name: str, numbers: range, rank: int) -> None:
        workflow = graph(name, numbers)
        await (await engine.prepare(workflow, targets=[*workflow.nodes], rank=rank)).execute()

    gate = asyncio.create_task(go("gate", range(1), 0))
    await asyncio.sleep(0.05)
    others = [asyncio.create_task(go(name, range(1, 6), rank)) for name, rank in ranks.items()]
    await asyncio.sleep(0.1)
    GATE.set()
    await asyncio.gather(gate, *others)
    assert [name[0] for name in ORDER] == ["g", *sorted("ab" * 5, key=lambda name: ranks[name])]
