"""The manifest of a sweep, with its proof: ``manifest.json`` in its folder."""

from __future__ import annotations

import secrets
import shutil
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec

from bms_pipeline.bms.sweep.page_files import MANIFEST, write_page

Mode = Literal["full", "incremental", "client"]
"""The kind of a sweep: all records, the changes since a moment, or the records of one client."""


class Objection(StrEnum):
    """The reason why a finished sweep is not complete."""

    DRIFT = "drift"
    TOTAL = "total"
    QUARANTINE = "quarantine"
    REPEATS = "repeats"
    GAP = "gap"
    SHORT = "short"
    UNPROVED = "unproved"

    @property
    def words(self) -> str:
        """The reason as a part of a sentence about the list."""
        return _OBJECTIONS[self]


_OBJECTIONS = {
    Objection.DRIFT: "its records kept moving while they were read",
    Objection.TOTAL: "its totalRecords does not add up to the records that came",
    Objection.QUARANTINE: "a record without a readable id was set aside",
    Objection.REPEATS: "BMS answers further pages with records of earlier ones: it does not page, or not to an end",
    Objection.GAP: "BMS left a page between others empty or refused it",
    Objection.SHORT: "BMS sent a page between others that is shorter than they are",
    Objection.UNPROVED: "nothing but BMS's own word shows that it ends there",
}


class QuarantinedRecord(msgspec.Struct, frozen=True):
    """A record from BMS that cannot be stored; its bytes are in ``quarantine.ndjson``.

    ``position`` counts from 1 in its page. The record exists in BMS: a search for deleted records must count its ``id``
    as present. ``id`` is ``None`` if it could not be read for sure; such a sweep is never complete.
    """

    page: int
    position: int
    why: str
    id: int | None = None


class Manifest(msgspec.Struct, omit_defaults=False, kw_only=True):
    """One sweep of one list. Times are UTC, ISO 8601.

    ``complete``: the files hold every record that existed during the whole sweep (``sweep`` has the reasons). If not,
    ``reason`` is an ``Objection`` or the error that stopped the sweep. ``records``: distinct ids in the files.
    ``total``: ``totalRecords`` of the last answer. ``total_changes``: sum of its rises and falls during the sweep, in
    records; normally 0, and then ``records`` is ``total`` unless pages were read again. ``ordered``: ids rose through
    the whole list. ``client``: the BMS account id of the only client read, in mode ``client``.
    ``calls_necessary``: calls for one reading without any check.
    """

    sweep: str
    list_call: str
    mode: Mode
    modified_since: str | None
    client: int | None = None
    tenant: str
    started: str
    touched: str
    status: Literal["running", "stopped", "finished"] = "running"
    finished: str | None = None
    pages: int = 0
    records: int = 0
    total: int | None = None
    total_changes: int = 0
    ordered: bool = False
    complete: bool = False
    reason: str = ""
    rereads: int = 0
    repairs: int = 0
    calls_made: int = 0
    calls_necessary: int = 0
    seconds: float = 0.0
    quarantined: list[QuarantinedRecord] = msgspec.field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Put the manifest in place in its sweep's ``folder``, atomically.

        Raises ``StorageFull`` or ``WarehouseError``.
        """
        self.touched = moment_text()
        write_page(folder, MANIFEST, msgspec.json.format(msgspec.json.encode(self), indent=2))


def moment_text() -> str:
    """Return the present moment (UTC, ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_sweep_id() -> str:
    """Return an id that sorts by time and is never used twice."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(2)}"


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest in a sweep's folder; ``None`` if there is no readable one."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, ValueError):
        return None


def sweeps(folder: Path) -> list[tuple[Path, Manifest]]:
    """Return the sweeps of one list (``<landing>/<list call>``), oldest first.

    A sweep with a start in the future comes from a fast clock. Its real time is unknown, so it counts as old.
    """
    if not folder.is_dir():
        return []
    read = ((home, read_manifest(home)) for home in sorted(folder.iterdir()) if home.is_dir())
    found = [(home, manifest) for home, manifest in read if manifest is not None]
    return sorted(found, key=lambda sweep: sweep[1].started <= moment_text())


def latest_complete(folder: Path, mode: Mode = "full") -> Path | None:
    """Return the folder of the newest complete sweep of one list."""
    done = [home for home, manifest in sweeps(folder) if manifest.complete and manifest.mode == mode]
    return done[-1] if done else None


def prune(folder: Path, keep: int = 2) -> list[Path]:
    """Delete the sweeps of one list except the newest ``keep`` and the newest complete full one; return the deleted.

    Also deletes sweeps killed before their first manifest. Call it while no sweep of the list is running.
    """
    found = sweeps(folder)
    kept = {sweep for sweep, _ in found[max(0, len(found) - keep) :]} | {latest_complete(folder)}
    old = [sweep for sweep in sorted(folder.iterdir()) if sweep.is_dir() and sweep not in kept] if found else []
    for sweep in old:
        shutil.rmtree(sweep, ignore_errors=True)
    return old
