"""What people decide about records, applied to the warehouse: match, unmatch, create, exclude, include.

Decisions are taken as a whole or not at all. They are written down, everything they concern is decided anew by
``matching.reconcile``, and each must then have come true; else all are undone and each refusal is told. So a decision
can break no rule that reconcile keeps, and the order within one batch means nothing.

What lasts: ``sync.matches`` (links), ``sync.exclusions``, ``sync.creations`` (to be created), ``sync.partings`` (pairs
taken apart, which no rule matches again), and ``sync.decisions``, the ledger of all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import duckdb

from bms_pipeline.entities import BY_NAME, Entity, EntityName, with_clients
from bms_pipeline.errors import DecisionError, DecisionOvertaken, DecisionRefused
from bms_pipeline.reconcile import comparison
from bms_pipeline.reconcile.matching import Scope, reconcile_all
from bms_pipeline.warehouse import names, sql
from bms_pipeline.warehouse.inputs import count_input

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
    """Which records of an entity a verb is meant for; what is left empty does not restrict.

    ``client``: a BMS account id. ``name``: contained in the record's name, as matching understands names.
    """

    bms_ids: tuple[int, ...] = ()
    disposition: str = ""
    reason: str = ""
    client: int = 0
    name: str = ""

    @property
    def restricting(self) -> dict[str, object]:
        """Condition over ``sync.reconciled_<entity> r`` and ``bms.<entity> b``, with one ``?``, → its value."""
        given: dict[str, object] = {
            "r.disposition = ?": self.disposition,
            "r.reason = ?": self.reason,
            "r.account_id = ?": self.client,
            "contains(b.name_key, ?)": names.fold_name(self.name),
            "list_contains(?::BIGINT[], r.bms_id)": list(self.bms_ids),
        }
        return {condition: value for condition, value in given.items() if value}

    @property
    def where(self) -> str:
        """All of ``restricting``, for a WHERE; ``true`` where nothing restricts."""
        return " AND ".join(self.restricting) or "true"


STAMP = "hash(r.bms_id, r.disposition, r.reason, r.passportal_id)"
"""SQL over ``sync.reconciled_<entity> r``: how the record stands, as a number."""


@dataclass(frozen=True)
class Seen:
    """What a person was looking at while deciding: so many records, and all their ``STAMP`` in one (bit_xor).

    ``batch``: the ledger's newest then.
    """

    records: int
    stamp: int
    batch: int


def check_seen(connection: duckdb.DuckDBPyConnection, entity: Entity, selection: Selection, seen: Seen) -> None:
    """Raises ``DecisionOvertaken``, telling who decided what, unless the records stand as the person saw them.

    Looks at how they were decided last: reconcile anew only after it.
    """
    row = connection.execute(
        f"SELECT count(*), coalesce(bit_xor({STAMP}), 0) FROM sync.reconciled_{entity.name} r"
        f" JOIN bms.{entity.name} b ON b.bms_id = r.bms_id WHERE {selection.where}",
        list(selection.restricting.values()),
    ).fetchone()
    if row == (seen.records, seen.stamp):
        return
    rows = connection.execute(
        sql.read("decided_since").format(entity=entity.name),
        {"entity": entity.name, "batch": seen.batch, "ids": list(selection.bms_ids) or None, "most": REFUSALS_TOLD},
    ).fetchall()
    told = "".join(
        f"\n  {entity.singular} {bms_id} {name or '(no name)'}: {verb} by {by} at {at:%H:%M:%S} UTC, now {became}"
        for bms_id, name, verb, by, at, became in rows
    )
    by_whom = f"was decided otherwise meanwhile:{told}" if told else "stands otherwise since a run decided about it."
    raise DecisionOvertaken(
        f"Nothing was done, because what you were looking at {by_whom}", "Look at it as it is now, then decide."
    )


def select(connection: duckdb.DuckDBPyConnection, entity: Entity, selection: Selection) -> list[int]:
    """The BMS ids of the selected records as they are decided now, in order.

    Ids that nothing else restricts are given back as they are: a wrong one is to be refused, not passed over. Raises
    ``DecisionError`` when nothing is given, or no record is like that.
    """
    if not replace(selection, bms_ids=()).restricting:
        if selection.bms_ids:
            return list(selection.bms_ids)
        raise DecisionError("No record was named.", "Give BMS ids, or a disposition, reason, client or name.")
    reconcile_all(connection, with_clients([entity]))
    rows = connection.execute(
        f"SELECT r.bms_id FROM sync.reconciled_{entity.name} r JOIN bms.{entity.name} b ON b.bms_id = r.bms_id"
        f" WHERE {selection.where} ORDER BY r.bms_id",
        list(selection.restricting.values()),
    ).fetchall()
    if not rows:
        raise DecisionError("No record is like that.", "`bms-pipeline preview --saved` shows dispositions and reasons.")
    return [int(row[0]) for row in rows]


def including(
    entity: EntityName,
    bms_ids: Iterable[int],
    *,
    create: bool = False,
    beside: bool = False,
    match_to: str | None = None,
    why: str = "",
) -> list[Decision]:
    """The decisions that take records back from the excluded ones: as they were, or at once as create or as match."""
    ids = list(bms_ids)
    decisions = [Decision("include", entity, each, why=why) for each in ids]
    if create:
        decisions += [Decision("create", entity, each, beside=beside, why=why) for each in ids]
    if match_to:
        decisions += [Decision("match", entity, each, match_to, why=why) for each in ids]
    return decisions


def decide(
    connection: duckdb.DuckDBPyConnection,
    decisions: Sequence[Decision],
    by: str,
    now: datetime,
    *,
    agree: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None,
) -> Taken:
    """Take ``decisions``, all or none. Call it inside a transaction, which a refusal must end.

    ``agree`` looks at the records as they stand before, and raises where that is not what the person decided by.
    Raises ``DecisionRefused`` with one line for each decision that cannot be taken.
    """
    reconcile_all(connection, _concerned(decisions))
    agree(connection)
    return _take(connection, decisions, by, now)


_WAITS_FOR_CREATION = "reason IN ('waits_for_decision', 'placeholder_name')"
"""SQL over ``sync.reconciled_<entity>``: whether the record waits for nothing but a decision."""


def waits_for_creation(connection: duckdb.DuckDBPyConnection, entity: Entity) -> bool:
    """Whether ``create_unmatched`` would decide about any record; the entity has been reconciled."""
    found = connection.execute(f"FROM sync.reconciled_{entity.name} WHERE {_WAITS_FOR_CREATION} LIMIT 1").fetchone()
    return found is not None


def create_unmatched(
    connection: duckdb.DuckDBPyConnection, entity: Entity, by: str, now: datetime, scope: Scope
) -> Taken:
    """Decide that every record that waits for nothing but a decision be created.

    Ambiguous and near-identical ones, and those that a person took apart, still wait; so does what is not inside
    ``scope``. The entity and its clients have been reconciled.
    """
    rows = connection.execute(
        f"SELECT bms_id FROM sync.reconciled_{entity.name} WHERE {_WAITS_FOR_CREATION}"
        f" AND NOT {scope.left_out(entity)} ORDER BY bms_id"
    ).fetchall()
    return _take(connection, [Decision("create", entity.name, row[0]) for row in rows], by, now)


def auto_match(connection: duckdb.DuckDBPyConnection, entity: Entity, by: str, now: datetime) -> Taken:
    """Save every match that the rules found. The entity and its clients have been reconciled."""
    rows = connection.execute(sql.read("unsaved_matches").format(entity=entity.name)).fetchall()
    found = [Decision("match", entity.name, bms_id, partner, why="auto-match") for bms_id, partner in rows]
    return _take(connection, found, by, now)


def _take(connection: duckdb.DuckDBPyConnection, decisions: Sequence[Decision], by: str, now: datetime) -> Taken:
    """Take ``decisions`` about records that have just been reconciled."""
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
    reconcile_all(connection, entities)
    refused = [each for entity in entities for each in _refusals(connection, entity, decisions)]
    if refused:
        raise _refused(refused, len(decisions))
    taken = _write_ledger(connection, entities, by, now)
    if taken:
        count_input(connection, "decisions", now)
    return Taken(taken, len(decisions) - taken, comparison.changes(connection, entities))


def _concerned(decisions: Iterable[Decision]) -> list[Entity]:
    """The entities to decide anew, in their order: those decided about, and the clients that they live in."""
    return with_clients([BY_NAME[name] for name in {each.entity for each in decisions}])


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
    for statement in connection.extract_statements(sql.read("apply_decisions").format(entity=entity.name)):
        connection.execute(statement, {name: who[name] for name in statement.named_parameters})


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
