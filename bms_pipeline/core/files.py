"""Files: atomic writes, readable by their owner only, and explanations of the system's errors."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bms_pipeline.core.errors import (
    MemoryFull,
    PipelineError,
    StorageBroken,
    StorageFull,
    StorageRefused,
    WarehouseError,
)

MEMORY_STEP = (
    "Give the process more memory (`ulimit -v`, the container's limit), then run again: it continues where it stopped."
)


@dataclass(frozen=True)
class _Refusal:
    """The meaning of some error numbers of the system: the error, what happened to ``{file}``, and the next step."""

    numbers: frozenset[int]
    error: type[WarehouseError]
    message: str
    next_step: str


_REFUSALS = (
    _Refusal(
        frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG}),
        StorageFull,
        "No space left while writing {file} ({why}). Nothing of this step was kept.",
        "Free some disk space, then run again: it continues where it stopped.",
    ),
    _Refusal(frozenset({errno.ENOMEM}), MemoryFull, "Not enough memory to work on {file}.", MEMORY_STEP),
    _Refusal(
        frozenset({errno.EACCES, errno.EPERM}),
        StorageRefused,
        "{file} cannot be read or written: {why}.",
        "Run as the user who owns it, or give this user the right to read and write the file and its folder.",
    ),
    _Refusal(
        frozenset({errno.EROFS}),
        StorageRefused,
        "{file} cannot be written: it lies on a disk that is mounted read-only.",
        "Mount the disk writable. A disk with errors is often remounted read-only: `dmesg` shows it.",
    ),
    _Refusal(
        frozenset({errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}),
        StorageRefused,
        "{file} cannot be written: {why}.",
        "Name a file in a folder that exists. Is there a folder where a file should be, or a file where a folder"
        " should be?",
    ),
    _Refusal(
        frozenset({errno.EMFILE, errno.ENFILE}),
        StorageRefused,
        "{file} cannot be opened: {why}.",
        "Raise the limit on open files (`ulimit -n`).",
    ),
    _Refusal(
        frozenset({errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.EUCLEAN}),
        StorageBroken,
        "The disk answered with an error at {file}: {why}.",
        "Look at the disk (`dmesg`, `smartctl`) before you run again. Nothing was moved or deleted.",
    ),
)
_OTHER = _Refusal(
    frozenset(), WarehouseError, "{file} cannot be used: {why}.", "Nothing was moved or deleted; run again."
)

NUMBERS: frozenset[int] = frozenset().union(*(refusal.numbers for refusal in _REFUSALS))
"""Error numbers with an explanation in ``refused_by_system``."""


def refused_by_system(number: int, file: Path | str) -> WarehouseError:
    """Return our error for the system's error ``number`` on ``file``, with the next step."""
    refusal = next((known for known in _REFUSALS if number in known.numbers), _OTHER)
    return refusal.error(refusal.message.format(file=file, why=os.strerror(number)), refusal.next_step)


@contextlib.contextmanager
def explained(file: Path) -> Iterator[None]:
    """Turn an error of the system about ``file``, or a file that the error names, into the error for a person."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else file
        raise refused_by_system(error.errno, named) from error


@contextlib.contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """Write atomically: yield a new file in the same folder, then put it in the place of ``file``.

    Only its owner may read the new file. Raises the error of ``refused_by_system``, a ``PipelineError``, when ``file``
    cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=f".new{file.suffix}", dir=file.parent)
        unfinished = Path(name)
        try:
            # Held until the file has its name, so that `clear_unfinished` sees that a process is writing it.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield unfinished
            unfinished.replace(file)
        finally:
            os.close(descriptor)
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is not None:
            raise refused_by_system(error.errno, file) from error
        raise PipelineError(
            f"{file} cannot be written: {error}.", "Name a file in a folder that you may write to."
        ) from error


def write_new(file: Path, content: str) -> bool:
    """Write a new file, readable by its owner only, and return True. An existing file stays, and False is returned.

    Raises the error of ``refused_by_system`` when ``file`` cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise refused_by_system(error.errno or 0, file) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
    except OSError as error:
        file.unlink()  # it is ours, and a later call takes half a file for a person's
        raise refused_by_system(error.errno or 0, file) from error
    return True


def clear_unfinished(folder: Path) -> None:
    """Delete the unfinished files of killed processes in ``folder``. Files in progress stay.

    Call it while no other process makes copies in ``folder``: DuckDB's lock is of another kind and invisible here.
    """
    unfinished = list(folder.glob(".*.new*"))
    with alone_in(folder) if unfinished else contextlib.nullcontext():
        for file in unfinished:
            with contextlib.suppress(OSError):
                descriptor = os.open(file, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    file.unlink()
                finally:
                    os.close(descriptor)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes waiting that put a database into ``folder``, or clear up there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_durable(path: Path) -> None:
    """Make durable what a file holds, or which files a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
