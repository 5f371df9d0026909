"""The hourly budget of calls, shared by all processes of the tenant and kept across crashes.

BMS allows 1,500 calls an hour and endpoint [D]. The meaning of "endpoint" is undocumented [G]. We use the method and
the route template (``GET /v2/crm/accounts/summary/{id}``) and count in a sliding hour.

Calls are counted in spans of five seconds. The span that began an hour ago still counts in full: each call becomes free
at most five seconds late and never early. A call is counted *before* it is sent, so a crash in between counts one too
many and never one too few.

Clocks: after the clock was set back, calls in future spans are moved to the current one. So setting it back frees
nothing. Setting the clock forward does free calls early. Then the service's own refusal is the guard.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Self, TypedDict

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import BudgetExhausted
from bms_pipeline.core.settings import Settings
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import SPAN_SECONDS, SPANS, CallCounter


class Usage(TypedDict):
    """Calls to an endpoint in the last hour.

    ``free_at``: local time (ISO 8601) of the next possible call; ``None`` if calls are left now.
    """

    used: int
    left: int
    limit: int
    free_at: str | None


class Budget:
    """Calls per endpoint and sliding hour, at most ``limit_per_hour``, counted in ``calls``.

    ``limits``: endpoint → its own limit, where it differs. Safe to share between threads; processes share the count.
    Raises the errors of ``calls``.
    """

    def __init__(self, calls: CallCounter, limit_per_hour: int, *, limits: Mapping[str, int] | None = None) -> None:
        self.limit = limit_per_hour
        self._limits = dict(limits or {})
        self._calls = calls

    def __repr__(self) -> str:
        return f"Budget({self.limit} an hour, {self._calls})"

    @classmethod
    def of(cls, settings: Settings, clock: Callable[[], float] = time.time) -> Self:
        """Return the budget shared by all processes with these settings."""
        limit = min(settings.bms_details_calls_per_hour or settings.bms_calls_per_hour, settings.bms_calls_per_hour)
        limits = {entity.details.endpoint: limit for entity in ENTITIES if entity.details is not None}
        return cls(open_state(settings).calls(clock), settings.bms_calls_per_hour, limits=limits)

    def close(self) -> None:
        """Close the count."""
        self._calls.close()

    def take(self, endpoint: str) -> None:
        """Count one call to ``endpoint`` (``GET /v2/...``) just before it is sent.

        Raises ``BudgetExhausted`` when the hour's calls are used up. Then nothing is counted and you must not send the
        call.
        """
        if not self._calls.take(endpoint, self.limit_of(endpoint)):
            usage = self._usage_of(endpoint)
            raise BudgetExhausted(
                f"{usage['used']:,} of {usage['limit']:,} calls to {endpoint} are used in this hour. "
                f"The next one is possible at {_clock_time(usage['free_at'])}.",
                "Run again then; it continues where it stopped.",
            )

    def limit_of(self, endpoint: str) -> int:
        """Return the limit of calls to ``endpoint`` in any hour."""
        return self._limits.get(endpoint, self.limit)

    def left(self, endpoint: str) -> int:
        """Return the number of calls to ``endpoint`` possible right now."""
        return self._usage_of(endpoint)["left"]

    def wait(self, endpoint: str) -> float:
        """Return the seconds until the next possible call to ``endpoint``; 0 if a call is possible now."""
        free = self._free(endpoint, self._calls.counted(endpoint))
        return 0.0 if free is None else max(0.0, free - self._calls.now())

    def usage(self) -> dict[str, Usage]:
        """Return the usage of each endpoint called in the last hour."""
        return {endpoint: self._usage_of(endpoint) for endpoint in self._calls.endpoints()}

    def _usage_of(self, endpoint: str) -> Usage:
        counts = self._calls.counted(endpoint)
        used, limit, free = _sum(counts), self.limit_of(endpoint), self._free(endpoint, counts)
        free_at = None if free is None else datetime.fromtimestamp(free).astimezone().isoformat()
        return Usage(used=used, left=max(0, limit - used), limit=limit, free_at=free_at)

    def _free(self, endpoint: str, counts: Sequence[tuple[int, int]]) -> float | None:
        """Return the moment when the oldest spans have expired and one more call fits; ``None`` if one fits now."""
        limit, used = self.limit_of(endpoint), _sum(counts)
        for span, n in counts:
            if used < limit:
                return None
            used -= n
            if used < limit:
                return float((span + SPANS) * SPAN_SECONDS)
        return None


def _sum(counts: Sequence[tuple[int, int]]) -> int:
    return sum(n for _, n in counts)


def _clock_time(moment: str | None) -> str:
    """Return the local time of day of an ISO 8601 moment."""
    return datetime.fromisoformat(moment).strftime("%H:%M") if moment else "any moment"
