"""The hourly budget of calls, shared by every process on the machine and kept across crashes.

BMS allows 1,500 calls an hour and endpoint [D]. What counts as an endpoint is undocumented [G]: here it is method and
route template (``GET /v2/crm/accounts/summary/{id}``), counted in a sliding hour.

Calls are counted in whole minutes, and the minute that began an hour ago still counts in full: so at most one minute's
calls are freed late and none early. A call is counted *before* it is sent, so a crash in between counts one too many
and never one too few.

Clocks: what was counted in a minute that has not come yet (the clock was set back) is taken to have happened now, so
setting the clock back frees nothing. A clock set forward does free early; the service's own refusal is then the guard.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import TypedDict

from bms_pipeline.errors import BudgetExhausted, StorageFull, WarehouseBusy, WarehouseError

MINUTES = 61
"""Minutes that count: the running one and the sixty before it, which together cover any sliding hour."""
BUSY_SECONDS = 10.0

_CREATE = """
CREATE TABLE IF NOT EXISTS calls (endpoint TEXT, minute INTEGER, n INTEGER, PRIMARY KEY (endpoint, minute))
WITHOUT ROWID
"""
# One statement, so that reading the sum and counting the call are one transaction. There is no upper bound on the
# minute: calls counted under a clock that was ahead must not be forgotten.
_TAKE = """
INSERT INTO calls
SELECT :endpoint, :now, 1
WHERE (SELECT coalesce(sum(n), 0) FROM calls WHERE endpoint = :endpoint AND minute > :now - :minutes) < :limit
ON CONFLICT (endpoint, minute) DO UPDATE SET n = n + 1
"""
_USED = "SELECT minute, n FROM calls WHERE endpoint = ? AND minute > ? ORDER BY minute"
_ENDPOINTS = "SELECT DISTINCT endpoint FROM calls WHERE minute > ? ORDER BY endpoint"
_FUTURE_IS_NOW = """
INSERT INTO calls SELECT endpoint, :now, sum(n) FROM calls WHERE minute > :now GROUP BY endpoint
ON CONFLICT (endpoint, minute) DO UPDATE SET n = n + excluded.n
"""


class Usage(TypedDict):
    """Calls of the last hour. ``free_at``: local time (ISO 8601) of the next possible call, if none is left now."""

    used: int
    left: int
    limit: int
    free_at: str | None


class Budget:
    """Calls per endpoint and sliding hour, at most ``limit_per_hour``, counted in the SQLite file ``file``.

    Safe to share between threads; processes share the file. ``clock`` gives seconds since the epoch.
    Raises ``WarehouseError`` / ``WarehouseBusy`` / ``StorageFull`` when the file cannot be used.
    """

    def __init__(self, file: Path, limit_per_hour: int, clock: Callable[[], float] = time.time) -> None:
        self.limit = limit_per_hour
        self._file = file
        self._clock = clock
        self._lock = Lock()
        self._tidied: int | None = None
        with self._explained():
            self._connection = self._opened()

    def __repr__(self) -> str:
        return f"Budget({self.limit} an hour, {self._file})"

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def take(self, endpoint: str) -> None:
        """Count one call to ``endpoint`` (``GET /v2/...``) that is about to be sent.

        Raises ``BudgetExhausted`` when the hour's calls are used up; then nothing is counted and nothing may be sent.
        """
        with self._lock, self._explained():
            now = self._minute()
            values = {"endpoint": endpoint, "now": now, "minutes": MINUTES, "limit": self.limit}
            taken = self._connection.execute(_TAKE, values).rowcount == 1
        if not taken:
            usage = self._usage_of(endpoint)
            raise BudgetExhausted(
                f"{usage['used']:,} of {self.limit:,} calls to {endpoint} are used in this hour. "
                f"The next one is possible at {_clock_time(usage['free_at'])}.",
                "Run again then; it continues where it stopped.",
            )

    def left(self, endpoint: str) -> int:
        """Return the calls to ``endpoint`` that are possible right now."""
        return self._usage_of(endpoint)["left"]

    def usage(self) -> dict[str, Usage]:
        """Return the usage of every endpoint that was called in the last hour."""
        with self._lock, self._explained():
            rows = self._connection.execute(_ENDPOINTS, (self._minute() - MINUTES,)).fetchall()
        return {endpoint: self._usage_of(endpoint) for (endpoint,) in rows}

    def _usage_of(self, endpoint: str) -> Usage:
        with self._lock, self._explained():
            buckets = self._connection.execute(_USED, (endpoint, self._minute() - MINUTES)).fetchall()
        used = sum(n for _, n in buckets)
        return Usage(used=used, left=max(0, self.limit - used), limit=self.limit, free_at=self._free_at(buckets, used))

    def _free_at(self, buckets: list[tuple[int, int]], used: int) -> str | None:
        """Return when enough of the oldest minutes have passed for one call more; ``None`` if one is possible now."""
        for minute, n in buckets:
            if used < self.limit:
                return None
            used -= n
            if used < self.limit:
                return datetime.fromtimestamp((minute + MINUTES) * 60).astimezone().isoformat()
        return None

    def _minute(self) -> int:
        """Return the running minute; once a minute, forget the old ones and pull back those from a clock set back."""
        now = int(self._clock() // 60)
        if now != self._tidied:
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                if self._connection.execute("SELECT 1 FROM calls WHERE minute > ?", (now,)).fetchone():
                    self._connection.execute(_FUTURE_IS_NOW, {"now": now})
                self._connection.execute("DELETE FROM calls WHERE minute > ? OR minute <= ?", (now, now - MINUTES))
            self._tidied = now
        return now

    def _opened(self) -> sqlite3.Connection:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Created by us, because SQLite would make it readable by everyone; its side files inherit the mode.
        os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL: a crash of the process loses nothing. A power cut may lose the last seconds' counts, never the file;
        # by the time the machine is up again, that is less than it takes to boot.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(_CREATE)
        return connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in the project's own errors what is wrong with the file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "full" in text:
                raise StorageFull(
                    f"The disk is full: {self._file} cannot be written.", "Free some space and run again."
                ) from None
            if "locked" in text or "busy" in text:
                raise WarehouseBusy(
                    f"{self._file} is held by another process for more than {BUSY_SECONDS:g} seconds.", "Run again."
                ) from None
            raise self._unusable(text) from None
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._unusable(str(error)) from None

    def _unusable(self, why: str) -> WarehouseError:
        return WarehouseError(
            f"The budget file {self._file} cannot be used: {why}.",
            "Make its folder writable. If the file is broken, delete it; wait an hour so that no limit is exceeded.",
        )


def _clock_time(moment: str | None) -> str:
    """Return the local time of day of an ISO 8601 moment."""
    return datetime.fromisoformat(moment).strftime("%H:%M") if moment else "any moment"
