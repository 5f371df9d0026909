"""The clock of a stand-in: the machine's, until it is set to another moment."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Seconds since the epoch, running on from the moment last ``set``."""

    def __init__(self, running: Callable[[], float] = time.time) -> None:
        self._running = running
        self._ahead = 0.0

    def __call__(self) -> float:
        """Return the time now."""
        return self._running() + self._ahead

    def set(self, moment: float) -> None:
        """Set the clock to ``moment``, from where it runs on."""
        self._ahead = moment - self._running()
