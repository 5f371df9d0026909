"""The effects of outcomes: in the journal, in matches, in the bases of the next comparison, in the snapshot.

``take_in`` takes in the file of a portion; see ``portions``. It changes only intents without outcome, so taking in
the same file twice, or once more after a kill in the middle, changes nothing more.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import duckdb

from bms_pipeline.core.entities import BY_NAME, Entity
from bms_pipeline.core.mapping import Mapping, left_out_sql
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.warehouse import keys, sql
from bms_pipeline.warehouse.portions import Calls
from bms_pipeline.warehouse.relations import Relation, has_rows, temporary
from bms_pipeline.warehouse.stored_mapping import mapped, read_mapping

_log = logging.getLogger(__name__)

NEVER_SENT = "its call was never made"


def take_in(connection: duckdb.DuckDBPyConnection, portion: int, calls: Calls, now: datetime) -> bool:
    """Give the intents of ``portion`` the outcomes in ``calls``. Call it inside a transaction.

    Marked operations without an answer stay unknown. The others were never sent, unless a part of ``calls`` is
    missing: then they stay unknown, too. Returns False where the database does not know the portion.
    """
    row = connection.execute("SELECT any_value(entity) FROM sync.journal WHERE portion = ?", [portion]).fetchone()
    if row is None or row[0] is None:
        return False
    entity = BY_NAME[row[0]]
    with _answered(connection, calls) as answered, _done(connection, portion, answered) as done:
        _note_answers(connection, portion, answered)
        _note_refused_values(
            connection, entity, portion, [bms_id for _, sent in calls.answers for bms_id in sent.of_values]
        )
        _note_marks(connection, portion, calls, now)
        if has_rows(connection, done):
            written = f"FROM {done} d WHERE NOT {is_branch(entity, 'd', 'd.found_id')}"
            with temporary(connection, "sent", written) as sent:
                bring_snapshot_up_to_date(connection, entity, sent)
            remember_values(connection, entity, done, now)
    return True


def is_branch(entity: Entity, record: str, passportal_id: str) -> str:
    """Return SQL: whether ``record`` is linked to this Passportal record as a branch, so nothing of it is written."""
    return (
        f"EXISTS (FROM sync.matches branch WHERE branch.entity = '{entity.name}' AND branch.bms_id = {record}.bms_id"
        f" AND branch.passportal_id = {passportal_id} AND branch.reason = '{Reason.BRANCH_BY_PERSON}')"
    )


def _answered(connection: duckdb.DuckDBPyConnection, calls: Calls) -> AbstractContextManager[Relation]:
    """Hold the answers: bms_id, outcome, text (the id found, or the reason), at."""
    answers = [
        (bms_id, outcome.value, text, at)
        for at, sent in calls.answers
        for outcome, found in sent.by_outcome().items()
        for bms_id, text in found.items()
    ]
    ids, outcomes, texts, moments = zip(*answers, strict=True) if answers else ((), (), (), ())
    return temporary(
        connection,
        "answered",
        "SELECT unnest($ids)::BIGINT AS bms_id, unnest($outcomes)::VARCHAR AS outcome,"
        " unnest($texts)::VARCHAR AS text, unnest($moments)::TIMESTAMP AS at",
        {"ids": list(ids), "outcomes": list(outcomes), "texts": list(texts), "moments": list(moments)},
    )


def _done(connection: duckdb.DuckDBPyConnection, portion: int, answered: Relation) -> AbstractContextManager[Relation]:
    """Hold the open intents of a portion that are answered as done, with their ``found_id``."""
    return temporary(
        connection,
        "done",
        f"SELECT j.*, a.text AS found_id FROM sync.journal j JOIN {answered} a USING (bms_id)"
        " WHERE j.portion = $portion AND j.outcome IS NULL AND a.outcome = $done",
        {"portion": portion, "done": Outcome.DONE.value},
    )


def _note_answers(connection: duckdb.DuckDBPyConnection, portion: int, answered: Relation) -> None:
    """Put the answers into the journal."""
    connection.execute(
        "UPDATE sync.journal SET outcome = nullif(a.outcome, $unknown),"
        " outcome_at = CASE WHEN a.outcome <> $unknown THEN a.at END,"
        # Its time counts from the answer that never came.
        " left_at = CASE WHEN a.outcome = $unknown THEN a.at END,"
        " detail = CASE WHEN a.outcome <> $done THEN nullif(a.text, '') END"
        f" FROM {answered} a"
        " WHERE journal.portion = $portion AND journal.bms_id = a.bms_id AND journal.outcome IS NULL",
        {"portion": portion, "done": Outcome.DONE.value, "unknown": Outcome.UNKNOWN.value},
    )


def _note_refused_values(
    connection: duckdb.DuckDBPyConnection, entity: Entity, portion: int, bms_ids: Sequence[int]
) -> None:
    """Note which values Passportal itself refused, and the state of their documents then."""
    if not bms_ids:
        return
    connection.execute(
        "UPDATE sync.journal SET refuses_values = true, document = d.state FROM ("
        f" SELECT j.bms_id, {document_state('j.passportal_id')} AS state FROM sync.journal j"
        f" LEFT JOIN passportal.{entity.name} p ON p.passportal_id = j.passportal_id"
        " LEFT JOIN passportal.new_records n ON n.entity = j.entity WHERE j.portion = $portion) d"
        " WHERE journal.portion = $portion AND journal.bms_id = d.bms_id AND journal.outcome = $refused"
        " AND list_contains($bms_ids::BIGINT[], journal.bms_id)",
        {"portion": portion, "bms_ids": list(bms_ids), "refused": Outcome.REFUSED.value},
    )


def document_state(passportal_id: str) -> str:
    """Return SQL over ``p`` and ``n``: the state of a document, or of the template of new ones where it has no id.

    The mapping is part of it: the same value under another label may be taken.
    """
    mapping = "(SELECT md5(value) FROM sync.settings WHERE name = 'mapping')"
    return (
        f"CASE WHEN {passportal_id} IS NULL THEN concat_ws(' ', n.template, n.places, {mapping})"
        f" ELSE concat_ws(' ', p.last_modified, p.template, p.places, {mapping}) END"
    )


def _note_marks(connection: duckdb.DuckDBPyConnection, portion: int, calls: Calls, now: datetime) -> None:
    """Note the marks of unanswered operations. Where ``calls`` is whole, an unmarked operation was never sent."""
    answered = {bms_id for _, sent in calls.answers for found in sent.by_outcome().values() for bms_id in found}
    marked = {bms_id: at for bms_id, at in calls.marked.items() if bms_id not in answered}
    if marked:
        connection.execute(
            "UPDATE sync.journal SET marked_at = m.at"
            " FROM (SELECT unnest($ids) AS bms_id, unnest($moments) AS at) m"
            " WHERE journal.portion = $portion AND journal.bms_id = m.bms_id AND journal.outcome IS NULL",
            {"portion": portion, "ids": list(marked), "moments": list(marked.values())},
        )
    if calls.problem:
        _log.warning("%s. Whatever it may be about counts as unknown and is looked up in Passportal.", calls.problem)
        return
    connection.execute(
        "UPDATE sync.journal SET outcome = $not_sent, outcome_at = $now, detail = $why"
        " WHERE portion = $portion AND outcome IS NULL AND bms_id NOT IN (SELECT unnest($sent::BIGINT[]))",
        {
            "portion": portion,
            "not_sent": Outcome.NOT_SENT.value,
            "why": NEVER_SENT,
            "now": now,
            "sent": [*answered, *marked],
        },
    )


def count_from(connection: duckdb.DuckDBPyConnection, noted: Collection[int], now: datetime) -> None:
    """Let the time of open operations begin ``now``, except those of portions ``noted`` in files of this home.

    Only their file says when their calls left, so they may have left until now.
    """
    connection.execute(
        "UPDATE sync.journal SET left_at = $now WHERE outcome IS NULL AND left_at IS NULL AND marked_at IS NULL"
        " AND portion NOT IN (SELECT unnest($noted::BIGINT[]))",
        {"now": now, "noted": list(noted)},
    )


def bring_snapshot_up_to_date(connection: duckdb.DuckDBPyConnection, entity: Entity, done: Relation) -> None:
    """Put the values that ``done`` operations wrote into the snapshot, to save reading it again."""
    entity = mapped(connection, entity)
    table = f"passportal.{entity.name}"
    values = ", ".join(
        f"CASE WHEN {_is_written(field)} THEN {_after(field)} ELSE p.{field} END AS {field}" for field in entity.columns
    )
    connection.execute(
        f"UPDATE {table} p SET bms_id = NULL FROM {done} l WHERE p.passportal_id = l.unmark_id AND p.bms_id = l.bms_id"
    )
    found = _range(connection, table, "rowid", f"passportal_id IN (SELECT found_id FROM {done})")
    query = (
        f"SELECT l.found_id AS passportal_id, coalesce(p.client_id, l.client_id) AS client_id, {values},"
        f" CASE WHEN l.unmark_id IS DISTINCT FROM l.found_id THEN l.bms_id END AS bms_id,"
        f" p.last_modified, p.claimed_id, {_of_new('template')}, {_of_new('template_id')}, {_of_new('places')}"
        f" FROM {done} l LEFT JOIN (FROM {table} WHERE {found}) p ON p.passportal_id = l.found_id"
        f" LEFT JOIN passportal.new_records n ON n.entity = '{entity.name}' AND coalesce(n.wanted_id, '') = ''"
    )
    with temporary(connection, "written", query) as written:
        connection.execute(f"DELETE FROM {table} WHERE passportal_id IN (SELECT passportal_id FROM {written})")
        connection.execute(f"INSERT INTO {table} BY NAME {keys.with_keys(entity, f'FROM {written}')}")


def _of_new(column: str) -> str:
    """Return SQL: the snapshot's value for a record, or for new records where none has shown it so far."""
    return f"CASE WHEN p.passportal_id IS NULL THEN n.{column} ELSE p.{column} END AS {column}"


def remember_values(connection: duckdb.DuckDBPyConnection, entity: Entity, done: Relation, now: datetime) -> None:
    """Store ``done`` operations (the journal's columns and ``found_id``): as matches with values, or as non-matches."""
    linking = (
        f"FROM {done} s WHERE found_id IS DISTINCT FROM unmark_id"
        # A person separated the two before their match was known: the person's decision holds.
        " AND NOT EXISTS (FROM sync.non_matches t WHERE t.entity = s.entity AND t.bms_id = s.bms_id"
        " AND t.passportal_id = s.found_id)"
    )
    with temporary(connection, "loaded", linking) as loaded:
        _remember_non_matches(connection, entity, done, now)
        _remember_left(connection, entity, loaded)
        _remember_matches(connection, entity, loaded, now)
        _remember_base(connection, entity, loaded)


def _remember_non_matches(connection: duckdb.DuckDBPyConnection, entity: Entity, done: Relation, now: datetime) -> None:
    """Remove the match of a record that lost its marker; no rule matches it again."""
    released = f"(SELECT bms_id FROM {done} WHERE found_id = unmark_id)"
    connection.execute(
        f"DELETE FROM sync.matches m USING {done} s WHERE m.entity = s.entity AND m.bms_id = s.bms_id"
        " AND m.passportal_id = s.unmark_id"
    )
    connection.execute(f"DELETE FROM sync.base_{entity.name} WHERE bms_id IN {released}")
    connection.execute(
        f"INSERT INTO sync.non_matches SELECT entity, bms_id, unmark_id, 'plan ' || plan_id, $now FROM {done} s"
        " WHERE unmark_id IS NOT NULL AND NOT EXISTS (FROM sync.non_matches t WHERE t.entity = s.entity"
        " AND t.bms_id = s.bms_id AND t.passportal_id = s.unmark_id)",
        {"now": now},
    )


def _remember_left(connection: duckdb.DuckDBPyConnection, entity: Entity, loaded: Relation) -> None:
    """Store a record's values in the document that it leaves for another one, in case it comes back."""
    left = f"sync.former_base_{entity.name}"
    connection.execute(
        f"DELETE FROM {left} b USING {loaded} l WHERE b.bms_id = l.bms_id AND b.passportal_id = l.found_id"
    )
    connection.execute(
        f"INSERT INTO {left} BY NAME SELECT b.*, m.passportal_id FROM {loaded} l"
        f" JOIN sync.base_{entity.name} b ON b.bms_id = l.bms_id"
        f" JOIN sync.matches m ON m.entity = l.entity AND m.bms_id = l.bms_id AND m.passportal_id <> l.found_id"
    )


def _remember_matches(connection: duckdb.DuckDBPyConnection, entity: Entity, loaded: Relation, now: datetime) -> None:
    """Store the new matches. A record has one match: a new one replaces the old (it moved to another client).

    An approved create is then fulfilled. An update leaves the match as it was, with its reason.
    """
    made = f"(SELECT bms_id FROM {loaded} WHERE operation <> 'update')"
    for table in ("matches", "approved_creates"):
        connection.execute(f"DELETE FROM sync.{table} WHERE entity = '{entity.name}' AND bms_id IN {made}")
    connection.execute(
        f"INSERT INTO sync.matches SELECT entity, bms_id, found_id, reason, $now FROM {loaded}"
        " WHERE operation <> 'update'",
        {"now": now},
    )


def _remember_base(connection: duckdb.DuckDBPyConnection, entity: Entity, loaded: Relation) -> None:
    """Store both sides' values as the base of the next comparison.

    A written value is the base of both. Fields untouched by an update keep their base, so manual edits still
    count as edits. The values found by an adoption, or taken back, become the base unchanged.
    """
    table = f"sync.base_{entity.name}"
    mapping = read_mapping(connection)
    entity = mapping.entity(entity)
    query = sql.read("warehouse/base_values").format(
        entity=entity.name,
        records=mapping.records_sql(entity),
        loaded=loaded,
        bms_rows=_range(connection, f"bms.{entity.name}", "account_id", f"bms_id IN (SELECT bms_id FROM {loaded})"),
        # The rows just written are at the end of the table.
        passportal_rows=_range(
            connection, f"passportal.{entity.name}", "rowid", f"passportal_id IN (SELECT found_id FROM {loaded})"
        ),
        values=", ".join(_base_of(entity, mapping, column) for column in entity.columns)
        + (", b.details_read_at IS NOT NULL AS with_details" if entity.details else ""),
    )
    with temporary(connection, "base_values", query) as base_values:
        connection.execute(f"DELETE FROM {table} WHERE bms_id IN (SELECT bms_id FROM {loaded})")
        connection.execute(f"INSERT INTO {table} BY NAME FROM {base_values}")


def _range(connection: duckdb.DuckDBPyConnection, table: str, column: str, rows: str) -> str:
    """Return SQL: a range of ``column`` around all ``rows``, to make the scan read few of the table's many columns."""
    first, last, without, found = connection.execute(
        f"SELECT min({column}), max({column}), count(*) - count({column}), count(*) FROM {table} WHERE {rows}"
    ).fetchone() or (None, None, 0, 0)
    if not found:
        return "false"
    return "true" if without else f"{column} BETWEEN {first} AND {last}"


def _base_of(entity: Entity, mapping: Mapping, column: str) -> str:
    """Return SQL for both bases of a field, over operations ``l``, records ``b`` and ``p``, and the old base ``o``.

    A field that is left out keeps its base, so that it goes on where it was when it comes back.
    """
    is_detail = mapping.needs_details(entity, column)
    is_link = column in mapping.links(entity)
    is_left_out = left_out_sql(mapping, entity, column, "p.template_id")
    after, taken_back = _after(column), _taken_back(column)
    has_old = "o.with_details" if is_detail else "o.bms_id IS NOT NULL"
    first = first_base(column) if is_detail or is_link else f"b.{column}"
    # A value without a place has not met its counterpart: it is filled once its template has a field for it.
    has_no_place = f"p.{column} IS NULL AND NOT coalesce(list_contains(p.places, '{column}'), true)"
    return (
        f"CASE WHEN {is_left_out} THEN o.bms_{column} WHEN {taken_back} THEN b.{column}"
        f" WHEN {after} IS NOT NULL THEN {after} WHEN b.{column} = p.{column} THEN b.{column}"
        f" WHEN {has_no_place} THEN NULL"
        f" WHEN l.operation = 'create' THEN p.{column} WHEN {has_old} THEN o.bms_{column}"
        f" ELSE {first} END AS bms_{column},"
        f" CASE WHEN {is_left_out} THEN o.passportal_{column}"
        f" WHEN {taken_back} OR {after} IS NOT NULL THEN {after} WHEN b.{column} = p.{column} THEN p.{column}"
        f" WHEN {has_old} THEN o.passportal_{column}"
        f" ELSE {first_in_passportal(entity, column)} END AS passportal_{column}"
    )


def first_in_passportal(entity: Entity, column: str) -> str:
    """Return SQL: the value that counts as Passportal's base when both sides first meet in a field.

    A key that a mapping names may be read long after the record. Until BMS has shown a value, both sides did not meet.
    """
    is_added = any(field.name == column for field in entity.added_fields)
    return f"CASE WHEN b.{column} IS NOT NULL THEN p.{column} END" if is_added else f"p.{column}"


def first_base(column: str) -> str:
    """Return SQL: the value that counts as BMS's base of a detail when both sides first meet in it.

    It is NULL where Passportal has no value: then the next plan fills it, whatever prevented this one.
    """
    return f"CASE WHEN p.{column} IS NOT NULL THEN b.{column} END"


def _after(column: str) -> str:
    """Return SQL: the value written into the field, NULL for none."""
    return f"list_filter(l.changes, lambda e: e.field = '{column}')[1].\"after\""


def _is_written(column: str) -> str:
    """Return SQL: whether the field was written, which may have blanked it."""
    return f"(len(list_filter(l.changes, lambda e: e.field = '{column}')) > 0)"


def _taken_back(column: str) -> str:
    """Return SQL: whether the field was put back to its value before a load, which may be empty."""
    return f"(l.reason = '{Reason.TAKEN_BACK}' AND {_is_written(column)})"
