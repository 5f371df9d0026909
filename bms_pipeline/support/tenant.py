"""The records of a bundle: which columns of which tables it has, read, replaced, written as NDJSON, and read again.

The tables are an allow-list: a column is in a bundle only because it is named here, with how its values are replaced.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.reconcile.sync_settings import store_sync_setting
from bms_pipeline.support.mapped import MadeTexts, replaced_mapping
from bms_pipeline.support.selection import columns_of_related
from bms_pipeline.support.values import How, Ids, Values, how_to_replace
from bms_pipeline.warehouse import keys, sql
from bms_pipeline.warehouse.connection import named_rows

Row = dict[str, Any]
Rows = dict[str, list[Row]]
"""Table → its rows."""

FOLDER = "tenant"
"""Where the tables are in a bundle."""
_MOMENTS = ("first_seen", "missing_since", "changed_at", "returned_at", "left_client_since")
_DETAIL_MOMENTS = ("details_asked_at", "details_read_at")
_SOMEBODY = "a person"
"""Stands for everybody who decided something."""
_INSERTED_AT_ONCE = 10_000
_NUMBER = re.compile(r"\d+")
_KEPT_SETTINGS = frozenset((
    "sync", "auto_create", "active_only", "identical_names", "ownership", "update_share", "gone_share",
    "client_update_share", "vanished_share", "client_vanished_share", "details_max_age_days", "can_write", "can_list",
))  # fmt: skip
_MAPPINGS = ("mapping", "loaded_mapping")
_WORDS_IN_SETTINGS = ("account_types", "asset_categories")
_SCOPE_IDS = "scope_ids"
_KNOWN_SETTINGS = {
    *_KEPT_SETTINGS,
    *_MAPPINGS,
    *_WORDS_IN_SETTINGS,
    _SCOPE_IDS,
    "clients",
    "initial_sync_finished_at",
    "rebuilt_at",
}
"""A setting is in a bundle only because it is named here."""
_MOMENTS_IN_SETTINGS = ("initial_sync_finished_at", "rebuilt_at")


@dataclass(frozen=True)
class Table:
    """A table of a bundle: column → how its values are replaced, and SQL for its rows among the chosen records."""

    name: str
    columns: Mapping[str, How]
    where: str
    entity: Entity | None = None
    stub_where: str = "false"
    """SQL for whether a row has only what matching looks at."""


def bundle_tables() -> list[Table]:
    """Return the tables of a bundle with records."""
    return [
        *(table for entity in ENTITIES for table in _tables_of(entity)),
        Table(
            "bms.account_types",
            {"id": How.KEPT, "name": How.TEXT, **_kept("is_client", "is_vendor", "is_active")},
            "true",
        ),
        Table(
            "passportal.new_records",
            {**_kept("entity", "places", "problem", "template_id", "wanted_id"), "template": How.LABEL},
            "true",
        ),
        Table("sync.matches", {**_link(), "reason": How.KEPT, "matched_at": How.MOMENT}, _of_bms()),
        Table("sync.exclusions", {"entity": How.KEPT, "bms_id": How.BMS_ID, "decided_at": How.MOMENT}, _of_bms()),
        Table("sync.non_matches", {**_link(), "decided_at": How.MOMENT}, f"{_of_bms()} AND {_of_passportal()}"),
        Table(
            "sync.vanished",
            {**_link(), "client_id": How.PASSPORTAL_ID, "vanished_at": How.MOMENT},
            _of_bms(),
        ),
        Table(
            "sync.approved_creates",
            {**_kept("entity", "allow_duplicate"), "bms_id": How.BMS_ID, "decided_at": How.MOMENT},
            _of_bms(),
        ),
        Table(
            "sync.journal",
            {**_link(), **_kept("operation", "reason"), "client_id": How.PASSPORTAL_ID, "intent_at": How.MOMENT},
            f"outcome IS NULL AND {_of_bms()}",
        ),
        Table(
            "sync.pending_imports",
            {
                "entity": How.KEPT,
                "bms_id": How.BMS_ID,
                "name": How.NAME,
                **dict.fromkeys(("handed_over_at", "written_at", "reissued_at"), How.MOMENT),
            },
            f"written_at IS NOT NULL AND {_of_bms()}",
        ),
        Table(
            "sync.sweeps",
            {**_kept("list_call", "mode", "complete"), "client": How.BMS_ID, "landed_at": How.MOMENT},
            f"client IS NULL OR {_chosen('clients', 'bms', 'client')}",
        ),
    ]


def _tables_of(entity: Entity) -> Iterator[Table]:
    values = how_to_replace(entity)
    of_bms, of_passportal = _chosen(entity.name, "bms", "bms_id"), _chosen(entity.name, "passportal", "passportal_id")
    stub_bms = _chosen(entity.name, "bms", "bms_id", " AND NOT c.whole")
    stub_passportal = _chosen(entity.name, "passportal", "passportal_id", " AND NOT c.whole")
    details = dict.fromkeys(_DETAIL_MOMENTS, How.MOMENT) if entity.details else {}
    yield Table(
        f"bms.{entity.name}",
        {
            "bms_id": How.BMS_ID, "account_id": How.BMS_ID, **values,
            **_kept("account_type_id", "category_id", "is_active"), "modified_on": How.DATE,
            **dict.fromkeys(_MOMENTS, How.MOMENT), **details,
        },
        of_bms, entity, stub_bms,
    )  # fmt: skip
    yield Table(
        f"passportal.{entity.name}",
        {
            "passportal_id": How.PASSPORTAL_ID, "client_id": How.PASSPORTAL_ID, **values, "bms_id": How.BMS_ID,
            "last_modified": How.DATE, "claimed_id": How.BMS_ID, "template": How.LABEL,
            **_kept("template_id", "places"),
        },
        of_passportal, entity, stub_passportal,
    )  # fmt: skip
    base = {
        "bms_id": How.BMS_ID,
        **(_kept("with_details") if entity.details else {}),
        **{f"{side}_{column}": how for side in ("bms", "passportal") for column, how in values.items()},
    }
    yield Table(f"sync.base_{entity.name}", base, of_bms, entity, stub_bms)
    former = {"passportal_id": How.PASSPORTAL_ID, **base}
    yield Table(f"sync.former_base_{entity.name}", former, f"{of_bms} AND {of_passportal}", entity, stub_bms)


def _kept(*columns: str) -> dict[str, How]:
    return dict.fromkeys(columns, How.KEPT)


def _link() -> dict[str, How]:
    return {"entity": How.KEPT, "bms_id": How.BMS_ID, "passportal_id": How.PASSPORTAL_ID}


def _chosen(entity: str, side: str, column: str, more: str = "") -> str:
    return f"EXISTS (FROM chosen_{entity} c WHERE c.side = '{side}' AND c.id = t.{column}::VARCHAR{more})"


def _of_bms() -> str:
    return _of_any("bms", "bms_id")


def _of_passportal() -> str:
    return _of_any("passportal", "passportal_id")


def _of_any(side: str, column: str) -> str:
    cases = " ".join(f"WHEN '{entity.name}' THEN {_chosen(entity.name, side, column)}" for entity in ENTITIES)
    return f"CASE t.entity {cases} ELSE false END"


def read_rows(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Return the rows of the chosen records; see ``selection.choose``."""
    return {table.name: _read(connection, table) for table in bundle_tables()}


def _read(connection: duckdb.DuckDBPyConnection, table: Table) -> list[Row]:
    looked_at = columns_of_related(table.entity) if table.entity else frozenset()
    selected = ", ".join(
        f"CASE WHEN NOT is_stub THEN t.{column} END AS {column}"
        if table.entity and _plain(column) in table.entity.columns and _plain(column) not in looked_at
        else f"t.{column}"
        for column in table.columns
    )
    return named_rows(
        connection,
        f"SELECT {selected} FROM (SELECT *, {table.stub_where} AS is_stub FROM {table.name} t WHERE {table.where}) t"
        " ORDER BY ALL",
    )


def _plain(column: str) -> str:
    """Return the column of the record that a column of a base has."""
    return column.removeprefix("bms_").removeprefix("passportal_")


def found_values(rows: Rows) -> tuple[dict[How, set[str]], set[int], set[int]]:
    """Return the values to replace by kind, the BMS ids, and the numbers in Passportal's ids."""
    values: dict[How, set[str]] = defaultdict(set)
    bms_ids: set[int] = set()
    passportal_ids: set[int] = set()
    for table in bundle_tables():
        for row in rows[table.name]:
            for column, how in table.columns.items():
                value = row[column]
                if value is None:
                    continue
                if how is How.BMS_ID:
                    bms_ids.add(value)
                elif how is How.PASSPORTAL_ID:
                    passportal_ids |= {int(part) for part in _NUMBER.findall(value)}
                elif how not in (How.MOMENT, How.KEPT, How.LABEL):
                    values[how].add(value)
    return values, bms_ids, passportal_ids


def all_words(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the words of every stored record: a stand-in must not be the name of somebody else by chance."""
    return {
        word
        for entity in ENTITIES
        for (word,) in connection.execute(
            sql.read("support/all_words").format(entity=entity.name, columns=", ".join(entity.columns))
        ).fetchall()
    }


def read_settings_of_sync(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Return the sync settings that a bundle has, as they are stored."""
    known = (*_KEPT_SETTINGS, *_MAPPINGS, *_WORDS_IN_SETTINGS, *_MOMENTS_IN_SETTINGS, "clients")
    rows = connection.execute("SELECT name, value FROM sync.settings ORDER BY name").fetchall()
    return {name: json.loads(value) for name, value in rows if name in known}


def words_in_settings(settings: Mapping[str, Any]) -> set[str]:
    """Return the texts in the sync settings whose words are replaced."""
    chosen = {text for name in _WORDS_IN_SETTINGS for text in settings.get(name) or ()}
    return chosen | {text for ids in (settings.get(_SCOPE_IDS) or {}).values() for text in ids}


@dataclass(frozen=True)
class Replacement:
    """What stands for everything in one bundle."""

    values: Values
    bms_ids: Ids
    passportal_ids: Ids

    def row(self, table: Table, row: Row) -> Row:
        """Return ``row`` of ``table`` with every value replaced."""
        return {column: self.value(how, row[column]) for column, how in table.columns.items()}

    def value(self, how: How, value: Any) -> Any:  # noqa: ANN401  # as the column has it
        """Return what stands for ``value``."""
        match how:
            case How.KEPT:
                return value
            case How.BMS_ID:
                return self.bms_ids.stand_in(value)
            case How.PASSPORTAL_ID:
                return self.passportal_ids.in_text(value)
            case How.MOMENT:
                return self.values.moment(value)
            case _:
                return self.values.stand_in(how, value)

    def settings(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sync settings with every name and id replaced; clients that are not in the bundle are left out."""
        return {name: self._setting(name, value) for name, value in stored.items() if name in _KNOWN_SETTINGS}

    def _setting(self, name: str, value: Any) -> Any:  # noqa: ANN401  # JSON
        if value is None or name in _KEPT_SETTINGS:
            return value
        if name == "clients":
            return sorted(found for client in value if (found := self.bms_ids.known(client)) is not None)
        if name == _SCOPE_IDS:
            words = self.values.stand_in
            return {
                setting: {str(words(How.TEXT, text)).lower(): ids for text, ids in found.items()}
                for setting, found in value.items()
            }
        if name in _MAPPINGS:
            return replaced_mapping(parse_mapping(value), self.values).as_json()
        if name in _MOMENTS_IN_SETTINGS:
            return str(self.values.moment(datetime.fromisoformat(value)))
        return [self.values.stand_in(How.TEXT, text) for text in value]


def replaced_rows(rows: Rows, replacement: Replacement) -> Rows:
    """Return the rows with every value replaced."""
    return {table.name: [replacement.row(table, row) for row in rows[table.name]] for table in bundle_tables()}


def mappings_in(settings: Mapping[str, Any]) -> list[FieldMapping]:
    """Return the mappings in the sync settings: the stored one, and the one that was loaded last."""
    return [parse_mapping(settings[name]) for name in _MAPPINGS if settings.get(name)]


def with_made_texts(rows: Rows, replaced: Rows, made: MadeTexts) -> None:
    """Put the stand-ins of the texts that a mapping made into ``replaced``, which are the ``rows`` in their order."""
    links = {(link["entity"], link["passportal_id"]): link["bms_id"] for link in rows["sync.matches"]}
    for table in bundle_tables():
        if table.entity is None or table.name.startswith("bms."):
            continue
        for row, shown in zip(rows[table.name], replaced[table.name], strict=True):
            linked = links.get((table.entity.name, row.get("passportal_id")))
            bms_id = linked if linked is not None else row["bms_id"]
            for column, value in row.items():
                place = table.entity.name, column if column in table.entity.columns else _plain(column)
                standin = made.stand_in(place, bms_id, value) if isinstance(value, str) else None
                if standin is not None:
                    shown[column] = standin


def lines_of(rows: list[Row]) -> bytes:
    """Return ``rows`` as NDJSON."""
    lines = (json.dumps(row, ensure_ascii=False, default=_as_text) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")


def rows_in(content: bytes) -> list[Row]:
    """Return the rows of NDJSON."""
    return [json.loads(line) for line in content.split(b"\n") if line]


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    raise TypeError(f"{type(value).__name__} is not part of a bundle")


def fill(connection: duckdb.DuckDBPyConnection, rows: Rows, settings: Mapping[str, Any], now: datetime) -> None:
    """Fill a new warehouse with ``rows`` and ``settings``. Call it inside a transaction."""
    for table in bundle_tables():
        _insert(connection, table, rows.get(table.name, []))
    for name in ("exclusions", "non_matches", "approved_creates"):
        connection.execute(f"UPDATE sync.{name} SET decided_by = ?", [_SOMEBODY])
    for name, value in settings.items():
        store_sync_setting(connection, name, value, now)
    connection.execute("DELETE FROM main.key_definitions")
    keys.bring_up_to_date(connection, now)


def _insert(connection: duckdb.DuckDBPyConnection, table: Table, rows: list[Row]) -> None:
    if not rows:
        return
    schema, _, name = table.name.partition(".")
    types = dict(
        connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = ? AND table_name = ?",
            [schema, name],
        ).fetchall()
    )
    structure = {column: ["VARCHAR"] if types[column].endswith("[]") else types[column] for column in table.columns}
    for start in range(0, len(rows), _INSERTED_AT_ONCE):
        lines = [json.dumps(row, default=_as_text) for row in rows[start : start + _INSERTED_AT_ONCE]]
        connection.execute(
            f"INSERT INTO {table.name} BY NAME SELECT unnest(from_json(line, $structure))"
            " FROM (SELECT unnest($lines::VARCHAR[]) AS line)",
            {"structure": json.dumps(structure), "lines": lines},
        )


def file_of_table(table: str) -> str:
    """Return the file of ``table`` in a bundle."""
    return f"{FOLDER}/{table.replace('.', '/')}.ndjson"
