"""The console's read replica of the warehouse, and its way to the warehouse for decisions.

DuckDB lets one process open the file, and a run may hold it for long. Pages never open the warehouse. Whenever it is
free and has changed, its changed tables are copied into a database of the console's own.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import psutil

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import PipelineError, WarehouseBusy
from bms_pipeline.core.run_status import RunName
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import RunKind
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.recording import read_status
from bms_pipeline.sync import run_lock
from bms_pipeline.warehouse import schema
from bms_pipeline.warehouse.causes import translate_errors
from bms_pipeline.warehouse.connection import Warehouse, kept_open, now, open_warehouse, transaction
from bms_pipeline.warehouse.stored_mapping import read_mapping

_log = logging.getLogger(__name__)

Found = TypeVar("Found")

WAIT_SECONDS = 3.0
"""A person waits this long for a decision to be taken, before the page asks for another try."""
IN_VAIN_SECONDS = 10.0
"""After a timeout, do not wait for the warehouse again for this long: some process has it open."""
LOOK_EVERY_SECONDS = 0.5
BUSY_SHARE = 0.05
"""The largest share of time for copying. While a run keeps writing, a large copy is made less often."""
QUICK_SECONDS = 0.25
"""A copy taking at most this long is made while a page is rendered, so the page is up to date."""

_VERSION = (
    "SELECT (SELECT count(*) FROM {table}) || ' ' || coalesce((SELECT max(version) FROM sync.input_versions"
    " WHERE name = '{table}'), 0)"
)
_ALL_ROWS = "SELECT count(*) || ' ' || coalesce(bit_xor(hash(each)), 0) FROM {table} each"
_PLAN = "SELECT coalesce(max(plan_id), 0)::VARCHAR FROM sync.plans"
# A load also writes here without a line of the journal, but only a later plan depends on those changes.
_LOADED = (
    "SELECT concat_ws(' ', (SELECT count(*) FROM {table}), (SELECT concat_ws(' ', max(plan_id), max(loaded_at)) FROM"
    " sync.plans), count(outcome), max(outcome_at)) FROM sync.journal"
)
_JOURNAL = (
    "SELECT concat_ws(' ', count(*), count(outcome), max(intent_at), max(left_at), max(outcome_at),"
    " count(*) FILTER (refuses_values)) FROM {table}"
)

COPIED: dict[str, tuple[str, str]] = {
    **{f"bms.{entity.name}": ("* EXCLUDE (json)", _VERSION) for entity in ENTITIES},
    **{f"passportal.{entity.name}": ("*", _VERSION) for entity in ENTITIES},
    **{f"sync.reconciled_{entity.name}": ("*", _ALL_ROWS) for entity in ENTITIES},
    **{f"sync.planned_{entity.name}": ("*", _PLAN) for entity in ENTITIES},
    **{f"sync.former_base_{entity.name}": ("*", _ALL_ROWS) for entity in ENTITIES},
    **{f"sync.base_{entity.name}": ("*", _LOADED) for entity in ENTITIES},
    "sync.journal": ("*", _JOURNAL),
    **{
        f"sync.{table}": ("*", _ALL_ROWS)
        for table in (
            "approved_creates", "decisions", "differing", "differing_as_of", "exclusions", "input_versions",
            "logged", "made_from", "matches", "non_matches", "pending_imports", "plans", "results", "runs", "settings",
            "settings_history", "standing_counts", "sweeps", "vanished",
        )
    },
    "bms.account_types": ("*", _ALL_ROWS),
}  # fmt: skip
"""Table → the columns to copy, and SQL for a text, different whenever the table has to be copied again."""


class ReadCopy(Warehouse):
    """The warehouse as it was ``as_of``: for all reading, without any wait.

    ``generation`` increases whenever the content changes.
    """

    def __init__(self, file: Path) -> None:
        file.unlink(missing_ok=True)
        super().__init__(file)
        self._held = contextlib.ExitStack()
        self._connection = self._held.enter_context(super().open())
        self._keys: dict[str, str] = {}
        self._stamp: object = None
        self._cost = 0.0
        self._renewed_at = 0.0
        self._kept: dict[str, tuple[int, Any]] = {}
        self.generation = 0
        self.as_of: datetime | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the copy like ``Warehouse.open``, but at once and from any number of threads."""
        with translate_errors(self.file), closing(self._connection.cursor()) as connection:
            yield connection

    def close(self) -> None:
        """Close the copy and remove its file."""
        self._held.close()
        self.file.unlink(missing_ok=True)

    def is_behind(self, warehouse: Warehouse) -> bool:
        """Return whether the warehouse changed since the last copy."""
        return self._stamp != warehouse.state()

    @property
    def is_quick(self) -> bool:
        """Whether renewing the copy is fast enough for a page to wait for it."""
        return self.as_of is not None and self._cost <= QUICK_SECONDS

    @property
    def rests(self) -> bool:
        """Whether the copy is too new: another one would take too large a share of the time."""
        return time.monotonic() < self._renewed_at + self._cost / BUSY_SHARE

    def renew(self, warehouse: Warehouse) -> None:
        """Copy the changed tables. Call it from one thread at a time. Raises ``WarehouseBusy``."""
        stamp, began = warehouse.state(), time.monotonic()
        with self.open() as connection, warehouse.attached_to(connection), transaction(connection):
            changed = {table: key for table, key in _keys(connection).items() if self._keys.get(table) != key}
            for table in changed:
                what = COPIED[table][0]
                connection.execute(f"CREATE OR REPLACE TABLE {self._name}.{table} AS SELECT {what} FROM {table}")
        if "sync.settings" in changed:
            with self.open() as connection:
                schema.show_mapped_changes(connection, read_mapping(connection))
        self._keys |= changed
        self._stamp, self.as_of = stamp, now()
        self.generation += bool(changed)
        self._renewed_at = time.monotonic()
        self._cost = self._renewed_at - began

    def cached(self, name: str, ask: Callable[[], Found]) -> Found:
        """Return the answer of ``ask``, which is called once for each state of the copy."""
        generation = self.generation
        if self._kept.get(name, (-1, None))[0] != generation:
            self._kept[name] = generation, ask()
        answer: Found = self._kept[name][1]
        return answer

    @property
    def _name(self) -> str:
        return f'"{self.file.stem}"'


class ReadReplica:
    """Both ways to the data: pages read ``copy``, and decisions go to the warehouse through ``writing``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._door = threading.Lock()  # two databases of one process must not both open the file
        self._waits_again_at = 0.0
        self._ended = threading.Event()
        self._looking = threading.Thread(target=self._look, name="read copy", daemon=True)
        self.warehouse = open_warehouse(settings, WAIT_SECONDS)
        self._free_or_not_at_all = open_warehouse(settings, 0)
        settings.bms_pipeline_home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.copy = ReadCopy(_own_file(settings.bms_pipeline_home))

    def start(self) -> None:
        """Make the copy, and follow the warehouse from now on."""
        self.refresh(at_once=True)
        self._looking.start()

    def close(self) -> None:
        """Stop following the warehouse, and remove the copy."""
        self._ended.set()
        if self._looking.is_alive():
            self._looking.join()
        with self._door:
            self.copy.close()

    def refresh(self, *, at_once: bool = False) -> None:
        """Renew the copy if it is due and possible now. An active run is never waited for.

        A page opened just after a run should show its result. Wait for any other process with the warehouse open,
        such as a copy in progress or the command printing the result. Do not wait again after a recent timeout.
        """
        waits = at_once or (time.monotonic() >= self._waits_again_at and not self.is_run_active)
        is_due = waits or (self.copy.is_quick and not self.copy.rests)
        if not is_due or not self.copy.is_behind(self.warehouse):
            return
        if not self._door.acquire(timeout=WAIT_SECONDS if waits else 0):
            return
        try:
            if self.copy.is_behind(self.warehouse):
                self.copy.renew(self.warehouse if waits else self._free_or_not_at_all)
        except WarehouseBusy:
            if waits:
                self._waits_again_at = time.monotonic() + IN_VAIN_SECONDS
        finally:
            self._door.release()

    @contextlib.contextmanager
    def writing(self, by: str) -> Iterator[Warehouse]:
        """Yield the warehouse for a decision by ``by``, in a run of its own, then copy the decision.

        Raises ``RunLocked`` or ``WarehouseBusy`` when a run is active for longer than a person wants to wait.
        """
        if not self._door.acquire(timeout=WAIT_SECONDS):
            raise WarehouseBusy(
                "The console is copying what a run wrote, or another person's decision is being taken.",
                "Try again in a moment.",
            )
        try:
            with (
                kept_open(),
                run_lock.running(self._settings, RunName(f"{by} in the review console", RunKind.CONSOLE), WAIT_SECONDS),
                self.warehouse.open(),
            ):
                yield self.warehouse
            with contextlib.suppress(WarehouseBusy):
                self.copy.renew(self.warehouse)
        finally:
            self._door.release()

    @property
    def is_run_active(self) -> bool:
        """Whether a run is at work; decisions have to wait then."""
        run = read_status(open_state(self._settings))
        return run is not None and run.is_running

    def _look(self) -> None:
        is_loaded = False
        while not self._ended.wait(LOOK_EVERY_SECONDS):
            try:
                if not is_loaded:
                    # Loading the module for suggestions takes seconds: nobody should wait for it at the first ones.
                    importlib.import_module("bms_pipeline.reconcile.suggestions")
                    is_loaded = True
                self._follow()
            except Exception:
                # After any error, the pages have to follow the warehouse again as soon as possible.
                _log.exception("What the pages read could not be renewed; that is tried again.")
                self._ended.wait(IN_VAIN_SECONDS)

    def _follow(self) -> None:
        """Renew the copy if there is something new and the warehouse is free."""
        if not self.copy.is_behind(self.warehouse) or (self.copy.rests and self.is_run_active):
            return
        if not self._door.acquire(blocking=False):
            return
        try:
            with contextlib.suppress(PipelineError):  # the next decision reports a broken database
                self.copy.renew(self._free_or_not_at_all)
        finally:
            self._door.release()


def _own_file(folder: Path) -> Path:
    """Return the file for this process's copy, and remove the copies of killed processes."""
    for file in folder.glob("console_*.duckdb*"):
        owner = file.name.removeprefix("console_").partition(".")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            file.unlink(missing_ok=True)
    return folder / f"console_{os.getpid()}.duckdb"


def _keys(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return table → a text identifying its state in the attached warehouse; a mapping may have added columns."""
    columns = dict(
        connection.execute(
            "SELECT schema_name || '.' || table_name, count(*) FROM duckdb_columns()"
            " WHERE database_name = current_database() GROUP BY ALL"
        ).fetchall()
    )
    return {
        table: f"{(connection.execute(key.format(table=table)).fetchone() or ('',))[0]} {columns.get(table)}"
        for table, (_, key) in COPIED.items()
    }
