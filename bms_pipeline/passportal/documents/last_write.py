"""The moment at which a write last left this home folder: how long an answer that never came may still be on its way.

A process can be killed at any moment, also in the middle of a batch of many calls. So the moment is in a file, written
before each call. It is written in place, because a killed process must leave nothing to clean.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bms_pipeline.core.errors import PipelineError

STAMP_EVERY = timedelta(seconds=1)
"""A stamp holds for this long, to make a fast series of calls cost one write a second."""


class LastWrite:
    """The moment in ``file``; call it before each write that leaves. Safe to share between threads."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._stamped_at: datetime | None = None

    def __call__(self) -> None:
        """Note that a write is about to leave. Raises ``PipelineError`` when the note cannot be written."""
        with self._lock:
            now = self._now()
            # After a clock was set back, the last stamp lies in the future and does not count.
            if self._stamped_at is not None and self._stamped_at <= now < self._stamped_at + STAMP_EVERY:
                return
            try:
                self._stamp(now + STAMP_EVERY)
            except OSError as error:
                raise PipelineError(
                    f"{self._file} cannot be written: {error.strerror or error}. The write was not sent.",
                    "Make the home folder writable, or free some disk space, then run the same command again.",
                ) from error
            self._stamped_at = now

    def read(self) -> datetime | None:
        """Return the last moment (UTC) at which a write may have left; None where none can be read."""
        try:
            return datetime.fromisoformat(self._file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC).replace(tzinfo=None)

    def _stamp(self, moment: datetime) -> None:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, moment.isoformat(timespec="microseconds").encode("ascii"), 0)
        finally:
            os.close(descriptor)
