"""The lease for writing: one owner at a time, with an epoch checked by each of its transactions.

The run lock (``state``) keeps a second run out for as long as the first one's process lives. A run that lost it writes
nothing more. The epoch is a fencing token for the day when the lock fails: somebody deleted the lock file, or the
folder lies where locks are not shared. The next run to take the lease counts the epoch up. The run before, if still
alive, can commit nothing more.
A run that learns that it was declared dead revokes its own lease, and from then on commits nothing either.

Reading the epoch is enough in a file, which one process has open at a time. In a lake two transactions overlap: one
reads the epoch, the other counts it up and commits, and the first one commits as well. So there each of them also
writes the same row (``touch``): of two overlapping transactions that wrote it, DuckLake refuses the later commit.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb

from bms_pipeline.core.errors import RunLocked
from bms_pipeline.core.run_status import RunName
from bms_pipeline.state.protocol import HeldLock

_held: dict[Path, int] = {}
"""Database file → the epoch under which this process may write it."""
_locks: dict[Path, HeldLock] = {}
"""Database file → the run lock of this process."""
_revoked: set[Path] = set()
"""The database files that this process may write no more, although it holds a lease."""


def take(
    connection: duckdb.DuckDBPyConnection, file: Path, name: RunName, now: datetime, lock: HeldLock | None = None
) -> None:
    """Count the epoch up: from now on every transaction of this process on ``file`` checks it, and ``lock`` too."""
    touch(connection)
    row = connection.execute("SELECT coalesce(max(epoch), 0) + 1 FROM sync.runs").fetchone()
    epoch = int(row[0]) if row else 1
    connection.execute(
        "INSERT INTO sync.runs (epoch, label, kind, run_id, started_at) VALUES (?, ?, ?, ?, ?)",
        [epoch, name.label, name.kind.value, name.run_id, now],
    )
    _held[file.absolute()] = epoch
    if lock is not None:
        _locks[file.absolute()] = lock


def touch(connection: duckdb.DuckDBPyConnection) -> None:
    """Write the one row that each transaction under a lease writes in a lake, without changing it."""
    connection.execute("UPDATE sync.logged SET number = number")


def end(connection: duckdb.DuckDBPyConnection, file: Path, now: datetime, failed_because: str | None = None) -> None:
    """Store the end of this process's run on ``file``, and why it failed if it did."""
    connection.execute(
        "UPDATE sync.runs SET ended_at = ?, failed_because = ? WHERE epoch = ?",
        [now, failed_because, _held[file.absolute()]],
    )


def give_back(file: Path) -> None:
    """Let this process write ``file`` without a lease again."""
    _held.pop(file.absolute(), None)
    _locks.pop(file.absolute(), None)
    _revoked.discard(file.absolute())


def revoke(file: Path) -> None:
    """Refuse every later transaction of this process on ``file``: its run counts as dead, and another may follow it."""
    if file.absolute() in _held:
        _revoked.add(file.absolute())


def check_lock(file: Path) -> None:
    """Raise ``RunLocked`` when this process's run lost its lock or was declared dead. Nothing may be sent then."""
    if lock := _locks.get(file.absolute()):
        lock.check()
    if file.absolute() in _revoked:
        raise RunLocked(
            f"This run was declared dead while it was at work on {file}; it writes nothing more.",
            "What was done is kept. The run that follows it goes on from there.",
        )


def check_lease(connection: duckdb.DuckDBPyConnection, file: Path) -> bool:
    """Raise ``RunLocked`` when somebody took the lease after this process did; return whether it has one at all."""
    epoch = _held.get(file.absolute())
    if epoch is None:
        return False
    check_lock(file)
    row = connection.execute("SELECT label, epoch, started_at FROM sync.runs ORDER BY epoch DESC LIMIT 1").fetchone()
    if row is None or row[1] != epoch:
        who = f"{row[0]} (since {row[2]:%Y-%m-%d %H:%M:%S} UTC)" if row else "Somebody"
        raise RunLocked(
            f"{who} took over while this run was at work on {file}; it writes nothing more.",
            "Was a lock file deleted? What was done is kept. Run again when the other run is over.",
        )
    return True
