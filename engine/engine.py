"""The engine: what all runs of a process share, and the way to start one."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from inspect import isawaitable
from pathlib import Path
from typing import Any

from .collector import COLLECTOR
from .context import Context, Prompt
from .disk_cache import DiskCache
from .errors import InvalidWorkflowError, OutputError
from .event_stream import OnEvent
from .flight import Flights
from .folders import Folders
from .key import Key
from .lane import SLOW_SECONDS, Lane, Scope, Task
from .lineage import Lineage
from .look_ahead import LookAhead
from .memory_cache import MemoryCache, StepValue
from .node import NodeSpec
from .output_store import LOCAL, Outputs
from .plan import Plan, Step
from .registry import Registry
from .residency import Residency
from .run import Run
from .run_record import FileClaims, RunRecord
from .run_result import RunResult
from .surroundings import Surroundings
from .validation import CheckedNode, Validation, validate
from .workflow import Workflow, as_link, unwrap_value

MERGED_BODIES = 8
"""How many prompts' requests a device may merge. A CPU gains nothing by it, and alone the results are bit-equal."""

log = logging.getLogger("mezzotint.engine")


class Engine:
    """Runs workflows. Its runs share lanes, caches and models; several may be under way at once on one event loop.

    Args:
        registry: the node types. folders: where files are read and written. models: the residency manager.
        memory_nbytes: bound of the memory tier. cache_dir: folder of the disk tier, None for none; cache_nbytes: its
            bound. cpu_threads: size of the CPU pool.
        device_width: how many generator bodies the device's lane interleaves, and so may merge; None for 1 on a CPU
            and `MERGED_BODIES` elsewhere. scope: surrounds bodies, see `Lane`.
        save_metadata: whether files carry the workflow that made them. outputs: where files go; the output folder when
            None. surroundings: what plugins do around runs and steps.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        folders: Folders | None = None,
        models: Residency | None = None,
        memory_nbytes: int = 1 << 30,
        cache_dir: Path | None = None,
        cache_nbytes: int | None = None,
        cpu_threads: int | None = None,
        device_width: int | None = None,
        scope: Scope | None = None,
        save_metadata: bool = True,
        outputs: Outputs | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.registry = registry
        self.folders = folders or Folders.default()
        self.outputs = outputs or Outputs(self.folders)
        self.surroundings = surroundings or Surroundings()
        self.models = models or Residency(folders=self.folders)
        self.memory = MemoryCache(memory_nbytes)
        self.disk = DiskCache(cache_dir, cache_nbytes) if cache_dir is not None else None
        self.lineage = Lineage(cache_dir)
        self.flights = Flights()
        self.save_metadata = save_metadata
        threads = cpu_threads or max(2, os.cpu_count() or 2)
        width = device_width if device_width is not None else self._merged_bodies
        self.lanes = {"cpu": Lane("cpu", threads, scope=scope), "device": Lane("device", 1, width, scope)}
        self._ahead = LookAhead(self.models)
        self._files = ThreadPoolExecutor(2, thread_name_prefix="mezzotint-files")
        self._writing: set[Future[bool]] = set()
        self._seconds: dict[str, float] = {}
        self._disk_problem = ""
        self._telling = threading.Lock()

    # runs

    async def run(self, workflow: Workflow, **options: Any) -> RunResult:
        """Run a workflow to its end. Takes the options of `prepare`.

        Raises:
            InvalidWorkflowError: it does not pass validation. (Steps that fail are in the result, not raised.)
        """
        with COLLECTOR.sparing():
            return await (await self.prepare(workflow, **options)).execute()

    async def prepare(
        self,
        workflow: Workflow,
        *,
        targets: Iterable[str] | None = None,
        on_event: OnEvent | None = None,
        job_id: str | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        wants_previews: bool | Callable[[], bool] = False,
        validation: Validation | None = None,
        record: RunRecord | None = None,
        rank: int = 0,
    ) -> Run:
        """Check and plan a workflow.

        Args:
            targets: ids of the nodes wanted; the output nodes when None. on_event: called with each event, on the loop.
            wants_previews: whether anybody looks; a function is asked, on any thread, before a preview is made.
            validation: the outcome of `validate`, if the caller has it and accepts its problems: then only the outputs
                that can run do.
            record: remembers the run over several attempts at it. rank: where runs share a lane, the lowest goes first.

        Raises:
            InvalidWorkflowError: it does not pass validation.
        """
        with COLLECTOR.sparing():
            if validation is None:
                validation = self.validate(workflow, targets)
                if validation.problems:
                    raise InvalidWorkflowError(validation.problems)
            asked = [*_with_fingerprint(workflow, validation, self.registry)]
            fingerprints = await self._fingerprints(asked)
            of_packs = {node.node_id: fingerprints[node.node_id] for node in asked if node.spec.invocation is not None}
            place = str(self.folders.output) if self.outputs.name == LOCAL else f"store {self.outputs.name}"
            plan = Plan(
                validation, fingerprints, sink_salt=place, quick_fingerprint=self._fingerprint, salt=self.models.salt
            )
            prompt = Prompt(workflow, extra_pnginfo, extra, of_packs)
            hear = self.surroundings.listener(on_event)
            return Run(self, plan, job_id or str(uuid.uuid4()), prompt, hear, wants_previews, record, rank)

    def validate(
        self, workflow: Workflow, targets: Iterable[str] | None = None, incomplete: Container[str] = ()
    ) -> Validation:
        """Every problem of a workflow, and what of it can run; see `validation.validate`."""
        return validate(workflow, self.registry, self.folders, targets, incomplete)

    def _merged_bodies(self) -> int:
        return 1 if self.models.device == "cpu" else MERGED_BODIES

    def close(self) -> None:
        """Finish what is being written and stop the threads."""
        self.flush()
        self._ahead.close()
        self._files.shutdown()
        for lane in self.lanes.values():
            lane.close()

    def flush(self) -> None:
        """Wait until the disk tier holds all that was to be kept."""
        for writing in list(self._writing):
            writing.result()

    async def _fingerprints(self, nodes: list[CheckedNode]) -> dict[str, Any]:
        quick = {node.node_id: self._fingerprint(node) for node in nodes if node.spec.quick_fingerprint}
        nodes = [node for node in nodes if not node.spec.quick_fingerprint]
        if not nodes:
            return quick
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(self._files, self._fingerprint, node) for node in nodes]
        found = await asyncio.gather(*futures)
        values = [await value if isawaitable(value) else value for value in found]
        return quick | {node.node_id: value for node, value in zip(nodes, values, strict=True)}

    def _fingerprint(self, node: CheckedNode) -> Any:
        """What stands for the world outside; NaN (never reuse) when the node cannot tell."""
        spec = node.spec
        assert spec.fingerprint is not None
        names = spec.fingerprint_inputs
        given: dict[str, Any] = {name: node.literals.get(name) for name in names or ()}
        if "folders" in given:
            given["folders"] = self.folders
        try:
            return spec.fingerprint(node) if names is None else spec.fingerprint(**given)
        except Exception:
            log.debug("the fingerprint of %s (%s) failed", spec.name, node.node_id, exc_info=True)
            return float("nan")

    # what runs use

    def submit(self, batches: list[list[Task]], run: Run) -> None:
        """Hand batches of a run's tasks to the lanes of their nodes."""
        given = ""
        for batch in batches:
            lane = batch[0].spec.lane
            self.lanes[lane].submit(batch)
            if lane == "device":
                given = batch[0].step_id
        if given or run.looks_ahead:
            run.looks_ahead = self._ahead.look(run, given)

    def context(self, step_id: str, call_index: int, prompt: Prompt, run: Run) -> Context:
        """What a body of the run may touch."""
        return Context(
            step_id,
            prompt=prompt,
            folders=self.folders,
            models=self.models,
            listener=run,
            call_index=call_index,
            save_metadata=self.save_metadata,
            claims=FileClaims(run.record, run.job_id, step_id, call_index) if run.record is not None else None,
            outputs=self.outputs,
        )

    def is_quick(self, spec: NodeSpec) -> bool:
        """Whether the node's bodies are known to take next to no time."""
        return self._seconds.get(spec.name, SLOW_SECONDS) < SLOW_SECONDS

    def note_seconds(self, spec: NodeSpec, seconds: float) -> None:
        """A body took this long. What was slow once is thought quick again only after many quick calls."""
        self._seconds[spec.name] = max(seconds, 0.9 * self._seconds.get(spec.name, 0.0))

    def holds(self, key: Key | None) -> bool:
        """Whether the value of a key is in memory or on disk."""
        return key is not None and (key in self.memory or self.is_on_disk(key))

    def is_on_disk(self, key: Key | None) -> bool:
        return key is not None and self.disk is not None and key in self.disk

    async def read(self, key: Key | None) -> StepValue | None:
        """The value of a key from disk; None when it cannot be read."""
        if key is None or self.disk is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._files, self.disk.get, key)

    def keep(self, step: Step, value: StepValue, *, is_new: bool) -> None:
        """Cache a step's value, but no consumed state: in memory, and on disk when new and not an output node's."""
        if step.key is None or not step.spec.cached or value.holds_state:
            return
        self.memory.put(step.key, value)
        if is_new and self.disk is not None and not step.spec.is_sink:
            writing = self._files.submit(self._write, self.disk, step.key, value)
            self._writing.add(writing)
            writing.add_done_callback(self._written)

    async def forget(self) -> None:
        """Let go of all values that are kept, on disk too: what runs next is computed anew."""
        self.memory.clear()
        if self.disk is not None:
            await asyncio.to_thread(self.flush)
            await asyncio.to_thread(self.disk.clear)

    def remember(self, plan: Plan) -> None:
        """A run of the plan ended."""
        self.lineage.remember(plan)
        if self.disk is not None:
            self._files.submit(self.lineage.store, plan)

    def _written(self, writing: Future[bool]) -> None:
        self._writing.discard(writing)
        error = writing.exception()
        if error is not None:
            log.error("a value could not be kept on disk", exc_info=error)

    def _write(self, disk: DiskCache, key: Key, value: StepValue) -> bool:
        try:
            is_kept, problem = disk.put(key, value), ""
        except OutputError as error:
            is_kept, problem = False, str(error)
        with self._telling:
            if problem and problem != self._disk_problem:  # a full disk is told of once, and not for each value
                log.warning("%s", problem)
            self._disk_problem = problem
        return is_kept


def _with_fingerprint(workflow: Workflow, validation: Validation, registry: Registry) -> Iterator[CheckedNode]:
    """The nodes that are asked for a fingerprint: those that outputs need; of packs all, for they expect it."""
    yield from (node for node in validation.nodes.values() if node.spec.fingerprint is not None)
    if len(validation.nodes) == len(workflow.nodes):  # all are needed
        return
    for node_id, node in workflow.nodes.items():
        spec = registry.get(node.class_type)
        if node_id in validation.nodes or spec is None or spec.fingerprint is None or spec.invocation is None:
            continue
        links = {name: link for name, value in node.inputs.items() if (link := as_link(value)) is not None}
        literals = {name: unwrap_value(value) for name, value in node.inputs.items() if name not in links}
        yield CheckedNode(node_id, spec, literals, links)
