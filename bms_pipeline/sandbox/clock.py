"""The clock that a stand-in goes by: the machine's, until it is set to another moment."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Seconds since the epoch, running on from the moment that it was last ``set`` to."""

    def __init__(self, running: Callable[[], float] = time.time) -> None:
        self._running = running
        self._ahead = 0.0

    def __call__(self) -> float:
        """Now."""
        return self._running() + self._ahead

    def set(self, moment: float) -> None:
        """From now on, it is ``moment`` and later."""
        self._ahead = moment - self._running()
