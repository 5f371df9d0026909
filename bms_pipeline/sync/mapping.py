"""Change the mapping: check it against Passportal, foretell what it does, store it.

    the wanted mapping ──▶ trial: snapshot by it, bases, reconcile, plan ──▶ counted, then all undone
                     └──▶ stored: setting, history, bases of the fields with another label ──▶ the next sync plans

The trial and the next sync run the same code, so the trial foretells exactly its plan.
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import duckdb

from bms_pipeline.core.entities import BY_NAME, CLEARED, ENTITIES, Entity, EntityName, column_of_label
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.mapping import (
    DEFAULT,
    Mapping,
    folded_label,
    is_field,
    left_out_sql,
    match_keys,
    moved_sql,
    with_last_places,
    word_of,
)
from bms_pipeline.core.mapping_parsing import with_cleared
from bms_pipeline.core.settings import Settings
from bms_pipeline.load import journal
from bms_pipeline.passportal.target import KnowsRecords
from bms_pipeline.plan import operations as plans
from bms_pipeline.plan.mapped_fields import written_under_sql
from bms_pipeline.reconcile.matching import Scope, reconcile_all
from bms_pipeline.reconcile.sync_settings import SyncSettings, read_sync_settings, store_sync_setting
from bms_pipeline.sync import services
from bms_pipeline.warehouse import landed_details, landing, schema, sql, stored_mapping
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline.warehouse.inputs import bump_version, has_version


@dataclass(frozen=True)
class FieldForetold:
    """What the next plan does to one field because of the mapping, in records.

    ``filled``: empty in Passportal so far. ``followed``: the value there is ours, and gets its new text.
    ``overwritten``: the value there is not ours; always 0. ``kept``: the value there differs and stays. ``no_place``:
    the template has no field for it. ``is_unread``: it is a key of BMS not read so far, so only the plans
    after its reading know the counts.
    """

    entity: EntityName
    field: str
    label: str | None
    filled: int
    followed: int
    overwritten: int
    kept: int
    no_place: int
    is_unread: bool = False


@dataclass(frozen=True)
class Reading:
    """Calls to BMS for a newly named key, and their hours by the hourly limit."""

    calls: int
    hours: int


@dataclass(frozen=True)
class LackedWord:
    """A word of BMS without a word of ours, and its number of records."""

    entity: EntityName
    field: str
    word: str
    records: int


@dataclass(frozen=True)
class CutText:
    """A field whose texts are longer than the mapping allows, and the number of records in which they are cut."""

    entity: EntityName
    field: str
    records: int


@dataclass(frozen=True)
class Foretold:
    """What storing a mapping does. ``documents``: entity → documents to read again, one call each.

    ``details``: entity → details to read again, for a newly named key; ``lists``: list → the sweep which reads it
    whole once before its time. ``problems``: why it would be refused without ``anyway``. ``other_template``: entity →
    documents in another template than new ones of their category; they stay there.
    """

    changes: list[FieldForetold] = field(default_factory=list)
    documents: dict[EntityName, int] = field(default_factory=dict)
    details: dict[EntityName, Reading] = field(default_factory=dict)
    lists: dict[str, Reading] = field(default_factory=dict)
    words: list[LackedWord] = field(default_factory=list)
    cut: list[CutText] = field(default_factory=list)
    other_template: dict[EntityName, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    is_same: bool = False


def current_mapping(warehouse: Warehouse) -> Mapping:
    """Return the stored mapping."""
    with warehouse.open() as connection:
        return stored_mapping.read_mapping(connection)


def try_mapping(settings: Settings, warehouse: Warehouse, mapping: Mapping) -> Foretold:
    """Return what storing ``mapping`` would do; nothing is stored, and neither service is called."""
    with _snapshots(settings, mapping) as (files, documents), warehouse.trial() as connection:
        return _foretell(connection, settings, mapping, files, documents)


def check_mapping(settings: Settings, warehouse: Warehouse) -> Foretold:
    """Return how the stored mapping fits what is stored of both services."""
    return try_mapping(settings, warehouse, current_mapping(warehouse))


def store_mapping(
    settings: Settings, warehouse: Warehouse, mapping: Mapping, by: str, why: str = "", *, anyway: bool = False
) -> Foretold:
    """Store the mapping and return what it does, as ``try_mapping`` does.

    Raises ``SettingsError`` where a load is left in the middle; without ``anyway`` also for each of the ``problems``.
    """
    with warehouse.open() as connection:
        _check_no_load(connection)
    foretold = try_mapping(settings, warehouse, mapping)
    if foretold.problems and not anyway:
        raise SettingsError(
            "The mapping was not stored:" + "".join(f"\n  {problem}" for problem in foretold.problems),
            "Correct it. If it is meant like this: the same command with --anyway.",
        )
    if not foretold.is_same:
        with warehouse.transaction() as connection:
            _check_no_load(connection)
            _store(connection, mapping, by, why, now())
    return foretold


@dataclass(frozen=True)
class OldLabel:
    """A label under which a field lay before, and the number of records in which a load wrote it there."""

    entity: EntityName
    field: str
    label: str
    records: int


def old_labels(warehouse: Warehouse) -> list[OldLabel]:
    """Return the labels of earlier mappings without a field now, where loads wrote something nobody blanked."""
    with warehouse.open() as connection:
        mapping = stored_mapping.read_mapping(connection)
        earlier = [*stored_mapping.earlier_mappings(connection), DEFAULT]
        markers = {folded_label(found.marker_label) for found in (mapping, *earlier)}
        found: list[OldLabel] = []
        for entity in (entity for entity in ENTITIES if entity.has_client):
            templates = ("", *mapping.exceptions(entity))
            taken = {folded_label(label) for name in templates for label in mapping.labels(entity, name).values()}
            taken |= markers
            for column, label in _labels_of(earlier, entity):
                if folded_label(label) in taken or mapping.rule(entity, column).is_left_out:
                    continue  # a field that is left out goes on where it was, once it is back
                taken.add(folded_label(label))
                cleared = with_cleared(mapping, [(entity, column, label)])
                query = written_under_sql(cleared, entity, column_of_label(CLEARED, label))
                (records,) = connection.execute(f"SELECT count(*) FROM ({query})").fetchone() or (0,)
                found += [OldLabel(entity.name, column, label, records)] if records else []
        return found


def _labels_of(mappings: Sequence[Mapping], entity: Entity) -> Iterator[tuple[str, str]]:
    """Yield each field of these mappings with each of its labels there."""
    for mapping in mappings:
        for column, label in mapping.labels(entity).items():
            if column != "name" and is_field(entity, word_of(entity, column)):  # neither a constant nor an old label
                yield column, label


def clear_old(settings: Settings, warehouse: Warehouse, by: str, why: str = "", *, dry_run: bool = False) -> Foretold:
    """Let the next plan blank the old labels where they still hold exactly what a load wrote; return what it does.

    Raises ``SettingsError`` where there is none, and as ``store_mapping``.
    """
    old = old_labels(warehouse)
    if not old:
        raise SettingsError("No label holds a text of an earlier mapping.", "There is nothing to blank.")
    places = [(BY_NAME[label.entity], label.field, label.label) for label in old]
    wanted = with_cleared(current_mapping(warehouse), places)
    if dry_run:
        return try_mapping(settings, warehouse, wanted)
    return store_mapping(settings, warehouse, wanted, by, why, anyway=True)


def _check_no_load(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise ``SettingsError`` while writes by the present mapping are under way, or their answer is unknown."""
    unknown = sum(intent.writes for intent in journal.open_intents(connection))
    if unknown:
        raise SettingsError(
            f"The mapping was not stored: for {unknown:,} writes nobody knows yet whether they arrived, and only under"
            " their own labels can they be looked up.",
            "Run `bms-pipeline sync` first: it looks them up.",
        )
    row = connection.execute(
        "SELECT hash FROM sync.plans p WHERE plan_id = (SELECT max(plan_id) FROM sync.plans)"
        " AND approved_at IS NOT NULL AND loaded_at IS NULL AND discarded_at IS NULL"
        " AND EXISTS (FROM sync.journal j WHERE j.plan_id = p.plan_id)"
    ).fetchone()
    if row:
        raise SettingsError(
            f"The mapping was not stored: plan {row[0][:12]} is approved and loaded in part, by the present mapping.",
            "Run `bms-pipeline sync`, which ends it, or `bms-pipeline discard-plan`; then change the mapping.",
        )


def _store(connection: duckdb.DuckDBPyConnection, mapping: Mapping, by: str, why: str, at: datetime) -> None:
    """Store the mapping with its history, and forget the bases of fields with another label."""
    before = stored_mapping.read_mapping(connection)
    schema.add_mapped_columns(connection, mapping)
    places = with_last_places(before, stored_mapping.earlier_mappings(connection))
    store_sync_setting(connection, stored_mapping.NAME, mapping.as_json(), at)
    bump_version(connection, stored_mapping.NAME, at)
    connection.execute(
        "INSERT INTO sync.settings_history VALUES (?, ?, ?, ?, ?, ?)",
        [at, by, stored_mapping.NAME, json.dumps(before.as_json()), json.dumps(mapping.as_json()), why],
    )
    for entity in ENTITIES:
        _forget_values(connection, before.entity(entity), mapping.entity(entity))
        _forget_bases(connection, entity, places, mapping)


def _forget_values(connection: duckdb.DuckDBPyConnection, before: Entity, entity: Entity) -> None:
    """Let nothing be known of a key newly named by the mapping: an earlier value may be old."""
    new = [field for field in entity.added_fields if field.name not in before.columns]
    if new:
        blank = {field.name for field in new} | {"details_keys" for field in new if field.from_details}
        values = ", ".join(f"{column} = NULL" for column in sorted(blank))
        filled = " OR ".join(f"{column} IS NOT NULL" for column in sorted(blank))
        connection.execute(f"UPDATE bms.{entity.name} SET {values} WHERE {filled}")


def _forget_bases(connection: duckdb.DuckDBPyConnection, entity: Entity, places: Mapping, mapping: Mapping) -> None:
    """Let both sides never have met in a field with another label. A field left out keeps its base."""
    moved = {
        column: f"({moved} AND NOT {left_out_sql(mapping, entity, column, 'p.template_id')})"
        for column in mapping.entity(entity).columns[1:]
        if (moved := moved_sql(places, mapping, entity, column, "p.template_id")) != "false"
    }
    if not moved:
        return
    forgotten = ", ".join(
        f"{side}_{column} = CASE WHEN d.moved_{column} THEN NULL ELSE l.{side}_{column} END"
        for column in moved
        for side in ("bms", "passportal")
    )
    for base, key, documents in (
        ("base", "bms_id", f"(FROM sync.matches WHERE entity = '{entity.name}')"),
        ("former_base", "passportal_id", f"(SELECT DISTINCT passportal_id FROM sync.former_base_{entity.name})"),
    ):
        connection.execute(
            sql.read("sync/forget_base").format(
                base=base,
                entity=entity.name,
                forgotten=forgotten,
                key=key,
                documents=documents,
                moved=", ".join(f"{text} AS moved_{column}" for column, text in moved.items()),
                anything_moved=" OR ".join(f"d.moved_{column}" for column in moved),
            )
        )


# Foretelling


@contextlib.contextmanager
def _snapshots(settings: Settings, mapping: Mapping) -> Iterator[tuple[dict[EntityName, Path], dict[EntityName, int]]]:
    """Yield the snapshots by ``mapping`` of what is known here, and the documents to read again."""
    files: dict[EntityName, Path] = {}
    documents: dict[EntityName, int] = {}
    with (
        tempfile.TemporaryDirectory(prefix="mapping-") as folder,
        contextlib.closing(services.open_target(settings, mapping)) as target,
    ):
        if isinstance(target, KnowsRecords):
            for entity in ENTITIES:
                if entity.name in target.can_list and entity.name in target.can_write:
                    files[entity.name] = Path(folder, f"{entity.name}.parquet")
                    documents[entity.name] = target.snapshot_known(entity, files[entity.name])
        yield files, {name: count for name, count in documents.items() if count}


def _foretell(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    mapping: Mapping,
    files: dict[EntityName, Path],
    documents: dict[EntityName, int],
) -> Foretold:
    """Store the mapping and plan by it, in a transaction to be undone, and count."""
    before, at = read_sync_settings(connection), now()
    is_same = mapping.hash == before.mapping.hash
    if not is_same:
        _store(connection, mapping, "", "", at)
    for name, file in files.items():
        if has_version(connection, f"passportal.{name}"):
            landing.land_snapshot(connection, BY_NAME[name], file, at)
    if any(has_version(connection, f"bms.{entity.name}") for entity in ENTITIES):
        reconcile_all(connection, ENTITIES)
        plans.fill_plan(connection, ENTITIES, Scope())
    return Foretold(
        changes=_changes(connection, before, mapping),
        documents=documents,
        details=_details_again(connection, settings),
        lists=_lists_whole(connection, settings, before.mapping, mapping),
        words=_words_lacking(connection, mapping),
        cut=_cut(connection, mapping),
        other_template=_in_other_template(connection, mapping),
        problems=_problems(connection, before, mapping),
        is_same=is_same,
    )


def _changed(before: Mapping, mapping: Mapping, entity: Entity) -> list[str]:
    """Return the fields with another label, another text or another default than before."""
    columns = dict.fromkeys((*before.entity(entity).columns[1:], *mapping.entity(entity).columns[1:]))
    return [
        column
        for column in columns
        if before.rule(entity, column) != mapping.rule(entity, column)
        or moved_sql(before, mapping, entity, column, "p.template_id") != "false"
    ]


def _changes(connection: duckdb.DuckDBPyConnection, before: SyncSettings, mapping: Mapping) -> list[FieldForetold]:
    found: list[FieldForetold] = []
    for entity in ENTITIES:
        fields = _changed(before.mapping, mapping, entity)
        if not fields:
            continue
        unread = _new_keys(before.mapping, mapping, entity)
        # A text that is blanked under an old label was found to be ours.
        cleared = {column for column in fields if mapping.rule(entity, column).clears}
        last = " ".join(
            f"WHEN '{column}' THEN {'change.before' if column in cleared else f'l.passportal_{column}'}"
            for column in fields
        )
        query = sql.read("sync/mapped_changes").format(entity=entity.name, last=f"CASE change.field {last} END")
        counted = {row[0]: row[1:] for row in connection.execute(query, {"fields": fields}).fetchall()}
        found += [
            replace(
                FieldForetold(
                    entity.name, column, mapping.label(entity, column), *counted.get(column, (0, 0, 0, 0, 0))
                ),
                is_unread=column in unread,
            )
            for column in fields
        ]
    return found


def _new_keys(before: Mapping, mapping: Mapping, entity: Entity) -> set[str]:
    """Return the columns of the keys named by ``mapping`` and not by ``before``."""
    return {field.name for field in mapping.entity(entity).added_fields if field.key} - {
        field.name for field in before.entity(entity).added_fields
    }


def _details_again(connection: duckdb.DuckDBPyConnection, settings: Settings) -> dict[EntityName, Reading]:
    """Return the details to read again: those read before without a key named by the mapping."""
    per_hour = min(settings.bms_details_calls_per_hour or settings.bms_calls_per_hour, settings.bms_calls_per_hour)
    counts = {entity.name: landed_details.count_lacking_keys(connection, entity) for entity in ENTITIES}
    return {name: Reading(calls, math.ceil(calls / per_hour)) for name, calls in counts.items() if calls}


def _lists_whole(
    connection: duckdb.DuckDBPyConnection, settings: Settings, before: Mapping, mapping: Mapping
) -> dict[str, Reading]:
    """Return the lists the next sync reads whole for a new key, which it would only ask for changes otherwise."""
    found: dict[str, Reading] = {}
    for entity in ENTITIES:
        listed = {field.name for field in mapping.entity(entity).listed_fields}
        if entity.list_call.modified_since and listed & _new_keys(before, mapping, entity):
            (calls,) = connection.execute(
                "SELECT coalesce(arg_max(calls_made, landed_at), 0) FROM sync.sweeps WHERE list_call = ?"
                " AND mode = 'full' AND client IS NULL",
                [entity.list_call.name],
            ).fetchone() or (0,)
            found[entity.list_call.name] = Reading(calls, math.ceil(calls / settings.bms_calls_per_hour))
    return found


def _words_lacking(connection: duckdb.DuckDBPyConnection, mapping: Mapping) -> list[LackedWord]:
    """Return BMS's words waiting for a person, because their field asks about unknown words."""
    found: list[LackedWord] = []
    for entity in ENTITIES:
        for column in mapping.of(entity).fields:
            lacks = mapping.lacks_word_sql(entity, column, column)
            if lacks != "false":
                query = sql.read("sync/words_lacking").format(entity=entity.name, column=column, lacks_word=lacks)
                found += [LackedWord(entity.name, column, *row) for row in connection.execute(query).fetchall()]
    return found


def _cut(connection: duckdb.DuckDBPyConnection, mapping: Mapping) -> list[CutText]:
    """Return the fields in which texts are cut."""
    found: list[CutText] = []
    for entity in ENTITIES:
        for column in mapping.of(entity).fields:
            is_cut = mapping.is_cut_sql(entity, column)
            if is_cut != "false":
                query = f"SELECT count(*) FROM bms.{entity.name} WHERE missing_since IS NULL AND {is_cut}"
                (records,) = connection.execute(query).fetchone() or (0,)
                found += [CutText(entity.name, column, records)] if records else []
    return found


def _in_other_template(connection: duckdb.DuckDBPyConnection, mapping: Mapping) -> dict[EntityName, int]:
    counts: dict[EntityName, int] = {}
    for entity in ENTITIES:
        if mapping.templates(entity):
            wanted = mapping.template_sql(entity, f"raw.{entity.category}" if entity.category else "NULL::VARCHAR")
            query = sql.read("sync/other_template").format(entity=entity.name, wanted=wanted)
            (counts[entity.name],) = connection.execute(query).fetchone() or (0,)
    return {name: count for name, count in counts.items() if count}


def _problems(connection: duckdb.DuckDBPyConnection, before: SyncSettings, mapping: Mapping) -> list[str]:
    """Return what is refused without a person's ``anyway``, a sentence each."""
    found: list[str] = []
    for entity in ENTITIES:
        changed = _changed(before.mapping, mapping, entity)
        found += _match_keys_left_out(connection, entity, mapping, changed)
        found += _labels_nowhere(connection, entity, before.mapping, mapping, changed)
        found += _templates_unknown(connection, entity, mapping)
        found += _categories_made_one(entity, mapping, changed)
        found += _required_later(entity, mapping, changed)
    return found


def _match_keys_left_out(
    connection: duckdb.DuckDBPyConnection, entity: Entity, mapping: Mapping, changed: Sequence[str]
) -> list[str]:
    found = []
    for column in match_keys(entity):
        if column in changed and mapping.is_left_out(entity, column):
            reasons = [
                rule.reason for rule in entity.rules if any(column in entity.keys.get(key, "") for key in rule.keys)
            ]
            (matches,) = connection.execute(
                "SELECT count(*) FROM sync.matches WHERE entity = ? AND reason IN (SELECT unnest(?::VARCHAR[]))",
                [entity.name, reasons],
            ).fetchone() or (0,)
            found.append(
                f"{entity.name}.{column} decides which records are the same, and would be left out:"
                f" {matches:,} matches rest on it, and new ones would be made without it."
            )
    return found


def _labels_nowhere(
    connection: duckdb.DuckDBPyConnection, entity: Entity, before: Mapping, mapping: Mapping, changed: Sequence[str]
) -> list[str]:
    """Return the labels known in no template as one field, where templates decide at all."""
    found = []
    for column in changed:
        label = mapping.label(entity, column)
        if label is None or label == before.label(entity, column):
            continue
        (decides, has_place) = connection.execute(
            f"SELECT count(*) FILTER (places IS NOT NULL), count(*) FILTER (list_contains(places, '{column}'))"
            f" FROM (SELECT places FROM passportal.{entity.name}"
            " UNION ALL SELECT places FROM passportal.new_records WHERE entity = $entity)",
            {"entity": entity.name},
        ).fetchone() or (0, 0)
        if decides and not has_place:
            found.append(
                f"{entity.name}.{column}: no template of {entity.name} that was read so far has exactly one field"
                f" {label!r}."
            )
    return found


def _templates_unknown(connection: duckdb.DuckDBPyConnection, entity: Entity, mapping: Mapping) -> list[str]:
    """Return the templates for new records of no document read so far."""
    rows = connection.execute(
        "SELECT wanted_id FROM passportal.new_records WHERE entity = ? AND wanted_id <> '' AND template IS NULL",
        [entity.name],
    ).fetchall()
    query = f"SELECT DISTINCT template_id, template FROM passportal.{entity.name} WHERE template_id <> '' ORDER BY ALL"
    seen = ", ".join(f"{template} ({name})" for template, name in connection.execute(query).fetchall())
    unknown = {template for (template,) in rows}
    return [
        f"{entity.name}.template: {template} is no template of {entity.name} that was read so far; those are {seen}."
        for template in mapping.templates(entity)
        if template in unknown
    ]


def _categories_made_one(entity: Entity, mapping: Mapping, changed: Sequence[str]) -> list[str]:
    """Return a sentence where words make two categories one, by which people choose what is synced."""
    words = mapping.rule(entity, entity.category).words if entity.category in changed and entity.category else None
    made: dict[str, list[str]] = {}
    for word, ours in (words or {}).items():
        made.setdefault(ours, []).append(word)
    return [
        f"{entity.name}.{entity.category}: {' and '.join(same)} would both be {ours!r} in Passportal, and nobody could"
        " tell these categories apart there."
        for ours, same in made.items()
        if len(same) > 1
    ]


def _required_later(entity: Entity, mapping: Mapping, changed: Sequence[str]) -> list[str]:
    return [
        f"{entity.name}.{column} is required, and BMS gives it only after the record is in Passportal: without a"
        " default no new record would be created."
        for column in changed
        if (rule := mapping.rule(entity, column)).required
        and rule.default is None
        and mapping.needs_details(entity, column)
    ]
