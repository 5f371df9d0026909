"""The keys by which records are compared, computed from a record's own values when these are stored, and only then.

Both sides' tables hold them as columns. A key is a pure function of the values, so a record that did not change keeps
its keys; where the function itself is another one in a new version, all are computed anew, once (``bring_up_to_date``).
"""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import datetime
from importlib import resources

import duckdb

from bms_pipeline.entities import ENTITIES, Entity
from bms_pipeline.junk import Kind, is_junk
from bms_pipeline.warehouse import names
from bms_pipeline.warehouse.inputs import count_input


def key_columns(entity: Entity) -> tuple[str, ...]:
    """The columns with keys: those of the name, then those that ``entity`` declares.

    ``name_key`` decides identity, and ``real_name_key`` is the same where the name is no placeholder (junk matches
    nothing). Equal ``loose_key`` or ``letters_key`` is near-identity.
    """
    return ("name_key", "real_name_key", "loose_key", "letters_key", *entity.keys)


def with_keys(entity: Entity, rows_sql: str) -> str:
    """SQL for what ``rows_sql`` selects (the entity's columns among them), and beside it the keys of each row."""
    declared = "".join(f", {expression} AS {key}" for key, expression in entity.keys.items())
    return (
        f"SELECT *, near_keys(name_key)[1] AS loose_key, near_keys(name_key)[2] AS letters_key,"
        f" CASE WHEN NOT {is_junk(Kind.TEXT, 'name_key')} THEN name_key END AS real_name_key"
        f" FROM (SELECT *, {names.name_key('name')} AS name_key{declared} FROM ({rows_sql}))"
    )


def definition(entity: Entity) -> str:
    """What the keys of ``entity`` depend on beside the record: this program's text, and what Unicode and DuckDB say.

    It may change without any key changing; computing all of them in vain costs seconds, missing one a wrong match.
    """
    folding = b"".join(
        resources.files(package).joinpath(module).read_bytes()
        for package, module in ((__package__, "names.py"), ("bms_pipeline", "junk.py"))
    )
    versions = f"{unicodedata.unidata_version} {duckdb.__version__}"
    return hashlib.md5(with_keys(entity, versions).encode() + folding, usedforsecurity=False).hexdigest()


def bring_up_to_date(connection: duckdb.DuckDBPyConnection, now: datetime) -> None:
    """Compute the stored keys anew where another version of this program made them. Needs the tables of ``schema``."""
    connection.execute("CREATE TABLE IF NOT EXISTS main.key_definitions (entity VARCHAR, definition VARCHAR)")
    stored = dict(connection.execute("SELECT entity, definition FROM main.key_definitions").fetchall())
    for entity in ENTITIES:
        defined = definition(entity)
        if stored.get(entity.name) != defined:
            _compute_anew(connection, entity, f"bms.{entity.name}", "bms_id", now)
            _compute_anew(connection, entity, f"passportal.{entity.name}", "passportal_id", now)
            connection.execute("DELETE FROM main.key_definitions WHERE entity = ?", [entity.name])
            connection.execute("INSERT INTO main.key_definitions VALUES (?, ?)", [entity.name, defined])


def _compute_anew(
    connection: duckdb.DuckDBPyConnection, entity: Entity, table: str, id_column: str, now: datetime
) -> None:
    """Correct the keys of ``table`` that are not what they would be now; if any are, a plan has to look again."""
    differs = " OR ".join(f"now.{each} IS DISTINCT FROM was.{each}" for each in key_columns(entity))
    values = f"SELECT {id_column}, {', '.join(entity.columns)} FROM {table}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE corrected AS SELECT now.* FROM ({with_keys(entity, values)}) now"
        f" JOIN {table} was USING ({id_column}) WHERE {differs}"
    )
    if connection.execute("FROM corrected LIMIT 1").fetchone():
        assigned = ", ".join(f"{each} = corrected.{each}" for each in key_columns(entity))
        connection.execute(
            f"UPDATE {table} SET {assigned} FROM corrected WHERE corrected.{id_column} = {table}.{id_column}"
        )
        count_input(connection, table, now)
    connection.execute("DROP TABLE corrected")
