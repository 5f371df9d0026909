"""Stories for people: a record in one sentence, its time line, and both sides of it field by field.

A sentence is a sequence of parts, texts and moments: a page shows a moment by the reader's clock, the terminal in UTC.

    standing ──▶ opening ("Waits for its client Acme, about which nobody decided yet")
    match, decisions ──▶ link ("Matched by Robin on 25 Nov because the names are nearly the same")
    journal ──▶ load ("; loaded on 25 Nov, Phone filled in")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import duckdb

from bms_pipeline.core.entities import BY_NAME, Entity, EntityName
from bms_pipeline.core.reasons import Reason, reason_in_words
from bms_pipeline.core.vocabulary import UNDO, FieldOwner, Operation, Outcome, Verb
from bms_pipeline.plan.standings import Standing
from bms_pipeline.reconcile.sync_settings import SyncSettings, read_sync_settings
from bms_pipeline.reports import figures
from bms_pipeline.reports.read_models import (
    DecisionTaken,
    FieldChange,
    LinkedAccount,
    Namesake,
    RecordStory,
    Values,
    WriteDone,
)
from bms_pipeline.warehouse.connection import Warehouse, named_rows

Part = str | datetime
"""A piece of a sentence; a moment stands for its day: "on 25 Nov"."""

FIELDS_NAMED = 3
"""A sentence names up to this many fields, and counts the others."""

_MATCHED_BECAUSE: dict[str, str] = {
    Reason.BMS_MARKER: "Passportal's record carries its BMS id",
    Reason.IDENTICAL_NAME: "both sides have the same name",
    Reason.IDENTICAL_NAME_AND_EMAIL: "both sides have the same name and e-mail address",
    Reason.IDENTICAL_SERIAL: "both sides have the same serial number",
    Reason.INTEGRATION_ID_AGREES: "Passportal's record carries its BMS id, and client and name agree",
}
_WAITS_BECAUSE: dict[str, str] = {
    Reason.UNMATCHED_BY_PERSON: "it was taken apart from its record in Passportal",
    Reason.WAITS_FOR_DECISION: "nothing in Passportal fits it",
}
_CLIENT: dict[str, str] = {
    Reason.CLIENT_AMBIGUOUS: "for which several records of Passportal fit",
    Reason.CLIENT_BLOCKED: "which is blocked itself",
    Reason.CLIENT_EXCLUDED: "which is excluded",
    Reason.CLIENT_GONE: "which is gone from BMS",
    Reason.CLIENT_MERGED: "which BMS may have merged with another one",
    Reason.CLIENT_NOT_CHOSEN: "which is not among the clients chosen in the settings",
    Reason.CLIENT_NOT_IN_PASSPORTAL: "which is imported by hand and not in Passportal yet",
    Reason.CLIENT_NOT_LISTED: "which BMS does not list",
    Reason.CLIENT_OUT_OF_SCOPE: "which the settings leave out",
    Reason.CLIENT_REFUSED: "which Passportal refused",
    Reason.CLIENT_TO_PLAN: "about which the next plan decides",
    Reason.CLIENT_UNKNOWN: "of which nobody knows yet whether it arrived",
    Reason.CLIENT_UNMATCHED: "about which nobody decided yet",
    Reason.CLIENT_WRITE_UNKNOWN: "for which a write to Passportal has no answer yet",
}
"""Reason code → the words about the client in the sentence of a record waiting for it."""

OWNERS = {
    "last_edit": "the last edit",
    "bms_wins": "BMS",
    "passportal_wins": "Passportal",
    "fill_if_empty": "Passportal, once filled",
}
"""Owner of a field → the owner in words."""


class Mark(StrEnum):
    """How both sides of a field relate, in words for people."""

    SAME = "same"
    WRITES = "the next load writes it"
    KEPT = "kept in Passportal"
    NO_PLACE = "no field in its template"
    DIFFERS = "differs"


@dataclass(frozen=True)
class FieldRow:
    """One field on both sides, who owns it, and how they relate; no mark where only one side has the record."""

    label: str
    bms: str | None
    passportal: str | None
    owner: str
    mark: Mark | None

    @property
    def is_owned_by_last_edit(self) -> bool:
        """Whether nobody set an owner for it."""
        return self.owner == OWNERS[FieldOwner.LAST_EDIT]


@dataclass(frozen=True)
class Event:
    """One line of the time line. ``plan_id``: its load."""

    at: datetime
    text: str
    plan_id: int | None = None
    fields: Sequence[FieldChange] = ()


@dataclass(frozen=True)
class ClientName:
    """The client of a record, as BMS names it; ``decided_by``: who last decided about it."""

    bms_id: int
    name: str | None
    decided_by: str | None = None


@dataclass(frozen=True)
class FullStory:
    """A record's story for people. ``record`` is all that it was made from."""

    record: RecordStory
    sentence: list[Part]
    events: list[Event]
    fields: list[FieldRow]
    client: ClientName | None
    counterpart: Values | None

    @property
    def namesakes(self) -> list[Namesake]:
        """The records of Passportal with its name, without its own."""
        own = self.counterpart["passportal_id"] if self.counterpart else None
        return [namesake for namesake in self.record.candidates if namesake.passportal_id != own]


def tell(warehouse: Warehouse, entity_name: EntityName, bms_id: int, landing_folder: Path | None = None) -> FullStory:
    """Return one record's story for people. Raises as ``figures.explain``."""
    with warehouse.open() as connection:
        record = figures.explain(warehouse, entity_name, bms_id, landing_folder)
        entity = BY_NAME[record.entity]
        client = _client(connection, entity, record)
        counterpart = record.in_passportal or _planned_counterpart(connection, entity, record)
        settings = read_sync_settings(connection)
    return FullStory(
        record,
        sentence(record, client, counterpart),
        events(record),
        field_rows(record, counterpart, settings),
        client,
        counterpart,
    )


def plain(parts: Iterable[Part]) -> str:
    """Return a sentence as text, its moments as days in UTC."""
    return "".join(day(part) if isinstance(part, datetime) else part for part in parts)


def day(at: datetime) -> str:
    """Return a moment as its day in UTC: ``on 25 Nov 2026``."""
    return f"on {at.day} {at:%b %Y}"


def sentence(record: RecordStory, client: ClientName | None = None, counterpart: Values | None = None) -> list[Part]:
    """Return how a record stands and how it came to that: one sentence, and one more for what was not written."""
    facts = _Facts(record, client, counterpart or record.in_passportal)
    if record.standing is None:
        return ["Gone from BMS and never matched."]
    return [part for part in (*_OPENINGS[record.standing.standing](facts), *_left_as_it_is(record)) if part != ""]


@dataclass(frozen=True)
class _Facts:
    """What the sentence of a record is made from."""

    record: RecordStory
    client: ClientName | None
    counterpart: Values | None

    @property
    def done(self) -> list[WriteDone]:
        """The writes done in Passportal, oldest first."""
        return [row for row in self.record.history if row.outcome == Outcome.DONE]

    @property
    def reason(self) -> str:
        """The reason code of the standing."""
        return self.record.standing.reason if self.record.standing else ""

    @property
    def match_reason(self) -> str:
        """The reason code of the match, which a standing may hide."""
        return (self.record.match and self.record.match.reason) or self.reason

    def last(self, verb: Verb) -> DecisionTaken | None:
        """Return the last decision with this verb."""
        return next((taken for taken in reversed(self.record.decisions) if taken.verb == verb), None)


def _in_sync(facts: _Facts) -> Iterator[Part]:
    yield from _linked(facts)
    yield from _loaded(facts)
    yield "."


def _differs(facts: _Facts) -> Iterator[Part]:
    yield from _linked(facts)
    columns = [change["field"] for change in (facts.record.plan and facts.record.plan.changes) or ()]
    yield f"; the next load writes {_labels(facts.record, columns) or 'what BMS changed'}."


def _to_match(facts: _Facts) -> Iterator[Part]:
    yield from _linked(facts)
    yield "; the next load links the two."


def _linked(facts: _Facts) -> Iterator[Part]:
    """Yield how a record came to its match: created, matched by a person, or matched by a rule."""
    created = next((row for row in facts.done if row.operation == Operation.CREATE), None)
    by_person = facts.last(Verb.MATCH)
    if facts.match_reason == Reason.BRANCH_BY_PERSON:
        yield from _branch(facts)
    elif created is not None and by_person is None:
        yield from ("Created in Passportal ", created.intent_at)
        decided = facts.last(Verb.CREATE)
        yield f", as {decided.decided_by} decided" if decided else " because it had no such record"
    elif by_person is not None or facts.match_reason == Reason.MATCHED_BY_PERSON:
        yield f"Matched by {by_person.decided_by} " if by_person else "Matched by a person"
        if by_person:
            yield by_person.decided_at
            yield _names_compared(facts, by_person.why)
    else:
        match = facts.record.match
        yield "Matched"
        yield from (" ", match.matched_at) if match and match.matched_at else ()
        because = _MATCHED_BECAUSE.get(facts.match_reason)
        yield f" because {because}" if because else f": {reason_in_words(facts.match_reason)}"


def _branch(facts: _Facts) -> Iterator[Part]:
    """Yield how an account became a branch of a client, and which account owns that client."""
    decided = facts.last(Verb.BRANCH)
    yield f"Linked as a branch by {decided.decided_by} " if decided else "Linked as a branch by a person"
    yield from (decided.decided_at,) if decided else ()
    owner = next((linked for linked in facts.record.accounts if linked.is_owner), None)
    yield f"; account {owner.bms_id} {owner.name or ''} owns the client's own fields" if owner else ""


def account_in_words(linked: LinkedAccount) -> str:
    """Return an account of a client and whether it owns that: ``5 Acme (owner)``."""
    return f"{linked.bms_id} {linked.name or '(no name)'} ({'owner' if linked.is_owner else 'branch'})"


def _names_compared(facts: _Facts, reason: str | None) -> str:
    """Return why a person matched two records: in the person's words, or by what their names show."""
    if reason:
        return f": “{reason}”"
    ours, theirs = facts.record.in_bms, facts.counterpart
    if theirs is None or not ours.get("name_key"):
        return ""
    if ours["name_key"] == theirs.get("name_key"):
        return " because the names are the same"
    near = ("loose_key", "letters_key")
    if any(ours.get(key) and ours.get(key) == theirs.get(key) for key in near):
        return " because the names are nearly the same"
    return ", although the names differ"


def _loaded(facts: _Facts) -> Iterator[Part]:
    """Yield the last thing a load did, but for the create, which the link has already."""
    last = facts.done[-1] if facts.done else None
    if last is None or last.operation == Operation.CREATE:
        return
    verb = "; what a load had written was taken back " if last.reason == Reason.TAKEN_BACK else "; loaded "
    yield from (verb, last.intent_at)
    written = _written(facts.record, last.changes or [])
    yield f", {written}" if written else ", no field changed"


def _written(record: RecordStory, changes: Sequence[FieldChange]) -> str:
    filled = [change["field"] for change in changes if not change["before"] and change["after"]]
    changed = [change["field"] for change in changes if change["before"] and change["after"]]
    blanked = [change["field"] for change in changes if change["before"] and not change["after"]]
    parts = [(filled, "filled in"), (changed, "changed"), (blanked, "emptied")]
    return ", ".join(f"{_labels(record, names)} {verb}" for names, verb in parts if names)


def _to_create(facts: _Facts) -> Iterator[Part]:
    decided = facts.last(Verb.CREATE)
    if decided and facts.reason == Reason.CREATED_BY_PERSON:
        yield from (f"{decided.decided_by} decided ", decided.decided_at, " to create it, and the next load does.")
    elif facts.reason == Reason.CREATED_BY_PERSON:
        yield "A person decided to create it, and the next load does."
    else:
        yield f"The next load creates it: {reason_in_words(facts.reason)}."
    client = facts.record.standing.waits_for if facts.record.standing else None
    if client is not None:
        yield f" Its client {client.name or 'without a name'} is created first."


def _to_plan(_: _Facts) -> Iterator[Part]:
    yield "Read or unblocked since the last plan; the next plan decides about it."


def _waits(facts: _Facts) -> Iterator[Part]:
    apart, last = facts.last(Verb.UNMATCH), facts.done[-1] if facts.done else None
    if facts.reason == Reason.UNMATCHED_BY_PERSON and last is not None and last.reason == Reason.TAKEN_BACK:
        yield from (f"Waits for a decision: plan {last.plan_id} took its match back ", last.intent_at, ".")
    elif facts.reason == Reason.UNMATCHED_BY_PERSON and apart is not None:
        yield from (f"Waits for a decision: {apart.decided_by} took it apart from its record in Passportal ",
                    apart.decided_at, ".")  # fmt: skip
    elif facts.reason in _WAITS_BECAUSE:
        yield f"Waits for a decision, because {_WAITS_BECAUSE[facts.reason]}."
    else:
        yield f"Waits for a decision: {reason_in_words(facts.reason)}."


def _blocked(facts: _Facts) -> Iterator[Part]:
    if facts.reason not in _CLIENT:
        yield f"Blocked: {reason_in_words(facts.reason)}."
        return
    client, about = facts.client, _CLIENT[facts.reason]
    if facts.reason == Reason.CLIENT_EXCLUDED and client and client.decided_by:
        about = f"which {client.decided_by} excluded"
    yield f"Waits for its client{' ' + client.name if client and client.name else ''}, {about}."


def _handed_over(facts: _Facts) -> Iterator[Part]:
    written = next((row for row in facts.record.history if row.outcome == Outcome.HANDED_OVER), None)
    yield "Handed over in a file"
    yield from (" ", written.intent_at) if written else ()
    yield "; waits until somebody imports the file into Passportal."


def _refused(facts: _Facts) -> Iterator[Part]:
    refused = next((row for row in reversed(facts.record.history) if row.outcome == Outcome.REFUSED), None)
    detail = (facts.record.standing and facts.record.standing.detail) or (refused and refused.detail)
    yield "Passportal refused it"
    yield from (" ", refused.intent_at) if refused else ()
    yield f": “{detail}”." if detail else "."


def _unknown(facts: _Facts) -> Iterator[Part]:
    sent = next((row for row in reversed(facts.record.history) if row.outcome is None), None)
    yield "Sent to Passportal"
    yield from (" ", sent.intent_at) if sent else ()
    yield ", and nobody knows yet whether it arrived; the next run looks it up."


def _excluded(facts: _Facts) -> Iterator[Part]:
    decided = facts.last(Verb.EXCLUDE)
    yield f"Excluded by {decided.decided_by} " if decided else "Excluded by a person"
    yield from (decided.decided_at,) if decided else ()
    yield f": “{decided.why}”." if decided and decided.why else "."


def _out_of_scope(facts: _Facts) -> Iterator[Part]:
    if facts.reason == Reason.CLIENT_OUT_OF_SCOPE:
        yield f"Left out by the settings together with its client{_named(facts.client)}."
    else:
        yield f"Left out by the settings: {reason_in_words(facts.reason)}."


def _gone(facts: _Facts) -> Iterator[Part]:
    since = facts.record.in_bms.get("missing_since")
    yield "Gone from BMS"
    yield from (" ", since) if since else ()
    yield "; a complete reading proved it. It is kept in Passportal."


_OPENINGS: dict[Standing, Callable[[_Facts], Iterator[Part]]] = {
    Standing.IN_SYNC: _in_sync,
    Standing.DIFFERS: _differs,
    Standing.TO_MATCH: _to_match,
    Standing.TO_CREATE: _to_create,
    Standing.TO_PLAN: _to_plan,
    Standing.UNMATCHED: _waits,
    Standing.AMBIGUOUS: _waits,
    Standing.BLOCKED: _blocked,
    Standing.HANDED_OVER: _handed_over,
    Standing.REFUSED: _refused,
    Standing.UNKNOWN: _unknown,
    Standing.EXCLUDED: _excluded,
    Standing.OUT_OF_SCOPE: _out_of_scope,
    Standing.GONE: _gone,
}


def _left_as_it_is(record: RecordStory) -> Iterator[Part]:
    """Yield what the plan does not write: values kept in Passportal, and values without a field there."""
    if record.plan and record.plan.kept:
        names = _labels(record, [kept["field"] for kept in record.plan.kept])
        yield f" Passportal keeps its own {names}, where BMS has another value."
    if record.plan and record.plan.no_place:
        names = _labels(record, [lacking["field"] for lacking in record.plan.no_place])
        yield f" Its template in Passportal has no field for {names}."
    for link in (record.plan and record.plan.unlinked) or ():
        yield f" {_labels(record, [link['field']])} is not linked to {link['bms']}: {reason_in_words(link['reason'])}."


def _named(client: ClientName | None) -> str:
    return f" {client.name}" if client and client.name else ""


def _labels(record: RecordStory, columns: Sequence[str]) -> str:
    """Return fields by their labels: ``Phone, Title and 2 more``."""
    known = record.labels or BY_NAME[record.entity].labels
    labels = [known.get(column, column) for column in columns]
    if len(labels) > FIELDS_NAMED:
        return f"{', '.join(labels[:FIELDS_NAMED])} and {len(labels) - FIELDS_NAMED} more"
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels)


_DECISIONS = {
    Verb.MATCH: "matched it",
    Verb.BRANCH: "linked it as a branch of a client",
    Verb.UNMATCH: "took it apart from its record in Passportal",
    Verb.CREATE: "decided to create it",
    Verb.EXCLUDE: "excluded it",
    Verb.INCLUDE: "included it again",
}
_WRITES = {
    Operation.CREATE: "created it in Passportal",
    Operation.ADOPT: "linked it to its record in Passportal",
    Operation.UPDATE: "updated it in Passportal",
}


def events(record: RecordStory) -> list[Event]:
    """Return what happened to a record, oldest first: listings, decisions, loads."""
    found = [Event(taken.decided_at, _decision_text(taken)) for taken in record.decisions]
    found += [_write_event(row) for row in record.history]
    is_written = any(row.outcome == Outcome.DONE for row in record.history)
    if record.match and record.match.matched_at and not is_written:
        found.append(
            Event(record.match.matched_at, f"Its match was saved: {reason_in_words(record.match.reason or '')}")
        )
    first = (
        "BMS listed it in this client for the first time" if _is_inside(record) else "BMS listed it for the first time"
    )
    for column, text in (
        ("first_seen", first),
        ("missing_since", "A complete reading of BMS no longer showed it"),
        ("returned_at", "BMS listed it again"),
        ("details_read_at", "Its details were read from BMS"),
        ("details_asked_at", _no_details(record)),
    ):
        if text and record.in_bms.get(column):
            found.append(Event(record.in_bms[column], text))
    return sorted(found, key=lambda event: event.at)


def _no_details(record: RecordStory) -> str:
    """Return why the last call for details gave none; empty where it gave some."""
    problem = record.in_bms.get("details_problem")
    return f"BMS gave no details of it: {problem}" if problem else ""


def _is_inside(record: RecordStory) -> bool:
    return BY_NAME[record.entity].has_client


def _decision_text(taken: DecisionTaken) -> str:
    if taken.verb == UNDO:
        return f"{taken.decided_by} took the decision before this back"
    did = _DECISIONS[Verb(taken.verb)] if taken.verb in list(Verb) else "decided about it"
    return f"{taken.decided_by} {did}" + (f": “{taken.why}”" if taken.why else "")


def _write_event(row: WriteDone) -> Event:
    did = _WRITES.get(Operation(row.operation), "wrote it")
    if row.reason == Reason.TAKEN_BACK:
        did = "took back what a load had written"
    elif row.unmark_id is not None and not row.changes:
        did = "took its BMS id off a record of Passportal"
    match row.outcome:
        case Outcome.DONE:
            because = (
                f": {reason_in_words(row.reason)}"
                if row.operation == Operation.UPDATE and row.reason != Reason.TAKEN_BACK
                else ""
            )
            text = f"Plan {row.plan_id} {did}{because}"
        case Outcome.REFUSED:
            text = f"Passportal refused what plan {row.plan_id} sent" + (f": “{row.detail}”" if row.detail else "")
        case Outcome.HANDED_OVER:
            text = f"Plan {row.plan_id} handed it over in a file for the import into Passportal"
        case Outcome.NOT_SENT:
            text = f"Plan {row.plan_id} did not get to it, and sends it again"
        case _:
            text = f"Plan {row.plan_id} sent it, and the answer was lost"
    return Event(row.intent_at, text, row.plan_id, row.changes or ())


def field_rows(record: RecordStory, counterpart: Values | None, settings: SyncSettings) -> list[FieldRow]:
    """Return every field with a value on one side, as BMS and as Passportal have it."""
    entity, plan = settings.mapping.entity(BY_NAME[record.entity]), record.plan
    writes = {change["field"] for change in (plan.changes if plan else None) or ()}
    kept = {value["field"] for value in (plan.kept if plan else None) or ()}
    lacking = {value["field"] for value in (plan.no_place if plan else None) or ()}

    def mark(column: str, ours: str | None, theirs: str | None) -> Mark | None:
        if column in lacking:
            return Mark.NO_PLACE
        if counterpart is None:
            return None
        if (ours or None) == (theirs or None):
            return Mark.SAME
        if column in writes:
            return Mark.WRITES
        return Mark.KEPT if column in kept else Mark.DIFFERS

    rows, links = [], settings.mapping.links(entity)
    for column in entity.columns:
        ours, theirs = record.in_bms.get(column), counterpart.get(column) if counterpart else None
        if ours or theirs:
            owner = OWNERS[settings.owner(record.entity, column)]
            label = record.labels.get(column, entity.labels[column])
            is_marked = mark(column, ours, theirs)
            if column in links:
                ours, theirs = (record.titles.get(text or "", text) for text in (ours, theirs))
            rows.append(FieldRow(label, ours, theirs, owner, is_marked))
    return rows


def _client(connection: duckdb.DuckDBPyConnection, entity: Entity, record: RecordStory) -> ClientName | None:
    """Return the client of the record."""
    account_id = record.in_bms.get("account_id")
    if not entity.has_client or account_id is None:
        return None
    rows = named_rows(
        connection,
        "SELECT name, (SELECT arg_max(decided_by, decided_at) FROM sync.decisions d"
        " WHERE d.entity = 'clients' AND d.bms_id = c.bms_id) AS decided_by FROM bms.clients c WHERE c.bms_id = ?",
        [account_id],
    )
    return ClientName(account_id, **rows[0]) if rows else ClientName(account_id, None)


def _planned_counterpart(connection: duckdb.DuckDBPyConnection, entity: Entity, record: RecordStory) -> Values | None:
    """Return the record of Passportal the next load links, where no match is saved yet."""
    if record.decided is None or not record.decided.is_new_match:
        return None
    rows = named_rows(
        connection,
        f"SELECT * FROM passportal.{entity.name} WHERE passportal_id = ?",
        [record.decided.passportal_id],
    )
    return rows[0] if rows else None
