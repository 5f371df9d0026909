"""The warehouse without a shared disk: a DuckLake, with its catalog in PostgreSQL and its data in a folder or a bucket.

The SQL of every stage is the same; only this module knows the difference::

    Warehouse       warehouse.duckdb ── one process at a time opens the file
    LakeWarehouse   PostgreSQL: catalog and small changes ──┐
                    folder or s3://: Parquet files ─────────┴── any process of any machine attaches both

A process attaches the lake once and keeps it: nobody is kept out by that, and attaching takes 0.3 s. Each ``open`` is
a connection of its own to it. The home folder holds only what belongs to one run: pages, and the files of portions.

Two runs overlap only after a lock was lost. Then each transaction of the replaced run is refused (``lease.touch``), and
each of its calls is (``begin_portion``). The file of a portion stays in its home folder. So a run from another home
knows of the operations of a killed one only that they may have left: see ``take_over``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import psycopg
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from bms_pipeline.core.errors import PipelineError, SettingsError, WarehouseBusy, WarehouseError, WarehouseUnreachable
from bms_pipeline.core.http import is_loopback
from bms_pipeline.core.settings import Settings
from bms_pipeline.state.address import read_address
from bms_pipeline.state.session import is_refused_login
from bms_pipeline.warehouse import causes, lease, maintenance, names, outcomes, portions, schema, sql
from bms_pipeline.warehouse.connection import CONFIG, WAIT_SECONDS, Warehouse, now
from bms_pipeline.warehouse.maintenance import Maintained

NAME = "warehouse"
"""The lake's name in the SQL of a process after attaching it."""
_EXTENSIONS = {"duckdb_extension_ducklake": "ducklake", "duckdb_extension_postgres_scanner": "postgres_scanner"}
"""Package → the extension in it."""
_S3 = {"duckdb_extension_httpfs": "httpfs"}
_PATIENT = {
    "application_name": "bms_pipeline",
    "connect_timeout": "10",
    # A machine that vanished without a word is noticed within a minute.
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
_SERVER_ERRORS = 500
"""The statuses of an answer from here on say that the service is in trouble; those below, that it refuses."""
_NOT_KEPT = "What was committed before is kept; run the same command again: it continues where it stopped."


@dataclass(frozen=True)
class Lake:
    """Where a tenant's lake is. ``schema``: the schema of its catalog in PostgreSQL. ``spill``: for large sorts.

    ``bucket``: SQL with its keys and place, where ``folder`` is in one.
    """

    state: SecretStr
    folder: str
    schema: str
    spill: Path
    bucket: SecretStr

    @cached_property
    def postgres(self) -> dict[str, Any]:
        """The parts of the connection to PostgreSQL. Raises ``SettingsError`` where they cannot be read."""
        return {**_PATIENT, **read_address(self.state.get_secret_value()).parameters}

    @property
    def name(self) -> str:
        """Its name in the SQL of a process after attaching it."""
        return NAME

    def __str__(self) -> str:
        """Return where the catalog is, without the password."""
        where = self.postgres
        return f"the lake {self.schema} in PostgreSQL at {where.get('host', 'localhost')}/{where.get('dbname', '')}"

    @contextlib.contextmanager
    def session(self) -> Iterator[psycopg.Connection]:
        """Yield a transaction of its own in PostgreSQL. Raises ``WarehouseUnreachable``."""
        try:
            with psycopg.connect(make_conninfo("", **self.postgres)) as session:
                yield session
        except psycopg.OperationalError as error:
            raise _Unreachable(
                f"PostgreSQL does not answer for {self}. ({causes.one_line(error)})",
                f"Start PostgreSQL, or correct BMS_PIPELINE_STATE. {_NOT_KEPT}",
            ).of(error) from None

    def exists(self) -> bool:
        """Return whether the catalog was ever made."""
        with self.session() as session:
            table = f'"{self.schema}".ducklake_snapshot'
            return session.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone() == (True,)

    def attach(self, connection: duckdb.DuckDBPyConnection, *, read_only: bool = False) -> None:
        """Attach the lake to a database in memory or in a file, as ``NAME``."""
        where = dict(self.postgres)
        password = where.pop("password", "")
        for extension in _extensions(self.folder):
            connection.execute(f"LOAD {sql.quoted(str(extension))}")
        # A secret appears in no error, and in no list of databases.
        connection.execute(f"CREATE OR REPLACE SECRET state (TYPE postgres, PASSWORD {sql.quoted(password)})")
        if self.folder.startswith("s3://"):
            bucket = self.bucket.get_secret_value()
            connection.execute(f"CREATE OR REPLACE SECRET bucket (TYPE s3, {bucket})")
        else:
            Path(self.folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        catalog = sql.quoted(f"ducklake:postgres:{make_conninfo('', **where)}")
        options = f"DATA_PATH {sql.quoted(self.folder)}, METADATA_SCHEMA '{self.schema}', META_SECRET 'state'"
        connection.execute(f"ATTACH {catalog} AS {NAME} ({options}{', READ_ONLY' if read_only else ''})")


class _Unreachable(WarehouseUnreachable):
    """PostgreSQL did not answer. ``is_refusal``: it may have refused the log-in; then waiting does not help."""

    is_refusal = False

    def of(self, error: psycopg.OperationalError) -> _Unreachable:
        """Take over what the failed connection knows."""
        self.is_refusal = is_refused_login(error)
        return self


def lake_of(settings: Settings) -> Lake:
    """Return the lake of these settings: each tenant has a schema and a folder of its own."""
    tenant = f"bms_lake_{settings.bms_pipeline_name}" if settings.bms_pipeline_name else "bms_lake"
    folder = f"{settings.bms_pipeline_lake.rstrip('/')}/{tenant}/"
    spill = settings.bms_pipeline_home / "spill"
    return Lake(settings.bms_pipeline_state, folder, tenant, spill, _bucket_of(settings))


class LakeWarehouse(Warehouse):
    """The lake and how to get at it, for the same SQL as the file.

    PostgreSQL is waited for up to ``wait_seconds`` where nothing has begun yet. In the middle of a transaction its end
    is an error, and nothing of that transaction is kept. Raises ``WarehouseUnreachable``, and ``RunLocked`` where
    another run took over.
    """

    has_second_copies = False

    def __init__(self, settings: Settings, wait_seconds: float = WAIT_SECONDS) -> None:
        super().__init__(settings.warehouse_file, wait_seconds)
        self.lake = lake_of(settings)

    def __str__(self) -> str:
        """Return where the catalog is."""
        return str(self.lake)

    def exists(self) -> bool:
        """Return whether anything was ever stored."""
        return self.lake.exists()

    def state(self) -> object:
        """Return the number of the newest snapshot."""
        with self._explained(), self._attached().cursor() as connection:
            return connection.execute(f"FROM ducklake_current_snapshot('{NAME}')").fetchone()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """See ``Warehouse.transaction``. A refused commit of a replaced run is ``RunLocked``."""
        try:
            with super().transaction() as connection:
                yield connection
        except _Refused as refused:
            with self.open() as connection:
                lease.check_lease(connection, self.file)
            raise refused from None

    def take_over(self) -> None:
        """Also count the open operations of another home's run from now on: their marks are in that home's files.

        Whether they left is looked up in Passportal, and they are not sent again before their time has passed.
        """
        super().take_over()
        noted = [portions.portion_number(file) for file in portions.files_of(self.file)]
        with self.transaction() as connection:
            outcomes.count_from(connection, noted, now())

    def begin_portion(self, number: int) -> portions.Portion:
        """Make the file of portion ``number``. Before each mark, look whether this run still holds the lease."""

        def check() -> None:
            with self._explained(), self._connected() as connection:
                lease.check_lease(connection, self.file)

        return portions.begun(self.file, number, check)

    @contextlib.contextmanager
    def attached_to(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """See ``Warehouse.attached_to``. It stays attached afterwards, because that keeps nobody out."""
        with self._explained():
            with self.open():
                pass
            (home,) = connection.execute("SELECT current_database()").fetchone() or ("memory",)
            if not _is_attached(connection):
                self.lake.attach(connection, read_only=True)
            try:
                connection.execute(f"USE {NAME}")
                yield
            finally:
                connection.execute(f'USE "{home}"')

    def _check_lease(self, connection: duckdb.DuckDBPyConnection) -> None:
        if lease.check_lease(connection, self.file):
            lease.touch(connection)

    def _before_migration(self, connection: duckdb.DuckDBPyConnection, number: int) -> None:
        """Make no copy: PostgreSQL's own backups hold the catalog, and DuckLake keeps the data of earlier snapshots."""

    def _attached(self, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        """Return this process's database in memory with the lake attached."""
        key = os.getpid(), self.lake, read_only
        with _attaching:
            if key not in _instances:
                lock = contextlib.nullcontext() if read_only else self._only_one()
                with lock:
                    _instances[key] = self._newly_attached(read_only=read_only)
            return _instances[key]

    def maintain(self, now: datetime) -> Maintained:
        """See ``maintenance``."""
        return maintenance.maintain(self, now)

    def detach(self) -> None:
        """Let go of the lake in this process, with all connections to PostgreSQL."""
        with _attaching:
            for key in [key for key in _instances if key[1] == self.lake]:
                _instances.pop(key).close()

    def _newly_attached(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        spill = self.lake.spill
        spill.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = duckdb.connect(":memory:", config={**CONFIG, "temp_directory": str(spill)})
        try:
            names.register_functions(connection)
            self.lake.attach(connection, read_only=read_only)
            if not read_only:
                with _using(connection) as using:
                    self._prepare(using)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[None]:
        """Hold the lock for making and migrating this tenant's tables; it ends with the process."""
        with self.lake.session() as session:
            session.execute("SELECT set_config('lock_timeout', %s, true)", [f"{max(self._wait_seconds, 1):.0f}s"])
            try:
                session.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [self.lake.schema])
            except psycopg.errors.LockNotAvailable:
                raise WarehouseBusy(
                    f"Another process makes or migrates the tables of {self}; waited {self._wait_seconds:.0f} s.",
                    "Let it finish, then run again.",
                ) from None
            yield

    def _migrate(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make or migrate the tables, and give each empty one statistics.

        DuckLake asks PostgreSQL for the statistics of a table that never had a row six times in each statement, each
        time it is named there. They are most of the round trips of a small tenant (measured).
        """
        super()._migrate(connection)
        for table in schema.tables_of(connection):
            if connection.execute(f"FROM {table} LIMIT 1").fetchone() is None:
                column = connection.execute(f"DESCRIBE {table}").fetchall()[0][0]
                connection.execute(f"INSERT INTO {table} ({column}) VALUES (NULL)")
                connection.execute(f"DELETE FROM {table}")

    def _connected_read_only(self) -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
        return _using(self._attached(read_only=True))

    @contextlib.contextmanager
    def _connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        give_up, was_refused = time.monotonic() + self._wait_seconds, False
        with contextlib.ExitStack() as held:
            while True:
                try:
                    connection = held.enter_context(_using(self._attached()))
                    break
                except (duckdb.IOException, _Unreachable) as error:
                    is_refused = isinstance(error, _Unreachable) and error.is_refusal
                    if time.monotonic() > give_up or (is_refused and was_refused):
                        raise
                    was_refused = is_refused
                    time.sleep(0.3)
            yield connection

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except PipelineError:
            raise
        except (duckdb.Error, OSError, MemoryError) as error:
            explained = self._cause(error)
            if explained is None:
                raise
            raise explained from error

    def _cause(self, error: duckdb.Error | OSError | MemoryError) -> WarehouseError | None:
        """Return the error for a person; None where ``error`` is a fault of the statement."""
        found = causes.found_in(error)
        if found.memory or found.number is not None or not isinstance(error, duckdb.Error):
            return causes.explain_error(error, found.file or self.lake.spill)
        try:
            with self.lake.session():
                pass
        except WarehouseUnreachable as unreachable:
            return unreachable
        if isinstance(error, duckdb.TransactionException):
            return _Refused(
                f"{self} did not commit: another process wrote the same rows, or PostgreSQL ended the connection."
                f" Nothing of this step was kept. ({causes.one_line(error)})",
                _NOT_KEPT,
            )
        if isinstance(error, duckdb.HTTPException) and error.status_code < _SERVER_ERRORS:
            return WarehouseUnreachable(
                f"The bucket refused {self.lake.folder}. Nothing of this step was kept. ({causes.one_line(error)})",
                f"Correct BMS_PIPELINE_LAKE or the AWS_ settings, or let the key read, write, list and delete there."
                f" {_NOT_KEPT}",
            )
        if isinstance(error, duckdb.IOException | duckdb.HTTPException) or type(error) is duckdb.Error:
            return WarehouseUnreachable(
                f"The connection to {self} or to its data in {self.lake.folder} was lost. Nothing of this step was"
                f" kept. ({causes.one_line(error)})",
                _NOT_KEPT,
            )
        return None


class _Refused(WarehouseBusy):
    """PostgreSQL or DuckLake refused a commit."""


_instances: dict[tuple[int, Lake, bool], duckdb.DuckDBPyConnection] = {}
"""Process, lake and whether it is read-only → a database in memory with the lake attached."""
_attaching = threading.Lock()


@contextlib.contextmanager
def _using(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection of its own to a database with the lake, for SQL that does not name it.

    Raises ``duckdb.IOException`` where PostgreSQL does not answer.
    """
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(f"USE {NAME}")
        yield cursor


def _is_attached(connection: duckdb.DuckDBPyConnection) -> bool:
    query = "SELECT count(*) FROM duckdb_databases() WHERE database_name = ?"
    return connection.execute(query, [NAME]).fetchone() == (1,)


def _extensions(folder: str) -> list[Path]:
    """Return the files of the needed extensions, from the installed packages: nothing is downloaded."""
    found = []
    for package, extension in {**_EXTENSIONS, **(_S3 if folder.startswith("s3://") else {})}.items():
        spec = importlib.util.find_spec(package)
        folders = list(spec.submodule_search_locations or []) if spec else []
        files = [Path(at, "extensions", f"v{duckdb.__version__}", f"{extension}.duckdb_extension") for at in folders]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise SettingsError(
                f"BMS_PIPELINE_LAKE needs the package {package.replace('_', '-')} for DuckDB {duckdb.__version__}.",
                "Install bms-pipeline with the extra `scale`, which has the one DuckDB that these packages exist for.",
                {"BMS_PIPELINE_LAKE": "needs the extra `scale`"},
            )
        found.append(file)
    return found


def _bucket_of(settings: Settings) -> SecretStr:
    """Return SQL for the bucket's keys and place. A service that is not Amazon's has the bucket's name in the path."""
    endpoint = settings.aws_endpoint_url_s3 or settings.aws_endpoint_url
    given = {
        "KEY_ID": settings.aws_access_key_id,
        "SECRET": settings.aws_secret_access_key.get_secret_value(),
        "SESSION_TOKEN": settings.aws_session_token.get_secret_value(),
        "REGION": settings.aws_region or settings.aws_default_region,
        **({"ENDPOINT": _checked_endpoint(endpoint), "URL_STYLE": "path"} if endpoint else {}),
    }
    options = [f"{name} {sql.quoted(value)}" for name, value in given.items() if value]
    return SecretStr(", ".join([*options, *(["USE_SSL false"] if endpoint.startswith("http://") else [])]))


def _checked_endpoint(address: str) -> str:
    """Return host, port and path of the address of a bucket's service. Raises ``SettingsError``."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        raise SettingsError(
            "AWS_ENDPOINT_URL is no https://HOST. Plain http:// is accepted for this machine itself only.",
            "Correct AWS_ENDPOINT_URL, or AWS_ENDPOINT_URL_S3, which goes before it.",
            {"AWS_ENDPOINT_URL": "has to begin with https:// and a host"},
        )
    return f"{parts.netloc}{parts.path}".rstrip("/")
