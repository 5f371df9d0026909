"""The keys for comparing records, computed from a record's own values when these are stored, and only then.

Both sides' tables hold them as columns. A key is a pure function of the values, so an unchanged record keeps its keys.
Where a new version changes the function itself, it computes all keys again, once (``bring_up_to_date``).
"""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import datetime
from importlib import resources

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.junk import Kind, is_junk
from bms_pipeline.warehouse import names
from bms_pipeline.warehouse.inputs import bump_version
from bms_pipeline.warehouse.relations import has_rows, temporary


def key_columns(entity: Entity) -> tuple[str, ...]:
    """Return the columns with keys: those of the name, then those that ``entity`` declares.

    ``name_key`` decides identity, and ``real_name_key`` is the same where the name is no placeholder (junk matches
    nothing). Equal ``loose_key`` or ``letters_key`` is near-identity.
    """
    return ("name_key", "real_name_key", "loose_key", "letters_key", *entity.keys)


def with_keys(entity: Entity, rows_sql: str) -> str:
    """Return SQL for the rows of ``rows_sql`` (with the entity's columns) plus the keys of each row."""
    declared = "".join(f", {expression} AS {key}" for key, expression in entity.keys.items())
    return (
        f"SELECT *, near_keys(name_key)[1] AS loose_key, near_keys(name_key)[2] AS letters_key,"
        f" CASE WHEN NOT {is_junk(Kind.TEXT, 'name_key')} THEN name_key END AS real_name_key"
        f" FROM (SELECT *, {names.name_key('name')} AS name_key{declared} FROM ({rows_sql}))"
    )


def definition(entity: Entity) -> str:
    """Return a digest of everything but the record that its keys depend on: this program's text, Unicode and DuckDB.

    It may change without any key changing. Computing all keys in vain costs seconds; missing one, a wrong match.
    """
    folding = b"".join(
        resources.files(package).joinpath(module).read_bytes()
        for package, module in ((__package__, "names.py"), ("bms_pipeline.core", "junk.py"))
    )
    versions = f"{unicodedata.unidata_version} {duckdb.__version__}"
    return hashlib.md5(with_keys(entity, versions).encode() + folding, usedforsecurity=False).hexdigest()


def bring_up_to_date(connection: duckdb.DuckDBPyConnection, now: datetime) -> None:
    """Compute the stored keys again where another version of this program made them. Needs the tables of ``schema``."""
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
    """Correct the outdated keys of ``table``. If there are any, a plan has to look again."""
    differs = " OR ".join(f"now.{key} IS DISTINCT FROM was.{key}" for key in key_columns(entity))
    values = f"SELECT {id_column}, {', '.join(entity.columns)} FROM {table}"
    outdated = (
        f"SELECT now.* FROM ({with_keys(entity, values)}) now JOIN {table} was USING ({id_column}) WHERE {differs}"
    )
    with temporary(connection, "corrected", outdated) as corrected:
        if has_rows(connection, corrected):
            assigned = ", ".join(f"{key} = {corrected}.{key}" for key in key_columns(entity))
            connection.execute(
                f"UPDATE {table} SET {assigned} FROM {corrected} WHERE {corrected}.{id_column} = {table}.{id_column}"
            )
            bump_version(connection, table, now)
