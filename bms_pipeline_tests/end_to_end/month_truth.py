"""What must hold at the end of a month, whatever happened in it.

The two ends cannot be equal row by row: nothing is ever deleted in Passportal, so what moved or went leaves its
document behind; a value that differed when a document was adopted, or that a person wrote, stays. So:

1. What is stored of BMS equals what a fresh home reads of the final tenant, record by record and field by field, and
   nothing that was ever listed is forgotten.
2. A fresh home that meets the final tenant and the final Passportal, and remembers nothing else, decides the same
   about every record: disposition, client and partner. It would create nothing and write nothing.
3. Every partner bears its record's marker and lies in the client that bears the marker of the record's client.
4. Every partner holds what BMS has now, but where BMS has nothing (rule 5: that blanks nothing), where a person wrote
   something else (rule 6), or where it differed when the document was adopted and BMS did not change it since.
5. No two documents of a client bear one marker; no record has more documents than clients that it was in; no document
   that there ever was is gone; each document that the pipeline made is one create of the journal.
6. Every intent has an outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline_tests.running import Home

Rows = list[tuple[Any, ...]]


@dataclass
class Truth:
    """Each list is empty where the rule holds; its rows begin with the entity."""

    records: int = 0
    matched: int = 0
    kept: int = 0
    unlike_bms: Rows = field(default_factory=list)
    forgotten: Rows = field(default_factory=list)
    decided_otherwise: Rows = field(default_factory=list)
    would_be_written: Rows = field(default_factory=list)
    lost: Rows = field(default_factory=list)
    other_values: Rows = field(default_factory=list)
    duplicates: Rows = field(default_factory=list)
    documents_gone: Rows = field(default_factory=list)
    unexplained_documents: Rows = field(default_factory=list)
    edits_gone: Rows = field(default_factory=list)
    without_outcome: Rows = field(default_factory=list)

    def broken(self) -> dict[str, Rows]:
        """The rules that do not hold, with what breaks them."""
        return {name: rows for name, rows in vars(self).items() if isinstance(rows, list) and rows}

    def rows(self) -> list[tuple[str, str]]:
        """As a table: what, and how much."""
        counts = {name.replace("_", " "): len(rows) for name, rows in vars(self).items() if isinstance(rows, list)}
        return [
            ("records that BMS lists at the end", f"{self.records:,}"),
            ("of these matched, each with its document", f"{self.matched:,}"),
            ("values that stay other than in BMS", f"{self.kept:,}"),
            *((what, f"{count:,}") for what, count in counts.items()),
        ]

    def problems(self) -> list[str]:
        """Examples of what breaks a rule."""
        return [f"{name}: {row}" for name, rows in self.broken().items() for row in rows[:10]]


def compare(
    home: Home, fresh: Home, start_warehouse: Path, moved: Mapping[tuple[str, int], int], edits: Mapping[str, str]
) -> Truth:
    """Hold the end of the month in ``home`` against ``fresh``, which only looked at the same tenant and Passportal.

    ``start_warehouse``: the warehouse before the first load. ``moved``: entity and id → how often it moved. ``edits``:
    document → the job title that a person gave it.
    """
    files = {
        "month": home.settings.warehouse_file, "fresh": fresh.settings.warehouse_file, "start": start_warehouse,
        "held": fresh.settings.passportal_file,
    }  # fmt: skip
    truth = Truth()
    with _attached(files) as connection:
        connection.execute("CREATE TABLE edit (document VARCHAR, text VARCHAR)")
        if edits:
            connection.executemany("INSERT INTO edit VALUES (?, ?)", list(edits.items()))
        for entity in ENTITIES:
            _compare_entity(connection, entity, truth)
        truth.duplicates += connection.execute(
            "SELECT type, client_id, marker, count(*) FROM held.records WHERE marker IS NOT NULL"
            " GROUP BY ALL HAVING count(*) > 1"
        ).fetchall()
        documents = connection.execute(
            "SELECT type, marker, count(*) FROM held.records WHERE marker IS NOT NULL GROUP BY ALL HAVING count(*) > 1"
        ).fetchall()
        truth.duplicates += [each for each in documents if each[2] > 1 + moved.get((f"{each[0]}s", int(each[1])), 0)]
        truth.edits_gone += connection.execute(
            "SELECT 'contacts', document, text FROM edit LEFT JOIN held.records ON id = document"
            " WHERE map_extract_value(details, 'Job Title') IS DISTINCT FROM text"
        ).fetchall()
        truth.without_outcome += connection.execute(
            "SELECT entity, bms_id, plan_id FROM month.sync.journal WHERE outcome IS NULL"
        ).fetchall()
    return truth


@contextmanager
def _attached(files: Mapping[str, Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for name, file in files.items():
            connection.execute(f"ATTACH '{file}' AS {name} (READ_ONLY)")
        yield connection


def _compare_entity(connection: duckdb.DuckDBPyConnection, entity: Entity, truth: Truth) -> None:
    def found(query: str) -> Rows:
        return connection.execute(query.format(entity=entity.name, singular=entity.singular)).fetchall()

    read = "bms_id, account_id, account_type_id, is_active, modified_on, " + ", ".join(entity.columns)
    listed = f"SELECT '{{entity}}', {read} FROM {{home}}.bms.{{entity}} WHERE missing_since IS NULL"
    decided = "SELECT '{entity}', bms_id, disposition, client_id, passportal_id FROM {home}.sync.reconciled_{entity}"
    truth.unlike_bms += found(_differences(listed))
    truth.decided_otherwise += found(_differences(decided))
    for rule, query in _QUERIES.items():
        getattr(truth, rule).extend(found(query))
    for column in entity.columns:
        rows = found(_OTHER_VALUES.replace("{column}", column))
        truth.kept += sum(row[-1] for row in rows)
        truth.other_values += [row for row in rows if not row[-1]]
    if entity.has_client:
        truth.lost += found(_OUTSIDE_ITS_CLIENT)
    ((records, matched),) = found(
        "SELECT count(*), count(*) FILTER (disposition = 'matched') FROM month.sync.reconciled_{entity}"
    )
    truth.records += records
    truth.matched += matched


def _differences(query: str) -> str:
    """SQL: what only one of the two homes has, with which."""
    month, fresh = (query.replace("{home}", home) for home in ("month", "fresh"))
    return f"SELECT *, 'month' FROM ({month} EXCEPT {fresh}) UNION ALL SELECT *, 'fresh' FROM ({fresh} EXCEPT {month})"


_QUERIES = {
    "forgotten": (
        "SELECT '{entity}', bms_id FROM start.bms.{entity} s"
        " WHERE NOT EXISTS (FROM month.bms.{entity} m WHERE m.bms_id = s.bms_id)"
    ),
    "would_be_written": (
        "SELECT entity, bms_id, operation, reason, changes FROM fresh.sync.operations"
        " WHERE entity = '{entity}' AND (operation NOT IN ('skip', 'adopt') OR len(changes) > 0)"
    ),
    "lost": (
        "SELECT '{entity}', r.bms_id, r.passportal_id, d.marker FROM month.sync.reconciled_{entity} r"
        " LEFT JOIN held.records d ON d.type = '{singular}' AND d.id = r.passportal_id"
        " WHERE r.disposition = 'matched' AND d.marker IS DISTINCT FROM r.bms_id::VARCHAR"
    ),
    "documents_gone": (
        "SELECT '{entity}', passportal_id FROM start.passportal.{entity}"
        " WHERE passportal_id NOT IN (SELECT id FROM held.records WHERE type = '{singular}')"
    ),
    "unexplained_documents": (
        "SELECT '{entity}', documents, creates FROM (SELECT count(*) AS documents FROM held.records"
        " WHERE type = '{singular}' AND id NOT IN (SELECT passportal_id FROM start.passportal.{entity})),"
        " (SELECT count(*) AS creates FROM month.sync.journal"
        " WHERE entity = '{entity}' AND operation = 'create' AND outcome = 'done') WHERE documents <> creates"
    ),
}
_OUTSIDE_ITS_CLIENT = """
SELECT '{entity}', r.bms_id, r.passportal_id, d.client_id, b.account_id, c.marker
FROM month.sync.reconciled_{entity} r
JOIN fresh.bms.{entity} b ON b.bms_id = r.bms_id
LEFT JOIN held.records d ON d.type = '{singular}' AND d.id = r.passportal_id
LEFT JOIN held.records c ON c.type = 'client' AND c.id = d.client_id
WHERE r.disposition = 'matched' AND c.marker IS DISTINCT FROM b.account_id::VARCHAR
"""
# Which documents hold another value than BMS, and is that one of those that have to stay?
_OTHER_VALUES = """
SELECT '{entity}', '{column}', r.bms_id, r.passportal_id, b.{column} AS in_bms, d.{column} AS in_passportal,
       coalesce(
           '{column}' = 'job_title' AND d.{column} = e.text
           OR d.{column} = i.{column} AND (s.{column} = b.{column} OR adopted_later), false
       ) AS stays
FROM month.sync.reconciled_{entity} r
JOIN fresh.bms.{entity} b ON b.bms_id = r.bms_id
JOIN fresh.passportal.{entity} d ON d.passportal_id = r.passportal_id
LEFT JOIN start.passportal.{entity} i ON i.passportal_id = r.passportal_id
LEFT JOIN start.bms.{entity} s ON s.bms_id = r.bms_id
LEFT JOIN edit e ON e.document = r.passportal_id
LEFT JOIN (
    SELECT bms_id, passportal_id, bool_or(plan_id > (SELECT min(plan_id) FROM month.sync.journal)) AS adopted_later
    FROM month.sync.journal WHERE entity = '{entity}' AND operation = 'adopt' AND outcome = 'done' GROUP BY ALL
) a ON a.bms_id = r.bms_id AND a.passportal_id = r.passportal_id
WHERE r.disposition = 'matched' AND b.{column} IS NOT NULL AND b.{column} IS DISTINCT FROM d.{column}
"""
