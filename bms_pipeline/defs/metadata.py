"""Metadata for Dagster's pages: tables, column schemas, and where to look next."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import duckdb

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.settings import read_schedule_settings
from bms_pipeline.defs import links, names
from bms_pipeline.reports.read_models import FieldChange
from bms_pipeline.warehouse.descriptions import describe_column

Metadata = dict[str, Any]

OWNERS = read_schedule_settings().owners
PLAN_TAG = names.tag("plan")
"""The tag of a run with the hash of its plan, to filter runs by."""
ALWAYS_SHOWN = ("dagster/row_count", "operations", "read")
"""Numbers to show and to plot although they are zero."""
SAMPLE = 20
"""Rows of a sample table: a page shows them without scrolling far."""
CELL = 200
"""Characters of a cell: a name can be megabytes long."""


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.TableMetadataValue:
    """Build a table for the pages. Any value but a number or a truth value becomes text, cut where it is too long."""
    return dg.MetadataValue.table(
        [dg.TableRecord({name: _cell(value) for name, value in zip(columns, row, strict=True)}) for row in rows],
        dg.TableSchema([dg.TableColumn(name) for name in columns]),
    )


def sample(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, object] | None = None
) -> tuple[int, dg.TableMetadataValue]:
    """Return the number of rows of ``query``, and the first of them as a table."""
    result = connection.execute(f"SELECT *, count(*) OVER () FROM ({query}) LIMIT {SAMPLE}", dict(parameters or {}))
    columns = [column[0] for column in result.description or []][:-1]
    rows = result.fetchall()
    return (int(rows[0][-1]) if rows else 0), table(columns, [row[:-1] for row in rows])


def narrow(metadata: Mapping[str, Any]) -> Metadata:
    """Return ``metadata`` without zeros and empty tables, which only push the rest out of sight."""
    return {name: value for name, value in metadata.items() if name in ALWAYS_SHOWN or not _is_empty(value)}


def _is_empty(value: object) -> bool:
    if isinstance(value, dg.TableMetadataValue):
        return not value.records
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and not value)


def seconds_since(started: float) -> float:
    """Return the seconds since ``started`` (``time.monotonic``), as people read them."""
    return round(time.monotonic() - started, 1)


def tag_run(context: dg.AssetExecutionContext | dg.OpExecutionContext, plan_hash: str) -> None:
    """Tag this run with its plan."""
    context.instance.add_run_tags(context.run_id, {PLAN_TAG: plan_hash[: links.SHORT]})


def column_schema(columns: Mapping[str, str], entity: Entity | None = None) -> dg.TableSchema:
    """Return the column schema of a warehouse table, which holds records of ``entity`` or of all."""
    return dg.TableSchema([dg.TableColumn(name, kind, describe_column(name, entity)) for name, kind in columns.items()])


def changes(found: Sequence[FieldChange] | None) -> str:
    """Return an operation's changes on one line: ``phone: (empty) → +45 70 10 20 30``."""
    return "; ".join(
        f"{change['field']}: {change['before'] if change['before'] is not None else '(empty)'} → {change['after']}"
        for change in found or []
    )


def facts(**rows: str) -> str:
    """Return a list for a description; Dagster's catalog shows its beginning as it is written, so it is no table."""
    return "\n".join(f"- {name}: {text}" for name, text in rows.items())


def count(connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[object] = ()) -> int:
    """Return the single number of ``query``."""
    row = connection.execute(query, list(parameters)).fetchone()
    return int(row[0] or 0) if row else 0


def _cell(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= CELL else f"{text[:CELL]}…"
