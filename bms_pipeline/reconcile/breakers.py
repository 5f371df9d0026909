"""Breakers: what stops the load of a plan that nobody looked at, and what holds a part of one back.

They ask whether BMS still is what it was, not whether a single change is right. A stopped plan stays the current one:
a person who names its hash allows it, and it is then what the next plan is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import duckdb

from bms_pipeline.entities import Entity, chosen, with_clients
from bms_pipeline.errors import BreakerOpen, SweepIncomplete
from bms_pipeline.reconcile.sync_settings import SyncSettings
from bms_pipeline.warehouse import names, sql

if TYPE_CHECKING:
    from bms_pipeline.reconcile.plan import Plan

MINIMUM = 10
"""Fewer records than this open no breaker: a share of three says nothing."""

EXPECTED = ("details_completed",)
"""Reasons of updates that no breaker counts: they come from our own reading on, not from a change in BMS."""


def check_breakers(connection: duckdb.DuckDBPyConnection, plan: Plan, settings: SyncSettings) -> None:
    """Stop a plan that nobody looked at where something is wrong with BMS or with what was read of it.

    What a list that was not read to a provable end may not do is left to a person (``hold_unproved``). Raises, after
    the initial sync, ``BreakerOpen`` naming each entity of which too many records are gone or would be updated, with
    their number. The plan is kept.
    """
    entities = with_clients(chosen(plan.entities))
    hold_unproved(connection, chosen(plan.entities))  # a list may have been read since the plan was made
    if settings.initial_sync_finished:
        found = [*_gone(connection, entities, settings.gone_share), *_updated(connection, settings.update_share)]
        if found:
            raise BreakerOpen(
                f"Plan {plan.hash[:12]} is stopped: {'; '.join(found)}. Nothing was loaded and the plan is kept.",
                "Look at it with `bms-pipeline preview --saved`, and at BMS: is it still whole, and may the API user"
                f" still see all of it? To allow exactly this: `bms-pipeline finish {plan.hash[:12]}`.",
            )


def check_held_back(plan: Plan) -> None:
    """Raises ``BreakerOpen`` where a part of the plan is held back, for a load that would not leave it out."""
    if plan.held_back:
        raise BreakerOpen(
            f"Plan {plan.hash[:12]} holds back {plan.held_back:,} updates, because most of a client would change at"
            " once or BMS shows another name under its id. Nothing was loaded and the plan is kept.",
            "Look at it with `bms-pipeline preview --saved`; `bms-pipeline sync` loads everything else,"
            f" `bms-pipeline finish {plan.hash[:12]}` all of it.",
        )


def hold_back(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], settings: SyncSettings) -> None:
    """Mark the updates that wait for a person: those of a client of which too large a share would change at once.

    Also those that would turn a client or a user into another one, see ``hold_back_names.sql``. Only after the initial
    sync; before it all of a plan waits.
    """
    if not settings.initial_sync_finished:
        return
    for entity in entities:
        if entity.decided_by_person:
            other_key = names.name_key("o.bms_name")
            connection.execute(sql.read("hold_back_names").format(entity=entity.name, other_key=other_key))
        if entity.has_client:
            connection.execute(
                sql.read("hold_back").format(entity=entity.name),
                {"expected": list(EXPECTED), "minimum": MINIMUM, "share": settings.client_update_share},
            )


def hold_unproved(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity]) -> None:
    """Mark the new matches and creates that wait for a person, because their list was not read to a provable end.

    Updates of matched records go on: what was read of them is as true as ever.
    """
    incomplete = {name for name, _ in _incomplete(connection, entities)}
    for entity in entities:
        inside = "account_id IN (SELECT account_id FROM sync.planned_clients WHERE unproved)"
        connection.execute(
            sql.read("hold_unproved").format(entity=entity.name, inside_one=inside if entity.has_client else "false"),
            {"is_incomplete": entity.list_call.name in incomplete},
        )


def check_sweeps(connection: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Stop a plan that a person approved before it was made, where a list was not read to a provable end.

    Raises ``SweepIncomplete`` naming the lists.
    """
    rows = _incomplete(connection, with_clients(chosen(plan.entities)))
    if not rows:
        return
    raise SweepIncomplete(
        f"Plan {plan.hash[:12]} rests on lists that were not read to a provable end:"
        f" {', '.join(f'{name} ({reason})' for name, reason in rows)}. Nothing was loaded and the plan is kept.",
        "Run again, best at a quieter hour. If it stays, look at the plan with `bms-pipeline preview --saved`; to"
        f" load it as it is: `bms-pipeline finish {plan.hash[:12]}`.",
    )


def _incomplete(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity]) -> list[tuple[str, str]]:
    """Return the lists of ``entities`` that were not read to a provable end, and why not."""
    lists = sorted({each.list_call.name for each in entities})
    return connection.execute(sql.read("incomplete_sweeps"), {"lists": lists}).fetchall()


def _gone(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], share: float) -> list[str]:
    found = []
    for entity in entities:
        gone, matched = connection.execute(sql.read("gone_records").format(entity=entity.name)).fetchone() or (0, 0)
        if gone >= MINIMUM and gone > share * matched:
            said = f"{gone:,} of {matched:,} matched {entity.name} are gone from BMS since the last load"
            found.append(f"{said}, more than {share:.0%}")
    return found


def _updated(connection: duckdb.DuckDBPyConnection, share: float) -> list[str]:
    rows = connection.execute(sql.read("update_shares"), {"expected": list(EXPECTED)}).fetchall()
    return [
        f"it would update {updates:,} of {matched:,} matched {entity}, more than {share:.0%}"
        for entity, updates, matched in rows
        if updates >= MINIMUM and updates > share * matched
    ]
