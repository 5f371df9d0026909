"""The calls of the last hour in PostgreSQL, shared by all hosts. The only clock is PostgreSQL's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from psycopg import sql

from bms_pipeline.state.protocol import SPAN_SECONDS, SPANS
from bms_pipeline.state.session import Connection, PostgresSession

_NOW = f"coalesce({{now}}::BIGINT, floor(extract(epoch FROM clock_timestamp()) / {SPAN_SECONDS})::BIGINT)"
_CLOCK = "SELECT extract(epoch FROM clock_timestamp())"
_SPAN = f"SELECT {_NOW}"
# One round trip. The sum and the present span are read by a statement of their own, after the endpoint's row is locked:
# so it sees the calls counted while it waited, and spans of later calls are never earlier.
# The sum has no upper bound: calls counted under a fast clock must not be forgotten.
_TAKE = f"""
INSERT INTO {{schema}}.endpoints (endpoint) VALUES ({{endpoint}}) ON CONFLICT DO NOTHING;
SELECT 1 FROM {{schema}}.endpoints WHERE endpoint = {{endpoint}} FOR UPDATE;
WITH present AS MATERIALIZED (SELECT {_NOW} AS span)
INSERT INTO {{schema}}.recent_calls AS counted (endpoint, span, n)
SELECT {{endpoint}}, present.span, 1
FROM present
WHERE (
    SELECT coalesce(sum(n), 0) FROM {{schema}}.recent_calls
    WHERE endpoint = {{endpoint}} AND span > present.span - {SPANS}
) < {{limit}}
ON CONFLICT (endpoint, span) DO UPDATE SET n = counted.n + 1
RETURNING counted.span
"""
_USED = "SELECT span, n FROM {schema}.recent_calls WHERE endpoint = {endpoint} AND span > {since} ORDER BY span"
_ENDPOINTS = """
SELECT DISTINCT endpoint COLLATE "C" FROM {schema}.recent_calls WHERE span > {since} ORDER BY 1
"""
_UNTIDY = "SELECT 1 FROM {schema}.recent_calls WHERE span > {span} OR span <= {since} LIMIT 1"
_ALONE = "LOCK TABLE {schema}.recent_calls IN SHARE ROW EXCLUSIVE MODE"
_FUTURE_IS_NOW = """
INSERT INTO {schema}.recent_calls AS counted (endpoint, span, n)
SELECT endpoint, {span}, sum(n) FROM {schema}.recent_calls WHERE span > {span} GROUP BY endpoint
ON CONFLICT (endpoint, span) DO UPDATE SET n = counted.n + excluded.n
"""
_TIDY = "DELETE FROM {schema}.recent_calls WHERE span > {span} OR span <= {since}"


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
        return self._session.run(lambda connection: float(self._ask(connection, _CLOCK).fetchone()[0]))

    def take(self, endpoint: str, limit: int) -> bool:
        """See ``CallCounter.take``. After a lost connection a call may be counted twice, and never not at all."""

        def work(connection: Connection) -> bool:
            asked = self._ask(connection, _TAKE, endpoint=endpoint, limit=limit, now=self._given_span())
            while asked.nextset():
                pass
            row = asked.fetchone()
            if row is None or row[0] != self._tidied:
                self._tidy(connection)
            return row is not None

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
        return int(self._ask(connection, _SPAN, now=self._given_span()).fetchone()[0])

    def _given_span(self) -> int | None:
        """Return the span of a test's clock; None where PostgreSQL's counts."""
        return None if self._clock is None else int(self._clock() // SPAN_SECONDS)

    def _ask(self, connection: Connection, query: str, **values: object) -> Any:  # noqa: ANN401  # psycopg's cursor
        # As literals: only a query without parameters may hold several statements.
        literals = {name: sql.Literal(value) for name, value in values.items()}
        return connection.execute(sql.SQL(query).format(schema=sql.Identifier(self._schema), **literals))
