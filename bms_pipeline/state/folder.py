"""The state in the home folder: a file for each thing, and the system's file locks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import filelock
import msgspec

from bms_pipeline.core import processes
from bms_pipeline.core.errors import RunLocked, StorageRefused
from bms_pipeline.core.files import atomic_write, explained, make_durable
from bms_pipeline.core.settings import Settings
from bms_pipeline.state.call_file import CallFile
from bms_pipeline.state.protocol import LockName, Owner, StateDocument, owner_in


class FolderLock:
    """A file lock. The system ends it with the process and never before."""

    def check(self) -> None:
        """See ``HeldLock.check``: there is nothing to lose. A deleted lock file is noticed by the epoch."""


class FolderFiles:
    """The files in ``folder``, readable by their owner only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> str:
        """See ``StateFiles.place``."""
        return str(self._folder)

    def named(self, name: str) -> str:
        """See ``StateFiles.named``."""
        return str(self._folder / name)

    def names(self) -> Sequence[str]:
        """See ``StateFiles.names``."""
        return sorted(file.name for file in self._folder.glob("[!.]*") if file.is_file())

    def read(self, name: str) -> bytes | None:
        """See ``StateFiles.read``."""
        with explained(self._folder / name):
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """See ``StateFiles.write``."""
        file = self._made(name)
        with atomic_write(file) as unfinished:
            unfinished.write_bytes(content)
            make_durable(unfinished)
        make_durable(file.parent)

    def move(self, name: str, to: str) -> None:
        """See ``StateFiles.move``."""
        file = self._made(to)
        with explained(file):
            (self._folder / name).replace(file)

    def _made(self, name: str) -> Path:
        """Return the place of a file, whose folder exists now."""
        file = self._folder / name
        for folder in dict.fromkeys((self._folder, file.parent)):
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return file


class FolderState:
    """The state in the home folder of ``settings``."""

    is_shared = False

    def __init__(self, settings: Settings) -> None:
        self._home = settings.bms_pipeline_home
        self._budget_file = settings.budget_file
        self._documents = {
            StateDocument.PIPELINE_STATE: settings.published_file,
            StateDocument.RUN_STATUS: settings.progress_file,
            StateDocument.LAST_WRITE: settings.last_write_file,
            StateDocument.DOCTOR_REPORT: settings.bms_pipeline_home / "doctor.json",
        }
        self.import_files = FolderFiles(settings.import_folder)
        self.before_images = FolderFiles(settings.bms_pipeline_home / "before_images")

    @property
    def place(self) -> str:
        """See ``StateStore.place``."""
        return str(self._home)

    def named(self, document: StateDocument) -> str:
        """See ``StateStore.named``."""
        return str(self._documents[document])

    @contextlib.contextmanager
    def locked(self, name: LockName, what: str, now: datetime, wait_seconds: float = 0) -> Iterator[FolderLock]:
        """See ``StateStore.locked``: the lock is ``<name>.lock``, its owner ``<name>.owner.json``."""
        lock = filelock.FileLock(self._home / f"{name}.lock", timeout=wait_seconds)
        owner_file = self._home / f"{name}.owner.json"
        process = processes.this_process()
        owner = Owner(what, process.pid, f"{now:%Y-%m-%d %H:%M:%S}", process)
        with explained(Path(lock.lock_file)):
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                lock.acquire()
            except filelock.Timeout:
                raise RunLocked(
                    f"{_owner_in(owner_file)} is at work in {self._home}.",
                    "Let it finish, or stop it; what it has done is kept and the next run continues.",
                ) from None
        try:
            with explained(owner_file):
                owner_file.write_bytes(msgspec.json.encode(owner))
            yield FolderLock()
        finally:
            lock.release()

    def read(self, document: StateDocument) -> bytes | None:
        """See ``StateStore.read``."""
        file = self._documents[document]
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageRefused(
                f"{file} cannot be read: {error.strerror}.",
                "The next run writes it again; start one, or see who may read and write there.",
            ) from error

    def write(self, document: StateDocument, content: bytes, *, patiently: bool = True) -> None:
        """See ``StateStore.write``. The last write is noted in place: a killed process must leave nothing to clean."""
        file = self._documents[document]
        if document is StateDocument.LAST_WRITE:
            with explained(file):
                _overwrite(file, content)
        else:
            with explained(self._home):
                self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            with atomic_write(file) as unfinished:
                unfinished.write_bytes(content)

    def forget(self, document: StateDocument) -> None:
        """See ``StateStore.forget``."""
        file = self._documents[document]
        with explained(file):
            file.unlink(missing_ok=True)

    def calls(self, clock: Callable[[], float]) -> CallFile:
        """See ``StateStore.calls``."""
        return CallFile(self._budget_file, clock)


def _owner_in(file: Path) -> str:
    try:
        return owner_in(file.read_bytes())
    except OSError:
        return owner_in(None)


def _overwrite(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, content, 0)
    finally:
        os.close(descriptor)
