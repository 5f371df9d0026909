"""The hourly limit of calls, counted per method and route template in a sliding window."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

WINDOW_SECONDS = 3600.0


class HourlyLimit:
    """Counts calls, and gives the time to wait once a route has used up its hour.

    By route: ``calls`` so far, the ``most`` that any hour had, and how many were ``refused``.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recent: dict[str, deque[float]] = {}
        self.calls: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def count(self, route: str) -> int:
        """Count one more call of ``route``, allowed or not; return its number."""
        self.calls[route] += 1
        return self.calls[route]

    def wait(self, route: str, limit: int | None) -> float:
        """Take one call of ``route`` from its hour; return 0, or the seconds until one is free again."""
        now = self._clock()
        recent = self._recent.setdefault(route, deque())
        while recent and recent[0] <= now - WINDOW_SECONDS:
            recent.popleft()
        if limit is not None and len(recent) >= limit:
            self.refused[route] += 1
            return recent[0] + WINDOW_SECONDS - now if recent else WINDOW_SECONDS
        recent.append(now)
        self.most[route] = max(self.most[route], len(recent))
        return 0.0

    def reset(self) -> None:
        """Forget all calls."""
        for counts in (self._recent, self.calls, self.most, self.refused):
            counts.clear()
