"""Undo: a plan that takes back what one load wrote, from the journal's before-images.

Updated fields are put back, adopted records lose their marker and their match, and each pair that an adoption made is
remembered as taken apart, so that no rule makes it again. Created records stay where they are: neither target can
delete. A field that changed in Passportal since is left alone and listed as kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from bms_pipeline.entities import Entity
from bms_pipeline.errors import PlanError
from bms_pipeline.warehouse import sql

TAKEN_BACK = "taken_back"
"""The reason of an operation that takes one back."""


def check_undoable(connection: duckdb.DuckDBPyConnection, plan_id: int) -> None:
    """Raises ``PlanError`` when there is no load of this plan to take back."""
    row = connection.execute(
        "SELECT undoes, (SELECT count(*) FROM sync.journal j WHERE j.plan_id = p.plan_id AND outcome = 'done')"
        " FROM sync.plans p WHERE plan_id = ?",
        [plan_id],
    ).fetchone()
    if row is None or not row[1]:
        loads = connection.execute(
            "SELECT DISTINCT plan_id FROM sync.journal WHERE outcome = 'done' ORDER BY plan_id DESC LIMIT 10"
        ).fetchall()
        known = ", ".join(str(each[0]) for each in loads) or "none so far"
        raise PlanError(f"Nothing was loaded by plan {plan_id}.", f"Plans that loaded something: {known}.")
    if row[0] is not None:
        raise PlanError(
            f"Plan {plan_id} took back plan {row[0]} itself.",
            "Decide anew instead: match the records, then preview and finish.",
        )


def fill_undo(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], plan_id: int) -> None:
    """Replace the operations by those that take back the load of ``plan_id``; ``entities`` have been reconciled."""
    for entity in entities:
        connection.execute(f"TRUNCATE sync.planned_{entity.name}")
        connection.execute(_undo_sql(entity), {"plan_id": plan_id, "taken_back": TAKEN_BACK})


def _undo_sql(entity: Entity) -> str:
    def written(column: str, side: str) -> str:
        return f"list_filter(j.changes, lambda e: e.field = '{column}')[1].\"{side}\""

    def touched(column: str) -> str:
        before, after = written(column, "before"), written(column, "after")
        return f"({written(column, 'field')} IS NOT NULL AND {after} IS DISTINCT FROM {before})"

    def unchanged(column: str) -> str:
        return f"{touched(column)} AND p.{column} IS NOT DISTINCT FROM {written(column, 'after')}"

    columns = entity.columns
    return sql.read("undo_operations").format(
        entity=entity.name,
        anything_put_back=" OR ".join(unchanged(each) for each in columns),
        kept=", ".join(
            f"CASE WHEN {touched(each)} AND p.{each} IS DISTINCT FROM {written(each, 'after')} THEN"
            f" {{'field': '{each}', 'bms': {written(each, 'before')}, 'passportal': p.{each}}} END"
            for each in columns
        ),
        values=", ".join(
            f"CASE WHEN operation <> 'skip' AND {unchanged(each)} THEN p.{each} END AS before_{each},"
            f" CASE WHEN operation <> 'skip' AND {unchanged(each)} THEN {written(each, 'before')} END AS after_{each}"
            for each in columns
        ),
    )
