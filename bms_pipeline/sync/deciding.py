"""People's work between a plan and its load: decide about records, change settings, take a load back.

The command line, the Dagster jobs and the review pages are thin callers of these functions. Each works on the stored
records, reads neither service, and changes nothing in Passportal: only a plan and its finish do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import duckdb

from bms_pipeline.core.entities import BY_NAME, ENTITIES, Entity, EntityName, with_clients
from bms_pipeline.core.errors import DecisionOvertaken
from bms_pipeline.core.vocabulary import LINKS, WAITS_FOR_DECISION, Disposition, Verb
from bms_pipeline.load import import_files, journal
from bms_pipeline.plan import operations as plans
from bms_pipeline.plan.undo import check_undoable, fill_undo
from bms_pipeline.reconcile import comparison, decisions, duplicates
from bms_pipeline.reconcile import undo as undoing
from bms_pipeline.reconcile.decisions import Decision, DecisionResult, Selection, ViewedVersion, including
from bms_pipeline.reconcile.matching import Scope, reconcile_all
from bms_pipeline.reconcile.scope_ids import note_scope_ids
from bms_pipeline.reconcile.sync_settings import SettingChange, parse_changes, read_sync_settings, store_changes
from bms_pipeline.reconcile.undo import Undo
from bms_pipeline.warehouse import landing, sql
from bms_pipeline.warehouse.connection import Warehouse, now

if TYPE_CHECKING:
    from bms_pipeline.reconcile.suggestions import Best, Suggestion
    from bms_pipeline.spreadsheet.agreement import Pair


EXAMPLES = 5
"""A message names up to this many records."""


@dataclass(frozen=True)
class ChangedSettings:
    """The result of a change of settings: the settings, the records decided otherwise, and the scope after it."""

    settings: list[SettingChange]
    records: list[comparison.DispositionChange]
    scope: list[comparison.InScope]


def decide(warehouse: Warehouse, chosen: Sequence[Decision], by: str, *, dry_run: bool = False) -> DecisionResult:
    """Take decisions, all or none; ``dry_run`` only shows their changes.

    Raises ``DecisionRefused``, and ``StageMissing`` where their lists were never read from BMS.
    """
    with warehouse.trial() if dry_run else warehouse.transaction() as connection:
        for entity in sorted({decision.entity for decision in chosen}):
            landing.check_read(connection, BY_NAME[entity])
        return decisions.apply_decisions(connection, chosen, by, now())


def select(warehouse: Warehouse, entity: Entity, selection: Selection) -> list[int]:
    """Return the BMS ids of the records meant for a verb, as decided now.

    Raises ``DecisionError``, and ``StageMissing`` where their list was never read from BMS.
    """
    with warehouse.trial() as connection:  # a run under way must not find its records decided otherwise
        landing.check_read(connection, entity)
        return decisions.select_ids(connection, entity, selection)


@dataclass(frozen=True)
class BulkDecision:
    """One verb for several records: one of ``decisions.VERBS``, or ``include`` together with the next decision.

    ``passportal_id``: the record ``match`` or ``branch`` links to; an excluded record is included by that.
    ``allow_duplicate`` and ``why`` as in ``Decision``.
    """

    verb: str
    passportal_id: str | None = None
    allow_duplicate: bool = False
    why: str = ""


@dataclass(frozen=True)
class Taken(DecisionResult):
    """The result of a decision with its undo; None where it changed nothing."""

    undo: Undo | None = None

    def of_record(self, bms_id: int) -> Taken:
        """Return the part about one record; the changes stay with the whole."""
        return Taken(1, 0, [], self.undo.of_record(bms_id)) if self.undo and bms_id in self.undo.stamps else Taken(0, 1)


def decide_seen(
    warehouse: Warehouse, entity: Entity, selection: Selection, verdict: BulkDecision, seen: ViewedVersion, by: str
) -> Taken:
    """Take one verdict about all selected records, if their state is the one the person saw.

    A verdict to match or create an excluded record also includes it. Raises ``DecisionOvertaken`` where somebody
    decided otherwise in between, and the errors of ``decide``.
    """
    with warehouse.transaction() as connection:
        decisions.check_viewed(connection, entity, selection, seen)
        ids = decisions.select_ids(connection, entity, selection)
        return _take(connection, entity, _decisions(connection, entity, ids, verdict), by)


def decide_each(
    warehouse: Warehouse, entity: Entity, verdicts: Mapping[int, BulkDecision], seen: ViewedVersion, by: str
) -> Taken:
    """Take a verdict of its own about each record (BMS id → verdict), all or none; otherwise as ``decide_seen``."""
    ids = tuple(verdicts)
    with warehouse.transaction() as connection:
        decisions.check_viewed(connection, entity, Selection(bms_ids=ids), seen)
        chosen = [
            decision
            for bms_id, verdict in verdicts.items()
            for decision in _decisions(connection, entity, [bms_id], verdict)
        ]
        return _take(connection, entity, chosen, by)


def undo_decision(warehouse: Warehouse, undo: Undo, by: str) -> DecisionResult:
    """Take back one decision, if nothing changed its records since.

    Raises ``DecisionOvertaken`` and ``DecisionRefused``.
    """
    with warehouse.transaction() as connection:
        return undoing.undo(connection, undo, by, now())


def _take(connection: duckdb.DuckDBPyConnection, entity: Entity, chosen: Sequence[Decision], by: str) -> Taken:
    """Take decisions about records of one entity, and keep what undoing them takes."""
    chosen = [*chosen, *decisions.owners_of_branches(connection, chosen)]
    ids = tuple(dict.fromkeys(decision.bms_id for decision in chosen))
    before, moment = undoing.remember(connection, entity, ids), now()
    taken = decisions.apply_decisions(connection, chosen, by, moment)
    undo = undoing.undo_of(connection, entity, ids, before, moment) if taken.taken else None
    return Taken(taken.taken, taken.already, taken.changes, undo)


def _decisions(
    connection: duckdb.DuckDBPyConnection, entity: Entity, ids: Sequence[int], verdict: BulkDecision
) -> list[Decision]:
    decided = [
        Decision(
            verdict.verb,
            entity.name,
            bms_id,
            verdict.passportal_id,
            allow_duplicate=verdict.allow_duplicate,
            why=verdict.why,
        )
        for bms_id in ids
    ]
    if verdict.verb in (*LINKS, Verb.CREATE):
        rows = connection.execute("SELECT bms_id FROM sync.exclusions WHERE entity = ?", [entity.name]).fetchall()
        excluded = {row[0] for row in rows}
        decided += including(entity.name, [bms_id for bms_id in ids if bms_id in excluded], why=verdict.why)
    return decided


def decide_all(
    warehouse: Warehouse,
    verb: Literal["auto_match", "create_unmatched"],
    entities: Sequence[Entity],
    by: str,
    *,
    dry_run: bool = False,
    seen: ViewedVersion | None = None,
) -> dict[EntityName, Taken]:
    """Auto-match all, or create all unmatched records, by entity; return the result, with ``dry_run`` its preview.

    ``seen``: the records of the one entity that a person saw, as for ``decide_seen``; None takes those there are.
    """
    taken: dict[EntityName, Taken] = {}
    with warehouse.trial() if dry_run else warehouse.transaction() as connection:
        for entity in with_clients(entities):
            # One after the other: decisions about clients settle the records inside them.
            reconcile_all(connection, [entity])
            if entity not in entities:
                continue
            chosen = _all_decisions(connection, verb, entity)
            if seen is not None:
                decisions.check_viewed(connection, entity, Selection(bms_ids=tuple(d.bms_id for d in chosen)), seen)
            taken[entity.name] = _take(connection, entity, chosen, by) if chosen else Taken(0, 0)
    return taken


def _all_decisions(
    connection: duckdb.DuckDBPyConnection, verb: Literal["auto_match", "create_unmatched"], entity: Entity
) -> list[Decision]:
    if verb == "create_unmatched":
        ids = decisions.unmatched_ids(connection, entity, Scope())
        return [Decision(Verb.CREATE, entity.name, bms_id) for bms_id in ids]
    found = decisions.unsaved_matches(connection, entity)
    return [Decision(Verb.MATCH, entity.name, bms_id, partner, why="auto-match") for bms_id, partner in found]


def change_settings(
    warehouse: Warehouse, wanted: Mapping[str, str], by: str, why: str = "", *, dry_run: bool = False
) -> ChangedSettings:
    """Change sync settings (name → text); ``dry_run`` only shows the changes. Raises ``SettingsError``."""
    with warehouse.trial() if dry_run else warehouse.transaction() as connection:
        before = read_sync_settings(connection)
        after, changes = parse_changes(before, wanted)
        reconcile_all(connection, ENTITIES)
        comparison.remember_dispositions(connection, ENTITIES)
        store_changes(connection, after, changes, by, why, now())
        note_scope_ids(connection, now())
        reconcile_all(connection, ENTITIES)
        return ChangedSettings(
            changes, comparison.disposition_changes(connection, ENTITIES), comparison.in_scope(connection)
        )


def plan_undo(warehouse: Warehouse, plan_id: int) -> plans.Plan:
    """Save a plan to take back the writes of the load of ``plan_id``; a person has to finish it like any other."""
    with warehouse.transaction() as connection:
        check_undoable(connection, plan_id)
        reconcile_all(connection, ENTITIES)
        fill_undo(connection, ENTITIES, plan_id)
        return plans.save_plan(connection, ENTITIES, Scope(), now(), undoes=plan_id)


def discard_plan(warehouse: Warehouse, plan_hash: str, by: str) -> plans.Plan:
    """Discard the current plan, or the one of this hash if it is the current one. Raises ``PlanError``.

    Nothing of it can be loaded any more, and what was loaded stays. The next sync makes a new plan.
    """
    with warehouse.transaction() as connection:
        return plans.mark_discarded(connection, plan_hash, by, now())


def reissue_import(warehouse: Warehouse, entity: Entity, bms_ids: Sequence[int], by: str) -> None:
    """Hand records over again whose file was lost before its import. Raises ``DecisionRefused``."""
    with warehouse.transaction() as connection:
        import_files.reissue_pending_imports(connection, entity, bms_ids, by, now())


def retry(warehouse: Warehouse, refused: Mapping[EntityName, Collection[int] | None]) -> int:
    """Let the next plan send again what Passportal refused of these records; return the number of records.

    None for all of an entity: then also what was never sent, because a refusal showed what its template needs.
    """
    with warehouse.transaction() as connection:
        return sum(
            journal.send_again(connection, BY_NAME[entity], bms_ids, now()) for entity, bms_ids in refused.items()
        )


def keep(warehouse: Warehouse, entity: Entity, bms_id: int, passportal_id: str, by: str) -> list[str]:
    """Let one of several records keep their shared BMS id; return those losing it. Raises ``DecisionRefused``."""
    with warehouse.transaction() as connection:
        return duplicates.keep_marker(connection, entity, bms_id, passportal_id, by, now())


@dataclass(frozen=True)
class RecordSuggestions:
    """A record waiting for a decision, and its possible matches, best first."""

    bms_id: int
    name: str | None
    client: str | None
    disposition: str
    reason: str
    fields: dict[str, str | None]
    suggestions: list[Suggestion]
    matched_to: str | None = None


def suggest(
    warehouse: Warehouse,
    entity: Entity,
    bms_ids: Collection[int] | None = None,
    dispositions: Collection[str] = WAITS_FOR_DECISION,
) -> dict[int, RecordSuggestions]:
    """Return BMS id → record and suggestions, for those of ``bms_ids`` (default: all) with one of ``dispositions``."""
    with warehouse.trial() as connection:
        reconcile_all(connection, with_clients([entity]))
        return suggested(connection, entity, bms_ids, dispositions)


def suggested(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    bms_ids: Collection[int] | None = None,
    dispositions: Collection[str] = WAITS_FOR_DECISION,
) -> dict[int, RecordSuggestions]:
    """Return the same as ``suggest``, for the records as decided last."""
    # Imported only here: its imports take a second to load, and no other verb needs it.
    from bms_pipeline.reconcile import suggestions

    rows = connection.execute(
        sql.read("sync/records_to_decide").format(
            entity=entity.name, columns=", ".join(f"b.{c}" for c in entity.columns)
        ),
        {"dispositions": list(dispositions), "ids": None if bms_ids is None else list(bms_ids)},
    ).fetchall()
    found = suggestions.suggest_partners(connection, entity, bms_ids)
    return {
        bms_id: RecordSuggestions(
            bms_id, name, client, disposition, reason, dict(zip(entity.columns, (name, *values), strict=True)),
            found.get(bms_id, []), matched_to,
        )
        for bms_id, client, disposition, reason, matched_to, name, *values in rows
    }  # fmt: skip


def candidates_of(
    connection: duckdb.DuckDBPyConnection, entity: Entity, found: Mapping[int, RecordSuggestions]
) -> dict[int, Best]:
    """Return BMS id → its best candidate and whether that is the only one, for the records of ``suggested``."""
    from bms_pipeline.reconcile import suggestions  # only here, see ``suggested``

    rows = connection.execute("SELECT bms_id, passportal_id FROM sync.non_matches WHERE entity = ?", [entity.name])
    return suggestions.best_candidates(
        {bms_id: record.suggestions for bms_id, record in found.items()}, set(rows.fetchall())
    )


def acceptable(found: Mapping[int, RecordSuggestions], best: Mapping[int, Best], least_score: float) -> dict[int, Best]:
    """Return the best candidates that a person may accept together.

    The record is unmatched, the candidate is the only one, nothing differs, and its score is at least ``least_score``.
    """
    return {
        bms_id: candidate
        for bms_id, candidate in best.items()
        if found[bms_id].disposition == Disposition.UNMATCHED
        and candidate.doubt is None
        and not candidate.suggestion.differs
        and candidate.suggestion.score >= least_score
    }


def accept(
    warehouse: Warehouse, entity: Entity, pairs: Mapping[int, str], least_score: float, seen: ViewedVersion, by: str
) -> Taken:
    """Match these pairs (BMS id → Passportal id), if the records stand as seen and each is still ``acceptable``.

    Raises ``DecisionOvertaken`` otherwise, and takes none.
    """
    with warehouse.transaction() as connection:
        selection = Selection(bms_ids=tuple(pairs))
        decisions.check_viewed(connection, entity, selection, seen)
        reconcile_all(connection, with_clients([entity]))
        found = suggested(connection, entity)
        still = acceptable(found, candidates_of(connection, entity, found), least_score)
        changed = [
            bms_id for bms_id, partner in pairs.items()
            if bms_id not in still or still[bms_id].suggestion.passportal_id != partner
        ]  # fmt: skip
        if changed:
            raise DecisionOvertaken(
                f"Nothing was matched: for {len(changed):,} of {len(pairs):,} records another candidate fits now, or"
                f" something differs ({entity.singular} {', '.join(map(str, changed[:EXAMPLES]))}).",
                "Open the list again.",
            )
        chosen = [Decision(Verb.MATCH, entity.name, bms_id, partner) for bms_id, partner in pairs.items()]
        return _take(connection, entity, chosen, by)


def export_file(warehouse: Warehouse, entity: Entity, file: Path, dispositions: Collection[str]) -> int:
    """Write the records with one of ``dispositions`` and their suggestions into a spreadsheet; return their number."""
    from bms_pipeline.spreadsheet import decisions  # only here: the spreadsheet library takes a while to load

    rows = (
        decisions.Row(
            entity=entity.name,
            bms_id=record.bms_id,
            client=record.client,
            name=record.name,
            disposition=record.disposition,
            reason=record.reason,
            fields={column: record.fields[column] for column in entity.columns[1:]},
            suggestions=[
                decisions.SuggestedPartner(found.passportal_id, found.name, found.score, _evidence(found))
                for found in record.suggestions
            ],
            matched_to=record.matched_to,
        )
        for record in suggest(warehouse, entity, dispositions=dispositions).values()
    )
    return decisions.write_decisions(file, rows, entity.columns[1:])


@dataclass(frozen=True)
class Imported(DecisionResult):
    """The result of the decisions in a spreadsheet: each by the names of both records, and notes for the person.

    ``notes``: entries of the file that are not wrong, and yet may not be meant.
    """

    pairs: list[Pair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_file(warehouse: Warehouse, file: Path, by: str, *, dry_run: bool) -> Imported:
    """Take the decisions in a spreadsheet, all or none; ``dry_run`` only shows their changes.

    Raises ``DecisionFileInvalid`` or ``DecisionRefused``, each mistake with its line.
    """
    # Only here: the spreadsheet library takes a while to load.
    from bms_pipeline.spreadsheet import agreement
    from bms_pipeline.spreadsheet.decisions import read_lines

    filled_in = read_lines(file)
    pairs: list[Pair] = []

    def agree(connection: duckdb.DuckDBPyConnection) -> None:
        pairs.extend(agreement.check_agreement(connection, filled_in))

    with warehouse.trial() if dry_run else warehouse.transaction() as connection:
        taken = decisions.apply_decisions(connection, filled_in.decisions, by, now(), agree=agree)
    return Imported(taken.taken, taken.already, taken.changes, pairs, filled_in.notes)


def _evidence(suggestion: Suggestion) -> str:
    return ", ".join(f"{clue.field} {clue.agreement}" for clue in suggestion.evidence if clue.agreement != "missing")
