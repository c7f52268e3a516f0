"""One attempt at a job: runs it on the engine, tells clients, and says how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from mezzotint.engine.engine import Engine
from mezzotint.engine.event import Event, RunFinished, StepFailed, StepFinished
from mezzotint.engine.event_stream import OnEvent
from mezzotint.engine.run import Run

from .event_log import EventLog
from .frame import AnyFrame
from .job import Job
from .job_record import JobRecord
from .job_report import JobReport

log = logging.getLogger("mezzotint.server")


class JobAttempt:
    """A job that runs.

    Args:
        has_previews: whether previews are made when the job does not say.

    Attributes:
        is_handed_back: it was stopped to be taken up later, not cancelled.
        last_frames: what clients are to hear of its end, together with what the history keeps.
    """

    def __init__(
        self,
        job: Job,
        engine: Engine,
        event_log: EventLog,
        record: JobRecord,
        rank: int = 0,
        observers: Sequence[OnEvent] = (),
        *,
        has_previews: bool = False,
    ) -> None:
        self.job = job
        self.report = JobReport(job)
        self.is_handed_back = False
        self.last_frames: list[AnyFrame] = []
        self._engine, self._log, self._record, self._rank = engine, event_log, record, rank
        self._observers = observers
        self._has_previews = job.wants_previews(has_previews)
        self._is_noting = self._is_over = False
        self._run: Run | None = None
        self._is_stopped = False
        self._timer: asyncio.TimerHandle | None = None

    async def execute(self) -> None:
        """Run to the end, whatever it is."""
        try:
            await self._execute()
        except Exception as error:
            log.exception("job %s failed, which is a bug of the engine or the server", self.job.job_id)
            self.last_frames = self.report.crashed(error)
        finally:
            self._is_over = True
            self._stop_timer()

    def stop(self, *, hand_back: bool = False) -> None:
        """Stop: running bodies at their next progress call. The first to ask says why."""
        if self._is_stopped:
            return
        self._is_stopped, self.is_handed_back = True, hand_back
        if self._run is not None:
            self._run.cancel()

    async def _execute(self) -> None:
        job = self.job
        run = await self._engine.prepare(
            job.workflow,
            validation=job.validation,
            on_event=self._hear,
            job_id=job.job_id,
            extra_pnginfo=job.extra_pnginfo,
            extra={**job.extra_data, **job.secrets},
            wants_previews=lambda: self._has_previews and self._log.is_heard(job),
            record=self._record,
            rank=self._rank,
        )
        if self._is_stopped:
            self.last_frames = self.report.interrupted_before_start()
            return
        self._run = run
        await run.execute()

    def _hear(self, event: Event) -> None:
        try:
            for observe in self._observers:
                observe(event)
            self._pass_on(event)
        except Exception:  # what a node shows may be anything; that it cannot be told must not stop the job
            log.exception("an event of job %s could not be told", self.job.job_id)

    def _pass_on(self, event: Event) -> None:
        frames = self.report.hear(event)
        if isinstance(event, StepFailed):
            log.warning("Job %s: %s", self.job.job_id, event.sentence, extra={"job_id": self.job.job_id})
        if isinstance(event, StepFinished | StepFailed):
            self._record.ended(event.node_id)
        if isinstance(event, RunFinished):
            self.last_frames = frames
            return
        self._log.tell(self.job, frames)
        if not self._is_noting:
            self._is_noting = True
            asyncio.get_running_loop().call_soon(self._note)
        if self.report.is_behind and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.report.pause, self._catch_up)

    def _note(self) -> None:
        """Keep how far it is: once for all that was heard at this turn of the loop."""
        self._is_noting = False
        if not self._is_over:  # else the database has its end, or soon will
            self._record.note(self.report.take_progress())

    def _catch_up(self) -> None:
        self._timer = None
        self._log.tell(self.job, self.report.catch_up())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
