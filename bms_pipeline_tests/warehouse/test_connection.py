"""The database file: who else has it, what is kept of a failed step, and what a kill leaves behind."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from bms_pipeline.core.entities import BY_NAME, ENTITIES, Field
from bms_pipeline.core.errors import LandingError, StorageFull, WarehouseBusy, WarehouseDamaged
from bms_pipeline.warehouse import backups, schema
from bms_pipeline.warehouse.connection import Warehouse, connect
from bms_pipeline_tests.building import new_warehouse

HOLD = """
import sys
import duckdb
with duckdb.connect(sys.argv[1]) as held:
    print("held", flush=True)
    sys.stdin.readline()
"""
KILLED_WHILE_CREATING = """
import os, signal, sys
from pathlib import Path
from bms_pipeline.warehouse import backups, schema
from bms_pipeline.warehouse.connection import Warehouse

def migrate(connection):
    connection.execute("CREATE TABLE half AS FROM range(100000)")
    connection.execute("COMMIT; CHECKPOINT" if sys.argv[2] == "checkpointed" else "COMMIT; BEGIN")
    os.kill(os.getpid(), signal.SIGKILL)

schema.migrate = migrate
with Warehouse(Path(sys.argv[1])).open():
    pass
"""
FULL_DISK = """
import resource, sys
from pathlib import Path
from bms_pipeline.core.errors import StorageFull
from bms_pipeline.warehouse.connection import Warehouse

file = Path(sys.argv[1])
warehouse = Warehouse(file)
with warehouse.open():
    pass
limit = file.stat().st_size + 2_000_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with warehouse.transaction() as connection:
        connection.execute("CREATE TABLE big AS SELECT md5(i::VARCHAR) AS text FROM range(500000) t(i)")
except StorageFull as error:
    print(error)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A warehouse file that is new and whole."""
    file = tmp_path / "home" / "warehouse.duckdb"
    new_warehouse(file)
    return file


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``program`` in a Python process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextlib.contextmanager
def held_by_another_process(file: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has ``file`` open until it reads a line."""
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            release(holder)


def release(holder: subprocess.Popen[str]) -> None:
    """Let the holder end."""
    assert holder.stdin is not None
    if not holder.stdin.closed:
        with contextlib.suppress(BrokenPipeError):
            holder.stdin.close()


# Busy


def test_a_busy_file_is_waited_for_and_then_reported_with_its_holder(file: Path) -> None:
    with held_by_another_process(file) as holder:
        begun = time.monotonic()
        with pytest.raises(WarehouseBusy) as refusal, Warehouse(file, wait_seconds=0.3).open():
            pass
        assert time.monotonic() - begun > 0.1
        assert holder.poll() is None, "it was not waited for until it ended"
        assert f"process {holder.pid};" in str(refusal.value)
        assert str(file) in str(refusal.value)
        assert "→ Let the other run finish" in str(refusal.value)

        threading.Timer(0.3, release, [holder]).start()
        with Warehouse(file, wait_seconds=120).open() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_two_connections_of_one_process_do_not_disturb_each_other(file: Path) -> None:
    warehouse = Warehouse(file)
    with warehouse.open() as one, warehouse.open() as other, Warehouse(file).open() as third:
        for connection in (one, other, third):
            assert connection.execute("SELECT fold_name('É')").fetchone() == ("é",)


def test_threads_that_open_the_file_at_the_same_moment_all_get_in(file: Path) -> None:
    threads, rounds = 8, 5
    at_once = threading.Barrier(threads)

    def folded() -> list[object]:
        found: list[object] = []
        for _ in range(rounds):
            at_once.wait()
            with Warehouse(file).open() as connection:
                found.append(connection.execute("SELECT fold_name(' Ä b ')").fetchone())
        return found

    with ThreadPoolExecutor(threads) as pool:
        each = [pool.submit(folded) for _ in range(threads)]
    assert [one.result() for one in each] == [[("ä b",)] * rounds] * threads


# All or nothing


def test_an_exception_takes_everything_back(file: Path) -> None:
    warehouse = Warehouse(file)

    def fail() -> None:
        with warehouse.transaction() as connection:
            connection.execute("CREATE TABLE kept (n INTEGER)")
            raise LandingError("no")

    with pytest.raises(LandingError):
        fail()
    with warehouse.open() as connection, pytest.raises(duckdb.CatalogException):
        connection.execute("FROM kept")


def test_what_ends_well_is_kept(file: Path) -> None:
    with Warehouse(file).transaction() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    with Warehouse(file).open() as connection:
        assert connection.execute("FROM kept").fetchall() == [(1,)]


def test_a_failed_statement_is_never_followed_by_a_commit_that_keeps_nothing_and_says_nothing(file: Path) -> None:
    """Whoever swallows the error of one statement still learns that the rest was not kept, or the rest is kept."""
    warehouse = Warehouse(file)
    told = False
    try:
        with warehouse.transaction() as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
            with contextlib.suppress(duckdb.Error):
                connection.execute("INSERT INTO kept SELECT 'x'::INTEGER")
    except duckdb.Error:
        told = True
    with warehouse.open() as connection:
        found = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'kept'").fetchone()
    assert told or found == (1,)


# Creating and migrating


def test_the_file_and_its_folder_are_for_their_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "home" / "warehouse.duckdb"
    umask = os.umask(0)
    try:
        with Warehouse(file).transaction() as connection:
            connection.execute("CREATE TABLE big AS FROM range(1000)")
            for each in file.parent.iterdir():
                assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert os.umask(0) == 0, "the process's own umask is as it was"
    finally:
        os.umask(umask)
    assert [each.name for each in file.parent.iterdir()] == ["warehouse.duckdb"]


@pytest.mark.parametrize("state", ["checkpointed", "not checkpointed"])
def test_a_kill_while_the_file_is_created_leaves_no_broken_file(tmp_path: Path, state: str) -> None:
    file = tmp_path / "warehouse.duckdb"
    killed = run(KILLED_WHILE_CREATING, str(file), state)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    leftovers = list(tmp_path.iterdir())
    assert leftovers
    assert not file.exists()
    for each in leftovers:  # in a container the next process often has the same id
        number = next(part for part in each.name.split(".") if part.isdigit())
        each.rename(each.with_name(each.name.replace(number, str(os.getpid()))))
    with Warehouse(file).open() as connection:
        tables = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert "matches" in tables
    assert "half" not in tables


def test_a_failure_while_the_file_is_created_is_made_good_by_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "warehouse.duckdb"

    def fail(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("CREATE TABLE half (n INTEGER)")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(schema, "migrate", fail)
        with pytest.raises(KeyboardInterrupt), Warehouse(file).open():
            pass
    assert not file.exists()
    with Warehouse(file).open() as connection:
        assert connection.execute("SELECT count(*) FROM sync.matches").fetchone() == (0,)


def test_opening_an_old_file_changes_nothing_in_it(file: Path) -> None:
    everything = "SELECT table_name, column_name, data_type FROM duckdb_columns() ORDER BY ALL"
    seen = []
    for _ in range(2):
        with Warehouse(file).open() as connection:
            seen.append(
                (
                    connection.execute(everything).fetchall(),
                    connection.execute("FROM main.migrations ORDER BY ALL").fetchall(),
                    connection.execute("FROM bms.account_types ORDER BY ALL").fetchall(),
                )
            )
    assert seen[0] == seen[1]
    assert seen[0][2], "what was there is kept"


def test_a_field_that_is_declared_later_gets_its_columns(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Warehouse(file).transaction() as connection:
        connection.execute("INSERT INTO bms.clients (bms_id, name) VALUES (1, 'Acme')")
        connection.execute("INSERT INTO sync.planned_clients (bms_id, name, operation) VALUES (1, 'Acme', 'create')")
    clients = replace(BY_NAME["clients"], fields=(*BY_NAME["clients"].fields, Field("website", "website", "Website")))
    monkeypatch.setattr(schema, "ENTITIES", (clients, *ENTITIES[1:]))
    monkeypatch.setitem(BY_NAME, "clients", clients)
    for _ in range(2):
        with Warehouse(file).open() as connection:
            assert connection.execute("SELECT name, website FROM bms.clients").fetchall() == [("Acme", None)]
            for table in schema.tables(clients):
                connection.execute(f"FROM {table}")
            columns = [row[0] for row in connection.execute("DESCRIBE sync.base_clients").fetchall()]
            assert {"bms_website", "passportal_website"} <= set(columns)
            connection.execute("UPDATE sync.planned_clients SET after_website = 'acme.example'")
            (changes,) = connection.execute("SELECT changes FROM sync.operations").fetchone() or (None,)
            assert changes == [{"field": "website", "before": None, "after": "acme.example"}]


# A disk that is full, a file that is broken


def test_a_full_disk_is_named_and_what_was_there_is_kept(file: Path) -> None:
    ended = run(FULL_DISK, str(file))
    assert ended.returncode == 0, ended.stderr
    assert f"No space left while writing {file} (File too large). Nothing of this step was kept." in ended.stdout
    assert "→ Free some disk space, then run again" in ended.stdout
    with Warehouse(file).open() as connection:
        assert connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'big'").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM bms.account_types").fetchone() == (2,)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_way_to_say_that_the_disk_is_full_is_understood(file: Path, number: int) -> None:
    with pytest.raises(StorageFull, match="Free some disk space"), Warehouse(file).open():
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("content", [b"not a database", b"\0" * 100_000], ids=["text", "zeros"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "warehouse.duckdb"
    file.write_bytes(content)
    with pytest.raises(WarehouseDamaged, match="`bms-pipeline restore`") as refusal, Warehouse(file).open():
        pass
    assert str(file) in str(refusal.value)
    assert file.read_bytes() == content


def test_a_log_whose_database_is_gone_is_moved_aside_and_nothing_of_it_comes_back(file: Path) -> None:
    """DuckDB would replay it into the new file: matches and exclusions of the old database in a new one."""
    with contextlib.closing(connect(file)) as connection:
        connection.execute("SET checkpoint_threshold = '1GB'; PRAGMA disable_checkpoint_on_shutdown")
        connection.execute("CREATE TABLE late AS FROM range(1000)")
        connection.execute("INSERT INTO sync.matches VALUES ('clients', 107, 'C5', 'marker', now()::TIMESTAMP)")
    log = file.with_name(f"{file.name}.wal")
    content = log.read_bytes()
    file.rename(file.with_name("damaged"))
    with Warehouse(file).open() as connection:
        assert connection.execute("SELECT count(*) FROM sync.matches").fetchone() == (0,)
    (aside,) = file.parent.glob("warehouse.duckdb.wal.*.aside")
    assert aside.read_bytes() == content


def test_the_log_of_a_database_that_is_there_stays_where_it_is(file: Path) -> None:
    with contextlib.closing(connect(file)) as connection:
        connection.execute("SET checkpoint_threshold = '1GB'; PRAGMA disable_checkpoint_on_shutdown")
        connection.execute("CREATE TABLE late AS FROM range(1000)")
    with Warehouse(file).open() as connection:
        assert connection.execute("SELECT count(*) FROM late").fetchone() == (1000,)
    assert not list(file.parent.glob("*.aside"))


def test_a_home_is_written_in_the_format_that_each_supported_duckdb_reads(tmp_path: Path) -> None:
    """DuckDB 2 writes files that 1.5 cannot open: a home made by the one could not go back to the other."""
    made = Warehouse(tmp_path / "warehouse.duckdb")
    with made.transaction():
        pass
    with made.open() as connection:
        backups.make_backup(connection, tmp_path / "copy.duckdb", datetime(2026, 11, 26), whole=False)
    for name in ("warehouse.duckdb", "copy.duckdb"):
        head = (tmp_path / name).read_bytes()[:20]
        assert (head[8:12], int.from_bytes(head[12:20], "little")) == (b"DUCK", 64), "64: DuckDB 1.0"
