"""Rows travel between functions in temporary tables that are passed by name and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from bms_pipeline.warehouse.connection import transaction
from bms_pipeline.warehouse.relations import Relation, has_rows, temporary


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY ALL").fetchall()]


def test_a_relation_holds_its_rows_until_its_block_ends(connection: duckdb.DuckDBPyConnection) -> None:
    with temporary(connection, "small", "SELECT unnest($ids) AS id", {"ids": [1, 2]}) as small:
        with temporary(connection, "even", f"FROM {small} WHERE id % 2 = 0") as even:
            assert connection.execute(f"FROM {even}").fetchall() == [(2,)]
        assert tables(connection) == [small]
    assert tables(connection) == []


def test_its_rows_stay_as_they_were_when_the_table_behind_them_changes(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("CREATE TABLE journal AS SELECT 1 AS id")
    with temporary(connection, "before", "FROM journal") as before:
        connection.execute("DELETE FROM journal")
        assert has_rows(connection, before)
        assert not has_rows(connection, Relation("journal"))


def test_an_error_is_seen_as_it_was_and_its_transaction_leaves_no_table(connection: duckdb.DuckDBPyConnection) -> None:
    with (
        pytest.raises(duckdb.ConversionException),
        transaction(connection),
        temporary(connection, "texts", "SELECT 'x' AS text") as texts,
    ):
        connection.execute(f"SELECT text::INTEGER FROM {texts}").fetchall()
    assert tables(connection) == []


def test_what_an_error_left_behind_is_replaced(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ZeroDivisionError), temporary(connection, "rows", "SELECT 1 AS id"):
        raise ZeroDivisionError
    with temporary(connection, "rows", "SELECT 2 AS id") as rows:
        assert connection.execute(f"FROM {rows}").fetchall() == [(2,)]
    assert tables(connection) == []
