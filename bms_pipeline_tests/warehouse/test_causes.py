"""Why a database file cannot be used: each cause is provoked for real, and each is told from all others."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from bms_pipeline.core.errors import (
    MemoryFull,
    PipelineError,
    StorageBroken,
    StorageFull,
    StorageRefused,
    WarehouseBusy,
    WarehouseDamaged,
    WarehouseError,
    WarehouseNewer,
)
from bms_pipeline.core.files import NUMBERS, refused_by_system
from bms_pipeline.core.settings import Settings
from bms_pipeline.state.folder import FolderState
from bms_pipeline.state.protocol import LockName
from bms_pipeline.warehouse import causes
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline_tests.building import new_warehouse
from bms_pipeline_tests.warehouse.test_connection import held_by_another_process, release

NOBODY = 65534
REPORT = """
import os, resource, signal, sys
from pathlib import Path
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.warehouse.connection import Warehouse
from bms_pipeline.core.settings import Settings
from bms_pipeline.state.folder import FolderState
from bms_pipeline.state.protocol import LockName

def report(work):
    try:
        work()
    except PipelineError as error:
        print(type(error).__name__, "|", error.message, "|", error.next_step)
    else:
        print("nothing")
"""


class SegmentationFault(Exception):
    """The process ended so."""


def provoke(program: str, *arguments: object, prefix: tuple[str, ...] = ()) -> str:
    """What a process of its own reports that runs ``program``; never a traceback."""
    command = [*prefix, sys.executable, "-c", REPORT + textwrap.dedent(program), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    if ended.returncode == -signal.SIGSEGV:
        raise SegmentationFault
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with some megabytes in it, which nothing changes."""
    file = tmp_path_factory.mktemp("filled") / "warehouse.duckdb"
    new_warehouse(file)
    with Warehouse(file).transaction() as connection:
        connection.execute("CREATE TABLE filler AS SELECT i, md5(i::VARCHAR) AS text FROM range(50000) t(i)")
    return file


@pytest.fixture
def file(filled: Path, tmp_path: Path) -> Path:
    """A copy of ``filled``, in a home of its own."""
    (tmp_path / "home").mkdir()
    return Path(shutil.copy(filled, tmp_path / "home"))


def refusal(file: Path) -> WarehouseError:
    """What opening the file raises, quickly: damage is never waited for."""
    with pytest.raises(WarehouseError) as refusal, Warehouse(file, wait_seconds=60).open() as connection:
        connection.execute("SELECT sum(hash(t)) FROM filler t").fetchall()
    return refusal.value


def offsets(size: int) -> list[int]:
    """Places of every kind in a file: its three heads, its first blocks, its middle, its end."""
    return [3, 9, 100, 4096, 5000, 8192, 9000, 12_288, 13_000, size // 2, size - 200_000]


# Damage


def test_one_flipped_bit_is_damage_wherever_it_is_and_never_another_process(file: Path) -> None:
    whole = file.read_bytes()
    damaged = 0
    for offset in offsets(len(whole)):
        content = bytearray(whole)
        content[offset] ^= 4
        file.write_bytes(content)
        with contextlib.suppress(WarehouseDamaged), Warehouse(file, wait_seconds=60).open() as connection:
            for (table,) in connection.execute(
                "SELECT schema_name || '.' || table_name FROM duckdb_tables()"
            ).fetchall():
                connection.execute(f"SELECT sum(hash(t)) FROM {table} t").fetchall()
            continue  # a bit that nothing uses, or the head that is not the newest
        damaged += 1
        assert bytes(content) == file.read_bytes(), "a damaged file is left as it is"
    assert damaged >= len(offsets(len(whole))) - 3


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.5, 0.95])
def test_a_file_that_was_cut_is_damage(file: Path, share: float) -> None:
    os.truncate(file, int(file.stat().st_size * share))
    error = refusal(file)
    assert isinstance(error, WarehouseDamaged)
    assert str(file) in error.message
    assert "`bms-pipeline restore`" in error.next_step


def test_a_damaged_log_is_damage_and_both_files_are_named(file: Path) -> None:
    """A bit of an entry's length is the exception: DuckDB takes the rest of the log for a write that was cut off."""
    log = leave_a_log(file)
    whole, written = file.read_bytes(), log.read_bytes()
    damaged = 0
    for offset in range(len(written) // 2, len(written), len(written) // 20):
        content = bytearray(written)
        content[offset] ^= 4
        log.write_bytes(content)
        file.write_bytes(whole)
        with contextlib.suppress(pytest.fail.Exception):
            error = refusal(file)
            assert isinstance(error, WarehouseDamaged)
            assert str(file) in error.message
            assert str(log) in error.message
            damaged += 1
    assert damaged > 4


def leave_a_log(file: Path) -> Path:
    """A process writes into the file and is killed, so that its log stays."""
    program = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); c.execute(\"SET checkpoint_threshold = '1GB'\");"
        " [c.execute('INSERT INTO filler SELECT i, md5(i::VARCHAR) FROM range(500) t(i)') for _ in range(20)];"
        " os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(file)], timeout=60, check=False)
    log = file.with_name(f"{file.name}.wal")
    assert log.stat().st_size > 1000
    return log


def test_damage_that_shows_only_while_reading_is_damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for offset in range(len(content) // 2, len(content), 262_144):
        content[offset] ^= 1
    file.write_bytes(content)
    assert isinstance(refusal(file), WarehouseDamaged)


def test_a_file_of_a_newer_duckdb_is_not_called_damaged(file: Path) -> None:
    head = bytearray(file.read_bytes()[:20])
    head[12:20] = (1_000_000).to_bytes(8, "little")
    with file.open("r+b") as stream:
        stream.write(head)
    error = refusal(file)
    assert isinstance(error, WarehouseNewer)
    assert "restore" not in error.next_step


def test_a_statement_that_misses_another_file_is_no_damage_and_ends_no_lock(file: Path) -> None:
    """Another connection of this process keeps the database, and other processes still stay out."""
    with Warehouse(file).open() as kept:
        with pytest.raises(PipelineError) as error, Warehouse(file).open() as connection:
            connection.execute("FROM read_json('/nonexistent/page-*.json')")
        assert not isinstance(error.value, WarehouseDamaged)
        assert kept.execute("SELECT count(*) FROM filler").fetchone() == (50_000,)
        program = "report(Warehouse(Path(sys.argv[1]), 0).open().__enter__)"
        assert provoke(program, file).startswith("WarehouseBusy"), "its lock still holds"


# Who holds it, who may, and where


def test_a_file_that_another_process_holds_is_busy_also_when_it_is_damaged(file: Path) -> None:
    with held_by_another_process(file) as holder:
        with pytest.raises(WarehouseBusy, match=f"process {holder.pid}"), Warehouse(file, wait_seconds=0.1).open():
            pass
        with file.open("r+b") as stream:
            stream.seek(9)
            stream.write(b"?")
        with pytest.raises(WarehouseBusy), Warehouse(file, wait_seconds=0.1).open():
            pass
        release(holder)


def test_a_folder_where_the_file_should_be_is_a_wrong_path(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    file.mkdir()
    error = refusal(file)
    assert isinstance(error, StorageRefused)
    assert os.strerror(errno.EISDIR) in error.message


def test_a_file_where_a_folder_should_be_is_a_wrong_path(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("", encoding="utf-8")
    assert isinstance(refusal(tmp_path / "home" / "warehouse.duckdb"), StorageRefused)
    with pytest.raises(StorageRefused), lease_in(tmp_path / "home"):
        pass


@contextlib.contextmanager
def lease_in(folder: Path) -> Iterator[None]:
    settings = Settings(_env_file=None, bms_pipeline_home=folder)  # type: ignore[call-arg]
    with FolderState(settings).locked(LockName.RUN, "a test", now()):
        yield


@pytest.mark.parametrize(("mode", "whose"), [(0o000, "file"), (0o444, "file"), (0o000, "folder"), (0o555, "folder")])
def test_a_missing_right_is_told_as_one(file: Path, mode: int, whose: str) -> None:
    if os.geteuid() == 0:
        for folder in (file.parent, *file.parents[1:4]):
            folder.chmod(0o777)
    if whose == "folder":
        file.unlink()
    (file if whose == "file" else file.parent).chmod(mode)
    program = (
        f"os.geteuid() or os.setuid({NOBODY})\nreport(lambda: Warehouse(Path(sys.argv[1]), 60).open().__enter__())"
    )
    told = provoke(program, file)
    file.parent.chmod(0o700)
    assert told.startswith("StorageRefused"), told
    assert os.strerror(errno.EACCES) in told
    assert "the right to read and write" in told


# Disk and memory


def in_a_small_disk(folder: Path, program: str, *, then: str = "true") -> str:
    """``program`` with a file system of 4 MB of its own at ``folder``; ``then`` is a shell command before it runs."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None:
        pytest.skip("needs root and unshare for a disk of its own")
    folder.mkdir(exist_ok=True)
    shell = f'mount -t tmpfs -o size=4m none {folder} && {{ {then}; }} && exec "$@"'
    return provoke(program, folder, prefix=(unshare, "-m", "sh", "-c", shell, "sh"))


WRITE_MUCH = """
def work():
    with Warehouse(Path(sys.argv[1]) / "warehouse.duckdb").transaction() as connection:
        connection.execute("CREATE TABLE big AS SELECT md5(i::VARCHAR) AS text FROM range(900000) t(i)")
report(work)
"""
WRITE_BY_COMMIT = """
def work():
    with Warehouse(Path(sys.argv[1]) / "warehouse.duckdb").open() as connection:
        for _ in range(200):
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE IF NOT EXISTS big (n BIGINT)")
            connection.execute("INSERT INTO big SELECT i FROM range(20000) t(i)")
            connection.execute("COMMIT")
report(work)
"""
SPILL = """
def work():
    with Warehouse(Path(sys.argv[1]) / "warehouse.duckdb").open() as connection:
        connection.execute("SET memory_limit = '30MB'; SET threads = 1")
        connection.execute("SELECT count(DISTINCT s) FROM (SELECT md5(i::VARCHAR) || i AS s FROM range(3000000) t(i))")
report(work)
"""
TAKE_THE_LOCK = """
def work():
    from bms_pipeline.warehouse.connection import now
    state = FolderState(Settings(_env_file=None, bms_pipeline_home=Path(sys.argv[1]) / "home"))
    with state.locked(LockName.RUN, "a test", now()):
        pass
report(work)
"""


@pytest.mark.parametrize("program", [WRITE_MUCH, WRITE_BY_COMMIT, SPILL], ids=["statement", "commit", "spill"])
def test_a_full_disk_is_told_as_one(tmp_path: Path, program: str) -> None:
    told = in_a_small_disk(tmp_path / "disk", program)
    assert told.startswith("StorageFull"), told
    assert "Free some disk space" in told


def test_a_full_disk_at_the_lock_is_one_message(tmp_path: Path) -> None:
    told = in_a_small_disk(
        tmp_path / "disk", TAKE_THE_LOCK,
        then=f"mkdir {tmp_path}/disk/home; head -c 5000000 /dev/zero > {tmp_path}/disk/full 2>/dev/null || true",
    )  # fmt: skip
    assert told.startswith("StorageFull"), told
    assert "run.owner.json" in told or "run.lock" in told


def test_a_disk_that_is_mounted_read_only_is_told_as_one(tmp_path: Path) -> None:
    for program in (WRITE_MUCH, TAKE_THE_LOCK):
        told = in_a_small_disk(tmp_path / "disk", program, then=f"mount -o remount,ro {tmp_path}/disk")
        assert told.startswith("StorageRefused"), told
        assert "mounted read-only" in told


def test_a_disk_that_answers_with_an_error_is_told_as_one() -> None:
    """``/proc/self/mem`` answers the first read with EIO, as a failing disk does."""
    with (
        pytest.raises(StorageBroken, match="The disk answered with an error") as error,
        causes.translate_errors(Path("/proc/self/mem")),
    ):
        duckdb.connect("/proc/self/mem")
    assert "Nothing was moved" in error.value.next_step


def test_too_little_memory_is_told_as_that(file: Path) -> None:
    """DuckDB 1.5.5 itself now and then ends with a segmentation fault here; then it is tried again."""
    program = """
    def work():
        with Warehouse(Path(sys.argv[1])).open() as connection:
            import psutil
            least = psutil.Process().memory_info().vms + 1_000_000
            resource.setrlimit(resource.RLIMIT_AS, (least, least))
            connection.execute("CREATE TABLE big AS SELECT md5(i::VARCHAR) AS s FROM range(9000000) t(i) ORDER BY s")
    report(work)
    """
    for _ in range(5):
        with contextlib.suppress(SegmentationFault):
            told = provoke(program, file)
            break
    assert told.startswith("MemoryFull"), told
    assert "Give the process more memory" in told


def test_memory_that_python_lacks_is_told_as_that(file: Path) -> None:
    with pytest.raises(MemoryFull), causes.translate_errors(file):
        raise MemoryError


# The numbers


def test_every_number_of_the_system_has_one_error_with_a_next_step() -> None:
    for number in NUMBERS:
        error = refused_by_system(number, "a file")
        assert error.next_step
        assert "a file" in error.message
        assert type(error) in (StorageFull, StorageRefused, StorageBroken, MemoryFull)
    assert type(refused_by_system(errno.ENOTRECOVERABLE, "a file")) is WarehouseError, (
        "what is unknown is called nothing else"
    )


def test_a_files_name_that_reads_like_an_error_decides_nothing(tmp_path: Path) -> None:
    """Nobody is sent after a process, or to free space, because of what a folder is called."""
    for name in ("Conflicting lock (PID 1)", 'x": No space left on device', "block", 'y": Conflicting'):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "warehouse.duckdb").write_bytes(b"not a database")
        assert isinstance(refusal(folder / "warehouse.duckdb"), WarehouseDamaged), name


def test_damage_that_is_met_while_the_file_is_open_further_out_is_called_damage(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    with Warehouse(file).transaction() as connection:
        connection.execute("CREATE TABLE large AS SELECT hash(range) AS n FROM range(300000)")
    content = bytearray(file.read_bytes())
    for place in range(len(content) // 2, len(content), 4096):
        content[place] ^= 4
    file.write_bytes(content)
    warehouse = Warehouse(file)
    with pytest.raises(WarehouseDamaged, match="is damaged") as found, warehouse.open(), warehouse.open() as connection:
        connection.execute("SELECT sum(n) FROM large").fetchall()
    assert "bms-pipeline restore" in found.value.next_step
