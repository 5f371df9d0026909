"""A session of PostgreSQL: opened when it is needed, shared by threads, and opened again after it was lost.

A lost connection is waited for with bounded patience. Whatever runs here may run twice, because nobody knows whether a
lost ``COMMIT`` took place::

    run(work) ─▶ connected? ─▶ work ─▶ done
                    ▲            │ lost, or the server is starting
                    └─── pause ◀─┴─▶ patience is over ─▶ StateUnreachable
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import psycopg
from psycopg import errors as refusals
from psycopg.rows import TupleRow

from bms_pipeline.core.errors import StateUnreachable
from bms_pipeline.state.address import Address

wait = time.sleep
Connection = psycopg.Connection[TupleRow]
Done = TypeVar("Done")

PATIENCE_SECONDS = 30.0
"""How long a lost PostgreSQL is waited for: longer than its restart."""
FIRST_SECONDS = 10.0
"""The same for a PostgreSQL that this process never reached: its address may be wrong."""
REST_SECONDS = 5.0
"""Who does not wait for a lost PostgreSQL does not look for it again for this long."""

_PARAMETERS: dict[str, str] = {
    "connect_timeout": "5",
    # Whoever has lost the other side knows it within half a minute.
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
_SET_UP = """
SELECT set_config(name, value, false)
FROM (VALUES
    -- The server notices within half a minute, too, that the other side is gone. Then its locks end.
    ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'),
    ('statement_timeout', '30s'), ('lock_timeout', '20s'), ('idle_session_timeout', '0')
) AS wanted (name, value)
JOIN pg_settings USING (name)
"""
_PASSING = (
    refusals.AdminShutdown,
    refusals.CrashShutdown,
    refusals.CannotConnectNow,
    refusals.TooManyConnections,
    refusals.SerializationFailure,
    refusals.DeadlockDetected,
    refusals.LockNotAvailable,
    refusals.ReadOnlySqlTransaction,
)
"""What the server refuses now, and may grant in a moment."""


class PostgresSession:
    """One connection to ``address``; ``prepare`` runs on each new one. ``place`` names it in messages.

    ``reached`` is set once PostgreSQL was reached, and shared by the sessions of a process.
    """

    def __init__(
        self, address: Address, place: str, prepare: Callable[[Connection], None], reached: threading.Event
    ) -> None:
        self._address = address
        self._place = place
        self._prepare = prepare
        self._reached = reached
        self._door = threading.RLock()
        self._connection: Connection | None = None
        self._users = 0
        self._rests_until = 0.0

    def run(self, work: Callable[[Connection], Done], *, patiently: bool = True) -> Done:
        """Return the result of ``work``, which may run twice. Raises ``StateUnreachable``."""
        if not self._door.acquire(timeout=PATIENCE_SECONDS if patiently else 1.0):
            raise self._unreachable("another thread waits for it")
        try:
            if not patiently and time.monotonic() < self._rests_until:
                raise self._unreachable("it did not a moment ago")
            seconds = PATIENCE_SECONDS if self._reached.is_set() else FIRST_SECONDS
            return self._patiently(work, seconds if patiently else 0)
        finally:
            if not self._users:
                self.drop()
            self._door.release()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the connection open until the end."""
        self.keep()
        try:
            yield
        finally:
            self.let_go()

    def keep(self) -> None:
        """Keep the connection open until ``let_go``."""
        with self._door:
            self._users += 1

    def let_go(self) -> None:
        """Close the connection, unless somebody else keeps it open."""
        with self._door:
            self._users -= 1
            if not self._users:
                self.drop()

    def connected(self) -> Connection:
        """Return the connection as it is; open one where there is none."""
        if self._connection is None or self._connection.closed:
            self._connection = _connect(self._address)
            self._prepare(self._connection)
            self._reached.set()
        return self._connection

    def drop(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def _patiently(self, work: Callable[[Connection], Done], seconds: float) -> Done:
        give_up, pause, was_refused = time.monotonic() + seconds, 0.1, False
        while True:
            try:
                return work(self.connected())
            except psycopg.Error as error:
                self.drop()
                is_refused = is_refused_login(error)
                is_final = (is_refused and was_refused) or not (is_refused or _may_pass(error))
                was_refused = is_refused
                if is_final or time.monotonic() + pause > give_up:
                    self._rests_until = time.monotonic() + REST_SECONDS
                    raise self._explained(error) from None
            wait(pause)
            pause = min(pause * 1.5, 1.0)

    def _explained(self, error: psycopg.Error) -> StateUnreachable:
        text = " ".join((error.diag.message_primary or str(error)).split())
        if isinstance(error, refusals.InsufficientPrivilege):
            return StateUnreachable(
                f"{self._place} refuses: {self._address.without_secrets(text)}.",
                "Give the user of BMS_PIPELINE_STATE the right to make its own schema: GRANT CREATE ON DATABASE ... TO"
                " ....",
            )
        return self._unreachable(self._address.without_secrets(text))

    def _unreachable(self, why: str) -> StateUnreachable:
        return StateUnreachable(
            f"{self._place} does not answer as it should: {why.rstrip('.')}.",
            "See whether PostgreSQL runs and BMS_PIPELINE_STATE is right. What was done is kept; run again.",
        )


def _connect(address: Address) -> Connection:
    """Return a new connection on which each statement commits by itself."""
    # Prepared statements of another session would be a surprise behind a pooler.
    connection = psycopg.connect(
        "",
        autocommit=True,
        prepare_threshold=None,
        **{"application_name": "bms-pipeline", **_PARAMETERS, **address.parameters},  # type: ignore[arg-type]
    )
    try:
        connection.execute(_SET_UP)
    except BaseException:
        connection.close()
        raise
    return connection


def is_refused_login(error: psycopg.Error) -> bool:
    """Return whether a log-in failed after the server had asked for a password.

    It refused the password, or it crashed at that moment: libpq tells both in the same way. So one more try decides.
    """
    return error.pgconn is not None and bool(error.pgconn.needs_password or error.pgconn.used_password)


def _may_pass(error: psycopg.Error) -> bool:
    """Return whether the same may succeed in a moment: no connection, or a server that is starting or busy."""
    if error.pgconn is not None:
        return not is_refused_login(error)
    is_lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and error.sqlstate is None
    return is_lost or isinstance(error, _PASSING) or (error.sqlstate or "").startswith("08")
