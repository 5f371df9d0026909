"""Dagster's event log for ``dagster.yaml``: its SQLite log, kept open and not flushed for each event.

Dagster opens and closes the file for every event and makes the disk confirm each. This takes 25 ms an event where disks
are slow or busy. A run has hundreds of events, a backfill of 500 clients 2,000. Kept open, and with SQLite's
``synchronous = NORMAL``, an event takes about 1 ms (``docs/measurements.md``). A killed process still loses nothing. A
power cut can lose the last moments of this history, never the file. The pipeline's own journal, not these events,
records what was loaded.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from dagster import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData

from bms_pipeline.core.settings import read_settings
from bms_pipeline.defs.instance.env_file import as_exported

OPEN_AT_MOST = 16
"""Open files: one for each run somebody looks at, and the index. The least recently used one is closed first."""


class EventLog(SqliteEventLogStorage):
    """The event log of ``$DAGSTER_HOME``, in the place of Dagster's default log; each reads what the other wrote."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, sqlalchemy.Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> Any:  # noqa: ANN401  # Dagster's own signature
        """Return an empty configuration: the log lives where ``$DAGSTER_HOME`` is."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> EventLog:
        """Create the log below ``$DAGSTER_HOME``, or below the Dagster home of our settings where nothing is exported.

        Dagster's tools then read a ``dagster.yaml`` of the current folder, without a home.
        """
        as_exported()
        home = Path(os.environ.get("DAGSTER_HOME") or read_settings().dagster_folder)
        return cls(str(home / "history" / "runs"), inst_data)

    def store_event(self, event: EventLogEntry) -> None:
        """Store ``event``, and let the pages following this run know."""
        super().store_event(event)
        # Pages watch this file. SQLite changes it only at a checkpoint and writes new events into a second file.
        os.utime(self.path_for_shard(event.run_id))

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sqlalchemy.Connection]:
        if shard not in self._initialized_dbs:
            with super()._connect(shard):
                pass  # makes the tables
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> sqlalchemy.Engine:
        """Return the file's engine, which holds its one connection."""
        if shard in self._engines:
            self._engines.move_to_end(shard)
            return self._engines[shard]
        engine = sqlalchemy.create_engine(
            self.conn_string_for_shard(shard),
            # One connection, because the lock lets one thread in at a time.
            pool_size=1,
            max_overflow=0,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        sqlalchemy.event.listen(engine, "connect", _relax)
        self._engines[shard] = engine
        while len(self._engines) > OPEN_AT_MOST:
            self._engines.popitem(last=False)[1].dispose()
        return engine

    def dispose(self) -> None:
        """Close every file."""
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()


def _relax(connection: Any, _: object) -> None:  # noqa: ANN401  # the database driver's own
    connection.execute("PRAGMA synchronous = NORMAL")
