"""A list as a spreadsheet: a CSV file as other programs read it, in which no text is a formula."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.core.files import atomic_write
from bms_pipeline.warehouse import sql


def write_report(
    connection: duckdb.DuckDBPyConnection,
    file: Path,
    query: str,
    texts: Collection[str],
    parameters: Mapping[str, Any] | None = None,
) -> int:
    """Write the rows of ``query``, whose first column is ``entity``, into ``file``; return their number.

    ``texts``: the columns with text of the services. Raises ``PipelineError`` where ``file`` cannot be written.
    """
    escaped = ", ".join(f"{sql.escape_formula_sql(column)} AS {column}" for column in texts)
    # The byte order mark, by which spreadsheets recognise UTF-8: DuckDB writes none by itself.
    marked = f'SELECT * REPLACE ({escaped}) RENAME (entity AS "\N{BYTE ORDER MARK}entity") FROM ({query})'
    with atomic_write(file) as unfinished:
        row = connection.execute(
            f"COPY ({marked}) TO {sql.quoted(str(unfinished))} (FORMAT csv, HEADER true, USE_TMP_FILE false)",
            dict(parameters or {}),
        ).fetchone()
    return int(row[0]) if row else 0


def csv_bytes(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    texts: Collection[str],
    parameters: Mapping[str, Any] | None = None,
) -> bytes:
    """Return what ``write_report`` writes, for a browser."""
    with tempfile.TemporaryDirectory(prefix="list-") as folder:
        file = Path(folder, "list.csv")
        write_report(connection, file, query, texts, parameters)
        return file.read_bytes()
