"""The calls of the last hour in an SQLite file, shared by all processes on the machine and kept across crashes."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock

from bms_pipeline.core.errors import WarehouseBusy, WarehouseDamaged, WarehouseError
from bms_pipeline.core.files import refused_by_system
from bms_pipeline.state.protocol import SPAN_SECONDS, SPANS

BUSY_SECONDS = 10.0

_CREATE = """
CREATE TABLE IF NOT EXISTS recent_calls (endpoint TEXT, span INTEGER, n INTEGER, PRIMARY KEY (endpoint, span))
WITHOUT ROWID
"""
_COUNTED_BY_MINUTE = "SELECT 1 FROM sqlite_master WHERE name = 'calls'"
# An earlier version counted whole minutes. Its calls count in the last span of their minute, so none is freed early.
_TAKE_OVER_MINUTES = f"""
INSERT INTO recent_calls
SELECT endpoint, minute * {60 // SPAN_SECONDS} + {60 // SPAN_SECONDS - 1}, n FROM calls WHERE true
ON CONFLICT (endpoint, span) DO UPDATE SET n = n + excluded.n
"""
# A single statement reads the sum and counts the call in one transaction. The span has no upper bound: calls counted
# under a fast clock must not be forgotten.
_TAKE = """
INSERT INTO recent_calls
SELECT :endpoint, :now, 1
WHERE (SELECT coalesce(sum(n), 0) FROM recent_calls WHERE endpoint = :endpoint AND span > :now - :spans) < :limit
ON CONFLICT (endpoint, span) DO UPDATE SET n = n + 1
"""
_USED = "SELECT span, n FROM recent_calls WHERE endpoint = ? AND span > ? ORDER BY span"
_ENDPOINTS = "SELECT DISTINCT endpoint FROM recent_calls WHERE span > ? ORDER BY endpoint"
_FUTURE_IS_NOW = """
INSERT INTO recent_calls SELECT endpoint, :now, sum(n) FROM recent_calls WHERE span > :now GROUP BY endpoint
ON CONFLICT (endpoint, span) DO UPDATE SET n = n + excluded.n
"""


class CallFile:
    """The calls counted in ``file``. Safe to share between threads; processes share the file.

    ``clock`` returns seconds since the epoch.
    Raises ``WarehouseError`` / ``WarehouseBusy`` / ``StorageFull`` when the file cannot be used.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._lock = Lock()
        self._tidied: int | None = None
        with self._explained():
            self._connection = self._opened()

    def __repr__(self) -> str:
        return f"CallFile({self._file})"

    def close(self) -> None:
        """See ``CallCounter.close``."""
        with self._lock:
            self._connection.close()

    def now(self) -> float:
        """See ``CallCounter.now``."""
        return self._clock()

    def take(self, endpoint: str, limit: int) -> bool:
        """See ``CallCounter.take``."""
        with self._lock, self._explained():
            values = {"endpoint": endpoint, "now": self._span(), "spans": SPANS, "limit": limit}
            return self._connection.execute(_TAKE, values).rowcount == 1

    def counted(self, endpoint: str) -> Sequence[tuple[int, int]]:
        """See ``CallCounter.counted``."""
        with self._lock, self._explained():
            return self._connection.execute(_USED, (endpoint, self._span() - SPANS)).fetchall()

    def endpoints(self) -> Sequence[str]:
        """See ``CallCounter.endpoints``."""
        with self._lock, self._explained():
            return [row[0] for row in self._connection.execute(_ENDPOINTS, (self._span() - SPANS,)).fetchall()]

    def _span(self) -> int:
        """Return the current span. At its first use, delete expired spans and pull back future ones."""
        now = int(self._clock() // SPAN_SECONDS)
        if now != self._tidied:
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                if self._connection.execute("SELECT 1 FROM recent_calls WHERE span > ?", (now,)).fetchone():
                    self._connection.execute(_FUTURE_IS_NOW, {"now": now})
                self._connection.execute("DELETE FROM recent_calls WHERE span > ? OR span <= ?", (now, now - SPANS))
            self._tidied = now
        return now

    def _opened(self) -> sqlite3.Connection:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # We create the file, because SQLite would make it readable by everyone; its side files inherit the mode. We
        # open it only to create it: closing a file drops every lock of this process on it. Without the lock, SQLite
        # takes a budget open elsewhere in this process for closed and deletes its log with the counts (measured).
        with suppress(FileExistsError):
            os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        with ExitStack() as opened:
            opened.callback(connection.close)
            _prepare(connection)
            opened.pop_all()  # the owner of the budget closes it
        return connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Translate errors of SQLite and the file system into the project's own errors."""
        try:
            yield
        except sqlite3.Error as error:
            # The extended codes of one kind share the last byte.
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise refused_by_system(errno.ENOSPC, self._file) from None
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise WarehouseBusy(
                    f"{self._file} is held by another process for more than {BUSY_SECONDS:g} seconds.", "Run again."
                ) from None
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise WarehouseDamaged(
                    f"The budget file {self._file} is damaged. ({error})",
                    "Delete it and its -wal and -shm. It counts the calls of the last hour: wait an hour before you run"
                    " again, so that no limit is exceeded.",
                ) from None
            raise self._unusable(str(error)) from None
        except OSError as error:
            if error.errno is not None:
                raise refused_by_system(error.errno, self._file) from None
            raise self._unusable(str(error)) from None

    def _unusable(self, why: str) -> WarehouseError:
        return WarehouseError(
            f"The budget file {self._file} cannot be used: {why}.",
            "Is it a file, and may you write to it and to its folder?",
        )


def _prepare(connection: sqlite3.Connection) -> None:
    """Create the table and take over the counts of an earlier version."""
    _keep_a_log(connection)
    # NORMAL: a crash of the process loses nothing. A power cut may lose the last seconds' counts, never the file.
    # Booting the machine takes longer than these seconds.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(_CREATE)
    if connection.execute(_COUNTED_BY_MINUTE).fetchone():
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            connection.execute(_TAKE_OVER_MINUTES)
            connection.execute("DELETE FROM calls")


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """Set the file's journal mode, which persists.

    SQLite does not wait for locks here. If two processes open a new file at once, it refuses one immediately.
    """
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return
