"""Real records and documents side by side: what tells which label holds which value, in any language.

    labels file, matched records ──▶ a few documents of each template, read whole ──▶ pairs, in memory only

Before the first preview there are no matched records: then documents alone are read, and only names tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity, EntityName
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.documents import labels
from bms_pipeline.passportal.documents.client import DocumentsClient
from bms_pipeline.passportal.documents.encoding import Document
from bms_pipeline.passportal.documents.labels import TemplateLabels
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.stored_mapping import mapped

MAPPED = tuple(entity for entity in ENTITIES if entity.has_client)
"""The entities whose records are documents, with labels that a mapping can name."""
MOST_SAMPLES = 20
"""Documents that are read of each template."""

Opened = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


@dataclass(frozen=True)
class SampledPair:
    """A record of BMS, column → text, and the document that it is matched with."""

    bms_id: int
    values: Mapping[str, str | None]
    document: Document


@dataclass(frozen=True)
class Samples:
    """What was looked at. ``templates``: entity → its templates; ``pairs``: entity → matched records and documents.

    ``filled``: entity → column → the number of BMS records with a value; under "" the number of all. ``categories``:
    entity → (category, template's id) → matched records. ``documents``: those read, also without a record.
    ``calls``: what the look cost.
    """

    templates: Mapping[EntityName, tuple[TemplateLabels, ...]] = field(default_factory=dict)
    pairs: Mapping[EntityName, tuple[SampledPair, ...]] = field(default_factory=dict)
    documents: Mapping[EntityName, tuple[Document, ...]] = field(default_factory=dict)
    filled: Mapping[EntityName, Mapping[str, int]] = field(default_factory=dict)
    categories: Mapping[EntityName, Mapping[tuple[str, str], int]] = field(default_factory=dict)
    calls: int = 0

    def of_template(self, entity: Entity, template: TemplateLabels) -> list[SampledPair]:
        """Return the pairs whose document has this template."""
        return [pair for pair in self.pairs.get(entity.name, ()) if pair.document.template_id == template.id]

    def of_bms(self, entity: Entity, column: str) -> float | None:
        """Return the share of BMS records with a value; None where no record was read."""
        filled = self.filled.get(entity.name, {})
        return filled[column] / filled[""] if filled.get("") and column in filled else None


def known(settings: Settings, opened: Opened) -> Samples:
    """Return what is known without a call: the templates of the last snapshot, and how BMS is filled."""
    with opened() as connection:
        filled = {entity.name: _filled(connection, entity) for entity in MAPPED}
        categories = {entity.name: _categories(connection, entity) for entity in MAPPED}
    return Samples(labels.read_labels(settings.labels_file), filled=filled, categories=categories)


def read_samples(settings: Settings, opened: Opened) -> Samples:
    """Read a few documents of each template, and their records. Changes nothing and stores nothing.

    Raises ``SettingsError`` where Passportal is a file of this machine, whose labels are our own.
    """
    if settings.passportal_target != "documents_api":
        raise SettingsError(
            "The embedded Passportal has the labels of this program: there is nothing to look at.",
            "Set PASSPORTAL_TARGET=documents_api to look at your tenant's templates.",
        )
    before = known(settings, opened)
    with opened() as connection:
        records = {entity.name: _records(connection, entity) for entity in MAPPED}
    with DocumentsClient(settings) as client:
        wanted = [(entity, list(records[entity.name])) for entity in MAPPED]
        read = labels.sample_documents(client, wanted, connections=settings.passportal_connections, most=MOST_SAMPLES)
    pairs = {
        name: tuple(
            SampledPair(*found[document.id], document) for document in read.documents[name] if document.id in found
        )
        for name, found in records.items()
    }
    templates = {entity.name: before.templates.get(entity.name) or read.templates[entity.name] for entity in MAPPED}
    return Samples(templates, pairs, read.documents, before.filled, before.categories, read.calls)


def _filled(connection: duckdb.DuckDBPyConnection, entity: Entity) -> dict[str, int]:
    entity = mapped(connection, entity)
    counts = ", ".join(f"count(nullif(trim({column}), '')) AS {column}" for column in entity.columns)
    found = connection.execute(f"SELECT {counts}, count(*) FROM bms.{entity.name}").fetchone() or ()
    return dict(zip((*entity.columns, ""), found, strict=False))


def _categories(connection: duckdb.DuckDBPyConnection, entity: Entity) -> dict[tuple[str, str], int]:
    if entity.category is None:
        return {}
    query = sql.read("sync/matched_categories").format(entity=entity.name, category=entity.category)
    return {(category, template): count for category, template, count in connection.execute(query).fetchall()}


def _records(connection: duckdb.DuckDBPyConnection, entity: Entity) -> dict[str, tuple[int, dict[str, str | None]]]:
    """Return document id → BMS id and values, of the best filled matched records of each template."""
    columns: Sequence[str] = mapped(connection, entity).columns
    query = sql.read("sync/matched_samples").format(
        entity=entity.name,
        columns=", ".join(f"b.{column}" for column in columns),
        filled=" + ".join(f"(nullif(trim(b.{column}), '') IS NOT NULL)::INT" for column in columns),
        most=MOST_SAMPLES,
    )
    return {row[0]: (row[1], dict(zip(columns, row[2:], strict=True))) for row in connection.execute(query).fetchall()}
