"""Progress of the active run in a small file, for readers outside the run: the review console, a script.

The process holding the home folder writes it, atomically and at most a few times a second. The file stays after the run
ends and then holds the result. A killed run leaves it unchanged, and its process is gone.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bms_pipeline.core import errors, processes
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.files import atomic_write
from bms_pipeline.core.processes import Process
from bms_pipeline.core.vocabulary import Life, OwnVariable, RunKind

ERROR_FILE = OwnVariable.ERROR_FILE
"""The environment variable that names a file for the error of a command, so nobody has to read it from its output."""
WRITE_EVERY_SECONDS = 0.25
STAGES_KEPT = 60
"""The longest list of ended stages in the file; a whole sync has about 25."""


@dataclass(frozen=True)
class RunName:
    """What a run is called: the label for people, what started it, and its id in Dagster where that was Dagster."""

    label: str = "A command"
    kind: RunKind = RunKind.COMMAND
    run_id: str | None = None


class EndedStage(msgspec.Struct, frozen=True):
    """A stage that gave way to the next one: how far it came, and how long it took."""

    name: str
    done: int
    total: int | None
    seconds: float


class RunStatus(msgspec.Struct):
    """The active run, or the last one with any progress.

    ``label``: see ``RunName``; times are UTC. ``total`` is None while it is unknown. ``ended_at`` is None while the run
    is active. ``message`` and ``next_step`` give the reason of a failure and are empty otherwise. ``stage`` is the
    active or last stage, since ``stage_started_at``; ``ended_stages`` are those before it, in order. ``beat_at`` is the
    last heartbeat, for readers that cannot see ``process``: in another container, or on another machine.
    """

    label: str
    pid: int
    started_at: str
    run_id: str | None = None
    stage: str = ""
    done: int = 0
    total: int | None = None
    ended_at: str | None = None
    message: str = ""
    next_step: str = ""
    stage_started_at: str = ""
    ended_stages: list[EndedStage] = []
    process: Process | None = None
    beat_at: str = ""

    @property
    def life(self) -> Life:
        """Whether the run is alive: dead once it has ended."""
        if self.ended_at is not None:
            return Life.DEAD
        return processes.life_of(self.process, seconds_since(self.beat_at or self.started_at))

    @property
    def is_running(self) -> bool:
        """Whether the run is still active: neither ended nor killed."""
        return self.life is Life.ALIVE

    @property
    def was_killed(self) -> bool:
        """Whether its process is gone without an end in the file."""
        return self.ended_at is None and self.life is Life.DEAD

    @property
    def is_unknown(self) -> bool:
        """Whether it cannot be seen from here, and has not shown for a while that it is alive."""
        return self.life is Life.UNKNOWN


class RunStatusWriter:
    """Writes the progress of a run; a ``sync.Progress``. A run without any progress leaves the file unchanged."""

    def __init__(self, file: Path, name: RunName) -> None:
        self._file = file
        self._run = RunStatus(name.label, os.getpid(), moment(), name.run_id, process=processes.this_process())
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
        self._run.ended_at = moment()
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
        self._written_at, self._run.beat_at = time.monotonic(), moment()
        with (
            self._door,
            contextlib.suppress(PipelineError),
            atomic_write(self._file) as file,
        ):  # a run must not fail because nobody can follow it
            file.write_bytes(msgspec.json.encode(self._run))


@contextlib.contextmanager
def recording(file: Path, name: RunName) -> Iterator[RunStatusWriter]:
    """Record the progress of a run in ``file``, and its result at the end."""
    telling = RunStatusWriter(file, name)
    try:
        with processes.beating(telling.beat):
            yield telling
    except BaseException as error:
        telling.end(error)
        raise
    telling.end()


def read_status(file: Path) -> RunStatus | None:
    """Return the active run or the last one; None where no run reported progress yet, or the file is unreadable."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=RunStatus)
    except (OSError, ValueError):
        return None


def leave_error(error: PipelineError) -> None:
    """Write the error of this process into the file named by ``ERROR_FILE``, if it is named."""
    if name := os.environ.get(ERROR_FILE):
        with contextlib.suppress(PipelineError), atomic_write(Path(name)) as file:
            file.write_bytes(msgspec.json.encode([error.message, error.next_step]))


def left_error(file: Path) -> PipelineError | None:
    """Return the error that a process left in ``file``; None where it left none."""
    try:
        message, next_step = msgspec.json.decode(file.read_bytes(), type=tuple[str, str])
    except (OSError, ValueError):
        return None
    return PipelineError(message, next_step)


def seconds_since(time_text: str) -> float:
    """Return the seconds since a time of a run. A time in the future counts as now."""
    try:
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(time_text)).total_seconds())
    except (ValueError, TypeError):
        return float("inf")


def moment() -> str:
    """Return the present time in UTC, as text for a run's times."""
    return datetime.now(UTC).isoformat(timespec="seconds")
