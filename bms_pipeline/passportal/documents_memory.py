"""What is remembered of Passportal's documents between runs, in a DuckDB file of its own. Losing it costs calls only.

Rows of the list are kept whole, of a document's details only the fields that are synced and the marker: what else
stands in a tenant's documents is none of our business. Deleted text stays in a DuckDB file.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bms_pipeline.entities import Entity
from bms_pipeline.passportal.documents_encoding import NOTES, Document, marker_in
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.causes import reported
from bms_pipeline.warehouse.connection import connect, make_whole, transaction

_LISTED = "id VARCHAR, client_id VARCHAR, title VARCHAR, template_id VARCHAR, template VARCHAR, marker BIGINT,"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS listed (type VARCHAR, {_LISTED} last_modified VARCHAR, readable BOOLEAN);
CREATE TABLE IF NOT EXISTS details (
    type VARCHAR, id VARCHAR, last_modified VARCHAR, settled BOOLEAN, labels VARCHAR, fields MAP(VARCHAR, VARCHAR),
    marker BIGINT
);
CREATE TABLE IF NOT EXISTS template_fields (template_id VARCHAR, label VARCHAR, key VARCHAR);
ALTER TABLE details ADD COLUMN IF NOT EXISTS own_marker BOOLEAN;
"""
_LIST = """
INSERT INTO listed SELECT $type, unnest(r.id), unnest(r.client_id), unnest(r.title), unnest(r.template_id),
                          unnest(r.template), unnest(r.marker), unnest(r.last_modified), unnest(r.readable)
FROM (SELECT $rows::JSON::STRUCT(id VARCHAR[], client_id VARCHAR[], title VARCHAR[], template_id VARCHAR[],
                                 template VARCHAR[], marker BIGINT[], last_modified VARCHAR[], readable BOOLEAN[]) AS r)
"""
_REMEMBER = """
INSERT INTO details SELECT $type, unnest($ids), unnest($modified), unnest($settled), $labels,
                           unnest($fields)::JSON::MAP(VARCHAR, VARCHAR), unnest($markers), unnest($own)
"""
_UNREAD = """
SELECT id FROM listed l
WHERE type = $type AND readable AND NOT EXISTS (
    FROM details d WHERE d.type = l.type AND d.id = l.id AND d.settled AND d.labels = $labels
                     AND d.last_modified = l.last_modified
)
ORDER BY id
"""
_SNAPSHOT = """
COPY (
    SELECT l.id AS passportal_id, l.client_id, l.title AS name, {values}, coalesce(l.marker, d.marker) AS bms_id,
           -- What an older version read does not say which form the marker has; it wrote nearly all of them itself.
           l.marker IS NOT NULL OR coalesce(d.own_marker, d.marker IS NOT NULL, false) AS is_own_marker,
           l.last_modified
    FROM listed l LEFT JOIN details d USING (type, id) WHERE l.type = $type
) TO {file} (FORMAT parquet)
"""


@dataclass(frozen=True)
class Listed:
    """A row of a list. ``readable``: whether this key may ask for its details; else only this is known of it."""

    document: Document
    template: str
    readable: bool = True


@dataclass(frozen=True)
class Template:
    """A template that documents of one type have, and how many."""

    id: str
    name: str
    documents: int


_IF_DAMAGED = (
    "Move it and its .wal aside, then run again: it only remembers documents, which are read from Passportal again."
)


class RememberedDocuments:
    """The memory in ``file``; made when first used, and used inside ``opened`` by one thread at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._one_at_a_time = threading.Lock()
        self._opened: list[duckdb.DuckDBPyConnection] = []

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Keep the file open, also over calls: nobody else uses it, only one run works in a home folder."""
        if self._opened:
            yield
            return
        with reported(self._file, _IF_DAMAGED):
            make_whole(self._file, _fill)
            connection = connect(self._file)
            _fill(connection)  # a file of an older version lacks a column
        self._opened.append(connection)
        try:
            yield
        finally:
            self._opened.clear()
            connection.close()

    @contextlib.contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.opened(), self._one_at_a_time, reported(self._file, _IF_DAMAGED), transaction(self._opened[0]):
            yield self._opened[0]

    def listed(self, kind: str) -> dict[str, Listed]:
        """The documents of a type as they were listed last, by id."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT id, client_id, title, template_id, last_modified, template, readable FROM listed"
                " WHERE type = ?",
                [kind],
            ).fetchall()
        return {row[0]: Listed(Document(*row[:5]), row[5], row[6]) for row in rows}

    def list_anew(self, kind: str, rows: Iterable[Listed]) -> None:
        """These are the documents of a type now; details of others are forgotten."""
        found = list(rows)
        columns = {
            "id": [each.document.id for each in found],
            "client_id": [each.document.client_id for each in found],
            "title": [each.document.title for each in found],
            "template_id": [each.document.template_id for each in found],
            "template": [each.template for each in found],
            "marker": [marker_in(each.document.custom_id, {}) for each in found],
            "last_modified": [each.document.last_modified for each in found],
            "readable": [each.readable for each in found],
        }
        with self._open() as connection:
            connection.execute("DELETE FROM listed WHERE type = ?", [kind])
            connection.execute(_LIST, {"type": kind, "rows": _json(columns)})
            connection.execute(
                "DELETE FROM details d WHERE type = ? AND NOT EXISTS"
                " (FROM listed l WHERE l.type = d.type AND l.id = d.id)",
                [kind],
            )

    def unread(self, entity: Entity) -> list[str]:
        """The ids of listed documents whose details have to be read."""
        with self._open() as connection:
            rows = connection.execute(_UNREAD, {"type": entity.singular, "labels": _labels(entity)}).fetchall()
        return [row[0] for row in rows]

    def remember(self, entity: Entity, documents: Sequence[tuple[Document, bool]]) -> None:
        """Keep what was read: each with whether nothing can have changed since within its second."""
        if not documents:
            return
        labels = list(entity.labels.values())[1:]
        fields = [each.fields for each, _ in documents]
        with self._open() as connection:
            connection.execute(
                "DELETE FROM details WHERE type = $type AND id IN (SELECT unnest($ids))",
                {"type": entity.singular, "ids": [each.id for each, _ in documents]},
            )
            connection.execute(
                _REMEMBER,
                {
                    "type": entity.singular,
                    "ids": [each.id for each, _ in documents],
                    "modified": [each.last_modified for each, _ in documents],
                    "settled": [settled for _, settled in documents],
                    "labels": _labels(entity),
                    "fields": [_json({label: each[label] for label in labels if each.get(label)}) for each in fields],
                    "markers": [each.marker for each, _ in documents],
                    "own": [each.has_own_marker for each, _ in documents],
                },
            )
            self._remember_fields(connection, {each.template_id: each.keys for each, _ in documents})

    def markers(self, kind: str, ids: Sequence[str]) -> dict[str, tuple[str, int | None]]:
        """Of these documents those that were read: id → last modified then, and marker."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT id, last_modified, marker FROM details WHERE type = ? AND id IN (SELECT unnest(?))",
                [kind, list(ids)],
            ).fetchall()
        return {row[0]: (row[1], row[2]) for row in rows}

    def templates(self, kind: str) -> list[Template]:
        """The templates that listed documents of a type have, the most frequent first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT template_id, any_value(template), count(*) FROM listed WHERE type = ? AND template_id <> ''"
                " GROUP BY ALL ORDER BY 3 DESC, 1",
                [kind],
            ).fetchall()
        return [Template(*row) for row in rows]

    def fields(self, template_id: str) -> dict[str, str]:
        """Label → key of every field that a document of this template was seen with."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT label, key FROM template_fields WHERE template_id = ? ORDER BY ALL", [template_id]
            ).fetchall()
        return dict(rows)

    def write_snapshot(self, entity: Entity, file: Path) -> None:
        """Write what is known of an entity's documents to a Parquet file; see ``Target.snapshot``."""
        values = ", ".join(
            f"map_extract_value(d.fields, {sql.quoted(entity.labels[each])}) AS {each}" for each in entity.columns[1:]
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as connection:
            connection.execute(_SNAPSHOT.format(values=values, file=sql.quoted(str(file))), {"type": entity.singular})

    def _remember_fields(self, connection: duckdb.DuckDBPyConnection, seen: Mapping[str, Mapping[str, str]]) -> None:
        for template_id, keys in seen.items():
            connection.execute(
                "INSERT INTO template_fields SELECT $template, label, key FROM"
                " (SELECT unnest($labels) AS label, unnest($keys) AS key) s WHERE NOT EXISTS"
                " (FROM template_fields f WHERE f.template_id = $template AND f.label = s.label)",
                {"template": template_id, "labels": list(keys), "keys": list(keys.values())},
            )


def _fill(new: duckdb.DuckDBPyConnection) -> None:
    new.execute(_SCHEMA)


def _labels(entity: Entity) -> str:
    """What was looked for in details: where that changes, they are read anew."""
    return ", ".join((*list(entity.labels.values())[1:], NOTES))


def _json(value: object) -> str:
    """JSON that DuckDB can hold: half a surrogate pair, which is no character, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
