"""An embedded Passportal: clients, users and documents in a DuckDB file of its own.

It behaves as the real service does where that matters: a record needs a title, a document needs an existing client,
a title may be there twice, creating twice makes two records, an answer to a create tells no ids, nothing is deleted.
Values are kept by label, with those that the pipeline does not know.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.mapping import DEFAULT
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.passportal.target import Leaving, Write, Written, unmarked
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.causes import translate_errors
from bms_pipeline.warehouse.connection import create_atomically, opened, transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    number BIGINT, id VARCHAR, type VARCHAR, client_id VARCHAR, title VARCHAR, details MAP(VARCHAR, VARCHAR),
    marker VARCHAR, last_modified VARCHAR
)
"""
_APPEND = """
INSERT INTO records
SELECT number, $prefix || number, $type, client_id, title, details::JSON::MAP(VARCHAR, VARCHAR), marker, $now
FROM (
    SELECT (SELECT coalesce(max(number), 0) FROM records) + unnest(range(1, len($titles) + 1)) AS number,
           unnest($clients) AS client_id, unnest($titles) AS title, unnest($details) AS details,
           unnest($markers) AS marker
)
"""
_REWRITE = """
UPDATE records SET title = new.title, details = new.details::JSON::MAP(VARCHAR, VARCHAR), marker = new.marker,
                   last_modified = $now
FROM (SELECT unnest($ids) AS id, unnest($titles) AS title, unnest($details) AS details, unnest($markers) AS marker) new
WHERE records.id = new.id
"""
_RELEASE = """
UPDATE records SET marker = NULL, last_modified = $now
FROM (SELECT unnest($ids) AS id, unnest($markers) AS marker) released
WHERE records.id = released.id AND records.marker = released.marker AND records.type = $type
"""


_IF_DAMAGED = (
    "This file is your embedded Passportal, and no copy of it is made: put back a copy of your own, with no .wal of the"
    " damaged file next to it. Without one, move both aside; the store then begins empty."
)


class EmbeddedPassportal:
    """The target in ``file``; made when first used."""

    name = "embedded"
    can_write = frozenset(entity.name for entity in ENTITIES)
    can_list = can_write
    can_link = True  # as its text
    batch_size = 5000
    unknown_seconds = 0.0

    def __init__(self, file: Path, mapping: FieldMapping = DEFAULT) -> None:
        self._file = file
        self._mapping = mapping

    def close(self) -> None:
        """Do nothing: no call leaves the file open."""

    @contextlib.contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection whose statements become durable together."""
        with self._reading() as connection, transaction(connection):
            yield connection

    @contextlib.contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection for reading."""
        with translate_errors(self._file, _IF_DAMAGED):
            create_atomically(self._file, _fill)
            with opened(self._file) as connection:
                yield connection

    def snapshot(self, entity: Entity, file: Path) -> None:
        """See ``Target.snapshot``."""
        entity, labels = self._mapping.entity(entity), self._mapping.labels(entity)
        values = ", ".join(
            f"map_extract_value(details, {sql.quoted(labels[column])}) AS {column}"
            if column in labels
            else f"NULL::VARCHAR AS {column}"
            for column in entity.columns[1:]
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._reading() as connection:
            connection.execute(
                f"COPY (SELECT id AS passportal_id, client_id, title AS name, {values},"
                " try_cast(marker AS BIGINT) AS bms_id, last_modified"
                " FROM records WHERE type = $type)"
                f" TO '{str(file).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)",
                {"type": entity.singular},
            )

    def snapshot_known(self, entity: Entity, file: Path) -> int:
        """See ``KnowsRecords``: this store is here, so nothing is read again."""
        self.snapshot(entity, file)
        return 0

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.create``."""
        leaving([write.bms_id for write in writes])
        labels = self._mapping.labels(entity)
        with self._open() as connection:
            self._release(connection, entity, writes)
            clients = self._existing(connection, "client", {write.client_id for write in writes if write.client_id})
            outcomes = [_refusal(entity, write, clients) or Written(write.bms_id, Outcome.DONE) for write in writes]
            accepted = [
                write for write, written in zip(writes, outcomes, strict=True) if written.outcome is Outcome.DONE
            ]
            self._append(
                connection,
                entity,
                [
                    (write.client_id, write.values["name"] or "", _details(labels, write.values, {}), str(write.bms_id))
                    for write in accepted
                ],
            )
        return outcomes

    def update(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.update``."""
        leaving([write.bms_id for write in writes])
        labels = self._mapping.labels(entity)
        outcomes: list[Written] = []
        rewritten: list[tuple[str, str, dict[str, str], str | None]] = []
        with self._open() as connection:
            self._release(connection, entity, writes)
            stored = self._existing(connection, entity.singular, {write.passportal_id for write in writes})
            for write in writes:
                title, details, marker = stored.get(write.passportal_id, (None, {}, None))
                now = {column: title if column == "name" else details.get(labels[column]) for column in write.before}
                moved = [column for column in write.before if _plain(now[column]) != _plain(write.before[column])]
                if title is None or write.passportal_id is None:
                    outcomes.append(Written(write.bms_id, Outcome.REFUSED, "the record is gone from Passportal"))
                elif marker not in (None, str(write.bms_id), str(write.replaces_marker_of)):
                    outcomes.append(Written(write.bms_id, Outcome.REFUSED, f"it bears the marker of BMS id {marker}"))
                elif moved:
                    changed = ", ".join(labels[column] for column in moved)
                    outcomes.append(Written(write.bms_id, Outcome.REFUSED, f"stale: changed meanwhile: {changed}"))
                else:
                    title = write.values.get("name") or title
                    marker = str(write.marker) if write.marker is not None else None
                    rewritten.append((write.passportal_id, title, _details(labels, write.values, details), marker))
                    outcomes.append(Written(write.bms_id, Outcome.DONE))
            if rewritten:
                connection.execute(
                    _REWRITE,
                    {
                        "ids": [row[0] for row in rewritten],
                        "titles": [row[1] for row in rewritten],
                        "details": [json.dumps(row[2]) for row in rewritten],
                        "markers": [row[3] for row in rewritten],
                        "now": _now(),
                    },
                )
        return outcomes

    def find(self, entity: Entity, writes: Sequence[Write]) -> dict[int, str]:
        """See ``Target.find``."""
        clients = {write.bms_id: write.client_id for write in writes}
        with self._open() as connection:
            rows = connection.execute(
                "SELECT marker::BIGINT, id, client_id FROM records WHERE type = $type"
                " AND marker IN (SELECT unnest($markers)) ORDER BY number DESC",
                {"type": entity.singular, "markers": [str(marker) for marker in clients]},
            ).fetchall()
        return {bms_id: found for bms_id, found, client in rows if clients[bms_id] == client}

    def last_write_at(self) -> None:
        """See ``Target.last_write_at``: a transaction is there whole or not at all."""

    def import_file(self, entity: Entity, file: Path) -> int:
        """Take in the records of an NDJSON ``file`` as a person's import would; return their number.

        Each line has ``passportal_id``, ``client_id`` and the entity's columns. Records get no marker.
        """
        labels = self._mapping.labels(entity)
        details = ", ".join(f"{sql.quoted(label)}: {column}" for column, label in labels.items() if column != "name")
        columns = dict.fromkeys(("passportal_id", "client_id", *entity.columns), "VARCHAR")
        with self._open() as connection:
            connection.execute(
                "INSERT INTO records SELECT (SELECT coalesce(max(number), 0) FROM records) + row_number() OVER (),"
                f" passportal_id, $type, client_id, name, MAP {{{details}}}, NULL, $now"
                " FROM read_json($file, format = 'newline_delimited', columns = $columns)",
                {"type": entity.singular, "now": _now(), "file": str(sql.literal(file)), "columns": columns},
            )
            row = connection.execute("SELECT count(*) FROM records WHERE type = ?", [entity.singular]).fetchone()
        return int(row[0]) if row else 0

    def _existing(
        self, connection: duckdb.DuckDBPyConnection, kind: str, ids: set[str | None]
    ) -> dict[str | None, tuple[str, dict[str, str], str | None]]:
        rows = connection.execute(
            "SELECT id, title, details, marker FROM records WHERE type = $type AND id IN (SELECT unnest($ids))",
            {"type": kind, "ids": [id_ for id_ in ids if id_]},
        ).fetchall()
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def _release(self, connection: duckdb.DuckDBPyConnection, entity: Entity, writes: Sequence[Write]) -> None:
        """Take the markers off released records."""
        released = [(write.unmark_id, str(write.bms_id)) for write in writes if write.unmark_id]
        if released:
            ids, markers = zip(*released, strict=True)
            connection.execute(
                _RELEASE, {"ids": list(ids), "markers": list(markers), "type": entity.singular, "now": _now()}
            )

    def _append(
        self,
        connection: duckdb.DuckDBPyConnection,
        entity: Entity,
        rows: Sequence[tuple[str | None, str, dict[str, str], str]],
    ) -> None:
        if rows:
            connection.execute(
                _APPEND,
                {
                    "prefix": f"{entity.singular}-",
                    "type": entity.singular,
                    "clients": [row[0] for row in rows],
                    "titles": [row[1] for row in rows],
                    "details": [json.dumps(row[2]) for row in rows],
                    "markers": [row[3] for row in rows],
                    "now": _now(),
                },
            )


def _fill(new: duckdb.DuckDBPyConnection) -> None:
    new.execute(_SCHEMA)


def _details(labels: Mapping[str, str], values: Mapping[str, str | None], stored: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a record by label, with ``values`` written over ``stored``; a blanked label is gone."""
    merged = {**stored, **{labels[column]: text for column, text in values.items() if column != "name"}}
    return {label: text for label, text in merged.items() if text is not None}


def _plain(text: str | None) -> str:
    """Return ``text`` as in a snapshot: without blanks around it, and a blank one as none."""
    return (text or "").strip()


def _refusal(
    entity: Entity, write: Write, clients: dict[str | None, tuple[str, dict[str, str], str | None]]
) -> Written | None:
    if not write.values.get("name"):
        return Written(write.bms_id, Outcome.REFUSED, "a record needs a title")
    if entity.has_client and write.client_id not in clients:
        return Written(write.bms_id, Outcome.REFUSED, f"Passportal has no client {write.client_id}")
    return None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
