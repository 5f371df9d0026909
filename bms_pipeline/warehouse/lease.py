"""The lease for writing: one owner at a time, with an epoch checked by each of its transactions.

The lock keeps a second run out for as long as the first one's process lives. The epoch is a
fencing token for the day when the lock fails: somebody deleted the lock file, or the folder lies where locks are not
shared. The next run to take the lease counts the epoch up. The run before, if still alive, can commit nothing more.
A run that learns that it was declared dead revokes its own lease, and from then on commits nothing either.

Reading the epoch is enough in a file, which one process has open at a time. In a lake two transactions overlap: one
reads the epoch, the other counts it up and commits, and the first one commits as well. So there each of them also
writes the same row (``touch``): of two overlapping transactions that wrote it, DuckLake refuses the later commit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import filelock
import msgspec

from bms_pipeline.core import processes
from bms_pipeline.core.errors import RunLocked
from bms_pipeline.core.processes import Process
from bms_pipeline.core.run_status import RunName
from bms_pipeline.warehouse.causes import translate_errors

_held: dict[Path, int] = {}
"""Database file → the epoch under which this process may write it."""
_revoked: set[Path] = set()
"""The database files that this process may write no more, although it holds a lease."""


class Owner(msgspec.Struct, frozen=True):
    """The owner of the lock: ``what`` is a command or a Dagster run, ``since`` a UTC time of day and date.

    ``process`` is None in the file of an earlier version, which has only the number.
    """

    what: str
    pid: int
    since: str
    process: Process | None = None

    def __str__(self) -> str:
        return f"{self.what} ({self.process or f'process {self.pid}'}, since {self.since} UTC)"


@contextlib.contextmanager
def locked(folder: Path, name: str, what: str, now: datetime, wait_seconds: float = 0) -> Iterator[None]:
    """Hold the lock ``<name>.lock`` in ``folder``; it ends with the process, however that ends.

    Raises ``RunLocked`` naming the owner when somebody else holds it for longer than ``wait_seconds``.
    """
    lock, told = filelock.FileLock(folder / f"{name}.lock", timeout=wait_seconds), folder / f"{name}.owner.json"
    process = processes.this_process()
    owner = Owner(what, process.pid, f"{now:%Y-%m-%d %H:%M:%S}", process)
    with translate_errors(Path(lock.lock_file)):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise RunLocked(
                f"{_told(told)} is at work in {folder}.",
                "Let it finish, or stop it; what it has done is kept and the next run continues.",
            ) from None
    try:
        with translate_errors(told):
            told.write_bytes(msgspec.json.encode(owner))
        yield
    finally:
        lock.release()


def take(connection: duckdb.DuckDBPyConnection, file: Path, name: RunName, now: datetime) -> None:
    """Count the epoch up: from now on every transaction of this process on ``file`` checks it."""
    touch(connection)
    row = connection.execute("SELECT coalesce(max(epoch), 0) + 1 FROM sync.runs").fetchone()
    epoch = int(row[0]) if row else 1
    connection.execute(
        "INSERT INTO sync.runs (epoch, label, kind, run_id, started_at) VALUES (?, ?, ?, ?, ?)",
        [epoch, name.label, name.kind.value, name.run_id, now],
    )
    _held[file.absolute()] = epoch


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
    _revoked.discard(file.absolute())


def revoke(file: Path) -> None:
    """Refuse every later transaction of this process on ``file``: its run counts as dead, and another may follow it."""
    if file.absolute() in _held:
        _revoked.add(file.absolute())


def check_lease(connection: duckdb.DuckDBPyConnection, file: Path) -> bool:
    """Raise ``RunLocked`` when somebody took the lease after this process did; return whether it has one at all."""
    epoch = _held.get(file.absolute())
    if epoch is None:
        return False
    if file.absolute() in _revoked:
        raise RunLocked(
            f"This run was declared dead while it was at work on {file}; it writes nothing more.",
            "What was done is kept. The run that follows it goes on from there.",
        )
    row = connection.execute("SELECT label, epoch, started_at FROM sync.runs ORDER BY epoch DESC LIMIT 1").fetchone()
    if row is None or row[1] != epoch:
        who = f"{row[0]} (since {row[2]:%Y-%m-%d %H:%M:%S} UTC)" if row else "Somebody"
        raise RunLocked(
            f"{who} took over while this run was at work on {file}; it writes nothing more.",
            "Was a lock file deleted? What was done is kept. Run again when the other run is over.",
        )
    return True


def _told(file: Path) -> str:
    try:
        return str(msgspec.json.decode(file.read_bytes(), type=Owner))
    except (OSError, ValueError):
        return "Another run"
