"""Why a database file cannot be used: the one place for the wording of DuckDB's errors about files.

DuckDB's exceptions carry a class and a text, no error number (1.5.5: its ``errors_as_json`` has one for statements, and
none for opening a file or for a failed commit). So ``found_in`` reads the two parts of the text with the system's words
instead of DuckDB's. One is the sentence of ``strerror`` for a number, at the end behind the quoted file name. The other
is the process with the lock. No text decides whether a file is damaged: ``damage_in`` reads the whole file.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bms_pipeline.core import files
from bms_pipeline.core.errors import (
    MemoryFull,
    PipelineError,
    StorageFull,
    WarehouseBusy,
    WarehouseDamaged,
    WarehouseError,
    WarehouseNewer,
    WarehouseUnproved,
)
from bms_pipeline.warehouse import sql

SIDE_FILES = (".wal", ".checkpoint.wal", ".recovery.wal")
"""Endings of the files next to a database. DuckDB keeps them, and reads them into it on opening."""

_SYSTEM_SENTENCE = re.compile(r'file "(?P<file>.*)": (?P<sentence>[^"]+)"?\Z', re.DOTALL)
_LOCK = re.compile(r'(?:IO Error: )?Could not set lock on file ".*": (?P<who>[^"]+)\Z', re.DOTALL)
_HOLDER = re.compile(r"PID (\d+)")
_NO_MEMORY = ("bad allocation", "std::bad_alloc", "bad_alloc")
IN_USE: tuple[type[duckdb.Error], ...] = (
    duckdb.IOException,
    duckdb.ConnectionException,
    duckdb.TransactionException,
    getattr(duckdb, "ResourceInUseException", duckdb.BinderException),
)
"""DuckDB's exceptions for a file that is in use, in this order.

Another process may hold it (``found_in`` says so), this process has it open in another way, another thread changes the
same, or another database of this process has it attached: before DuckDB 2.0 that was a ``BinderException``.
"""
_CONTENT = (duckdb.IOException, duckdb.SerializationException, duckdb.FatalException, duckdb.InternalException)
_PLENTY = 64 << 20
"""With more free bytes than this, the disk was not why a spill file found no room."""
_MAGIC, _VERSION = slice(8, 12), slice(12, 20)
"""The place of the magic bytes and the storage version in a DuckDB file."""


@dataclass(frozen=True)
class Found:
    """The cause named in an error.

    ``number``: the system's error number; ``file``: what DuckDB names with it. ``locked``: another process holds the
    file; ``holder`` is its id, if known. ``memory``: there was not enough.
    """

    number: int | None = None
    file: Path | None = None
    locked: bool = False
    holder: int | None = None
    memory: bool = False


def found_in(error: BaseException) -> Found:
    """Return the cause of ``error``, by its class, its number, or the system's words in DuckDB's text."""
    if isinstance(error, OSError):
        return Found(number=error.errno)
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException):
        return Found(memory=True)
    text = str(error)
    lock = _LOCK.match(text)
    if lock:
        holder = _HOLDER.search(lock["who"])
        return Found(locked=True, holder=int(holder.group(1)) if holder else None)
    if text.rstrip().endswith(_NO_MEMORY):
        return Found(memory=True)
    sentence = _SYSTEM_SENTENCE.search(text)
    if sentence:
        for number in files.NUMBERS:
            if sentence["sentence"].startswith(os.strerror(number)):
                return Found(number, Path(sentence["file"]))
    return Found()


@contextlib.contextmanager
def translate_errors(file: Path, if_damaged: str = "") -> Iterator[None]:
    """Turn errors about ``file``, the disk or the memory into ones with the true cause and the next step.

    ``if_damaged``: the next step where the content of ``file`` is proved to be damaged.
    """
    try:
        yield
    except WarehouseUnproved as error:
        # Raised further in, while this process had the file open. Here it may be closed, so reading can prove it.
        raise (_content(file, error.text, if_damaged) if error.file == file else error) from error
    except PipelineError:
        raise
    except (duckdb.Error, OSError, MemoryError) as error:
        explained = explain_error(error, file, if_damaged)
        if explained is None:
            raise
        raise explained from error


def explain_error(error: BaseException, file: Path, if_damaged: str = "") -> WarehouseError | None:
    """Return the error for a person; None where ``error`` is neither about the file nor about disk or memory."""
    found = found_in(error)
    if found.locked:
        return busy(file, found.holder, None)
    if found.memory:
        return _no_memory(file, one_line(error))
    if found.number is not None:
        return files.refused_by_system(found.number, _named_in(error) or file)
    return _content(file, one_line(error), if_damaged) if _may_be_about_content(error) else None


def _may_be_about_content(error: BaseException) -> bool:
    """Return whether DuckDB raises this class for a file whose content makes no sense; it has other causes, too.

    DuckDB 2.0 has an error of its own for damage, and no class of Python for it: it raises the base class.
    """
    return isinstance(error, _CONTENT) or type(error) is duckdb.Error


def _content(file: Path, text: str, if_damaged: str) -> WarehouseError:
    """Return the error for senseless content, after reading all of it."""
    damage = damage_in(file)
    if damage is None:
        return WarehouseUnproved(
            f"The database file {file} cannot be used. It could be read, or this process has it open. ({text})",
            "Run again. If the same happens, keep the file and report this message.",
            file,
            text,
        )
    # Only now, because closing a file by other means than DuckDB's would end its lock: nobody has this one open.
    try:
        version = _storage_version(file)
    except OSError as error:  # DuckDB 2.0 says of a head that the disk does not give: no DuckDB database
        return files.refused_by_system(error.errno or 0, file)
    if version > _newest_storage_version():
        return WarehouseNewer(
            f"{file} was written by a newer DuckDB than {duckdb.__version__}. Nothing was written. ({damage})",
            "Install the newest DuckDB, or the version of bms-pipeline that wrote the file.",
        )
    return WarehouseDamaged(
        f"The database file {file} is damaged{_with_side_files(file)}. No process holds it. ({damage})", if_damaged
    )


def busy(file: Path, holder: int | None, waited: float | None) -> WarehouseBusy:
    """Return the error for a file held by another process."""
    who = f"process {holder}" if holder else "another process"
    return WarehouseBusy(
        f"The database file {file} is held by {who}{'' if waited is None else f'; waited {waited:.0f} s'}.",
        "Let the other run finish, or stop it, then run again.",
    )


def damage_in(file: Path) -> str | None:
    """Read all of a database file, its log included, and return what DuckDB says where it is damaged.

    None where it is whole, and where nothing can be proved: another process holds it, this process has it open, or the
    system does not let us read. Only DuckDB opens it: closing it by other means would end DuckDB's own lock.
    """
    if not file.is_file():
        return None
    try:
        with contextlib.closing(duckdb.connect(":memory:", config={"memory_limit": "512MB"})) as connection:
            connection.execute(f"ATTACH {sql.quoted(str(file))} AS checked (READ_ONLY)")
            for schema, table in connection.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'checked'"
            ).fetchall():
                connection.execute(f'SELECT sum(hash(t)) FROM checked."{schema}"."{table}" t').fetchall()
    except duckdb.Error as error:
        found = found_in(error)
        if _may_be_about_content(error) and not (found.locked or found.memory or found.number is not None):
            return one_line(error)
    return None


def one_line(error: BaseException) -> str:
    """Return the text of an error on one line, cut where it becomes long."""
    return " ".join(str(error).split())[:300]


def side_files(file: Path) -> list[Path]:
    """Return DuckDB's existing files next to ``file``."""
    return [path for ending in SIDE_FILES if (path := file.with_name(f"{file.name}{ending}")).exists()]


def _with_side_files(file: Path) -> str:
    logs = side_files(file)
    return f", or its log {', '.join(map(str, logs))} is" if logs else ""


def _no_memory(file: Path, text: str) -> WarehouseError:
    """Return the error for too little memory, or for a full disk: data too large for memory spills to the disk."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(file.parent).free < _PLENTY:
            return StorageFull(
                f"No space left in {file.parent} for what does not fit into memory. Nothing of this step was kept."
                f" ({text})",
                "Free some disk space, then run again: it continues where it stopped.",
            )
    return MemoryFull(
        f"Not enough memory to work on {file}. Nothing of this step was kept. ({text})", files.MEMORY_STEP
    )


def _named_in(error: BaseException) -> str | None:
    """Return the file named in an error of the system itself."""
    name = error.filename if isinstance(error, OSError) else None
    return os.fsdecode(name) if isinstance(name, str | bytes) else None


def _storage_version(file: Path) -> int:
    """Return the storage version in the head of a DuckDB file, 0 for any other file. Raises ``OSError``."""
    with file.open("rb") as stream:
        head = stream.read(20)
    return int.from_bytes(head[_VERSION], "little") if head[_MAGIC] == b"DUCK" else 0


def _newest_storage_version() -> int:
    """Return the newest storage version of this DuckDB."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "newest.duckdb")
        duckdb.connect(str(file), config={"storage_compatibility_version": "latest"}).close()
        return _storage_version(file)
