"""Progress of the active run in a small file, for readers outside the run: the review console, a script.

The process holding the home folder writes it, atomically and at most a few times a second. The file stays after the run
ends and then holds the result. A killed run leaves it unchanged, and its process is gone.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from bms_pipeline.core import errors
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.files import made_whole

WRITE_EVERY_SECONDS = 0.25
_STARTED_BEFORE_SECONDS = 5.0
"""A process with the same number that started later than this after the run is another one."""


class Run(msgspec.Struct):
    """The active run, or the last one with any progress.

    ``what`` is a command or a Dagster run; times are UTC. ``total`` is None while it is unknown. ``ended_at`` is None
    while the run is active. ``message`` and ``next_step`` give the reason of a failure and are empty otherwise.
    """

    what: str
    pid: int
    started_at: str
    stage: str = ""
    done: int = 0
    total: int | None = None
    ended_at: str | None = None
    message: str = ""
    next_step: str = ""

    @property
    def at_work(self) -> bool:
        """Whether the run is still active: neither ended nor killed."""
        if self.ended_at is not None:
            return False
        with contextlib.suppress(psutil.Error, ValueError):
            process = psutil.Process(self.pid)
            latest = datetime.fromisoformat(self.started_at).timestamp() + _STARTED_BEFORE_SECONDS
            return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= latest
        return False

    @property
    def was_killed(self) -> bool:
        """Whether its process is gone without an end in the file."""
        return self.ended_at is None and not self.at_work


class Told:
    """Writes the progress of a run; a ``sync.Progress``. A run without any progress leaves the file unchanged."""

    def __init__(self, file: Path, what: str) -> None:
        self._file = file
        self._run = Run(what, os.getpid(), moment())
        self._written_at: float | None = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Report progress; see ``sync.Progress``."""
        is_new = stage != self._run.stage
        self._run.stage, self._run.done, self._run.total = stage, done, total
        if is_new or self._written_at is None or time.monotonic() - self._written_at >= WRITE_EVERY_SECONDS:
            self._write()

    def end(self, error: BaseException | None = None) -> None:
        """Record the end of the run; ``error`` is the reason of a failure."""
        if self._written_at is None:
            return
        self._run.ended_at = moment()
        if error is not None:
            self._run.message, self._run.next_step = errors.told(error)
        self._write()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        with (
            contextlib.suppress(PipelineError),
            made_whole(self._file) as file,
        ):  # a run must not fail because nobody can follow it
            file.write_bytes(msgspec.json.encode(self._run))


@contextlib.contextmanager
def told(file: Path, what: str) -> Iterator[Told]:
    """Record the progress of ``what`` in ``file``, and its result at the end."""
    telling = Told(file, what)
    try:
        yield telling
    except BaseException as error:
        telling.end(error)
        raise
    telling.end()


def read_run(file: Path) -> Run | None:
    """Return the active run or the last one; None where no run reported progress yet, or the file is unreadable."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Run)
    except (OSError, ValueError):
        return None


def moment() -> str:
    """Return the present time in UTC, as text for a run's times."""
    return datetime.now(UTC).isoformat(timespec="seconds")
