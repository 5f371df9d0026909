"""Links for people: the title of the document next to its id, and how many links a plan leaves, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import duckdb

from bms_pipeline.core.entities import BY_NAME, Entity, EntityName
from bms_pipeline.core.mapping import LINK_SIGN, Mapping
from bms_pipeline.core.reasons import reason_in_words
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import named_rows
from bms_pipeline.warehouse.stored_mapping import read_mapping

Row = dict[str, Any]

_VALUES = {"changes": ("before", "after"), "kept": ("bms", "passportal"), "no_place": ("bms",)}
"""Lists of an operation → those of their members that are values of fields."""


def show_titles(connection: duckdb.DuckDBPyConnection, rows: Collection[Row], entity: EntityName = "") -> None:
    """Put the title of the document behind the id in each link of ``rows``: ``#4711 Head Office``.

    ``rows``: operations with the lists ``changes``, ``kept``, ``no_place`` or ``unlinked``. ``entity``: theirs, where
    the rows do not say it. In ``unlinked`` the name of the BMS record goes behind its id.
    """
    mapping = read_mapping(connection)
    if not any(mapping.links(found) for found in BY_NAME.values()):
        return
    found = [value for row in rows for value in _values_in(row, mapping, entity or row["entity"])]
    for target in dict.fromkeys(target for target, *_ in found):
        ours = [(value, member) for name, value, member in found if name == target]
        known = document_titles(connection, target, {value[member] for value, member in ours})
        for value, member in ours:
            value[member] = known.get(value[member], value[member])


def _values_in(row: Row, mapping: Mapping, entity: EntityName) -> Iterator[tuple[EntityName, Row, str]]:
    """Yield each link in an operation: the entity that it links to, and where its value is."""
    links = mapping.links(BY_NAME[entity])
    for name, members in {**_VALUES, "unlinked": ("bms",)}.items():
        for value in row.get(name) or ():
            if value["field"] in links:
                yield from ((links[value["field"]].entity, value, member) for member in members)


def document_titles(
    connection: duckdb.DuckDBPyConnection, target: EntityName, values: Collection[str | int | None]
) -> dict[str | int | None, str]:
    """Return each of the values that is known, a link's or the BMS id of a record, with the name behind it."""
    texts = [value.removeprefix(LINK_SIGN) for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, int)]
    documents = connection.execute(
        f"SELECT passportal_id, name FROM passportal.{target} WHERE passportal_id IN (SELECT unnest(?::VARCHAR[]))",
        [texts],
    ).fetchall()
    records = connection.execute(
        f"SELECT bms_id, name FROM bms.{target} WHERE bms_id IN (SELECT unnest(?::BIGINT[]))", [numbers]
    ).fetchall()
    found: dict[str | int | None, str] = {f"{LINK_SIGN}{id_}": f"{LINK_SIGN}{id_} {name}" for id_, name in documents}
    return found | {id_: f"{id_} {name or ''}".rstrip() for id_, name in records}


def titles_in(
    connection: duckdb.DuckDBPyConnection, mapping: Mapping, entity: Entity, records: Collection[Row]
) -> dict[str, str]:
    """Return the value of each link in ``records`` of one entity → the same with the document's title behind it."""
    found: dict[str, str] = {}
    for column, link in mapping.links(entity).items():
        known = document_titles(connection, link.entity, {record.get(column) for record in records})
        found |= {value: shown for value, shown in known.items() if isinstance(value, str)}
    return found


def links_left(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return a sentence for each reason why the current plan does not write links of a field."""
    mapping = read_mapping(connection)
    return [
        f"{row['records']:,} link{'s' if row['records'] != 1 else ''} of {row['entity']},"
        f" {mapping.shown_labels(BY_NAME[row['entity']])[row['field']]}: not written;"
        f" {reason_in_words(row['reason'])} ({row['reason']})."
        for row in named_rows(connection, sql.read("reports/links_left"))
    ]


def title_sql(mapping: Mapping, value: str) -> str:
    """Return SQL over ``line`` and ``change``: a field's value, and for a link the title of the document behind it."""
    cases = " ".join(
        f"WHEN line.entity = '{entity.name}' AND change.field = '{column}' THEN coalesce((SELECT"
        f" concat({value}, ' ', target.name) FROM passportal.{link.entity} target"
        f" WHERE concat('{LINK_SIGN}', target.passportal_id) = {value}), {value})"
        for entity in BY_NAME.values()
        for column, link in mapping.links(entity).items()
    )
    return f"CASE {cases} ELSE {value} END" if cases else value
