"""Land: DuckDB reads the pages of a sweep; Python never touches a single record.

A changed type or a missing id fails the landing with entity, field and page named, before anything stored is replaced.
Undeclared fields are reported as schema drift, and their records are kept with their whole JSON. (The pages themselves
stay in the landing folder until a later complete sweep.)

A declared key missing in every record is *not sent*, which is no value: stored values stay. It stops the landing where
it decides something, or where BMS used to send it. A key missing in only some records is null in these, because
services leave nulls out and a single record cannot show the difference.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from bms_pipeline.core.entities import SCALAR, Entity, WireType
from bms_pipeline.core.errors import LandingError, Stage, StageMissing
from bms_pipeline.warehouse import keys, names, schema, sql, stored_mapping
from bms_pipeline.warehouse.inputs import (
    OF_LOADS,
    Versions,
    bump_version,
    digest,
    note_made_from,
    read_versions,
    rules,
)

_JSON_TYPES = {
    "BIGINT": {"BIGINT", "UBIGINT"},
    "VARCHAR": {"VARCHAR"},
    "BOOLEAN": {"BOOLEAN"},
    "OBJECT": {"OBJECT"},
    SCALAR: {"VARCHAR", "BIGINT", "UBIGINT", "DOUBLE", "BOOLEAN"},
}

ENOUGH = 50
"""In a full sweep of this many records, a key sent before cannot be missing by chance."""


class SpelledOtherwise(LandingError):
    """The pages have declared keys in another spelling: an older version saved them, or the service mixes them."""


@dataclass(frozen=True)
class Landed:
    """The changes of a landing: counts of records, the undeclared JSON keys, the declared keys not sent."""

    read: int
    added: int
    changed: int
    gone: int
    unknown_fields: tuple[str, ...] = ()
    not_sent: tuple[str, ...] = ()

    @property
    def anything_changed(self) -> bool:
        """Whether a later stage has to look again."""
        return bool(self.added or self.changed or self.gone)


@dataclass(frozen=True)
class Sweep:
    """The pages of a sweep in ``folder``, and the conclusions from them.

    ``proves_absence``: the sweep was complete and no mere sweep of changes. So a record missing in it is gone from BMS,
    unless it was ``set_aside`` because no database would take it. ``is_full``: it was full, complete or not.

    ``client``: it read this client alone. A record missing in it has left this client; nothing else is concluded.
    """

    folder: Path
    proves_absence: bool
    is_full: bool
    set_aside: tuple[int, ...] = ()
    client: int | None = None


def land_sweep(connection: duckdb.DuckDBPyConnection, entity: Entity, swept: Sweep, now: datetime) -> Landed:
    """Update ``bms.<entity>`` from the sweep ``swept``.

    Call it inside a transaction. Raises ``LandingError`` when a record has no id, a declared field has another type, or
    every record lacks a field that decides something or used to be there.
    """
    entity, folder = stored_mapping.mapped(connection, entity), swept.folder
    drifts = _drifted_last_time(connection, entity)
    _stage(connection, entity, folder, "CASE WHEN NOT {are_documented} THEN raw END" if drifts else "NULL::JSON")
    found = _check_shapes(connection, entity, folder)
    unknown, sent = found.unknown, found.sent
    if unknown and not drifts:
        _stage(connection, entity, folder, f"CASE WHEN shape IN {found.undeclared} THEN raw END")
    _keep_latest(connection)
    not_sent = _not_sent(connection, entity, folder, sent, is_full=swept.is_full)
    _remember_sent(connection, entity, set(_paths(entity.wire)) - not_sent if sent else set(), now)
    proves_absence = swept.proves_absence and (bool(sent) or _is_array_sent(connection, entity, folder))
    landed = _replace(
        connection, entity, swept.set_aside if proves_absence else None, _kept(entity, not_sent), now, swept.client
    )
    connection.execute("DROP TABLE staged")
    return Landed(*landed, unknown_fields=unknown, not_sent=tuple(sorted(not_sent)))


def land_once(
    connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], swept: Sweep, now: datetime
) -> dict[str, Landed]:
    """Land every entity of a list, and count the changes; the same pages on the same records are landed once.

    The sweep of one client is small, and landed each time.
    """
    if swept.client is not None:
        return _land_each(connection, entities, swept, now)
    versions, mapping = read_versions(connection), stored_mapping.read_mapping(connection)
    name = f"landed.{entities[0].list_call.name}"
    pages = digest(swept.folder.glob("*.json.zst"))

    def made_from(found: Versions) -> str:
        # The records as this landing leaves them: details, or another version, may change them later.
        stored = found.versions(["clock", *(f"bms.{entity.name}" for entity in entities)])
        added = [field.key for entity in entities for field in mapping.entity(entity).added_fields]
        return json.dumps([pages, swept.proves_absence, swept.is_full, swept.set_aside, stored, added, rules()])

    if versions.is_made_from(name, made_from(versions)):
        return {
            entity: Landed(read, 0, 0, 0, tuple(unknown), tuple(not_sent))
            for entity, (read, unknown, not_sent) in versions.results[name].items()
        }
    landed = _land_each(connection, entities, swept, now)
    result = {entity: (changes.read, changes.unknown_fields, changes.not_sent) for entity, changes in landed.items()}
    note_made_from(connection, name, made_from(read_versions(connection)), result)
    return landed


def _land_each(
    connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], swept: Sweep, now: datetime
) -> dict[str, Landed]:
    landed = {entity.name: land_sweep(connection, entity, swept, now) for entity in entities}
    for entity, changes in landed.items():
        if changes.anything_changed:
            bump_version(connection, f"bms.{entity}", now)
    return landed


def _paths(wire: Mapping[str, WireType], inside: str = "") -> list[str]:
    """Return the JSON path of every declared key, at any depth."""
    paths = [f"{inside}{key}" for key in wire]
    for key, kind in wire.items():
        if isinstance(kind, list):
            paths += _paths(kind[0], f"{inside}{key}[*].")
    return paths


def _not_sent(
    connection: duckdb.DuckDBPyConnection, entity: Entity, folder: Path, sent: set[str], *, is_full: bool
) -> set[str]:
    """Return the paths of declared keys missing in every record; ``sent``: the outermost keys of at least one record.

    Inside arrays a key is judged only where an array has an element. Raises ``LandingError``; see the module.
    """
    (records,) = _row(connection, "SELECT count(*) FROM staged")
    if not records:
        return set()
    absent = set(entity.wire) - sent
    absent |= {path for path in _absent_inside(connection, entity, folder) if path.partition("[")[0] not in absent}
    decides = [key for key in entity.deciding if key in absent]
    used_to_come = [
        path
        for path in sorted(absent)
        # A key that only a mapping names may be rare: leaving out its null everywhere is no sign of another API.
        if is_full and records >= ENOUGH and entity.wire.get(path) != SCALAR and _came(connection, entity, path)
    ]
    for path, why in [
        *((key, "it decides what happens to them") for key in decides),
        *((path, "earlier sweeps had it") for path in used_to_come),
    ]:
        raise LandingError(
            f"{entity.name}: none of {records:,} records has the field {path.replace('[*].', ' → ')}; {why}.",
            "Nothing was replaced. BMS no longer sends it, or under another name; check for a newer version of this"
            " program, and show this message to the BMS administrator.",
        )
    return absent


def _absent_inside(connection: duckdb.DuckDBPyConnection, entity: Entity, folder: Path) -> set[str]:
    """Return the paths inside non-empty arrays that are missing in every element."""
    inside = [path for path in _paths(entity.wire) if "[*]" in path]
    first = sorted(folder.glob("*.json.zst"))[:1]
    for files in (*map(sql.readable, first), sql.readable(folder / "*.json.zst")):  # mostly the first page has all
        if not inside:
            break
        arrays = [path.rpartition(".")[0] for path in inside]
        found = (
            connection.execute(
                f"SELECT {', '.join(f'coalesce(bool_or({_has(path)}), false)' for path in [*inside, *arrays])}"
                f" FROM ({_source(entity, files)})"
            ).fetchone()
            or ()
        )
        has, has_elements = found[: len(inside)], found[len(inside) :]
        left = [(path, elements) for path, there, elements in zip(inside, has, has_elements, strict=True) if not there]
        inside = [path for path, _ in left]
    return {path for path, elements in left if elements} if inside else set()


def _has(path: str) -> str:
    """Return SQL: whether a record has the key at ``path``, even with null."""
    return f"len(json -> '$.{path}') > 0"


def _came(connection: duckdb.DuckDBPyConnection, entity: Entity, path: str) -> bool:
    """Return whether an earlier sweep had a key; for sweeps before this was noted, a stored value shows it."""
    stored = " OR ".join(f"count({column}) > 0" for column in _kept(entity, {path})) or "count(*) < 0"
    row = connection.execute(
        f"SELECT EXISTS (FROM sync.keys_sent WHERE entity = $entity AND key = $path)"
        f" OR (SELECT {stored} FROM bms.{entity.name})",
        {"entity": entity.name, "path": path},
    ).fetchone()
    return bool(row and row[0])


def _remember_sent(connection: duckdb.DuckDBPyConnection, entity: Entity, sent: set[str], now: datetime) -> None:
    connection.execute(
        "INSERT INTO sync.keys_sent SELECT $entity, key, $now FROM (SELECT unnest($keys) AS key)"
        " WHERE key NOT IN (SELECT key FROM sync.keys_sent WHERE entity = $entity)",
        {"entity": entity.name, "keys": sorted(sent), "now": now},
    )


def _is_array_sent(connection: duckdb.DuckDBPyConnection, entity: Entity, folder: Path) -> bool:
    """Return whether a row of the list has the array of the records: then an empty array means no records."""
    if entity.array_in is None:
        return True
    pages = f"read_json_objects({sql.readable(folder / '*.json.zst')}, format = 'array')"
    row = connection.execute(
        f"SELECT count(*) = 0 OR bool_or(json_exists(json, '$.{entity.array_in}')) FROM {pages}"
    ).fetchone()
    return bool(row and row[0])


def _kept(entity: Entity, not_sent: set[str]) -> list[str]:
    """Return the columns to keep because their sources were not sent."""
    made_of = {"name": entity.name_sql, **{field.name: field.sql for field in entity.listed_fields}}
    made_of |= {"modified_on": entity.modified_sql, "category_id": entity.category_sql, **_listed_links(entity)}
    names_in = {column: set(re.findall(r"\w+", text)) for column, text in made_of.items()}
    parts = [set(re.findall(r"\w+", path)) for path in not_sent]
    return [column for column, found in names_in.items() if any(path <= found for path in parts)]


def _source(entity: Entity, files: str) -> str:
    pages = f"read_json_objects({files}, format = 'array', filename = true)"
    if entity.array_in is None:
        return f"SELECT json, filename, NULL::BIGINT AS account_id FROM {pages}"
    return (
        f"SELECT unnest(json -> '$.{entity.array_in}[*]') AS json, filename, (json ->> '$.id')::BIGINT AS account_id"
        f" FROM {pages}"
    )


def _drifted_last_time(connection: duckdb.DuckDBPyConnection, entity: Entity) -> bool:
    """Return whether the last sweep had undeclared keys: then looking for them at once saves a second pass."""
    row = connection.execute(
        "SELECT arg_max(len(unknown_fields), landed_at) FROM sync.sweeps WHERE list_call = ? AND client IS NULL",
        [entity.list_call.name],
    ).fetchone()
    return bool(row and row[0])


def _stage(connection: duckdb.DuckDBPyConnection, entity: Entity, folder: Path, raw: str) -> None:
    """Read the pages into the temp table ``staged``. ``raw``: SQL for the JSON to keep, over ``raw`` and ``shape``.

    The JSON is kept only for records with undeclared keys. Kept for every record, it costs more time and space than
    all else together. Looking for such keys in each record costs a seventh of a landing (docs/decisions.md).
    """
    connection.execute("DROP TABLE IF EXISTS staged")
    are_documented = f"list_has_all({sorted(documented_keys(entity))}, json_keys(raw))"
    connection.execute(_stage_sql(entity, folder, raw.format(are_documented=are_documented)))


def _stage_sql(entity: Entity, folder: Path, raw: str) -> str:
    columns = {"name": entity.name_sql, **{field.name: field.sql for field in entity.listed_fields}}
    return sql.read("warehouse/stage_records").format(
        entity=entity.name,
        source=_source(entity, sql.readable(folder / "*.json.zst")),
        structure=json.dumps({key: "VARCHAR" if kind == SCALAR else kind for key, kind in entity.wire.items()}),
        shape=_shape(entity),
        account="listed_account_id" if entity.array_in else entity.account_sql,
        account_type=entity.account_type_sql,
        category=entity.category_sql,
        columns=", ".join(f"{said} AS {column}" for column, said in (columns | _listed_links(entity)).items()),
        values=", ".join(f"{names.value(column)} AS {column}" for column in columns),
        active=entity.active_sql,
        modified=entity.modified_sql,
        raw=raw,
    )


def _listed_links(entity: Entity) -> dict[str, str]:
    """Return the columns with the ids of other records that the list gives, and the SQL of each."""
    return {column: link.sql for column, link in entity.links.items() if not link.from_details}


def documented_keys(entity: Entity) -> set[str]:
    """Return the keys of a record of ``entity`` in the vendor's document, read or not."""
    return set(entity.wire) | set(entity.documented)


@dataclass(frozen=True)
class _Shapes:
    """The undeclared keys, SQL for the shapes with such a key, and all keys of any record."""

    unknown: tuple[str, ...]
    undeclared: str
    sent: set[str]


def _check_shapes(connection: duckdb.DuckDBPyConnection, entity: Entity, folder: Path) -> _Shapes:
    """Check one record of each shape instead of every record.

    Raises ``LandingError`` for a record without id, or with a declared key in another spelling or of another type.
    """
    examples = connection.execute("SELECT shape, min(filename) FROM staged GROUP BY shape").fetchall()
    rows = connection.execute(
        f"SELECT DISTINCT ON (shape) json ->> '$.id', filename, {_types(entity)}, shape, json_keys(json) FROM"
        f" (SELECT *, {_shape(entity)} AS shape FROM ({_source(entity, '$files')}))"
        " WHERE shape IN (SELECT unnest($shapes))",
        {"files": sorted({example[1] for example in examples}), "shapes": [example[0] for example in examples]},
    ).fetchall() if examples else []  # fmt: skip
    for _, filename, *_, found_keys in rows:
        _check_spelling(entity, set(found_keys), Path(filename).relative_to(sql.literal(folder).parent))
    nameless = connection.execute("SELECT min(filename), count(*) FROM staged WHERE bms_id IS NULL").fetchone()
    if nameless and nameless[1]:
        raise LandingError(
            f"{entity.name}: {nameless[1]} records have no readable id, the first in {nameless[0]}.",
            "Nothing was replaced. Look at that page; if BMS changed its format, report it with the page attached.",
        )
    for bms_id, filename, *types, _, _ in rows:
        where = f"record {bms_id} in {Path(filename).relative_to(sql.literal(folder).parent)}"
        for (key, declared), found in zip(_leaves(entity), types, strict=True):
            _check_type(entity, key, declared, found, where)
    sent = {key for row in rows for key in row[-1]}
    documented = documented_keys(entity)
    shapes = [str(row[-2]) for row in rows if set(row[-1]) - documented]
    return _Shapes(tuple(sorted(sent - documented)), f"({', '.join(shapes)})", sent)


def _check_spelling(entity: Entity, found: set[str], page: Path) -> None:
    """Raise ``SpelledOtherwise`` where a record has a declared key in another spelling only."""
    spelled = {key.lower(): key for key in found - documented_keys(entity)}
    for key in sorted(set(entity.wire) - found):
        if key.lower() in spelled:
            raise SpelledOtherwise(
                f"{entity.name}: the field {key} is spelt {spelled[key.lower()]} in {page}.",
                "Nothing was replaced. BMS mixes spellings; show this message to the BMS administrator.",
            )


def _leaves(entity: Entity) -> list[tuple[str, WireType]]:
    """Return JSON path → declared type for every key read, and for the keys in the elements of arrays read."""
    leaves: list[tuple[str, WireType]] = list(entity.wire.items())
    for key, declared in entity.wire.items():
        if isinstance(declared, list):
            leaves.append((f"{key}[*]", "OBJECT"))
            leaves += [(f"{key}[*].{inner}", kind) for inner, kind in declared[0].items() if isinstance(kind, str)]
    return leaves


def _types(entity: Entity) -> str:
    """Return SQL for the JSON type of each leaf; a list of types where there are several elements."""
    return ", ".join(f"json_type(json, '$.{path}')" for path, _ in _leaves(entity))


def _shape(entity: Entity) -> str:
    """Return SQL for a number that is the same for records with the same keys of the same types.

    It leaves out the inside of arrays, which would double the time of landing. The inside is checked on one record of
    each shape. This finds a type that BMS changed everywhere.
    """
    return f"hash(json_keys(json), json_type(json, {[f'$.{key}' for key in entity.wire]}))"


def _check_type(entity: Entity, path: str, declared: WireType, found: str | list[str] | None, where: str) -> None:
    allowed = {"ARRAY"} if isinstance(declared, list) else _JSON_TYPES[str(declared)]
    for kind in found if isinstance(found, list) else [found]:
        if kind not in (None, "NULL", *allowed):
            field, _, inner = path.partition("[*]")
            inside = f" (its {inner.removeprefix('.')})" if inner else ""
            raise LandingError(
                f"{entity.name}: field {field} {inside}is {kind} where {' or '.join(sorted(allowed))} was declared,"
                f" {where}.".replace("  ", " "),
                "Nothing was replaced. BMS changed this field; the declaration in entities.py has to follow.",
            )


def _keep_latest(connection: duckdb.DuckDBPyConnection) -> None:
    """Count a record seen on two pages once: keep its newest version, then the one read last."""
    counts = connection.execute("SELECT count(*), count(DISTINCT bms_id) FROM staged").fetchone()
    if counts and counts[0] != counts[1]:
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE staged AS SELECT * FROM staged"
            " QUALIFY row_number() OVER (PARTITION BY bms_id"
            " ORDER BY modified_on DESC NULLS LAST, filename DESC, hash(staged)) = 1"
        )


def _replace(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    set_aside: Sequence[int] | None,
    kept: Sequence[str],
    now: datetime,
    client: int | None,
) -> tuple[int, int, int, int]:
    """Write the changed rows, and return the counts (read, added, changed, gone).

    Unchanged rows are not written; without ``set_aside`` nothing is gone. Stored records keep the columns ``kept``.
    In a sweep of one ``client`` nothing is gone from BMS either: a record missing there has left that client.
    """
    table = f"bms.{entity.name}"
    # Columns missing in a list are carried over.
    carried = schema.detail_columns(entity)
    not_staged = {
        "first_seen",
        "missing_since",
        "changed_at",
        "returned_at",
        "left_client_since",
        *carried,
        *keys.key_columns(entity),
    }
    staged = [column for column in schema.bms_columns(entity) if column not in not_staged]
    differing = {column: f"s.{column} IS DISTINCT FROM b.{column}" for column in staged if column not in kept}
    differs = " OR ".join(differing.values())
    came_back = "b.missing_since IS NOT NULL OR b.left_client_since IS NOT NULL"
    # The id of its category, or of a record that it names, is no news alone, nor is a key that a mapping names: its
    # details need not be read again.
    no_news = {"category_id", *entity.links, *(field.name for field in entity.added_fields)}
    is_news = " OR ".join([came_back, *(text for column, text in differing.items() if column not in no_news)])
    values = {column: f"s.{column}" for column in staged}
    values |= {column: f"CASE WHEN b.bms_id IS NULL THEN s.{column} ELSE b.{column} END" for column in kept}
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE incoming AS SELECT {', '.join(f'{v} AS {c}' for c, v in values.items())},"
        # A record that came into another client is new there.
        " CASE WHEN b.bms_id IS NULL OR s.account_id IS DISTINCT FROM b.account_id THEN $now ELSE b.first_seen END"
        f" AS first_seen, CASE WHEN b.bms_id IS NULL THEN NULL WHEN {is_news} THEN $now ELSE b.changed_at END"
        " AS changed_at, b.bms_id IS NULL AS is_new,"
        " CASE WHEN b.missing_since IS NOT NULL THEN $now ELSE b.returned_at END AS returned_at"
        f"{''.join(f', b.{column}' for column in carried)}"
        f" FROM staged s LEFT JOIN {table} b USING (bms_id)"
        f" WHERE b.bms_id IS NULL OR {came_back} OR {differs}",
        {"now": now},
    )
    added, changed = _row(connection, "SELECT count(*) FILTER (is_new), count(*) FILTER (NOT is_new) FROM incoming")
    if changed:
        connection.execute(f"DELETE FROM {table} WHERE bms_id IN (SELECT bms_id FROM incoming WHERE NOT is_new)")
    if added or changed:
        connection.execute(
            f"INSERT INTO {table} BY NAME {keys.with_keys(entity, 'SELECT * EXCLUDE (is_new) FROM incoming')}"
        )
    gone = 0
    if set_aside is not None:
        present = ", ".join(map(str, set_aside)) or "NULL"
        listed = "account_id" if entity.array_in else "bms_id"  # a record set aside is a row of the list
        gone_mark, gone_among = ("missing_since", "true") if client is None else (
            "left_client_since", f"left_client_since IS NULL AND account_id = {client}"
        )  # fmt: skip
        absent = (
            f"missing_since IS NULL AND {gone_among} AND NOT EXISTS (FROM staged WHERE staged.bms_id = {table}.bms_id)"
            f" AND coalesce({listed} NOT IN ({present}), true)"
        )
        (gone,) = _row(connection, f"SELECT count(*) FROM {table} WHERE {absent}")
        if gone:
            connection.execute(f"UPDATE {table} SET {gone_mark} = $now WHERE {absent}", {"now": now})
    (read,) = _row(connection, "SELECT count(*) FROM staged")
    connection.execute("DROP TABLE incoming")
    return read, added, changed, gone


AccountTypes = Sequence[tuple[int, str, bool, bool, bool]]
"""Rows of ``bms.account_types``: id, name, is_client, is_vendor, is_active."""


def is_other_account_types(connection: duckdb.DuckDBPyConnection, rows: AccountTypes) -> bool:
    """Return whether the stored account types differ from ``rows``."""
    return connection.execute("SELECT * FROM bms.account_types ORDER BY id").fetchall() != sorted(rows)


def land_account_types(connection: duckdb.DuckDBPyConnection, rows: AccountTypes) -> bool:
    """Replace the account types; return whether this changed anything."""
    if not is_other_account_types(connection, rows):
        return False
    connection.execute("DELETE FROM bms.account_types")
    for row in sorted(rows):
        connection.execute("INSERT INTO bms.account_types VALUES (?, ?, ?, ?, ?)", list(row))
    return True


def landed_before(versions: Versions, entity: Entity, file: Path) -> int | None:
    """Return the number of records in ``file`` if ``passportal.<entity>`` holds exactly this snapshot; else None."""
    name = f"passportal.{entity.name}"
    made_from = _snapshot_of(versions, entity, digest([file]))
    return versions.results[name] if versions.is_made_from(name, made_from) else None


def _snapshot_of(versions: Versions, entity: Entity, content: str) -> str:
    """Return the inputs of ``passportal.<entity>``. A load writes its values there, too, and into the journal."""
    names = (f"passportal.{entity.name}", f"journal.{entity.name}", f"{OF_LOADS}{entity.name}")
    # The mapping says which label's text a column of the snapshot holds.
    return json.dumps([content, versions.versions([*names, stored_mapping.NAME]), rules()])


def was_read(connection: duckdb.DuckDBPyConnection, entity: Entity) -> bool:
    """Return whether the list of ``entity`` was ever read from BMS."""
    row = connection.execute(
        f"SELECT EXISTS (FROM sync.sweeps WHERE list_call = ?) OR EXISTS (FROM bms.{entity.name})",
        [entity.list_call.name],
    ).fetchone()
    return row is not None and bool(row[0])


def only_clients_read(connection: duckdb.DuckDBPyConnection, entity: Entity) -> bool:
    """Return whether the list of ``entity`` was read for some clients alone so far, and never whole."""
    row = connection.execute(
        "SELECT count(*) > 0 AND bool_and(client IS NOT NULL) FROM sync.sweeps WHERE list_call = ?",
        [entity.list_call.name],
    ).fetchone()
    return bool(row and row[0])


def check_read(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """Raise ``StageMissing`` where the list of ``entity`` was never read from BMS: no id can be right."""
    if not was_read(connection, entity):
        raise StageMissing(
            f"No {entity.name} were read from BMS so far.",
            "Run `bms-pipeline preview`: it reads BMS and Passportal and changes nothing.",
            [(Stage.BMS, entity.name)],
        )


def records_in(file: Path) -> int:
    """Return the number of records in a snapshot's Parquet ``file``."""
    with closing(_metadata_reader(os.getpid()).cursor()) as connection:
        row = connection.execute(f"SELECT num_rows FROM parquet_file_metadata({sql.readable(file)})").fetchone()
    return row[0] if row else 0


@functools.cache
def _metadata_reader(process: int) -> duckdb.DuckDBPyConnection:
    """Return this process's empty database: making one takes as long as landing a few records."""
    return duckdb.connect(config={"threads": 1})


def land_snapshot(connection: duckdb.DuckDBPyConnection, entity: Entity, file: Path, now: datetime) -> int:
    """Replace ``passportal.<entity>`` by the target's Parquet ``file``; return the number of records.

    See ``Target.snapshot`` for the columns of the file.
    """
    entity, table = stored_mapping.mapped(connection, entity), f"passportal.{entity.name}"
    found = f"read_parquet({sql.readable(file)})"
    has = {row[0] for row in connection.execute(f"DESCRIBE FROM {found}").fetchall()}
    only_some_say = {"claimed_id": "BIGINT", "template": "VARCHAR", "template_id": "VARCHAR", "places": "VARCHAR[]"}
    said = [column if column in has else f"NULL::{kind} AS {column}" for column, kind in only_some_say.items()]
    values = ["client_id", *entity.columns, "bms_id", *only_some_say]
    # The time of its last modification adds nothing to its values, unless Passportal refused to change it before.
    says_other = (
        "i.last_modified IS DISTINCT FROM p.last_modified AND i.passportal_id IN"
        f" (SELECT passportal_id FROM sync.journal WHERE entity = '{entity.name}' AND refuses_values)"
        f" OR p.passportal_id IS NULL OR {' OR '.join(f'i.{column} IS DISTINCT FROM p.{column}' for column in values)}"
    )
    kept = ", ".join(f"{names.value(column)} AS {column}" for column in entity.columns)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE incoming AS SELECT i.*, {says_other} AS says_other"
        f" FROM (SELECT passportal_id, client_id, {kept}, bms_id, {', '.join(said)}, last_modified FROM {found}) i"
        f" LEFT JOIN {table} p USING (passportal_id)"
        f" WHERE {says_other} OR i.last_modified IS DISTINCT FROM p.last_modified"
    )
    replaced, changed = _row(connection, "SELECT count(*), count(*) FILTER (says_other) FROM incoming")
    if replaced:
        connection.execute(f"DELETE FROM {table} WHERE passportal_id IN (SELECT passportal_id FROM incoming)")
        connection.execute(
            f"INSERT INTO {table} BY NAME {keys.with_keys(entity, 'SELECT * EXCLUDE (says_other) FROM incoming')}"
        )
    connection.execute("DROP TABLE incoming")
    (count,) = _row(connection, f"SELECT count(*) FROM {found}")
    (stored,) = _row(connection, f"SELECT count(*) FROM {table}")
    if stored != count:
        connection.execute(sql.read("warehouse/note_vanished").format(entity=entity.name, found=found), {"now": now})
        connection.execute(
            f"DELETE FROM {table} WHERE NOT EXISTS (FROM {found} f WHERE f.passportal_id = {table}.passportal_id)"
        )
    connection.execute(
        f"DELETE FROM sync.vanished v USING {table} p WHERE v.entity = ? AND p.passportal_id = v.passportal_id",
        [entity.name],
    )
    new_records_changed = _land_new_records(connection, entity, file)
    versions = read_versions(connection)
    if changed or stored != count or new_records_changed or table not in versions.states:
        bump_version(connection, table, now)
        versions = read_versions(connection)
    note_made_from(connection, table, _snapshot_of(versions, entity, digest([file])), count)
    return count


def _land_new_records(connection: duckdb.DuckDBPyConnection, entity: Entity, file: Path) -> bool:
    """Store the snapshot's values for new records; return whether they differ from before."""
    row = connection.execute(
        "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = 'new_records'", [str(file)]
    ).fetchone()
    said = json.loads(row[0]) if row else {}
    names = ("template", "places", "problem", "template_id", "needs")
    wanted = {"": said} | {str(found.get("template_id")): found for found in said.get("templates", [])}
    # No needs are NULL, as in a warehouse of an older version.
    now = [
        (*(found.get(name) if name != "needs" else found.get(name) or None for name in names), wanted_id)
        for wanted_id, found in sorted(wanted.items())
    ]
    was = connection.execute(
        "SELECT template, places, problem, template_id, needs, coalesce(wanted_id, '') FROM passportal.new_records"
        " WHERE entity = ? ORDER BY 6",
        [entity.name],
    ).fetchall()
    if now == (was or [(None, None, None, None, None, "")]):
        return False
    connection.execute("DELETE FROM passportal.new_records WHERE entity = ?", [entity.name])
    for found in now:
        connection.execute(
            "INSERT INTO passportal.new_records (entity, template, places, problem, template_id, needs, wanted_id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [entity.name, *found],
        )
    return True


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    if row is None:
        raise AssertionError(query)
    return tuple(int(count or 0) for count in row)
