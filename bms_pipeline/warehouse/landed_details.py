"""Details in the warehouse: which records need theirs read, landing the answers, and the progress."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.core.entities import SCALAR, Entity
from bms_pipeline.warehouse import days, names, sql
from bms_pipeline.warehouse.connection import named_rows, now
from bms_pipeline.warehouse.stored_mapping import mapped


@dataclass(frozen=True)
class LandedDetails:
    """Counts of records of a landing: with details, with a problem instead, and with ``changed`` values.

    ``dropped``: BMS lists them no more, or they were landed before.
    """

    read: int = 0
    problems: int = 0
    changed: int = 0
    dropped: int = 0


PROBLEM_AGE = timedelta(days=1)
"""After this time, ask again for a record that gave no details: the fault may have been the service's."""


def wanted(connection: duckdb.DuckDBPyConnection, entity: Entity, max_age: timedelta, now: datetime) -> list[int]:
    """Return the ids of the linked records that need their details read, most urgent first.

    Never asked for, then with a listed row that changed since, then asked for ``max_age`` ago or more, oldest first.
    """
    query = sql.read("warehouse/details_wanted").format(
        entity=entity.name, has_keys=_has_keys(mapped(connection, entity))
    )
    since = {"older_than": now - max_age, "problem_before": now - PROBLEM_AGE}
    return [row[0] for row in connection.execute(query, since).fetchall()]


def count_lacking_keys(connection: duckdb.DuckDBPyConnection, entity: Entity) -> int:
    """Return the number of linked records whose details were read without a key that the mapping names."""
    has_keys = _has_keys(mapped(connection, entity))
    if has_keys == "true":
        return 0
    query = sql.read("warehouse/details_lacking_keys").format(entity=entity.name, has_keys=has_keys)
    (records,) = connection.execute(query).fetchone() or (0,)
    return int(records)


def _has_keys(entity: Entity) -> str:
    """Return SQL: whether the details of ``b`` were read with every key that the mapping names."""
    keys = ", ".join(sql.quoted(str(field.json_key)) for field in entity.detail_fields if field.json_key)
    return f"coalesce(list_has_all(string_split(b.details_keys, ' '), [{keys}]), false)" if keys else "true"


def answers_state(connection: duckdb.DuckDBPyConnection, entity: Entity) -> dict[str, Any]:
    """Return counts of linked records: ``wanted`` in all, ``read`` of them, with ``problems``; ``oldest_read_at``."""
    (row,) = named_rows(connection, sql.read("warehouse/details_state").format(entity=entity.name))
    return row


def land_answers(connection: duckdb.DuckDBPyConnection, entity: Entity, files: Collection[Path]) -> LandedDetails:
    """Take the answers in ``files`` (``bms.details``) into ``bms.<entity>``; landing them again changes nothing.

    Of several answers about a record the newest counts. Call it inside a transaction.
    """
    entity = mapped(connection, entity)
    if entity.details is None or not files:
        return LandedDetails()
    made_of = {field.name: names.value(field.sql) for field in entity.detail_fields}
    made_of |= {column: link.sql for column, link in entity.links.items() if link.from_details}
    days.define_local_day(connection)
    wire = ", ".join(f'"{key}" {"VARCHAR" if kind == SCALAR else kind}' for key, kind in entity.details.wire.items())
    connection.execute(
        sql.read("warehouse/details_answered").format(
            entity=entity.name,
            now=now(),
            files=", ".join(sql.readable(file) for file in files),
            fields=f"{{bms_id: 'BIGINT', read_at: 'TIMESTAMP', problem: 'VARCHAR', detail: 'STRUCT({wire})',"
            " keys: 'VARCHAR[]'}",
            values=", ".join(f"{said} AS {column}" for column, said in made_of.items()),
            differs=" OR ".join(f"a.{column} IS DISTINCT FROM b.{column}" for column in made_of),
        )
    )
    not_sent = _not_sent(connection, entity.details.wire, files)
    columns = [column for column, said in made_of.items() if not not_sent & set(re.findall(r"\w+", said))]
    taken = "".join(
        f", {column} = CASE WHEN a.good_at IS NULL THEN b.{column} ELSE a.{column} END" for column in columns
    )
    connection.execute(
        f"UPDATE bms.{entity.name} b SET details_asked_at = a.asked_at, details_problem = a.problem,"
        f" details_read_at = coalesce(a.good_at, b.details_read_at),"
        f" details_keys = CASE WHEN a.good_at IS NULL THEN b.details_keys ELSE a.keys END{taken}"
        " FROM answered a WHERE b.bms_id = a.bms_id AND a.is_news"
    )
    row = connection.execute(
        "SELECT count(*) FILTER (is_news AND problem IS NULL), count(*) FILTER (is_news AND problem IS NOT NULL),"
        " count(*) FILTER (is_news AND changes), count(*) FILTER (NOT is_news) FROM answered"
    ).fetchone()
    connection.execute("DROP TABLE answered")
    return LandedDetails(*row) if row else LandedDetails()


def _not_sent(connection: duckdb.DuckDBPyConnection, wire: Mapping[str, str], files: Collection[Path]) -> set[str]:
    """Return the declared keys missing in every detail in ``files``: their stored values stay.

    A single detail cannot tell an omitted key from null; all of them together can.
    """
    listed = ", ".join(sql.readable(file) for file in files)
    rows = connection.execute(
        f"SELECT DISTINCT unnest(json_keys(detail)) FROM read_json([{listed}], format = 'newline_delimited',"
        " columns = {detail: 'JSON'}) WHERE detail IS NOT NULL"
    ).fetchall()
    return set(wire) - {row[0] for row in rows}
