"""The state in PostgreSQL: rows in a schema of the tenant's own, and a lock bound to its session.

Each lock has a session of its own. PostgreSQL ends an advisory lock together with its session: when the process dies,
and half a minute after the machine or the network is gone. A run whose session is gone writes nothing more.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import msgspec
import psycopg
from psycopg import sql

from bms_pipeline.core import processes
from bms_pipeline.core.errors import LockLost, RunLocked
from bms_pipeline.state.address import Address
from bms_pipeline.state.postgres_calls import PostgresCalls
from bms_pipeline.state.protocol import LockName, Owner, StateDocument, owner_in
from bms_pipeline.state.session import Connection, PostgresSession

_TABLES = {
    "documents": "name TEXT PRIMARY KEY, content BYTEA NOT NULL, written_at TIMESTAMPTZ NOT NULL",
    "import_files": "name TEXT PRIMARY KEY, content BYTEA NOT NULL, written_at TIMESTAMPTZ NOT NULL",
    "before_images": "name TEXT PRIMARY KEY, content BYTEA NOT NULL, written_at TIMESTAMPTZ NOT NULL",
    "endpoints": "endpoint TEXT PRIMARY KEY",
    "recent_calls": "endpoint TEXT, span BIGINT, n INTEGER NOT NULL, PRIMARY KEY (endpoint, span)",
}
_LOOK_EVERY_SECONDS = 0.25
"""How often a lock held by somebody else is tried."""

_PUT = """
INSERT INTO {schema}.{table} (name, content, written_at) VALUES (%s, %s, now())
ON CONFLICT (name) DO UPDATE SET content = excluded.content, written_at = excluded.written_at
"""
_MOVE = """
WITH moved AS (DELETE FROM {schema}.{table} WHERE name = %s RETURNING content, written_at)
INSERT INTO {schema}.{table} (name, content, written_at) SELECT %s, content, written_at FROM moved
ON CONFLICT (name) DO UPDATE SET content = excluded.content, written_at = excluded.written_at
"""
_HOLDS = """
SELECT 1 FROM pg_locks
WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::BIGINT << 32) | objid::BIGINT) = %s
"""


def schema_of(tenant: str) -> str:
    """Return the schema of a tenant, so two tenants in one database never meet."""
    return f"bms_pipeline_{tenant}" if tenant else "bms_pipeline"


def lock_key(schema: str, name: str) -> int:
    """Return the number of an advisory lock: PostgreSQL knows them by number, and all schemas share the numbers."""
    return int.from_bytes(hashlib.sha256(f"{schema}/{name}".encode()).digest()[:8], "big", signed=True)


class PostgresLock:
    """An advisory lock, held by ``connection``."""

    def __init__(self, connection: Connection, key: int, place: str) -> None:
        self._connection = connection
        self._key = key
        self._place = place
        self._is_lost = False

    def check(self) -> None:
        """See ``HeldLock.check``. A lock lost once stays lost: somebody else may have had it in between."""
        if not self._is_lost:
            try:
                self._is_lost = self._connection.execute(_HOLDS, [self._key]).fetchone() is None
            except psycopg.Error:
                self._is_lost = True
        if self._is_lost:
            raise LockLost(
                f"The session that held the lock of this run in {self._place} was lost, so another run may be at work."
                " This run writes nothing more.",
                "What was done is kept. Run again when PostgreSQL answers: it goes on from there.",
            )

    def release(self) -> None:
        """Give the lock back. A lost session has no lock any more."""
        with contextlib.suppress(psycopg.Error):
            self._connection.execute("SELECT pg_advisory_unlock(%s)", [self._key])


class PostgresFiles:
    """The files in ``table``. ``hint``: how a person gets them, for ``place``."""

    def __init__(self, state: PostgresState, table: str, hint: str = "") -> None:
        self._state = state
        self._table = table
        self._hint = hint

    @property
    def place(self) -> str:
        """See ``StateFiles.place``."""
        return f"{self._state.place}{self._hint}"

    def named(self, name: str) -> str:
        """See ``StateFiles.named``."""
        return f"{name} in {self._state.place}"

    def names(self) -> Sequence[str]:
        """See ``StateFiles.names``."""
        query = f"SELECT name FROM {{schema}}.{self._table} WHERE strpos(name, '/') = 0"
        return sorted(str(name) for (name,) in self._state.rows(query))

    def read(self, name: str) -> bytes | None:
        """See ``StateFiles.read``."""
        return self._state.content(self._table, name)

    def write(self, name: str, content: bytes) -> None:
        """See ``StateFiles.write``."""
        self._state.put(self._table, name, content)

    def move(self, name: str, to: str) -> None:
        """See ``StateFiles.move``."""
        self._state.rows(_MOVE.format(schema="{schema}", table=self._table), name, to)


class PostgresState:
    """The state of ``tenant`` in the database at ``address``."""

    is_shared = True

    def __init__(self, address: Address, tenant: str) -> None:
        self._address = address
        self._schema = schema_of(tenant)
        self._reached = threading.Event()
        self._session = self._new_session()
        hint = " (`bms-pipeline pending-imports --save FOLDER` writes them into a folder)"
        self.import_files = PostgresFiles(self, "import_files", hint)
        self.before_images = PostgresFiles(self, "before_images")

    def __repr__(self) -> str:
        return f"PostgresState({self.place})"

    @property
    def place(self) -> str:
        """See ``StateStore.place``."""
        return f"{self._address}, schema {self._schema}"

    def named(self, document: StateDocument) -> str:
        """See ``StateStore.named``."""
        return f"The document {document} in {self.place}"

    @contextlib.contextmanager
    def locked(self, name: LockName, what: str, now: datetime, wait_seconds: float = 0) -> Iterator[PostgresLock]:
        """See ``StateStore.locked``: an advisory lock, and the document ``<name>.owner`` for the message."""
        process = processes.this_process()
        owner = Owner(what, process.pid, f"{now:%Y-%m-%d %H:%M:%S}", process)
        session, key = self._new_session(), lock_key(self._schema, name)
        with session.kept(), self._session.kept():
            lock = PostgresLock(self._acquired(session, key, name, wait_seconds), key, self.place)
            try:
                self.put("documents", f"{name}.owner", msgspec.json.encode(owner))
                yield lock
            finally:
                lock.release()

    def _acquired(self, session: PostgresSession, key: int, name: LockName, wait_seconds: float) -> Connection:
        """Return the connection with the lock. A connection lost before that lost nothing."""

        def attempt(connection: Connection) -> Connection | None:
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone()
            return connection if row and row[0] else None

        give_up = time.monotonic() + wait_seconds
        while (connection := session.run(attempt)) is None:
            if time.monotonic() + _LOOK_EVERY_SECONDS > give_up:
                raise RunLocked(
                    f"{owner_in(self.content('documents', f'{name}.owner'))} is at work in {self.place}.",
                    "Let it finish, or stop it; what it has done is kept and the next run continues. Where its machine"
                    " is gone, the lock ends by itself within a minute.",
                )
            time.sleep(_LOOK_EVERY_SECONDS)
        return connection

    def read(self, document: StateDocument) -> bytes | None:
        """See ``StateStore.read``."""
        return self.content("documents", document)

    def write(self, document: StateDocument, content: bytes, *, patiently: bool = True) -> None:
        """See ``StateStore.write``."""
        self.put("documents", document, content, patiently=patiently)

    def forget(self, document: StateDocument) -> None:
        """See ``StateStore.forget``."""
        self.rows("DELETE FROM {schema}.documents WHERE name = %s", document)

    def calls(self, clock: Callable[[], float]) -> PostgresCalls:
        """See ``StateStore.calls``: hosts may differ in their clocks, so PostgreSQL's counts."""
        return PostgresCalls(self._session, self._schema)

    def rows(self, query: str, *values: object, patiently: bool = True) -> list[tuple[object, ...]]:
        """Return the rows of ``query``, in which ``{schema}`` is the tenant's own."""
        worded = sql.SQL(query).format(schema=sql.Identifier(self._schema))

        def ask(connection: Connection) -> list[tuple[object, ...]]:
            found = connection.execute(worded, values)
            return found.fetchall() if found.description else []

        return self._session.run(ask, patiently=patiently)

    def content(self, table: str, name: str) -> bytes | None:
        """Return the content of this name in ``table``; None where there is none."""
        rows = self.rows(f"SELECT content FROM {{schema}}.{table} WHERE name = %s", str(name))
        return bytes(rows[0][0]) if rows else None  # type: ignore[call-overload]

    def put(self, table: str, name: str, content: bytes, *, patiently: bool = True) -> None:
        """Store ``content`` under this name in ``table``."""
        self.rows(_PUT.format(schema="{schema}", table=table), str(name), content, patiently=patiently)

    def _new_session(self) -> PostgresSession:
        return PostgresSession(self._address, self.place, self._prepare, self._reached)

    def _prepare(self, connection: Connection) -> None:
        """Create the schema and its tables where one is missing; two starts at once do not race."""
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [self._schema]).fetchall()
        if {row[0] for row in found} >= _TABLES.keys():
            return
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(self._schema, "tables")])
            schema = sql.Identifier(self._schema)
            if not connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [self._schema]).fetchone():
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
            for table, columns in _TABLES.items():
                created = f"CREATE TABLE IF NOT EXISTS {{}}.{table} ({columns})"
                connection.execute(sql.SQL(created).format(schema))
