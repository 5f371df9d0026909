"""Write and read the status of the active run.

The process holding the run lock writes it, atomically and at most a few times a second.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from bms_pipeline.core import errors, processes, run_status
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.run_status import EndedStage, RunName, RunStatus
from bms_pipeline.state.protocol import StateDocument, StateStore

WRITE_EVERY_SECONDS = 0.25
STAGES_KEPT = 60
"""The longest list of ended stages in the status; a whole sync has about 25."""


class RunStatusWriter:
    """Writes the progress of a run; a ``sync.Progress``. A run without any progress leaves the status unchanged."""

    def __init__(self, state: StateStore, name: RunName) -> None:
        self._state = state
        process = processes.this_process()
        self._run = RunStatus(name.label, process.pid, run_status.moment(), name.run_id, process=process)
        self._written_at: float | None = None
        self._door = threading.Lock()
        self._stage_began = 0.0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Report progress; see ``sync.Progress``."""
        is_new = stage != self._run.stage
        if is_new:
            self._begin_stage()
        self._run.stage, self._run.done, self._run.total = stage, done, total
        if is_new or self._written_at is None or time.monotonic() - self._written_at >= WRITE_EVERY_SECONDS:
            self._write()

    def end(self, error: BaseException | None = None) -> None:
        """Record the end of the run; ``error`` is the reason of a failure."""
        if self._written_at is None:
            return
        self._run.ended_at = run_status.moment()
        if error is not None:
            self._run.message, self._run.next_step = errors.describe(error)
        self._write()

    def beat(self) -> None:
        """Show that the run is alive, once it has shown any progress."""
        if self._written_at is not None and self._run.ended_at is None:
            self._write()

    def _begin_stage(self) -> None:
        """Note how the stage before ended; only the last ``STAGES_KEPT`` are kept."""
        run, began = self._run, time.monotonic()
        if run.stage:
            ended = EndedStage(run.stage, run.done, run.total, round(began - self._stage_began, 1))
            run.ended_stages = [*run.ended_stages, ended][-STAGES_KEPT:]
        self._stage_began, run.stage_started_at = began, datetime.now(UTC).isoformat(timespec="milliseconds")

    def _write(self) -> None:
        self._written_at, self._run.beat_at = time.monotonic(), run_status.moment()
        with self._door, contextlib.suppress(PipelineError):  # a run must not fail because nobody can follow it
            self._state.write(StateDocument.RUN_STATUS, msgspec.json.encode(self._run), patiently=False)


@contextlib.contextmanager
def recording(state: StateStore, name: RunName) -> Iterator[RunStatusWriter]:
    """Record the progress of a run, and its result at the end."""
    telling = RunStatusWriter(state, name)
    try:
        with processes.beating(telling.beat):
            yield telling
    except BaseException as error:
        telling.end(error)
        raise
    telling.end()


def read_status(state: StateStore) -> RunStatus | None:
    """Return the active run or the last one; None where no run reported progress yet, or it is unreadable."""
    try:
        return msgspec.json.decode(state.read(StateDocument.RUN_STATUS) or b"", type=RunStatus)
    except (PipelineError, ValueError):
        return None
