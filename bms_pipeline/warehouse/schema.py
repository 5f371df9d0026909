"""The tables: numbered migrations for the fixed ones, and the declarations in ``entities`` for the records."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from importlib import resources

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.errors import WarehouseNewer
from bms_pipeline.core.mapping import DEFAULT, Mapping
from bms_pipeline.core.version import VERSION
from bms_pipeline.warehouse import keys, sql
from bms_pipeline.warehouse.stored_mapping import read_mapping

ONE_LANGUAGE = 15
"""The migration with which tables, columns and dispositions got the field's words, in one spelling."""
_FORMER_COLUMNS = {"by_person": "needs_approval", "releases": "unmark_id", "replaces": "replaces_marker_of"}
"""Earlier columns of the planned operations → their present names."""


def bms_columns(entity: Entity) -> dict[str, str]:
    """Return column → type of ``bms.<entity>``: one row for each record ever listed by BMS.

    ``first_seen`` counts from when the record came into its present client; ``missing_since`` is set while a complete
    sweep no longer shows it. ``changed_at``: when a landing last found a change, ``returned_at``: when it was last
    listed again after missing; NULL if it never was. ``left_client_since``: a sweep of its client alone no longer shows
    it there; whether it moved or is gone, the next sweep of the whole list shows.
    """
    return {
        "bms_id": "BIGINT",
        "account_id": "BIGINT",
        "account_type_id": "BIGINT",
        "category_id": "BIGINT",
        **dict.fromkeys(entity.columns, "VARCHAR"),
        **dict.fromkeys(entity.links, "BIGINT"),
        "is_active": "BOOLEAN",
        "modified_on": "VARCHAR",
        **dict.fromkeys(keys.key_columns(entity), "VARCHAR"),
        "json": "JSON",
        "first_seen": "TIMESTAMP",
        "missing_since": "TIMESTAMP",
        "changed_at": "TIMESTAMP",
        "returned_at": "TIMESTAMP",
        "left_client_since": "TIMESTAMP",
        **detail_columns(entity),
    }


def detail_columns(entity: Entity) -> dict[str, str]:
    """Return column → type of the columns of ``bms.<entity>`` filled only by the detail call; empty without one.

    ``details_asked_at``: when they were last asked for; ``details_read_at``: when they were last read well;
    ``details_problem``: why the last call gave none, NULL if it did. ``details_keys``: the keys that the last good
    answer was asked for because the mapping of that time names them, with a blank between two.
    """
    if entity.details is None:
        return {}
    return {
        **{field.name: "VARCHAR" for field in entity.detail_fields},
        **{column: "BIGINT" for column, link in entity.links.items() if link.from_details},
        "details_asked_at": "TIMESTAMP",
        "details_read_at": "TIMESTAMP",
        "details_problem": "VARCHAR",
        "details_keys": "VARCHAR",
    }


def passportal_columns(entity: Entity) -> dict[str, str]:
    """Return column → type of ``passportal.<entity>``: the last snapshot. ``bms_id`` is the marker, if there is one.

    ``claimed_id``: a BMS id in the record, written by anybody; it is no marker before agreement is shown. ``places``:
    the writable columns, NULL for all; ``template`` and ``template_id``: the template behind this.
    """
    return {
        "passportal_id": "VARCHAR",
        "client_id": "VARCHAR",
        **dict.fromkeys(entity.columns, "VARCHAR"),
        "bms_id": "BIGINT",
        "last_modified": "VARCHAR",
        "claimed_id": "BIGINT",
        "template": "VARCHAR",
        "template_id": "VARCHAR",
        "places": "VARCHAR[]",
        **dict.fromkeys(keys.key_columns(entity), "VARCHAR"),
    }


def base_columns(entity: Entity) -> dict[str, str]:
    """Return column → type of ``sync.base_<entity>``: both sides' values as of the last load (the comparison's base).

    ``with_details``: the details had been read by then, so the values of their fields count as a base.
    """
    return {
        "bms_id": "BIGINT",
        **({"with_details": "BOOLEAN"} if entity.details else {}),
        **{f"bms_{column}": "VARCHAR" for column in entity.columns},
        **{f"passportal_{column}": "VARCHAR" for column in entity.columns},
    }


def former_base_columns(entity: Entity) -> dict[str, str]:
    """Return column → type of ``sync.former_base_<entity>``: the values of ``sync.base_<entity>`` for a document left.

    A record back in its client is compared with these.
    """
    return {"passportal_id": "VARCHAR", **base_columns(entity)}


def reconciled_columns() -> dict[str, str]:
    """Return column → type of ``sync.reconciled_<entity>``: the disposition of each record, and its reason.

    ``needs_approval``: it rests on a decision not yet carried out by a load, the record's own or its client's.
    """
    return {
        "bms_id": "BIGINT",
        "account_id": "BIGINT",
        "client_id": "VARCHAR",
        "passportal_id": "VARCHAR",
        "is_new_match": "BOOLEAN",
        "disposition": "VARCHAR",
        "reason": "VARCHAR",
        "needs_approval": "BOOLEAN",
    }


WAITS_FOR_PERSON = "(needs_approval OR coalesce(held_back, false) OR coalesce(unproved, false))"
"""SQL over ``sync.planned_<entity>``: whether the operation needs a person's finish."""


def planned_columns(entity: Entity) -> dict[str, str]:
    """Return column → type of ``sync.planned_<entity>``: the current plan, a row for every record read.

    ``before_<column>`` and ``after_<column>`` are the values before and after a write, both NULL without a
    write. Only taking a load back blanks a value (before, but no after). ``kept`` lists the differing values to stay
    in Passportal. ``no_place`` lists the values Passportal lacks and has no field for, in ``template`` (its id:
    ``template_id``). ``needs`` lists the labels without a value that keep a record from being created there.
    ``unlinked`` lists the links to leave unwritten: the BMS id of the record that the field names, and the reason.
    ``unmark_id`` is the record of Passportal to lose this record's marker, because a person
    separated the two. ``replaces_marker_of`` is the BMS id whose marker ``passportal_id`` has so far.

    Three kinds of operations need a person's finish, whatever the settings allow. ``needs_approval``: it rests on a
    decision, or takes back a load. ``held_back``: an update in a client of which too large a share would change at
    once. ``unproved``: a new match or a create from a list that was not read to a provable end.
    """
    return {
        "bms_id": "BIGINT",
        "account_id": "BIGINT",
        "client_id": "VARCHAR",
        "passportal_id": "VARCHAR",
        "name": "VARCHAR",
        "disposition": "VARCHAR",
        "operation": "VARCHAR",
        "reason": "VARCHAR",
        "kept": "STRUCT(field VARCHAR, bms VARCHAR, passportal VARCHAR)[]",
        "no_place": "STRUCT(field VARCHAR, bms VARCHAR)[]",
        "needs": "VARCHAR[]",
        "unlinked": "STRUCT(field VARCHAR, bms BIGINT, reason VARCHAR)[]",
        "template": "VARCHAR",
        "template_id": "VARCHAR",
        "unmark_id": "VARCHAR",
        "replaces_marker_of": "BIGINT",
        "needs_approval": "BOOLEAN",
        "held_back": "BOOLEAN",
        "unproved": "BOOLEAN",
        **{f"before_{column}": "VARCHAR" for column in entity.columns},
        **{f"after_{column}": "VARCHAR" for column in entity.columns},
    }


def changes_sql(entity: Entity) -> str:
    """Return SQL over ``sync.planned_<entity> o``: the fields to write, as a list of field, before and after."""
    each_field = ", ".join(
        f"CASE WHEN o.before_{column} IS NOT NULL OR o.after_{column} IS NOT NULL THEN"
        f" {{'field': '{column}', 'before': o.before_{column}, 'after': o.after_{column}}} END"
        for column in entity.columns
    )
    return f"CASE WHEN o.operation <> 'skip' THEN list_filter([{each_field}], lambda e: e IS NOT NULL) END"


def _operations_view(mapping: Mapping = DEFAULT) -> str:
    """Return SQL for ``sync.operations``: the current plan of all entities, with each record's changes as a list."""
    entities = map(mapping.entity, ENTITIES)
    selects = " UNION ALL ".join(
        f"SELECT '{entity.name}' AS entity, o.bms_id, o.account_id, o.client_id, o.passportal_id, o.name,"
        f" o.disposition, o.operation, o.reason, {changes_sql(entity)} AS changes, o.kept, o.no_place, o.needs,"
        " o.unlinked, o.template, o.template_id, o.unmark_id, o.needs_approval, o.held_back, o.unproved"
        f" FROM sync.planned_{entity.name} o"
        for entity in entities
    )
    return f"CREATE OR REPLACE VIEW sync.operations AS {selects}"


def tables(entity: Entity) -> dict[str, dict[str, str]]:
    """Return table → columns, for every table made from the entity's declaration."""
    return {
        f"bms.{entity.name}": bms_columns(entity),
        f"passportal.{entity.name}": passportal_columns(entity),
        f"sync.base_{entity.name}": base_columns(entity),
        f"sync.former_base_{entity.name}": former_base_columns(entity),
        f"sync.reconciled_{entity.name}": reconciled_columns(),
        f"sync.planned_{entity.name}": planned_columns(entity),
    }


def check_version(connection: duckdb.DuckDBPyConnection, database: str) -> None:
    """Raise ``WarehouseNewer`` where a newer version wrote the database; reads only."""
    unknown = _applied(connection) - migrations().keys()
    if unknown:
        row = None
        if "main.writers" in tables_of(connection):
            row = connection.execute("SELECT version FROM main.writers ORDER BY since DESC LIMIT 1").fetchone()
        newer = f"bms-pipeline {row[0]}" if row else "a newer version of bms-pipeline"
        raise WarehouseNewer(
            f"{database} was written by {newer} (its tables are at {max(unknown):04}), and this is {VERSION}, which"
            f" knows {max(migrations()):04}. Nothing was written.",
            "Install that version or a newer one. To go back to this one, `bms-pipeline restore FILE` takes a copy that"
            " it made itself: `backups/before-....duckdb`.",
        )


def pending(connection: duckdb.DuckDBPyConnection) -> list[int]:
    """Return the migrations ``migrate`` would apply to a database with content; reads only."""
    applied = _applied(connection)
    return sorted(migrations().keys() - applied) if applied else []


def migrations() -> dict[int, str]:
    """Return number → file name of every migration of this version, in order."""
    names = sorted(file.name for file in resources.files(__package__).joinpath("migrations").iterdir())
    return {int(name.partition("_")[0]): name for name in names if re.fullmatch(r"\d+_.*\.sql", name)}


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the database to this version; do nothing where it is current."""
    connection.execute("CREATE TABLE IF NOT EXISTS main.migrations (number BIGINT, name VARCHAR, applied_at TIMESTAMP)")
    applied = _applied(connection)
    now = datetime.now(UTC).replace(tzinfo=None)
    folder = resources.files(__package__).joinpath("migrations")
    for number, name in migrations().items():
        if number not in applied:
            connection.execute(folder.joinpath(name).read_text(encoding="utf-8"))
            connection.execute("INSERT INTO main.migrations VALUES (?, ?, ?)", [number, name, now])
    connection.execute(
        "INSERT INTO main.writers SELECT $version, $now WHERE $version IS DISTINCT FROM"
        " (SELECT arg_max(version, since) FROM main.writers)",
        {"version": VERSION, "now": now},
    )
    if applied and ONE_LANGUAGE not in applied:
        _rename_declared(connection)
    _add_declared_columns(connection)
    if applied and ONE_LANGUAGE not in applied:
        _spell_dispositions(connection)
    keys.bring_up_to_date(connection, now)
    connection.execute("DELETE FROM main.schema_stamp")
    connection.execute("INSERT INTO main.schema_stamp VALUES (?)", [stamp()])


def _rename_declared(connection: duckdb.DuckDBPyConnection) -> None:
    """Rename the entities' tables and columns, which no migration knows by name, as this version calls them."""
    tables = tables_of(connection)
    for entity in ENTITIES:
        for old, new in (("loaded", "base"), ("left", "former_base")):
            if f"sync.{old}_{entity.name}" in tables:
                connection.execute(f"ALTER TABLE sync.{old}_{entity.name} RENAME TO {new}_{entity.name}")
        rows = connection.execute(
            "SELECT column_name FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'sync'"
            " AND table_name = ?",
            [f"planned_{entity.name}"],
        ).fetchall()
        for column, name in _FORMER_COLUMNS.items():
            if (column,) in rows:
                connection.execute(f"ALTER TABLE sync.planned_{entity.name} RENAME COLUMN {column} TO {name}")


def _spell_dispositions(connection: duckdb.DuckDBPyConnection) -> None:
    """Spell the dispositions of the entities' tables, which no migration knows by name, as this version does."""
    for table in sorted(tables_of(connection)):
        if table.startswith(("sync.reconciled_", "sync.planned_")):
            connection.execute(
                f"UPDATE {table} SET disposition = replace(disposition, ' ', '_') WHERE contains(disposition, ' ')"
            )


def is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether ``migrate`` has nothing to do, by its stamp; one statement."""
    try:
        row = connection.execute(
            "SELECT (SELECT stamp FROM main.schema_stamp), (SELECT list(number ORDER BY number) FROM main.migrations)"
        ).fetchone()
    except duckdb.CatalogException:  # an older version made it, or nobody did
        return False
    return row == (stamp(), sorted(migrations()))


def stamp() -> str:
    """Return a text different after every change to the steps of ``migrate``.

    These are this version, its migrations, the columns declared in ``entities``, the views over them, and the keys.
    """
    made = {
        "version": VERSION,
        "migrations": migrations(),
        "tables": {entity.name: tables(entity) for entity in ENTITIES},
        "views": [_operations_view(), sql.read("warehouse/outcomes")],
        "keys": [keys.definition(entity) for entity in ENTITIES],
    }
    return hashlib.md5(json.dumps(made).encode(), usedforsecurity=False).hexdigest()


def _applied(connection: duckdb.DuckDBPyConnection) -> set[int]:
    if "main.migrations" not in tables_of(connection):
        return set()
    return {row[0] for row in connection.execute("SELECT number FROM main.migrations").fetchall()}


def tables_of(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of all tables, each with its schema."""
    rows = connection.execute(
        "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = current_database()"
    ).fetchall()
    return {row[0] for row in rows}


def add_mapped_columns(connection: duckdb.DuckDBPyConnection, mapping: Mapping) -> None:
    """Let the tables have a place for every field that ``mapping`` adds. A column once made stays, and empty."""
    _add_columns(connection, mapping)
    show_mapped_changes(connection, mapping)


def show_mapped_changes(connection: duckdb.DuckDBPyConnection, mapping: Mapping) -> None:
    """Let ``sync.operations`` list the changes of every field that ``mapping`` adds."""
    connection.execute(_operations_view(mapping))


def _add_declared_columns(connection: duckdb.DuckDBPyConnection) -> None:
    mapping = read_mapping(connection)
    if not _add_columns(connection, mapping):
        connection.execute(_operations_view(mapping))
        connection.execute(sql.read("warehouse/outcomes"))


def _add_columns(connection: duckdb.DuckDBPyConnection, mapping: Mapping) -> bool:
    """Make the tables and columns that are missing; return whether none was."""
    rows = connection.execute(
        "SELECT schema_name || '.' || table_name, column_name FROM duckdb_columns()"
        " WHERE database_name = current_database()"
    ).fetchall()
    existing: dict[str, set[str]] = {}
    for table, column in rows:
        existing.setdefault(table, set()).add(column)
    is_current = "sync.outcomes" in existing
    for entity in map(mapping.entity, ENTITIES):
        for table, columns in tables(entity).items():
            is_current = is_current and existing.get(table, set()) >= columns.keys()
            if table not in existing:
                connection.execute(f"CREATE TABLE {table} ({', '.join(f'{c} {t}' for c, t in columns.items())})")
            for column in columns.keys() - existing.get(table, columns.keys()):
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {columns[column]}")
    return is_current
