"""One run at a time: who holds the home folder, from its first write to its end, with a copy made at the end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import duckdb

from bms_pipeline.core import errors
from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import (
    PipelineError,
)
from bms_pipeline.core.files import clear_unfinished
from bms_pipeline.core.run_status import RunName
from bms_pipeline.core.settings import Settings
from bms_pipeline.plan import standings
from bms_pipeline.reconcile import matching
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import HeldLock, LockName
from bms_pipeline.state.recording import RunStatusWriter, recording
from bms_pipeline.sync.state_file import write_state
from bms_pipeline.warehouse import backups, decision_log, lease
from bms_pipeline.warehouse.connection import Warehouse, now, open_warehouse, transaction

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def running(
    settings: Settings, name: RunName | str = "A command", wait_seconds: float = 0
) -> Iterator[RunStatusWriter]:
    """Hold the home folder for one run at a time, and publish the state at the end.

    ``name`` names the run to anybody who waits for the lock; a text alone is a command. The yielded ``Progress`` writes
    the run status, which other processes read. Raises ``RunLocked``, naming the owner, when another
    run holds the lock for longer than ``wait_seconds``.
    """
    warehouse, state = open_warehouse(settings), open_state(settings)
    name = RunName(name) if isinstance(name, str) else name
    with (
        state.locked(LockName.RUN, name.label, now(), wait_seconds) as lock,
        recording(state, name) as telling,
    ):
        for folder in (settings.bms_pipeline_home, backups.backups_folder(warehouse.file), settings.import_folder):
            clear_unfinished(folder)
        try:
            with warehouse.transaction() as connection:
                if warehouse.has_second_copies:
                    decision_log.check_log(connection, warehouse.file)
                lease.take(connection, warehouse.file, name, now(), lock)
            warehouse.take_over()
        except BaseException:
            lease.give_back(warehouse.file)
            raise
        try:
            yield telling
        except BaseException as error:
            with contextlib.suppress(PipelineError):  # it must not hide what went wrong first
                _end(settings, warehouse, lock, errors.describe(error)[0])
            raise
        else:
            _end(settings, warehouse, lock)
        finally:
            lease.give_back(warehouse.file)


def _end(settings: Settings, warehouse: Warehouse, lock: HeldLock, failed_because: str | None = None) -> None:
    lock.check()
    with warehouse.open() as connection:
        if standings.is_taken_apart(connection):
            with transaction(connection):
                matching.reconcile_all(connection, ENTITIES)
        lease.end(connection, warehouse.file, now(), failed_because)
        write_state(settings, warehouse, _back_up(connection, warehouse))


def _back_up(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> str:
    """Back up people's decisions where any changed; return why it failed, or "". A failure does not undo the run."""
    try:
        if warehouse.has_second_copies:
            backups.make_if_due(connection, warehouse.file, now())
    except PipelineError as error:
        _log.warning("No copy of people's decisions could be made. %s %s", error.message, error.next_step)
        return error.message
    return ""
