"""The progress of the active run, for readers outside the run: the review console, a script.

``state.recording`` writes and reads it. It stays after the run ends and then holds the result. A killed run leaves it
unchanged, and its process is gone.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bms_pipeline.core import processes
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.files import atomic_write
from bms_pipeline.core.processes import Process
from bms_pipeline.core.vocabulary import Life, OwnVariable, RunKind

ERROR_FILE = OwnVariable.ERROR_FILE
"""The environment variable that names a file for the error of a command, so nobody has to read it from its output."""


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
