"""What lies next to the database: a lock, a few documents, the hour's calls, files for imports, before-images.

``StateStore`` has two implementations: ``folder`` and ``postgres``. ``opening.open_state`` chooses by the settings, and
nothing else of the code knows which one it is::

    opening ─┬─ folder ─── call_file (SQLite)
             └─ postgres ─ postgres_calls
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from bms_pipeline.core.processes import Process

SPAN_SECONDS = 5
SPANS = 3600 // SPAN_SECONDS + 1
"""Number of counted spans: the current one and those of the hour before it. Together they cover any sliding hour."""


class LockName(StrEnum):
    """The locks: of a run, which writes, and of reading details, which runs next to it."""

    RUN = "run"
    DETAILS = "details"


class StateDocument(StrEnum):
    """The documents. Each is read and written whole."""

    PIPELINE_STATE = "published"
    """The pipeline's state after the last run, for processes that must not open the database."""
    RUN_STATUS = "progress"
    """The progress of the active run, or the result of the last one."""
    LAST_WRITE = "last_write"
    """The time of the last write sent to Passportal."""
    DOCTOR_REPORT = "doctor"
    """The last report of ``doctor``, for readers that do not ask the services."""


class Owner(msgspec.Struct, frozen=True):
    """The owner of a lock: ``what`` is a command or a Dagster run, ``since`` a UTC time of day and date.

    ``process`` is None where an earlier version wrote it, which has only the number.
    """

    what: str
    pid: int
    since: str
    process: Process | None = None

    def __str__(self) -> str:
        return f"{self.what} ({self.process or f'process {self.pid}'}, since {self.since} UTC)"


def owner_in(content: bytes | None) -> str:
    """Return the owner of a lock in words, from what it left."""
    try:
        return str(msgspec.json.decode(content or b"", type=Owner))
    except ValueError:
        return "Another run"


class HeldLock(Protocol):
    """A lock that this process took."""

    def check(self) -> None:
        """Raise ``LockLost`` unless this process holds the lock now."""


class CallCounter(Protocol):
    """The calls of the last hour, counted by endpoint in spans of ``SPAN_SECONDS``. Threads may share it.

    Calls in future spans count as made now, because the clock was set back. A clock that was set back frees nothing.
    """

    def take(self, endpoint: str, limit: int) -> bool:
        """Count one call and return True; return False, and count nothing, where ``limit`` calls are counted."""

    def counted(self, endpoint: str) -> Sequence[tuple[int, int]]:
        """Return (span, calls) of the spans still counted, oldest first."""

    def endpoints(self) -> Sequence[str]:
        """Return the endpoints called in the last hour, by name."""

    def now(self) -> float:
        """Return the time of the clock that the spans count by, in seconds since the epoch."""

    def close(self) -> None:
        """Close the connection."""


class StateFiles(Protocol):
    """The files of one kind. A name may have one folder in front."""

    @property
    def place(self) -> str:
        """Where they lie, for a person."""

    def named(self, name: str) -> str:
        """Return where a file lies, for a person."""

    def names(self) -> Sequence[str]:
        """Return the names of all files without a folder in front, in order."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Store a file, whole or not at all; durable when this returns."""

    def move(self, name: str, to: str) -> None:
        """Give a file the name ``to``, in place of a file with that name."""


class StateStore(Protocol):
    """What lies next to the database of one tenant. Threads may share it.

    Raises ``StorageFull`` and the like where the disk refuses, ``StateUnreachable`` where PostgreSQL does not answer.
    """

    @property
    def place(self) -> str:
        """Where it lies, for messages; without a secret."""

    @property
    def is_shared(self) -> bool:
        """Whether it outlives the home folder, because it lies in PostgreSQL."""

    @property
    def import_files(self) -> StateFiles:
        """The files for a manual import into Passportal. A written file stays as it is."""

    @property
    def before_images(self) -> StateFiles:
        """The documents as they were before a trial; see ``doctor.before_image``."""

    def named(self, document: StateDocument) -> str:
        """Return the place of a document, for messages."""

    def locked(
        self, name: LockName, what: str, now: datetime, wait_seconds: float = 0
    ) -> AbstractContextManager[HeldLock]:
        """Hold a lock, which ends with the process, however that ends; ``what`` names the owner.

        Raises ``RunLocked`` naming the owner when somebody else holds it for longer than ``wait_seconds``.
        """

    def read(self, document: StateDocument) -> bytes | None:
        """Return the document; None where there is none."""

    def write(self, document: StateDocument, content: bytes, *, patiently: bool = True) -> None:
        """Replace the document, whole or not at all. ``patiently``: wait a while for a lost connection."""

    def forget(self, document: StateDocument) -> None:
        """Delete the document, if there is one."""

    def calls(self, clock: Callable[[], float]) -> CallCounter:
        """Open the calls of the last hour. ``clock``: seconds since the epoch; PostgreSQL has a clock of its own."""
