"""Breakers: they stop the load of a plan without approval, or hold a part of it back.

They check whether BMS is still whole, not whether a single change is right. A stopped plan stays the current one. A
person allows it by naming its hash, and the next plan is then compared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb

from bms_pipeline.core.entities import Entity, EntityName, chosen, with_clients
from bms_pipeline.core.errors import BreakerOpen, SweepIncomplete
from bms_pipeline.core.reasons import Reason
from bms_pipeline.reconcile.sync_settings import SyncSettings
from bms_pipeline.warehouse import names, sql
from bms_pipeline.warehouse.connection import named_rows

if TYPE_CHECKING:
    from bms_pipeline.plan.operations import Plan

MINIMUM = 10
"""Fewer records than this open no breaker: a share of three says nothing."""

WHOLE_CLIENT = 3
"""All matched records of a client vanished at once open its breaker from this many on."""

EXPECTED = (Reason.DETAILS_COMPLETED, Reason.LINKS_COMPLETED, Reason.MAPPING_CHANGED)
"""Update reasons outside the count of every breaker: our own progress, or a mapping approved by a person."""


@dataclass(frozen=True)
class Vanished:
    """Matched records missing in a snapshot of Passportal: of an entity, or of one client's part of it.

    ``matched``: how many were matched there before. ``client_id``: the client in Passportal, None for all;
    ``client_bms_id`` and ``client``: its account.
    """

    entity: EntityName
    client_id: str | None
    client_bms_id: int | None
    client: str | None
    vanished: int
    matched: int
    vanished_at: datetime

    @property
    def sentence(self) -> str:
        """What was seen and its likely causes, for a person."""
        where = f" of client {self.client_bms_id} {self.client or ''}".rstrip() if self.client_id is not None else ""
        return (
            f"{self.vanished:,} of {self.matched:,} documents of {self.entity}{where} are not listed in Passportal any"
            " more: a narrowed key, a security group or a deactivated client look like this"
        )


def check_breakers(connection: duckdb.DuckDBPyConnection, plan: Plan, settings: SyncSettings) -> None:
    """Stop a plan without approval where something is wrong with BMS or with the data read from it.

    Operations which need a provably complete list are left to a person (``hold_unproved``). After the initial sync,
    raises ``BreakerOpen`` naming each entity with too many gone, vanished or updated records, and their number. The
    plan is kept.
    """
    entities = with_clients(chosen(plan.entities))
    hold_unproved(connection, chosen(plan.entities), plan.clients)  # a list may have been read since the plan was made
    if settings.initial_sync_finished:
        found = [
            *_gone(connection, entities, settings.gone_share),
            *(hidden.sentence for hidden in vanished(connection, entities, settings) if hidden.client_id is None),
            *_updated(connection, settings.update_share),
        ]
        if found:
            raise BreakerOpen(
                f"Plan {plan.hash[:12]} is stopped: {'; '.join(found)}. Nothing was loaded and the plan is kept.",
                "Look at it with `bms-pipeline preview --saved`, and at the service: is it still whole, and may the API"
                f" user or key still see all of it? To allow exactly this: `bms-pipeline finish {plan.hash[:12]}`.",
            )


def check_held_back(plan: Plan) -> None:
    """Raise ``BreakerOpen`` where a part of the plan is held back and the load may not leave it out."""
    if plan.held_back:
        raise BreakerOpen(
            f"Plan {plan.hash[:12]} holds back {plan.held_back:,} operations, because most of a client would change at"
            " once, BMS shows another name under its id, or most documents of a client are not listed in Passportal any"
            " more. Nothing was loaded and the plan is kept.",
            "Look at it with `bms-pipeline preview --saved`; `bms-pipeline sync` loads everything else,"
            f" `bms-pipeline finish {plan.hash[:12]}` all of it.",
        )


def hold_back(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], settings: SyncSettings) -> None:
    """Mark the operations waiting for a person: updates of a client with too large a share of changes at once.

    Updates turning a client or a user into another one wait, too; see ``hold_back_names.sql``. So does what is
    new inside a client whose documents vanished. This applies only after the initial sync; before it the whole plan
    waits.
    """
    if not settings.initial_sync_finished:
        return
    hidden = vanished(connection, [entity for entity in entities if entity.has_client], settings)
    for entity in entities:
        if entity.decided_by_person:
            other_key = names.name_key("o.bms_name")
            connection.execute(sql.read("plan/hold_back_names").format(entity=entity.name, other_key=other_key))
        if entity.has_client:
            connection.execute(
                sql.read("plan/hold_back").format(entity=entity.name),
                {"expected": list(EXPECTED), "minimum": MINIMUM, "share": settings.client_update_share},
            )
        clients = [share.client_id for share in hidden if share.entity == entity.name]
        if clients:
            connection.execute(sql.read("plan/hold_vanished").format(entity=entity.name), {"clients": clients})


def vanished(
    connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], settings: SyncSettings
) -> list[Vanished]:
    """Return where one snapshot of Passportal stopped listing too large a share of the matched records.

    What a person has seen since, by approving a whole plan, is left out.
    """
    noted = {row[0] for row in connection.execute("SELECT DISTINCT entity FROM sync.vanished").fetchall()}
    limits = {
        "share": settings.vanished_share,
        "client_share": settings.client_vanished_share,
        "minimum": MINIMUM,
        "whole_client": WHOLE_CLIENT,
    }
    rows = [
        row
        for entity in entities
        if entity.name in noted
        for row in named_rows(connection, sql.read("plan/vanished").format(entity=entity.name), limits)
    ]
    return [Vanished(**row) for row in rows]


def hold_unproved(
    connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], clients: Sequence[int] | None
) -> None:
    """Mark the new matches and creates waiting for a person because their list was not read to a provable end.

    Updates of matched records continue: an incomplete list does not make its records wrong. ``clients``: those of the
    plan; None for all.
    """
    incomplete = {name for name, _ in _incomplete(connection, entities, clients)}
    for entity in entities:
        inside = "account_id IN (SELECT account_id FROM sync.planned_clients WHERE unproved)"
        connection.execute(
            sql.read("plan/hold_unproved").format(
                entity=entity.name, inside_one=inside if entity.has_client else "false"
            ),
            {"is_incomplete": entity.list_call.name in incomplete},
        )


def check_sweeps(connection: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Stop a plan approved in advance, where a list was not read to a provable end.

    Raises ``SweepIncomplete`` naming the lists.
    """
    rows = _incomplete(connection, with_clients(chosen(plan.entities)), plan.clients)
    if not rows:
        return
    raise SweepIncomplete(
        f"Plan {plan.hash[:12]} rests on lists that were not read to a provable end:"
        f" {', '.join(f'{name} ({reason})' for name, reason in rows)}. Nothing was loaded and the plan is kept.",
        "Run again, best at a quieter hour. If it stays, look at the plan with `bms-pipeline preview --saved`; to"
        f" load it as it is: `bms-pipeline finish {plan.hash[:12]}`.",
    )


def _incomplete(
    connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], clients: Sequence[int] | None
) -> list[tuple[str, str]]:
    """Return the lists of ``entities`` which were not read to a provable end, with the reasons."""
    lists = sorted({entity.list_call.name for entity in entities})
    return connection.execute(
        sql.read("plan/incomplete_sweeps"), {"lists": lists, "clients": list(clients or ())}
    ).fetchall()


def _gone(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], share: float) -> list[str]:
    found = []
    for entity in entities:
        gone, matched = connection.execute(sql.read("plan/gone_records").format(entity=entity.name)).fetchone() or (
            0,
            0,
        )
        if gone >= MINIMUM and gone > share * matched:
            said = f"{gone:,} of {matched:,} matched {entity.name} are gone from BMS since the last load"
            found.append(f"{said}, more than {share:.0%}")
    return found


def _updated(connection: duckdb.DuckDBPyConnection, share: float) -> list[str]:
    rows = connection.execute(sql.read("plan/update_shares"), {"expected": list(EXPECTED)}).fetchall()
    return [
        f"it would update {updates:,} of {matched:,} matched {entity}, more than {share:.0%}"
        for entity, updates, matched in rows
        if updates >= MINIMUM and updates > share * matched
    ]
