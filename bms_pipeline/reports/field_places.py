"""Where each value of BMS lies in Passportal, template by template, with real records as samples."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import duckdb

from bms_pipeline.core.entities import Entity, EntityName
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.core.mapping import folded_label
from bms_pipeline.core.vocabulary import FieldOwner
from bms_pipeline.passportal.documents.encoding import ID_LABEL, KIND_LABEL, NAME, DetailsForm, Document
from bms_pipeline.passportal.documents.labels import Label, TemplateLabels
from bms_pipeline.reconcile.sync_settings import SyncSettings
from bms_pipeline.reports import links
from bms_pipeline.sync.label_samples import MAPPED, Samples
from bms_pipeline.sync.suggested_mapping import SuggestedLabel, SuggestedMapping

MOST_SAMPLES = 3
"""Samples that are shown of a label."""


@dataclass(frozen=True)
class FieldSample:
    """A value of one record: in BMS, as it would be written, and in the document now. None: unknown or empty."""

    bms: str | None
    written: str | None
    now: str | None


@dataclass(frozen=True)
class Placed:
    """A value of BMS with its label. ``filled``: the share of documents with a text there, None where none was read.

    ``link``: the entity that it links to by the mapping, None for a text; ``can_link``: the field could be a link.
    """

    column: str
    name: str
    label: Label
    filled: float | None
    owner: FieldOwner
    samples: tuple[FieldSample, ...] = ()
    link: EntityName | None = None
    can_link: EntityName | None = None


@dataclass(frozen=True)
class Unplaced:
    """A value of BMS without a label in a template. ``filled``: the share of BMS records with a value."""

    column: str
    name: str
    wanted: str | None
    filled: float | None
    suggested: SuggestedLabel | None = None

    @property
    def is_left_out(self) -> bool:
        """Whether the mapping leaves it out."""
        return self.wanted is None


@dataclass(frozen=True)
class Unused:
    """A label without a value of BMS, and texts that stand there now. ``is_marker``: it carries the marker."""

    label: Label
    filled: float | None
    is_marker: bool = False
    now: tuple[str, ...] = ()


@dataclass(frozen=True)
class TemplateFields:
    """A template with all of its labels and all values of BMS."""

    entity: Entity
    template: TemplateLabels
    placed: list[Placed] = field(default_factory=list)
    unplaced: list[Unplaced] = field(default_factory=list)
    unused: list[Unused] = field(default_factory=list)

    @property
    def suggested(self) -> list[SuggestedLabel]:
        """The suggestions for values without a place."""
        return [row.suggested for row in self.unplaced if row.suggested]


def template_fields(
    connection: duckdb.DuckDBPyConnection,
    settings: SyncSettings,
    mapping: FieldMapping,
    samples: Samples,
    suggestion: SuggestedMapping,
) -> list[TemplateFields]:
    """Return every template with documents, the most used of each entity first, as it is by ``mapping``."""
    found = []
    for entity in MAPPED:
        written = _written(connection, entity, mapping, [pair.bms_id for pair in samples.pairs.get(entity.name, ())])
        for template in samples.templates.get(entity.name, ()):
            suggested = {
                label.column: label
                for label in (*suggestion.labels, *suggestion.hints)
                if (label.entity, label.template_id) == (entity.name, template.id)
            }
            found.append(_fields(entity, template, settings, mapping, samples, suggested, written))
    return found


def _fields(
    entity: Entity,
    template: TemplateLabels,
    settings: SyncSettings,
    mapping: FieldMapping,
    samples: Samples,
    suggested: Mapping[str, SuggestedLabel],
    written: Mapping[int, Mapping[str, str | None]],
) -> TemplateFields:
    fields = TemplateFields(entity, template)
    used = {folded_label(name) for name in (NAME, ID_LABEL, KIND_LABEL)}
    pairs = samples.of_template(entity, template)
    documents = [document for document in samples.documents.get(entity.name, ()) if document.template_id == template.id]
    names = mapping.names(entity)
    for column in mapping.entity(entity).columns[1:]:
        wanted = mapping.label(entity, column, template.id)
        label = template.label(wanted)
        name = names[column]
        if label is None:
            share = samples.of_bms(entity, column)
            fields.unplaced.append(Unplaced(column, name, wanted, share, suggested.get(column)))
            continue
        used.add(folded_label(label.name))
        if pairs:
            shown = [
                FieldSample(
                    pair.values.get(column),
                    written.get(pair.bms_id, {}).get(column),
                    text_under(pair.document, label.name),
                )
                for pair in pairs
            ]
        else:
            shown = [FieldSample(None, None, text_under(document, label.name)) for document in documents]
        owner = settings.owner(entity.name, column)
        link, able = mapping.rule(entity, column).link, entity.field(column)
        can_link = able.link.entity if able and able.link and label.form is DetailsForm.LINK else None
        fields.placed.append(Placed(column, name, label, _share(label, template), owner, _best(shown), link, can_link))
    marker = folded_label(mapping.marker_label)
    fields.unused.extend(
        Unused(label, _share(label, template), folded_label(label.name) == marker, _texts(documents, label.name))
        for label in template.labels
        if folded_label(label.name) not in used
    )
    return fields


def text_under(document: Document, label: str) -> str | None:
    """Return the text of a document under a label, in any spelling."""
    wanted = folded_label(label)
    return next((text for name, text in document.fields.items() if folded_label(name) == wanted and text), None)


def _share(label: Label, template: TemplateLabels) -> float | None:
    return label.filled / template.read if template.read else None


def _best(samples: Iterable[FieldSample]) -> tuple[FieldSample, ...]:
    """Return the samples that show most: those filled on both sides first, none twice."""
    found = dict.fromkeys(sample for sample in samples if sample.written or sample.now)
    return tuple(sorted(found, key=lambda sample: (not sample.written) + (not sample.now))[:MOST_SAMPLES])


def _texts(documents: Iterable[Document], label: str) -> tuple[str, ...]:
    found = dict.fromkeys(text for document in documents if (text := text_under(document, label)))
    return tuple(found)[:MOST_SAMPLES]


def _written(
    connection: duckdb.DuckDBPyConnection, entity: Entity, mapping: FieldMapping, bms_ids: Collection[int]
) -> dict[int, dict[str, str | None]]:
    """Return the texts that would be written of these records."""
    if not bms_ids:
        return {}
    known = {row[0] for row in connection.execute(f"DESCRIBE bms.{entity.name}").fetchall()}
    if not known.issuperset(mapping.entity(entity).columns):
        return {}  # the draft names keys that no stored mapping ever did: nothing is known of them
    entity = mapping.entity(entity)
    rows = connection.execute(
        f"SELECT bms_id, {', '.join(entity.columns)} FROM {mapping.records_sql(entity)} WHERE bms_id IN"
        " (SELECT unnest(?::BIGINT[]))",
        [list(bms_ids)],
    ).fetchall()
    found = {row[0]: dict(zip(entity.columns, row[1:], strict=True)) for row in rows}
    for column, link in mapping.links(entity).items():
        titles = links.document_titles(connection, link.entity, {values[column] for values in found.values()})
        for values in found.values():
            values[column] = titles.get(values[column], values[column])
    return found
