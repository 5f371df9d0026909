"""People's decisions about records, applied to the warehouse: match, branch, unmatch, create, exclude, include.

A batch of decisions is taken as a whole or not at all::

    store the decisions → reconcile all records concerned → has each decision come true?
        yes: write the ledger        no: undo all of them and list every refusal

So a decision cannot break a rule of reconcile, and the order within one batch has no meaning.

The lasting tables: ``sync.matches`` (links), ``sync.exclusions``, ``sync.approved_creates`` (approved creates),
``sync.non_matches`` (non-matches: pairs no rule matches again), and ``sync.decisions``, the ledger of all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import duckdb

from bms_pipeline.core.entities import BY_NAME, Entity, EntityName, with_clients
from bms_pipeline.core.errors import DecisionError, DecisionOvertaken, DecisionRefused
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.vocabulary import Disposition, Verb
from bms_pipeline.reconcile import comparison
from bms_pipeline.reconcile.matching import Scope, note_reconciled, reconcile_all
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.warehouse import names, sql
from bms_pipeline.warehouse.inputs import bump_version

VERBS = tuple(Verb)
REFUSALS_TOLD = 20


@dataclass(frozen=True)
class Decision:
    """A person's decision about one record.

    ``passportal_id``: the record ``match`` or ``branch`` links it to. ``allow_duplicate``: ``create`` it although
    Passportal has a record of the same or nearly the same name. ``line``: the line in the file it comes from.
    """

    verb: str
    entity: EntityName
    bms_id: int
    passportal_id: str | None = None
    allow_duplicate: bool = False
    why: str = ""
    line: int | None = None


@dataclass(frozen=True)
class Refusal:
    """A refused decision, and the reason."""

    decision: Decision
    reason: str

    def __str__(self) -> str:
        """Return one line for a person: where, what, why."""
        decision = self.decision
        where = f"line {decision.line}: " if decision.line else ""
        return f"{where}{decision.verb} {BY_NAME[decision.entity].singular} {decision.bms_id}: {self.reason}"


@dataclass(frozen=True)
class DecisionResult:
    """The result of a batch: the decisions taken, those already in effect, and the changes."""

    taken: int
    already: int
    changes: list[comparison.DispositionChange] = field(default_factory=list)


@dataclass(frozen=True)
class Selection:
    """A filter for the records of an entity. An empty part does not restrict.

    ``client``: a BMS account id. ``name``: contained in the record's name, as matching folds names. ``but``: BMS ids
    to leave out; they restrict only a filter.
    """

    bms_ids: tuple[int, ...] = ()
    disposition: str = ""
    reason: str = ""
    client: int = 0
    name: str = ""
    but: tuple[int, ...] = ()

    @property
    def restricting(self) -> dict[str, object]:
        """Condition over ``sync.reconciled_<entity> r`` and ``bms.<entity> b``, with one ``?``, → its value."""
        given: dict[str, object] = {
            "r.disposition = ?": _known_disposition(self.disposition),
            "r.reason = ?": self.reason,
            "r.account_id = ?": self.client,
            "contains(b.name_key, ?)": names.fold_name(self.name),
            "r.bms_id IN (SELECT unnest(?::BIGINT[]))": list(self.bms_ids),
            "r.bms_id NOT IN (SELECT unnest(?::BIGINT[]))": list(self.but),
        }
        return {condition: value for condition, value in given.items() if value}

    @property
    def where(self) -> str:
        """All of ``restricting``, for a WHERE; ``true`` where nothing restricts."""
        return " AND ".join(self.restricting) or "true"


def _known_disposition(named: str) -> str:
    """Return the disposition a person named, in its one spelling; raises ``DecisionError`` where there is none."""
    if not named:
        return ""
    try:
        return Disposition(named).value
    except ValueError:
        raise DecisionError(f"There is no disposition {named!r}.", f"Choose one of {', '.join(Disposition)}.") from None


VERSION = "hash(r.bms_id, r.disposition, r.reason, r.passportal_id)"
"""SQL over ``sync.reconciled_<entity> r``: the record's state as a number."""


@dataclass(frozen=True)
class ViewedVersion:
    """The version of the records a person saw while deciding: their number, and all their ``VERSION`` in one (bit_xor).

    ``batch``: the ledger's newest batch at that time.
    """

    records: int
    stamp: int
    batch: int


def check_viewed(
    connection: duckdb.DuckDBPyConnection, entity: Entity, selection: Selection, seen: ViewedVersion
) -> None:
    """Raise ``DecisionOvertaken``, listing the decisions since, unless the records are as the person saw them.

    Compares with the last dispositions: reconcile again only after it.
    """
    row = connection.execute(
        f"SELECT count(*), coalesce(bit_xor({VERSION}), 0) FROM sync.reconciled_{entity.name} r"
        f" JOIN bms.{entity.name} b ON b.bms_id = r.bms_id WHERE {selection.where}",
        list(selection.restricting.values()),
    ).fetchone()
    if row == (seen.records, seen.stamp):
        return
    raise overtaken(connection, entity, selection.bms_ids, seen.batch)


def overtaken(
    connection: duckdb.DuckDBPyConnection, entity: Entity, bms_ids: Sequence[int], batch: int
) -> DecisionOvertaken:
    """Return the error about the decisions after ``batch`` about these records; about all if there are none."""
    rows = connection.execute(
        sql.read("reconcile/decided_since").format(entity=entity.name),
        {"entity": entity.name, "batch": batch, "ids": list(bms_ids) or None, "most": REFUSALS_TOLD},
    ).fetchall()
    told = "".join(
        f"\n  {entity.singular} {bms_id} {name or '(no name)'}: {verb} by {by} at {at:%H:%M:%S} UTC, now {became}"
        for bms_id, name, verb, by, at, became in rows
    )
    by_whom = f"was decided otherwise meanwhile:{told}" if told else "stands otherwise since a run decided about it."
    return DecisionOvertaken(
        f"Nothing was done, because what you were looking at {by_whom}", "Look at it as it is now, then decide."
    )


def select_ids(connection: duckdb.DuckDBPyConnection, entity: Entity, selection: Selection) -> list[int]:
    """Return the BMS ids of the selected records by their present dispositions, in order.

    Ids without another restriction are returned unchanged: a wrong id is to be refused, not skipped. Raises
    ``DecisionError`` when nothing is given, or no record matches the filter.
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
    allow_duplicate: bool = False,
    match_to: str | None = None,
    why: str = "",
) -> list[Decision]:
    """Return the decisions to re-include excluded records, optionally with a create or a match."""
    ids = list(bms_ids)
    decisions = [Decision("include", entity, bms_id, why=why) for bms_id in ids]
    if create:
        decisions += [Decision(Verb.CREATE, entity, bms_id, allow_duplicate=allow_duplicate, why=why) for bms_id in ids]
    if match_to:
        decisions += [Decision("match", entity, bms_id, match_to, why=why) for bms_id in ids]
    return decisions


def apply_decisions(
    connection: duckdb.DuckDBPyConnection,
    decisions: Sequence[Decision],
    by: str,
    now: datetime,
    *,
    agree: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None,
) -> DecisionResult:
    """Take ``decisions``, all or none. Call it inside a transaction, which a refusal must end.

    ``agree`` checks the records first, and raises where they differ from what the person based the decisions on. Raises
    ``DecisionRefused`` with one line for each refused decision.
    """
    reconcile_all(connection, _concerned(decisions))
    agree(connection)
    return _take(connection, decisions, by, now)


_CONTROL_CHARACTER = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x{FFFE}\x{FFFF}]"
"""What ``spreadsheet.cells.storable`` replaces, as a regular expression of DuckDB."""


def _waits_for_creation(connection: duckdb.DuckDBPyConnection, entity: Entity) -> str:
    """Return SQL over ``sync.reconciled_<entity>``: whether a record is only waiting for a decision.

    A record without a real name is recognised by its marker alone. Where a person imports what was created, it gets
    none and would be missing for ever, so there it waits for a decision of its own. So does a name with control
    characters, which no file of the import can hold.
    """
    if entity.name in read_sync_settings(connection).can_write:
        return "reason IN ('waits_for_decision', 'placeholder_name')"
    unwritable = f"SELECT bms_id FROM bms.{entity.name} WHERE regexp_matches(name, '{_CONTROL_CHARACTER}')"
    return f"reason = 'waits_for_decision' AND bms_id NOT IN ({unwritable})"


def waits_for_creation(connection: duckdb.DuckDBPyConnection, entity: Entity) -> bool:
    """Whether ``create_unmatched_of`` would decide about any record; the entity has been reconciled."""
    found = connection.execute(
        f"FROM sync.reconciled_{entity.name} WHERE {_waits_for_creation(connection, entity)} LIMIT 1"
    ).fetchone()
    return found is not None


def create_unmatched_of(
    connection: duckdb.DuckDBPyConnection, entity: Entity, by: str, now: datetime, scope: Scope
) -> DecisionResult:
    """Approve creating every record only waiting for a decision.

    Three kinds still wait: ambiguous records, near-identical ones, and those a person unmatched. Records outside
    ``scope`` wait, too. The entity and its clients have been reconciled.
    """
    ids = unmatched_ids(connection, entity, scope)
    return _take(connection, [Decision(Verb.CREATE, entity.name, bms_id) for bms_id in ids], by, now)


def unmatched_ids(connection: duckdb.DuckDBPyConnection, entity: Entity, scope: Scope) -> list[int]:
    """Return the records for ``create_unmatched_of``, as reconciled last."""
    rows = connection.execute(
        f"SELECT bms_id FROM sync.reconciled_{entity.name} WHERE {_waits_for_creation(connection, entity)}"
        f" AND NOT {scope.left_out(entity)} ORDER BY bms_id"
    ).fetchall()
    return [int(row[0]) for row in rows]


def unsaved_matches(connection: duckdb.DuckDBPyConnection, entity: Entity) -> list[tuple[int, str]]:
    """Return the matches found by the rules and saved by no person and no load: BMS id and Passportal id."""
    return connection.execute(sql.read("reconcile/unsaved_matches").format(entity=entity.name)).fetchall()


def _take(
    connection: duckdb.DuckDBPyConnection, decisions: Sequence[Decision], by: str, now: datetime
) -> DecisionResult:
    """Take ``decisions`` about records reconciled just now."""
    if not decisions:
        return DecisionResult(0, 0)
    decisions = list(dict.fromkeys(replace(decision, why=decision.why.strip()) for decision in decisions))
    decisions += owners_of_branches(connection, decisions)
    _check_not_contradictory(decisions)
    entities = _concerned(decisions)
    comparison.remember_dispositions(connection, entities)
    _write_down(connection, decisions)
    for entity in entities:
        connection.execute(sql.read("reconcile/decision_states").format(entity=entity.name))
        _apply(connection, entity, by, now)
    reconcile_all(connection, entities)
    refused = [refusal for entity in entities for refusal in _refusals(connection, entity, decisions)]
    if refused:
        raise _refused(refused, len(decisions))
    taken = _write_ledger(connection, entities, by, now)
    if taken:
        bump_version(connection, "decisions", now)
        note_reconciled(connection, entities)  # so that the next decision need not reconcile before it begins
    return DecisionResult(taken, len(decisions) - taken, comparison.disposition_changes(connection, entities))


def owners_of_branches(connection: duckdb.DuckDBPyConnection, decisions: Sequence[Decision]) -> list[Decision]:
    """Return the matches to save with the branches in ``decisions``: of owners found by a rule only so far.

    By the last dispositions.
    """
    wanted = [decision.passportal_id for decision in decisions if decision.verb == Verb.BRANCH]
    decided = [decision.bms_id for decision in decisions if decision.entity == "clients"]
    if not wanted:
        return []
    rows = connection.execute(
        "SELECT bms_id, passportal_id FROM sync.reconciled_clients WHERE disposition = 'matched' AND is_new_match"
        " AND reason <> $branch AND list_contains($wanted::VARCHAR[], passportal_id)"
        " AND NOT list_contains($decided::BIGINT[], bms_id) ORDER BY bms_id",
        {"branch": Reason.BRANCH_BY_PERSON, "wanted": wanted, "decided": decided},
    ).fetchall()
    return [
        Decision(Verb.MATCH, "clients", bms_id, partner, why="owns a client with branches") for bms_id, partner in rows
    ]


def _concerned(decisions: Iterable[Decision]) -> list[Entity]:
    """Return the entities to reconcile, in their order: those decided about, and the clients they are in."""
    return with_clients([BY_NAME[name] for name in {decision.entity for decision in decisions}])


def _refusals(connection: duckdb.DuckDBPyConnection, entity: Entity, decisions: Sequence[Decision]) -> list[Refusal]:
    """Return the decisions about ``entity`` without effect, with the reasons."""
    rows = connection.execute(
        sql.read("reconcile/decision_refusals").format(
            entity=entity.name, singular=entity.singular, has_client=str(entity.has_client).lower()
        )
    ).fetchall()
    return [Refusal(decisions[number], reason) for number, reason in rows]


def _check_not_contradictory(decisions: Sequence[Decision]) -> None:
    """Refuse contradictions: one record may be taken back and decided again at once, nothing more.

    Examples are include and create, or unmatch and match.
    """
    first: dict[tuple[str, int, bool], Decision] = {}
    refused = []
    for decision in decisions:
        takes_back = decision.verb in ("include", "unmatch")
        other = first.setdefault((decision.entity, decision.bms_id, takes_back), decision)
        if (other.verb, other.passportal_id) != (decision.verb, decision.passportal_id):
            refused.append(Refusal(decision, f"another decision in the same batch says {other.verb}"))
    if refused:
        raise _refused(refused, len(decisions))


def _write_down(connection: duckdb.DuckDBPyConnection, decisions: Sequence[Decision]) -> None:
    """Fill the temp table ``decided``: one row for each decision, numbered."""
    columns = {
        "verb": "VARCHAR", "entity": "VARCHAR", "bms_id": "BIGINT", "passportal_id": "VARCHAR",
        "allow_duplicate": "BOOLEAN", "why": "VARCHAR",
    }  # fmt: skip
    lists = ", ".join(f"unnest(${name}::{kind}[]) AS {name}" for name, kind in columns.items())
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE decided AS SELECT unnest(range($count)) AS number, {lists}",
        {"count": len(decisions), **{name: [getattr(decision, name) for decision in decisions] for name in columns}},
    )


def _apply(connection: duckdb.DuckDBPyConnection, entity: Entity, by: str, now: datetime) -> None:
    """Write the decisions on ``entity`` into the lasting tables; decisions taken back go first."""
    who = {"by": by, "now": now}
    for statement in connection.extract_statements(sql.read("reconcile/apply_decisions").format(entity=entity.name)):
        connection.execute(statement, {name: who[name] for name in statement.named_parameters})


def _write_ledger(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], by: str, now: datetime) -> int:
    """Write one line for each effective decision, and return their number."""
    (batch,) = connection.execute("SELECT coalesce(max(batch), 0) + 1 FROM sync.decisions").fetchone() or (1,)
    taken = 0
    for entity in entities:
        row = connection.execute(
            sql.read("reconcile/decision_ledger").format(entity=entity.name), {"batch": batch, "by": by, "now": now}
        ).fetchone()
        taken += int(row[0]) if row else 0
    return taken


def _refused(refused: Sequence[Refusal], of: int) -> DecisionRefused:
    told = "".join(f"\n  {refusal}" for refusal in refused[:REFUSALS_TOLD])
    more = f"\n  and {len(refused) - REFUSALS_TOLD:,} more" if len(refused) > REFUSALS_TOLD else ""
    return DecisionRefused(
        f"{len(refused):,} of {of:,} decisions cannot be taken, so none was:{told}{more}",
        "Correct or leave out these, then decide again.",
    )
