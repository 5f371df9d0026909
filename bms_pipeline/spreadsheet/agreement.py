"""Agreement of a person's file with the stored records: name, client, state, and the suggested partner.

A line disagrees when something changed after the export, or when its cells were sorted or moved one by one. Nobody can
know which of the two records it means, so it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from bms_pipeline.core.entities import BY_NAME, Entity, EntityName
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.vocabulary import Disposition, Verb
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.spreadsheet.cells import Report, shown_cell, storable
from bms_pipeline.spreadsheet.decisions import DecisionLine, FilledIn
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import named_rows
from bms_pipeline.warehouse.names import fold_name

_PLAIN_QUOTES = str.maketrans("‘’‚“”„–—", "'''\"\"\"--")
"""Quotes and dashes as spreadsheet programs replace them while people type → the plain ones."""
_CREATED = (Reason.CREATED_BY_PERSON, Reason.NOT_IN_PASSPORTAL, Reason.MOVED_TO_THIS_CLIENT)


@dataclass(frozen=True)
class Pair:
    """A decision with the names of both records; the second is empty except for a match."""

    line: int | None
    entity: EntityName
    verb: str
    bms_id: int
    name: str | None
    client: str | None
    passportal_id: str | None
    passportal_name: str | None


@dataclass(frozen=True)
class _Stored:
    """A record as it is stored."""

    bms_id: int
    name: str | None
    client: str | None
    disposition: str
    reason: str
    matched_to: str | None
    linked_by: str | None
    is_excluded: bool
    is_parted: bool
    verb: str | None
    decided_by: str | None
    decided_at: datetime | None


def check_agreement(connection: duckdb.DuckDBPyConnection, filled_in: FilledIn) -> list[Pair]:
    """Return the decisions of ``filled_in`` with names; raise ``DecisionFileInvalid`` with each line that disagrees.

    The entities have been reconciled. An id BMS never listed is left to ``decisions``, which refuses it.
    """
    report = Report(filled_in.file)
    pairs: list[Pair] = []
    for entity in BY_NAME.values():
        lines = [line for line in filled_in.lines if line.decision.entity == entity.name]
        if not lines:
            continue
        stored = _stored(connection, entity, lines)
        partners = _partners(connection, entity, lines)
        for line in lines:
            record = stored.get(line.decision.bms_id)
            for problem in _disagreements(entity, line, record, partners) if record else ():
                report.add(line.decision.line or 0, problem)
            pairs.append(_pair(line.decision, record, partners))
    report.refuse(
        "Was a column sorted, moved or filled down on its own? Then sort whole lines. Else export again, and decide by"
        " what that file shows."
    )
    return sorted(pairs, key=lambda pair: pair.line or 0)


def _stored(connection: duckdb.DuckDBPyConnection, entity: Entity, lines: Sequence[DecisionLine]) -> dict[int, _Stored]:
    ids = [line.decision.bms_id for line in lines]
    rows: list[dict[str, Any]] = named_rows(
        connection, sql.read("spreadsheet/stored_records").format(entity=entity.name), {"ids": ids}
    )
    return {row["bms_id"]: _Stored(**row) for row in rows}


def _partners(
    connection: duckdb.DuckDBPyConnection, entity: Entity, lines: Sequence[DecisionLine]
) -> dict[str, str | None]:
    """Return Passportal id → name, for the ids the lines match to."""
    ids = [line.decision.passportal_id for line in lines if line.decision.passportal_id]
    rows = connection.execute(
        f"SELECT passportal_id, name FROM passportal.{entity.name} WHERE list_contains($ids::VARCHAR[], passportal_id)",
        {"ids": ids},
    ).fetchall()
    return dict(rows)


def _pair(decision: Decision, record: _Stored | None, partners: dict[str, str | None]) -> Pair:
    partner = decision.passportal_id
    name, client = (record.name, record.client) if record else (None, None)
    return Pair(
        decision.line,
        decision.entity,
        decision.verb,
        decision.bms_id,
        name,
        client,
        partner,
        partners.get(partner or ""),
    )


def _disagreements(
    entity: Entity, line: DecisionLine, record: _Stored, partners: dict[str, str | None]
) -> Iterator[str]:
    """Yield the differences of a line. A wrong name or client precedes the state, which then means nothing."""
    one = f"{entity.singular} {record.bms_id}"
    identity = [
        f"{one} {verb} {shown_cell(stored or '')}, and this line says {shown_cell(line.state[column])}"
        for column, verb, stored in (("name", "is", record.name), ("client", "belongs to client", record.client))
        if column in line.state and not _same(line.state[column], stored)
    ]
    yield from identity
    if not identity and not _stands_as(line, record) and not _holds(line.decision, record):
        yield f"{one} stood as {_said(line)} and is now {_now(record)}"
    partner = line.decision.passportal_id
    suggested = line.suggested.get(partner or "")
    if partner in partners and suggested is not None and not _same(suggested, partners[partner]):
        name = partners[partner] or ""
        yield f"{shown_cell(partner)} is {shown_cell(name)} in Passportal, and this line says {shown_cell(suggested)}"


def _same(said: str, stored: str | None) -> bool:
    """Return whether a cell still shows its written value, apart from a spreadsheet program's blanks and quotes."""
    return _folded(said) == _folded(storable(stored or ""))


def _folded(text: str) -> str | None:
    return fold_name(text.translate(_PLAIN_QUOTES).removeprefix("'"))


def _stands_as(line: DecisionLine, record: _Stored) -> bool:
    now = {"disposition": record.disposition, "reason": record.reason, "matched_to": record.matched_to}
    return all(_same(line.state[column], stored) for column, stored in now.items() if column in line.state)


def _holds(decision: Decision, record: _Stored) -> bool:
    """Return whether the decision is already in effect, so repeating it changes nothing."""
    match decision.verb:
        case Verb.MATCH | Verb.BRANCH:
            is_kind = (record.linked_by == Reason.BRANCH_BY_PERSON) == (decision.verb == Verb.BRANCH)
            return record.disposition == Disposition.MATCHED and record.matched_to == decision.passportal_id and is_kind
        case "unmatch":
            return record.disposition != Disposition.MATCHED and record.is_parted
        case Verb.CREATE:
            created = record.disposition == Disposition.MATCHED and record.linked_by in _CREATED
            return record.disposition == Disposition.TO_CREATE or created
        case "exclude":
            return record.is_excluded
    return not record.is_excluded


def _said(line: DecisionLine) -> str:
    disposition, reason, partner = (line.state.get(name, "") for name in ("disposition", "reason", "matched_to"))
    return f"{disposition or 'nothing'}{f' ({reason})' if reason else ''}{f', with {partner}' if partner else ''}"


def _now(record: _Stored) -> str:
    partner = f", with {record.matched_to}" if record.matched_to else ""
    last = ""
    if record.decided_at:
        last = f"; last decided: {record.verb} by {record.decided_by} at {record.decided_at:%Y-%m-%d %H:%M} UTC"
    return f"{record.disposition} ({record.reason}){partner}{last}"
