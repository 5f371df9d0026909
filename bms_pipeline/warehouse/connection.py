"""The one place for opening the database file.

DuckDB lets one process in at a time, so a connection is opened late, closed early and never held across a call to a
service. The wait for a busy file has a bound. ``open_warehouse`` returns this file, or the lake (see ``lake``).

Opening and closing a file takes 20 to 50 ms; a connection to a file already open in this thread takes none. ``opened``
shares an open file, and ``kept_open`` keeps files open through a stretch without a call to a service::

    kept_open ──┬─ opened ─ opened ─ opened ─┬── closed at the end
                └─ the file is open once ────┘
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.core.errors import WarehouseError
from bms_pipeline.core.files import alone_in
from bms_pipeline.core.settings import Settings
from bms_pipeline.warehouse import backups, causes, decision_log, lease, names, outcomes, portions, schema, sql
from bms_pipeline.warehouse.causes import translate_errors
from bms_pipeline.warehouse.maintenance import Maintained

_log = logging.getLogger(__name__)

IF_DAMAGED = (
    "`bms-pipeline restore` puts back the newest good copy and every decision since; it moves the damaged file and its"
    " .wal aside. Do not move them away by hand and run again: excluded records, non-matches and settings are not found"
    " again by reading."
)
"""The next step where the warehouse is damaged."""

WAIT_SECONDS = 60.0
"""How long to wait for a busy file: longer than any of our transactions at a million records."""

CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    # Bounded, to keep a million records under a gibibyte; the rest spills to the disk next to the file.
    "memory_limit": "512MB",
    # Nothing here relies on the order of rows, and keeping it costs memory.
    "preserve_insertion_order": False,
    # Writing is most of what this file is for: trying out compressions took more than half of the time of each
    # stage at a million records, for a file a third of the size (docs/decisions.md).
    "force_compression": "uncompressed",
    # A newer DuckDB writes files in a format of its own: the home folder could not be opened by 1.5 any more.
    "storage_compatibility_version": "v1.0.0",
}

_TAKING_IN = threading.Lock()
"""Two threads must not take in the same file: the second one waits, and sees the first one's changes."""


class Warehouse:
    """The database file and how to get at it. ``file`` is also what the files next to the database are named after.

    Raises ``WarehouseBusy`` when another process holds the file for longer than ``wait_seconds``, ``StorageFull`` when
    the disk is full, ``WarehouseError`` when the file is not a usable database.
    """

    has_second_copies = True
    """Whether a log next to the database holds people's decisions, and copies hold the rest."""

    def __init__(self, file: Path, wait_seconds: float = WAIT_SECONDS) -> None:
        self.file = file
        self._wait_seconds = wait_seconds
        self._prepared = False

    def __str__(self) -> str:
        """Return where the database is, for messages."""
        return str(self.file)

    @contextlib.contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection for one thread, closed at the end; each statement commits by itself.

        Inside another ``open``, or inside ``kept_open``, it takes no time.
        """
        with self._explained(), self._connected() as connection:
            self.take_in(connection)
            yield connection

    def exists(self) -> bool:
        """Return whether anything was ever stored."""
        return self.file.exists()

    def state(self) -> object:
        """Return a value that changes whenever the content does; opens nothing."""
        found = []
        for file in (self.file, self.file.with_name(f"{self.file.name}.wal")):
            try:
                stat = file.stat()
            except FileNotFoundError:
                continue
            found.append((file.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return found

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        """Turn errors about the database into ones with the true cause and the next step."""
        return translate_errors(self.file, IF_DAMAGED)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection to the database of this version, made or migrated where it was not."""
        if not self._prepared:
            create_atomically(self.file, schema.migrate)
        with opened(self.file, self._wait_seconds) as connection:
            if not self._prepared:
                self._prepare(connection)
            yield connection

    def take_in(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Take in the files of portions without a living process; see ``portions`` and ``outcomes``.

        ``open`` does it, because every user of the journal (loads, settling, planning, decisions, status, pages,
        copies) gets its connection there: nobody sees an outdated journal.
        """
        with _TAKING_IN if portions.files_of(self.file) else contextlib.nullcontext():
            for file in portions.files_of(self.file):
                with portions.let_go(file) as calls:
                    if calls is None:
                        continue
                    with transaction(connection):
                        is_known = outcomes.take_in(connection, portions.portion_number(file), calls, now())
                    if is_known or not calls.marked:
                        file.unlink()
                    else:
                        move_aside([file])  # of a database gone by now

    def _prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Bring an older database to this version, after a whole copy of it; raises ``WarehouseNewer``."""
        if not schema.is_current(connection):
            schema.check_version(connection, str(self))
            pending = schema.pending(connection)
            if pending:
                self._before_migration(connection, pending[0])
            with transaction(connection):
                self._migrate(connection)
        self._prepared = True

    def _migrate(self, connection: duckdb.DuckDBPyConnection) -> None:
        schema.migrate(connection)

    def _before_migration(self, connection: duckdb.DuckDBPyConnection, number: int) -> None:
        """Make a whole copy before migration ``number`` changes the tables."""
        backups.before_migration(connection, self.file, number, now())

    def take_over(self) -> None:
        """Move aside the files of portions of a living process, after this one took the lease from it.

        That process sends nothing more then. The operations of its portion without an outcome are unknown.
        """
        with translate_errors(self.file):
            move_aside(portions.held(self.file))

    def begin_portion(self, number: int) -> portions.Portion:
        """Make the file of portion ``number`` and hold it; see ``portions``."""
        return portions.begun(self.file, number)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection whose statements become durable together at the end, or not at all.

        At the end, people's decisions are in the decision log, too: see ``decision_log``. Raises ``RunLocked``
        when another run took over since this process took the lease.
        """
        with self.open() as connection:
            with transaction(connection):
                self._check_lease(connection)
                watched = decision_log.Watched(connection) if self.has_second_copies else None
                yield connection
                entry = watched.entry() if watched else None
            if entry is not None:
                self._log(entry)

    def _check_lease(self, connection: duckdb.DuckDBPyConnection) -> None:
        lease.check_lease(connection, self.file)

    def _log(self, entry: decision_log.Entry) -> None:
        """Add a committed entry to the decision log.

        Raises the errors of ``append``, and adds to their text: the decision is stored.
        """
        file = decision_log.file_of(self.file)
        try:
            decision_log.append_entry(file, entry)
        except WarehouseError as error:
            raise type(error)(
                f"The decision is stored in {self.file}. Its second copy could not be added to {file}.",
                f"{error.next_step} The next run, or `bms-pipeline backup`, makes a whole copy.",
            ) from error

    @contextlib.contextmanager
    def read_only(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection that cannot write. It makes, migrates and takes in nothing, unlike ``open``.

        So it shows the journal as of the last commit. Several processes may read at once; a run waits for them.
        Raises ``WarehouseError`` where there is no database, or another version wrote it last.
        """
        with contextlib.ExitStack() as held:
            with self._explained():
                connection = held.enter_context(self._opened_read_only())
            try:
                yield connection
            except duckdb.Error:  # an error of the caller's own files is the caller's
                with self._explained():
                    raise

    @contextlib.contextmanager
    def _opened_read_only(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if not self.exists():
            raise WarehouseError(
                f"{self} does not exist: nothing was read into this home folder so far.",
                "Name the home folder (BMS_PIPELINE_HOME), or run `bms-pipeline preview` in it first.",
            )
        with self._connected_read_only() as connection:
            schema.check_version(connection, str(self))
            if not schema.is_current(connection):
                raise WarehouseError(
                    f"Another version of bms-pipeline wrote {self} last. Nothing was read.",
                    "Run `bms-pipeline status` once: it brings the database up to date, after a whole copy.",
                )
            yield connection

    def _connected_read_only(self) -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
        return contextlib.closing(connect(self.file, self._wait_seconds, read_only=True))

    @contextlib.contextmanager
    def attached_to(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Let ``connection``, open on another database, read this one; unqualified names then mean this one."""
        with self._explained():
            if not self._prepared or portions.files_of(self.file):
                with self.open():
                    pass
            (home,) = connection.execute("SELECT current_database()").fetchone() or ("memory",)
            _patiently(
                lambda: connection.execute(f"ATTACH {sql.quoted(str(self.file))} AS warehouse (READ_ONLY)"),
                self.file,
                self._wait_seconds,
            )
            try:
                connection.execute("USE warehouse")
                yield
            finally:
                connection.execute(f'USE "{home}"')
                connection.execute("DETACH warehouse")

    def maintain(self, now: datetime) -> Maintained | None:
        """Remove what nobody reads any more, at ``now``; None where the database needs no maintenance."""
        del now
        return None

    @contextlib.contextmanager
    def trial(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection whose statements are all undone at the end: a dry run."""
        with self.open() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                with contextlib.suppress(duckdb.Error):
                    connection.execute("ROLLBACK")


def open_warehouse(settings: Settings, wait_seconds: float | None = None) -> Warehouse:
    """Return the warehouse of these settings: the file in the home folder, or the lake where one is set."""
    wait_seconds = settings.bms_pipeline_wait_seconds if wait_seconds is None else wait_seconds
    if settings.bms_pipeline_lake:
        from bms_pipeline.warehouse.lake import LakeWarehouse  # it needs the extra `scale`

        return LakeWarehouse(settings, wait_seconds)
    return Warehouse(settings.warehouse_file, wait_seconds)


def create_atomically(file: Path, fill: Callable[[duckdb.DuckDBPyConnection], None]) -> None:
    """Make ``file`` unless it exists: fill it under another name first, to have it whole from its first moment.

    A process killed during the first writes of a new DuckDB file leaves a file that never opens again (measured).
    """
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.new")  # `clear_unfinished` knows it by this form
    with alone_in(file.parent):
        if file.exists():  # another process was first: its file is as good
            return
        for leftover in file.parent.glob(f".{glob.escape(file.name)}.*.new*"):
            leftover.unlink()
        with contextlib.closing(connect(unfinished, 0)) as connection, transaction(connection):
            fill(connection)
        move_aside(causes.side_files(file))
        unfinished.replace(file)


def move_aside(paths: Sequence[Path]) -> list[Path]:
    """Rename files to names of no database or log, never over another file; return the new names.

    DuckDB replays a log into whatever database has its name, also into a new one (measured with 1.5.5).
    """
    moved = []
    for path in paths:
        stem, number = f"{path.name}.{datetime.now(UTC):%Y%m%dT%H%M%S}", 0
        while (aside := path.with_name(f"{stem}{f'-{number}' if number else ''}.aside")).exists():
            number += 1
        path.rename(aside)
        moved.append(aside)
        _log.warning("%s was moved aside: it is now %s.", path, aside.name)
    return moved


def connect(file: Path, wait_seconds: float = WAIT_SECONDS, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Return a hardened connection to ``file`` whose SQL knows ``fold_name``.

    Waits up to ``wait_seconds`` while another process holds the file. Raises ``WarehouseBusy`` naming the holder.
    """

    def opened() -> duckdb.DuckDBPyConnection:
        umask = os.umask(0o077)
        try:
            connection = duckdb.connect(str(file), read_only=read_only, config=dict(CONFIG))
        finally:
            os.umask(umask)
        try:
            names.register_functions(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    return _patiently(opened, file, wait_seconds)


KEPT_SECONDS = 5.0
"""How long ``kept_open`` keeps a file from other processes. They wait for it ``WAIT_SECONDS`` and no longer."""


@dataclass
class _Opened:
    """An open file of this thread, ``since`` when (monotonic seconds), and its number of users now."""

    connection: duckdb.DuckDBPyConnection
    since: float
    users: int = 0


class _Here(threading.local):
    """The open files of this thread, and the number of ``kept_open`` around it."""

    def __init__(self) -> None:
        self.files: dict[Path, _Opened] = {}
        self.keeping = 0


_here = _Here()


@contextlib.contextmanager
def opened(file: Path, wait_seconds: float = WAIT_SECONDS) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to ``file``, closed at the end; the file with it, unless this thread goes on using it.

    Each connection has its own temporary tables and its own transaction. Raises the errors of ``connect``.
    """
    path = file.absolute()
    if path not in _here.files:
        _here.files[path] = _Opened(connect(file, wait_seconds), time.monotonic())
    found = _here.files[path]
    found.users += 1
    is_kept = False  # after an error the database itself may be unusable
    try:
        with contextlib.closing(found.connection.cursor()) as connection:
            yield connection
        is_kept = _here.keeping > 0 and time.monotonic() - found.since < KEPT_SECONDS
    finally:
        found.users -= 1
        if not is_kept:
            _close(path)


@contextlib.contextmanager
def kept_open() -> Iterator[None]:
    """Keep each file opened inside by this thread open until the end, for a stretch without calls to a service.

    No longer than ``KEPT_SECONDS`` at a time: then a file is closed after use and opened again when needed, to let
    other processes in between.
    """
    _here.keeping += 1
    try:
        yield
    finally:
        _here.keeping -= 1
        if not _here.keeping:
            for path in list(_here.files):
                _close(path)


def _close(path: Path) -> None:
    """Close the file unless it is in use."""
    if path in _here.files and not _here.files[path].users:
        _here.files.pop(path).connection.close()


def _patiently(
    attempt: Callable[[], duckdb.DuckDBPyConnection], file: Path, wait_seconds: float
) -> duckdb.DuckDBPyConnection:
    """Return the result of ``attempt``. Repeat it while another process, or a database of ours, holds ``file``."""
    give_up = time.monotonic() + wait_seconds
    pause = 0.02
    while True:
        try:
            return attempt()
        except causes.IN_USE as error:
            # By class: another database of this process has the file, or this process has it open for writing and is
            # to read it only, or another thread registers fold_name.
            found = causes.found_in(error)
            if isinstance(error, duckdb.IOException) and not found.locked:
                raise
            if time.monotonic() + pause > give_up:
                raise causes.busy(file, found.holder, wait_seconds) from None
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret
        pause = min(pause * 1.5, 0.5)


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end, roll back on any exception.

    DuckDB's ``COMMIT`` after a failed statement reports success and keeps nothing (measured). In case a caller
    swallowed that statement's error, this checks before the commit whether the transaction is still valid.
    """
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("SELECT 1")
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def named_rows(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, object] | Sequence[object] = ()
) -> list[dict[str, Any]]:
    """Return the rows of ``query``, each as column → value."""
    result = connection.execute(query, parameters)
    columns = [column[0] for column in result.description or []]
    return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def now() -> datetime:
    """Return the present moment in UTC without zone, as the warehouse stores it."""
    return datetime.now(UTC).replace(tzinfo=None)
