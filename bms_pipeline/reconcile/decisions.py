"""What people decide about records, applied to the warehouse: match, unmatch, create, exclude, include.

Decisions are taken as a whole or not at all. They are written down, everything they concern is decided anew by
``matching.reconcile``, and each must then have come true; else all are undone and each refusal is told. So a decision
can break no rule that reconcile keeps, and the order within one batch means nothing.

What lasts: ``sync.matches`` (links), ``sync.exclusions``, ``sync.creations`` (to be created), ``sync.partings`` (pairs
taken apart, which no rule matches again), and ``sync.decisions``, the ledger of all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import duckdb

from bms_pipeline.entities import BY_NAME, ENTITIES, Entity, EntityName
from bms_pipeline.errors import DecisionRefused
from bms_pipeline.reconcile import comparison
from bms_pipeline.reconcile.matching import Scope, reconcile
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.warehouse import names, sql
from bms_pipeline.warehouse.landing import count_input

VERBS = ("match", "unmatch", "create", "exclude", "include")
REFUSALS_TOLD = 20


@dataclass(frozen=True)
class Decision:
    """What a person decided about one record.

    ``passportal_id``: whom ``match`` links it to. ``beside``: ``create`` it although Passportal has one of the same or
    nearly the same name. ``line``: of the file that the decision comes from.
    """

    verb: str
    entity: EntityName
    bms_id: int
    passportal_id: str | None = None
    beside: bool = False
    why: str = ""
    line: int | None = None


@dataclass(frozen=True)
class Refusal:
    """A decision that cannot be taken, and why."""

    decision: Decision
    reason: str

    def __str__(self) -> str:
        """One line for a person: where, what, why."""
        each = self.decision
        where = f"line {each.line}: " if each.line else ""
        return f"{where}{each.verb} {BY_NAME[each.entity].singular} {each.bms_id}: {self.reason}"


@dataclass(frozen=True)
class Taken:
    """What a batch of decisions came to: how many were taken, how many held already, and what they changed."""

    taken: int
    already: int
    changes: list[comparison.Change] = field(default_factory=list)


@dataclass(frozen=True)
class Selection:
    """Which records of an entity a verb is meant for; what is not given does not restrict."""

    bms_ids: tuple[int, ...] | None = None
    disposition: str | None = None
    reason: str | None = None
    client: int | None = None
    name: str | None = None
    """Contained in the record's name, as matching understands names."""


def select(connection: duckdb.DuckDBPyConnection, entity: Entity, selection: Selection) -> list[int]:
    """The BMS ids of the selected records as they were last decided, in order."""
    where, values = ["true"], []
    for condition, value in (
        ("list_contains(?, r.bms_id)", None if selection.bms_ids is None else list(selection.bms_ids)),
        ("r.disposition = ?", selection.disposition),
        ("r.reason = ?", selection.reason),
        ("r.account_id = ?", selection.client),
        ("contains(b.name_key, ?)", names.fold_name(selection.name) if selection.name else None),
    ):
        if value is not None:
            where.append(condition)
            values.append(value)
    rows = connection.execute(
        f"SELECT r.bms_id FROM sync.reconciled_{entity.name} r JOIN bms.{entity.name} b ON b.bms_id = r.bms_id"
        f" WHERE {' AND '.join(where)} ORDER BY r.bms_id",
        values,
    ).fetchall()
    return [int(row[0]) for row in rows]


def decide(connection: duckdb.DuckDBPyConnection, decisions: Sequence[Decision], by: str, now: datetime) -> Taken:
    """Take ``decisions``, all or none. Call it inside a transaction, which a refusal must end.

    Raises ``DecisionRefused`` with one line for each decision that cannot be taken.
    """
    _decide_anew(connection, _concerned(decisions), Scope())
    return _take(connection, decisions, by, now, Scope())


def create_unmatched(
    connection: duckdb.DuckDBPyConnection, entity: Entity, by: str, now: datetime, scope: Scope
) -> Taken:
    """Decide that every record that waits for nothing but a decision be created.

    Ambiguous and near-identical ones, and those that a person took apart, still wait. The entity and its clients have
    been reconciled within ``scope``.
    """
    waiting = select(connection, entity, Selection(disposition="unmatched", reason="waits_for_decision"))
    return _take(connection, [Decision("create", entity.name, each) for each in waiting], by, now, scope)


def auto_match(connection: duckdb.DuckDBPyConnection, entity: Entity, by: str, now: datetime, scope: Scope) -> Taken:
    """Make every match that the rules found a lasting one.

    The entity and its clients have been reconciled within ``scope``.
    """
    rows = connection.execute(sql.read("unsaved_matches").format(entity=entity.name)).fetchall()
    found = [Decision("match", entity.name, bms_id, partner, why="auto-match") for bms_id, partner in rows]
    return _take(connection, found, by, now, scope)


def _take(
    connection: duckdb.DuckDBPyConnection, decisions: Sequence[Decision], by: str, now: datetime, scope: Scope
) -> Taken:
    """Take ``decisions`` about records that have just been reconciled within ``scope``."""
    if not decisions:
        return Taken(0, 0)
    decisions = list(dict.fromkeys(replace(each, why=each.why.strip()) for each in decisions))
    _check_not_contradictory(decisions)
    entities = _concerned(decisions)
    comparison.remember(connection, entities)
    _write_down(connection, decisions)
    for entity in entities:
        connection.execute(sql.read("decision_states").format(entity=entity.name))
        _apply(connection, entity, by, now)
    _decide_anew(connection, entities, scope)
    refused = [each for entity in entities for each in _refusals(connection, entity, decisions)]
    if refused:
        raise _refused(refused, len(decisions))
    taken = _write_ledger(connection, entities, by, now)
    if taken:
        count_input(connection, "decisions")
    return Taken(taken, len(decisions) - taken, comparison.changes(connection, entities))


def _concerned(decisions: Iterable[Decision]) -> list[Entity]:
    """The entities to decide anew, in their order: those decided about, and the clients that they live in."""
    chosen = {each.entity for each in decisions}
    inside = any(BY_NAME[each].has_client for each in chosen)
    return [each for each in ENTITIES if each.name in chosen or (inside and each.name == "clients")]


def _decide_anew(connection: duckdb.DuckDBPyConnection, entities: Iterable[Entity], scope: Scope) -> None:
    settings = read_sync_settings(connection)
    for entity in entities:
        reconcile(connection, entity, settings, scope)


def _refusals(connection: duckdb.DuckDBPyConnection, entity: Entity, decisions: Sequence[Decision]) -> list[Refusal]:
    """The decisions about ``entity`` that did not come true, and why not."""
    rows = connection.execute(
        sql.read("decision_refusals").format(
            entity=entity.name, singular=entity.singular, has_client=str(entity.has_client).lower()
        )
    ).fetchall()
    return [Refusal(decisions[number], reason) for number, reason in rows]


def _check_not_contradictory(decisions: Sequence[Decision]) -> None:
    """One record may be taken back and decided anew at once (include and create, unmatch and match), no more."""
    first: dict[tuple[str, int, bool], Decision] = {}
    refused = []
    for each in decisions:
        takes_back = each.verb in ("include", "unmatch")
        other = first.setdefault((each.entity, each.bms_id, takes_back), each)
        if (other.verb, other.passportal_id) != (each.verb, each.passportal_id):
            refused.append(Refusal(each, f"another decision in the same batch says {other.verb}"))
    if refused:
        raise _refused(refused, len(decisions))


def _write_down(connection: duckdb.DuckDBPyConnection, decisions: Sequence[Decision]) -> None:
    """The temp table ``decided``: one row for each decision, numbered."""
    columns = {
        "verb": "VARCHAR", "entity": "VARCHAR", "bms_id": "BIGINT", "passportal_id": "VARCHAR", "beside": "BOOLEAN",
        "why": "VARCHAR",
    }  # fmt: skip
    lists = ", ".join(f"unnest(${name}::{kind}[]) AS {name}" for name, kind in columns.items())
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE decided AS SELECT unnest(range($count)) AS number, {lists}",
        {"count": len(decisions), **{name: [getattr(each, name) for each in decisions] for name in columns}},
    )


def _apply(connection: duckdb.DuckDBPyConnection, entity: Entity, by: str, now: datetime) -> None:
    """Write the decisions on ``entity`` into the tables that last; what was taken back goes first."""
    who = {"by": by, "now": now}
    for statement in sql.read("apply_decisions").format(entity=entity.name).split(";\n"):
        wanted = {name: value for name, value in who.items() if f"${name}" in statement}
        connection.execute(statement, wanted)


def _write_ledger(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], by: str, now: datetime) -> int:
    """One line for each decision that changed anything; how many did."""
    (batch,) = connection.execute("SELECT coalesce(max(batch), 0) + 1 FROM sync.decisions").fetchone() or (1,)
    taken = 0
    for entity in entities:
        row = connection.execute(
            sql.read("decision_ledger").format(entity=entity.name), {"batch": batch, "by": by, "now": now}
        ).fetchone()
        taken += int(row[0]) if row else 0
    return taken


def _refused(refused: Sequence[Refusal], of: int) -> DecisionRefused:
    told = "".join(f"\n  {each}" for each in refused[:REFUSALS_TOLD])
    more = f"\n  and {len(refused) - REFUSALS_TOLD:,} more" if len(refused) > REFUSALS_TOLD else ""
    return DecisionRefused(
        f"{len(refused):,} of {of:,} decisions cannot be taken, so none was:{told}{more}",
        "Correct or leave out these, then decide again.",
    )
