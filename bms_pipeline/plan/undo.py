"""Undo: a plan to take back one load, made from the journal's before-images.

Updated fields get their old values, adopted records lose their marker and their match. Each pair made by an adoption is
stored as a non-match, so no rule matches it again. Created records stay: neither target can delete. A field changed in
Passportal since is left alone and listed as kept, and so is a field that the mapping has moved to another label.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import duckdb

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.errors import PlanError
from bms_pipeline.core.mapping import Mapping, moved_sql
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.core.reasons import Reason
from bms_pipeline.warehouse import schema, sql
from bms_pipeline.warehouse.stored_mapping import read_mapping


def check_undoable(connection: duckdb.DuckDBPyConnection, plan_id: int) -> None:
    """Raise ``PlanError`` when there is no load of this plan to take back."""
    row = connection.execute(
        "SELECT undoes, (SELECT count(*) FROM sync.journal j WHERE j.plan_id = p.plan_id AND outcome = 'done')"
        " FROM sync.plans p WHERE plan_id = ?",
        [plan_id],
    ).fetchone()
    if row is None or not row[1]:
        loads = connection.execute(
            "SELECT DISTINCT plan_id FROM sync.journal WHERE outcome = 'done' ORDER BY plan_id DESC LIMIT 10"
        ).fetchall()
        known = ", ".join(str(load[0]) for load in loads) or "none so far"
        raise PlanError(f"Nothing was loaded by plan {plan_id}.", f"Plans that loaded something: {known}.")
    if row[0] is not None:
        raise PlanError(
            f"Plan {plan_id} took back plan {row[0]} itself.",
            "Decide anew instead: match the records, then preview and finish.",
        )


def fill_undo(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], plan_id: int) -> None:
    """Replace the operations by those that take back the load of ``plan_id``. ``entities`` have been reconciled."""
    row = connection.execute("SELECT mapping FROM sync.plans WHERE plan_id = ?", [plan_id]).fetchone()
    loaded_by = parse_mapping(json.loads(row[0])) if row and row[0] else Mapping()
    mapping = read_mapping(connection)
    schema.add_mapped_columns(connection, loaded_by)  # a restored database may lack them
    schema.add_mapped_columns(connection, mapping)
    for entity in entities:
        connection.execute(f"TRUNCATE sync.planned_{entity.name}")
        statement = _undo_sql(_with_fields_of(mapping, loaded_by, entity), loaded_by, mapping)
        connection.execute(statement, {"plan_id": plan_id, "taken_back": Reason.TAKEN_BACK})


def _with_fields_of(mapping: Mapping, loaded_by: Mapping, entity: Entity) -> Entity:
    """Return the entity with the fields that either mapping adds: what has no place any more is listed as kept."""
    now = mapping.entity(entity)
    return now.with_fields(field for field in loaded_by.entity(entity).added_fields if field.name not in now.columns)


def _undo_sql(entity: Entity, loaded_by: Mapping, mapping: Mapping) -> str:
    """Return SQL for the operations. A value is put back only where it was written, so not under another label."""

    def each_column(text: str) -> str:
        return ", ".join(text.format(column) for column in entity.columns)

    return sql.read("plan/undo_operations").format(
        entity=entity.name,
        wrote=each_column("list_filter(j.changes, lambda e: e.field = '{0}')[1] AS wrote_{0}"),
        has=each_column("p.{0} AS has_{0}"),
        touched=each_column("wrote_{0}.after IS DISTINCT FROM wrote_{0}.before AS touched_{0}"),
        unchanged=", ".join(
            f"has_{column} IS NOT DISTINCT FROM wrote_{column}.after AND NOT"
            f" {moved_sql(loaded_by, mapping, entity, column, 'template_id')} AS unchanged_{column}"
            for column in entity.columns
        ),
        anything_put_back=" OR ".join(f"touched_{column} AND unchanged_{column}" for column in entity.columns),
        kept=each_column(
            "CASE WHEN touched_{0} AND NOT unchanged_{0} THEN"
            " {{'field': '{0}', 'bms': wrote_{0}.before, 'passportal': has_{0}}} END"
        ),
        values=each_column(
            "CASE WHEN operation <> 'skip' AND touched_{0} AND unchanged_{0} THEN has_{0} END AS before_{0},"
            " CASE WHEN operation <> 'skip' AND touched_{0} AND unchanged_{0} THEN wrote_{0}.before END AS after_{0}"
        ),
    )
