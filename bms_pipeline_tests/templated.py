"""A Passportal with free templates, in memory: each document has the labels of its template and no others.

It refuses a label that its template does not have. It notes every write by label: a test sees where a value went.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.mapping import DEFAULT, folded_label
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import NewRecords, Outcome
from bms_pipeline.passportal.target import Leaving, Write, Written, unmarked
from bms_pipeline.sync import services
from bms_pipeline.warehouse import sql


@dataclass
class Document:
    """A record of Passportal; ``values`` by label."""

    type: str
    client_id: str | None
    title: str
    template_id: str
    values: dict[str, str]
    marker: int | None = None


class Wrote(NamedTuple):
    """A value written: in which document, under which label, for which record of BMS."""

    bms_id: int
    document: str
    label: str
    text: str | None


@dataclass
class TemplatedPassportal:
    """The target. ``templates``: type → template id → labels; the first of a type is for new documents by default.

    A type without templates holds any label. Two instances made by ``under`` share their documents.
    """

    templates: Mapping[str, Mapping[str, Sequence[str]]]
    mapping: FieldMapping = DEFAULT
    documents: dict[str, Document] = field(default_factory=dict)
    wrote: list[Wrote] = field(default_factory=list)

    name = "templated"
    can_write = frozenset(entity.name for entity in ENTITIES)
    can_list = can_write
    can_link = True
    batch_size = 5000
    unknown_seconds = 0.0

    def under(self, mapping: FieldMapping) -> TemplatedPassportal:
        """The same Passportal, read and written by another mapping."""
        return replace(self, mapping=mapping)

    @contextlib.contextmanager
    def opened_by_the_product(self) -> Iterator[None]:
        """Let the product's own calls open this Passportal."""

        def open_target(settings: Settings, mapping: FieldMapping | None = None) -> TemplatedPassportal:
            return self.under(services.mapping_of(settings) if mapping is None else mapping)

        with mock.patch.object(services, "open_target", open_target):
            yield

    def close(self) -> None:
        """Nothing is open."""

    def enter(self, type_: str, title: str, client_id: str | None = None, template_id: str = "", **values: str) -> str:
        """A person makes a document; ``values`` by label, with _ for a blank."""
        number = f"{type_}-{len(self.documents) + 1}"
        labels = {label.replace("_", " "): text for label, text in values.items()}
        template_id = template_id or next(iter(self.templates.get(type_, {})), "")
        self.documents[number] = Document(type_, client_id, title, template_id, labels)
        return number

    def place(self, entity: Entity, template_id: str, column: str) -> str | None:
        """The label, in the template's own spelling, under which the field lies; None for no place."""
        label = self.mapping.label(entity, column, template_id)
        known = self.templates.get(entity.singular)
        if label is None or known is None:
            return label
        found = [own for own in known.get(template_id, ()) if folded_label(own) == folded_label(label)]
        return found[0] if len(found) == 1 else None

    def places(self, entity: Entity, template_id: str) -> dict[str, str]:
        """Column → label, of all fields with a place in this template."""
        columns = self.mapping.entity(entity).columns[1:]
        found = {column: self.place(entity, template_id, column) for column in columns}
        return {column: label for column, label in found.items() if label is not None}

    def snapshot(self, entity: Entity, file: Path) -> None:
        """See ``Target.snapshot``."""
        columns = self.mapping.entity(entity).columns
        rows = [
            {
                "passportal_id": number,
                "client_id": document.client_id,
                "name": document.title,
                **{
                    column: document.values.get(label)
                    for column, label in self.places(entity, document.template_id).items()
                },
                "bms_id": document.marker,
                "template_id": document.template_id or None,
                "template": document.template_id or None,
                "places": ["name", *self.places(entity, document.template_id)],
            }
            for number, document in self.documents.items()
            if document.type == entity.singular
        ]
        wire = {
            **dict.fromkeys(("passportal_id", "client_id", *columns, "template", "template_id"), "VARCHAR"),
            "bms_id": "BIGINT",
            "places": "VARCHAR[]",
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = file.with_suffix(".ndjson")
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        new_records = sql.quoted(json.dumps(self._new_records(entity)))
        with contextlib.closing(duckdb.connect()) as connection:
            connection.execute(
                f"COPY (SELECT *, NULL::VARCHAR AS last_modified FROM read_json({sql.quoted(str(lines))},"
                f" format = 'newline_delimited', columns = {wire})) TO {sql.quoted(str(file))}"
                f" (FORMAT parquet, KV_METADATA {{new_records: {new_records}}})"
            )

    def snapshot_known(self, entity: Entity, file: Path) -> int:
        """See ``KnowsRecords``."""
        self.snapshot(entity, file)
        return 0

    def _new_records(self, entity: Entity) -> dict[str, object]:
        known = self.templates.get(entity.singular, {})

        def described(template_id: str) -> dict[str, object]:
            problem = NewRecords.TEMPLATE_UNKNOWN.value if known and template_id not in known else None
            places = ["name", *self.places(entity, template_id)]
            return {
                "template": None if problem else template_id,
                "template_id": template_id,
                "places": places,
                "problem": problem,
            }

        return {
            **described(next(iter(known), "")),
            "templates": [described(template_id) for template_id in self.mapping.templates(entity)],
        }

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.create``."""
        leaving([write.bms_id for write in writes])
        self._release(writes)
        for write in writes:
            number = self.enter(entity.singular, write.values["name"] or "", write.client_id, write.template_id)
            self.documents[number].marker = write.bms_id
            self._write(entity, number, write)
        return [Written(write.bms_id, Outcome.DONE) for write in writes]

    def update(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.update``."""
        leaving([write.bms_id for write in writes])
        self._release(writes)
        written = []
        for write in writes:
            document = self.documents[write.passportal_id or ""]
            places = self.places(entity, document.template_id)
            held = {
                column: document.title if column == "name" else document.values.get(places.get(column, ""))
                for column in write.before
            }
            if held != write.before:
                written.append(Written(write.bms_id, Outcome.REFUSED, f"stale: {held} and not {write.before}"))
                continue
            document.marker = write.marker
            self._write(entity, write.passportal_id or "", write)
            written.append(Written(write.bms_id, Outcome.DONE))
        return written

    def _write(self, entity: Entity, number: str, write: Write) -> None:
        document = self.documents[number]
        document.title = write.values.get("name") or document.title
        places = self.places(entity, document.template_id)
        for column, text in write.values.items():
            if column == "name":
                continue
            assert column in places, f"{column} has no place in template {document.template_id}"
            self.wrote.append(Wrote(write.bms_id, number, places[column], text))
            document.values.pop(places[column], None)
            if text is not None:
                document.values[places[column]] = text

    def _release(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if write.unmark_id and self.documents[write.unmark_id].marker == write.bms_id:
                self.documents[write.unmark_id].marker = None

    def find(self, entity: Entity, writes: Sequence[Write]) -> dict[int, str]:
        """See ``Target.find``."""
        wanted = {write.bms_id: write.client_id for write in writes}
        return {
            document.marker: number
            for number, document in self.documents.items()
            if document.marker is not None
            and document.type == entity.singular
            and document.marker in wanted
            and wanted[document.marker] == document.client_id
        }

    def last_write_at(self) -> None:
        """See ``Target.last_write_at``."""

    def held(self, type_: str) -> dict[str, dict[str, str]]:
        """Title → values by label, of the documents of a type."""
        return {document.title: dict(document.values) for document in self.documents.values() if document.type == type_}


def labels_of(*columns: str, of: Entity, but: Collection[str] = ()) -> list[str]:
    """Passportal's own labels of these fields; of all of them without any."""
    return [
        label
        for column, label in of.labels.items()
        if column != "name" and (not columns or column in columns) and column not in but
    ]
