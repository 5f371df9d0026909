"""The calls of the last hour in PostgreSQL, shared by all hosts. The only clock is PostgreSQL's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from psycopg import sql

from bms_pipeline.state.protocol import SPAN_SECONDS, SPANS
from bms_pipeline.state.session import Connection, PostgresSession

# The present span is read after the row of the endpoint is locked, so that spans of later calls are never earlier.
_NOW = f"coalesce(%(now)s, floor(extract(epoch FROM clock_timestamp()) / {SPAN_SECONDS})::BIGINT)"
_SPAN = f"SELECT {_NOW}"
_LOCK = "SELECT 1 FROM {schema}.endpoints WHERE endpoint = %(endpoint)s FOR UPDATE"
_ADD = "INSERT INTO {schema}.endpoints (endpoint) VALUES (%(endpoint)s) ON CONFLICT DO NOTHING"
# The span has no upper bound: calls counted under a fast clock must not be forgotten.
_TAKE = """
INSERT INTO {schema}.recent_calls AS counted (endpoint, span, n)
SELECT %(endpoint)s, %(span)s, 1
WHERE (
    SELECT coalesce(sum(n), 0) FROM {schema}.recent_calls
    WHERE endpoint = %(endpoint)s AND span > %(span)s - %(spans)s
) < %(limit)s
ON CONFLICT (endpoint, span) DO UPDATE SET n = counted.n + 1
RETURNING 1
"""
_USED = "SELECT span, n FROM {schema}.recent_calls WHERE endpoint = %(endpoint)s AND span > %(since)s ORDER BY span"
_ENDPOINTS = """
SELECT DISTINCT endpoint COLLATE "C" FROM {schema}.recent_calls WHERE span > %(since)s ORDER BY 1
"""
_UNTIDY = "SELECT 1 FROM {schema}.recent_calls WHERE span > %(span)s OR span <= %(since)s LIMIT 1"
_ALONE = "LOCK TABLE {schema}.recent_calls IN SHARE ROW EXCLUSIVE MODE"
_FUTURE_IS_NOW = """
INSERT INTO {schema}.recent_calls AS counted (endpoint, span, n)
SELECT endpoint, %(span)s, sum(n) FROM {schema}.recent_calls WHERE span > %(span)s GROUP BY endpoint
ON CONFLICT (endpoint, span) DO UPDATE SET n = counted.n + excluded.n
"""
_TIDY = "DELETE FROM {schema}.recent_calls WHERE span > %(span)s OR span <= %(since)s"


class PostgresCalls:
    """The calls counted in ``schema``. Threads and processes may share it. ``clock`` is for tests."""

    def __init__(self, session: PostgresSession, schema: str, clock: Callable[[], float] | None = None) -> None:
        self._session = session
        self._schema = schema
        self._clock = clock
        self._tidied: int | None = None
        session.keep()

    def __repr__(self) -> str:
        return f"PostgresCalls({self._schema})"

    def close(self) -> None:
        """See ``CallCounter.close``."""
        self._session.let_go()

    def now(self) -> float:
        """See ``CallCounter.now``."""
        if self._clock is not None:
            return self._clock()
        return self._session.run(lambda connection: _number(connection, "SELECT extract(epoch FROM clock_timestamp())"))

    def take(self, endpoint: str, limit: int) -> bool:
        """See ``CallCounter.take``. After a lost connection a call may be counted twice, and never not at all."""

        def work(connection: Connection) -> bool:
            self._tidy(connection)
            with connection.transaction():
                if self._ask(connection, _LOCK, endpoint=endpoint).fetchone() is None:
                    self._ask(connection, _ADD, endpoint=endpoint)
                    self._ask(connection, _LOCK, endpoint=endpoint)
                span = self._span(connection)
                values = {"endpoint": endpoint, "span": span, "spans": SPANS, "limit": limit}
                return self._ask(connection, _TAKE, **values).fetchone() is not None

        return self._session.run(work)

    def counted(self, endpoint: str) -> Sequence[tuple[int, int]]:
        """See ``CallCounter.counted``."""

        def work(connection: Connection) -> list[tuple[int, int]]:
            since = self._tidy(connection) - SPANS
            return [(row[0], row[1]) for row in self._ask(connection, _USED, endpoint=endpoint, since=since)]

        return self._session.run(work)

    def endpoints(self) -> Sequence[str]:
        """See ``CallCounter.endpoints``."""

        def work(connection: Connection) -> list[str]:
            since = self._tidy(connection) - SPANS
            return [row[0] for row in self._ask(connection, _ENDPOINTS, since=since)]

        return self._session.run(work)

    def _tidy(self, connection: Connection) -> int:
        """Return the current span. At its first use, delete expired spans and pull back future ones."""
        span = self._span(connection)
        values = {"span": span, "since": span - SPANS}
        if span != self._tidied and self._ask(connection, _UNTIDY, **values).fetchone():
            with connection.transaction():
                for statement in (_ALONE, _FUTURE_IS_NOW, _TIDY):
                    self._ask(connection, statement, **values)
        self._tidied = span
        return span

    def _span(self, connection: Connection) -> int:
        now = None if self._clock is None else int(self._clock() // SPAN_SECONDS)
        return int(_number(connection, _SPAN, now=now))

    def _ask(self, connection: Connection, query: str, **values: object) -> Any:  # noqa: ANN401  # psycopg's cursor
        worded = sql.SQL(query).format(schema=sql.Identifier(self._schema))
        return connection.execute(worded, values)


def _number(connection: Connection, query: str, **values: object) -> float:
    row = connection.execute(query, values).fetchone()
    assert row is not None  # noqa: S101  # each query returns one row
    return float(row[0])
