"""The moment at which a write last left this home folder: how long an answer that never came may still be on its way.

A process can be killed at any moment, also in the middle of a batch of many calls. So the moment is stored before each
call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bms_pipeline.core.errors import PipelineError
from bms_pipeline.state.protocol import StateDocument, StateStore

STAMP_EVERY = timedelta(seconds=1)
"""A stamp holds for this long, to make a fast series of calls cost one write a second."""


class LastWrite:
    """The moment in ``state``; call it before each write that leaves. Safe to share between threads."""

    def __init__(self, state: StateStore, clock: Callable[[], float] = time.time) -> None:
        self._state = state
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
            moment = (now + STAMP_EVERY).isoformat(timespec="microseconds")
            try:
                self._state.write(StateDocument.LAST_WRITE, moment.encode("ascii"))
            except PipelineError as error:
                raise type(error)(f"{error.message} The write was not sent.", error.next_step) from error
            self._stamped_at = now

    def read(self) -> datetime | None:
        """Return the last moment (UTC) at which a write may have left; None where none can be read."""
        try:
            return datetime.fromisoformat((self._state.read(StateDocument.LAST_WRITE) or b"").decode("ascii"))
        except (PipelineError, ValueError):
            return None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC).replace(tzinfo=None)
