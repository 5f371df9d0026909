"""The effect of a change of settings or decisions: dispositions before and after, on the stored records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity, EntityName
from bms_pipeline.warehouse import sql

EXAMPLES = 5


@dataclass(frozen=True)
class DispositionChange:
    """Records of an entity with another disposition than before.

    ``examples`` are some of them as ``id name``, ``bms_ids`` the ids of the same.
    """

    entity: EntityName
    was: str
    becomes: str
    records: int
    examples: tuple[str, ...]
    bms_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class InScope:
    """The records of an entity the filters let in and keep out; ``kept_out_because`` is reason → records."""

    entity: EntityName
    records_in: int
    records_out: int
    kept_out_because: dict[str, int]


def remember_dispositions(connection: duckdb.DuckDBPyConnection, entities: Iterable[Entity]) -> None:
    """Keep the present dispositions of ``entities`` as ``before_<entity>``."""
    for entity in entities:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE before_{entity.name} AS FROM sync.reconciled_{entity.name}")


def disposition_changes(connection: duckdb.DuckDBPyConnection, entities: Iterable[Entity]) -> list[DispositionChange]:
    """Return the changes in the dispositions of ``entities`` since ``remember_dispositions``."""
    found: list[DispositionChange] = []
    for entity in entities:
        rows = connection.execute(
            sql.read("reconcile/changed_dispositions").format(entity=entity.name), {"examples": EXAMPLES}
        ).fetchall()
        found += [
            DispositionChange(entity.name, was, now, count, tuple(examples), tuple(ids))
            for was, now, count, examples, ids in rows
        ]
    return found


def in_scope(connection: duckdb.DuckDBPyConnection) -> list[InScope]:
    """Return the records the filters let in and keep out, by the present dispositions."""
    found = []
    for entity in ENTITIES:
        rows = connection.execute(
            f"SELECT CASE WHEN disposition = 'out_of_scope' THEN reason END AS because, count(*)"
            f" FROM sync.reconciled_{entity.name} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        out = {because: records for because, records in rows if because is not None}
        found.append(InScope(entity.name, sum(row[1] for row in rows) - sum(out.values()), sum(out.values()), out))
    return found
