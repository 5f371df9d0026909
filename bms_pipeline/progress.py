"""How far the run at work is, in a small file, for whoever only looks on: the review console, a script.

Whoever holds the home folder writes it, whole or not at all and a few times a second at most. It stays behind when the
run ends and then says how; a run that was killed leaves it as it was, and its process is gone.
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

from bms_pipeline import errors
from bms_pipeline.errors import PipelineError
from bms_pipeline.files import made_whole

WRITE_EVERY_SECONDS = 0.25
_STARTED_BEFORE_SECONDS = 5.0
"""A process that bears the number and started later than this after the run is another one."""


class Run(msgspec.Struct):
    """The run at work, or the last one that told how far it was.

    ``what`` is a command or a Dagster run; times are UTC. ``total`` is None while it is not known. ``ended_at`` is None
    while it is at work; ``message`` and ``next_step`` say why it failed and are empty where it did not.
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
        """Whether it is not over: neither ended nor killed."""
        if self.ended_at is not None:
            return False
        with contextlib.suppress(psutil.Error, ValueError):
            process = psutil.Process(self.pid)
            latest = datetime.fromisoformat(self.started_at).timestamp() + _STARTED_BEFORE_SECONDS
            return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= latest
        return False

    @property
    def was_killed(self) -> bool:
        """Whether its process is gone although it never told an end."""
        return self.ended_at is None and not self.at_work


class Told:
    """Writes how far a run is; a ``sync.Progress``. A run that is never told anything leaves the file as it is."""

    def __init__(self, file: Path, what: str) -> None:
        self._file = file
        self._run = Run(what, os.getpid(), moment())
        self._written_at: float | None = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """See ``sync.Progress``."""
        is_new = stage != self._run.stage
        self._run.stage, self._run.done, self._run.total = stage, done, total
        if is_new or self._written_at is None or time.monotonic() - self._written_at >= WRITE_EVERY_SECONDS:
            self._write()

    def end(self, error: BaseException | None = None) -> None:
        """The run is over; ``error`` is why it failed."""
        if self._written_at is None:
            return
        self._run.ended_at = moment()
        if error is not None:
            self._run.message, self._run.next_step = errors.told(error)
        self._write()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        with contextlib.suppress(PipelineError), made_whole(self._file) as file:  # no run fails for want of onlookers
            file.write_bytes(msgspec.json.encode(self._run))


@contextlib.contextmanager
def told(file: Path, what: str) -> Iterator[Told]:
    """Tell in ``file`` how far ``what`` is, and at the end how it ended."""
    telling = Told(file, what)
    try:
        yield telling
    except BaseException as error:
        telling.end(error)
        raise
    telling.end()


def read_run(file: Path) -> Run | None:
    """The run at work or the last one; None where none ever told anything, or the file is unreadable."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Run)
    except (OSError, ValueError):
        return None


def moment() -> str:
    """Now, in UTC, as a run tells it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
