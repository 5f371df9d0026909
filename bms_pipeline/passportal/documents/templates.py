"""The template of new documents: chosen in the settings, else the one with Passportal's name, else the only one.

    mapping, settings ──▶ those of listed documents ──▶ named as Passportal's own ──▶ the only one ──▶ unknown: refused

Its fields are known from the documents read, and go into the snapshot for the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.mapping import DEFAULT, folded_label
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.core.vocabulary import NewRecords
from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.encoding import Dialect, Document
from bms_pipeline.passportal.documents.memory import Fields, RememberedDocuments, Template
from bms_pipeline.passportal.documents.reader import DocumentReader
from bms_pipeline.passportal.documents.required import RequiredElements, blank_labels, needed_by
from bms_pipeline.passportal.documents.verdicts import no_field, refused
from bms_pipeline.passportal.target import Write, Written

DEFAULT_TEMPLATES = {"asset": "Generic Asset", "contact": "Contact", "location": "Location"}
"""Passportal's names of its own templates [L]; their ids differ by tenant."""
NONE_REQUIRED = RequiredElements()


@dataclass(frozen=True)
class NewDocument:
    """A document to create."""

    write: Write
    document: Document


class DocumentTemplates:
    """The templates known by ``memory``; ``chosen``: type → id, from the settings; ``mapping``: labels and rules.

    ``required``: the elements required by the manifest.
    """

    def __init__(
        self,
        chosen: Mapping[str, str],
        memory: RememberedDocuments,
        reader: DocumentReader,
        dialect: Dialect,
        mapping: FieldMapping = DEFAULT,
        required: RequiredElements = NONE_REQUIRED,
    ) -> None:
        self._mapping = mapping
        self._required = required
        self._chosen = chosen
        self._memory = memory
        self._reader = reader
        self._dialect = dialect

    def for_new(self, entity: Entity, template_id: str = "") -> Template | None:
        """Return the template with this id, or that of new documents in general; None where it is not known."""
        kind = entity.singular
        if not self._memory.templates(kind):
            self._reader.list_documents(entity)
        template = self._known(entity, template_id)
        if template is not None and template.documents and not self._reader.fields_of(entity, template.id).places:
            listed = [document.document for document in self._memory.listed(kind).values() if document.readable]
            ids = [document.id for document in listed if document.template_id == template.id][-5:]
            self._reader.read_documents(entity, dict.fromkeys(ids, 0.0))
        return template

    def _known(self, entity: Entity, template_id: str) -> Template | None:
        templates = self._memory.templates(entity.singular)
        return _named(template_id, templates) if template_id else self._among(entity, templates)

    def _among(self, entity: Entity, templates: Sequence[Template]) -> Template | None:
        kind = entity.singular
        if chosen := self._mapping.template_for(entity, None) or self._chosen.get(kind):
            return _named(chosen, templates)
        called = folded_label(DEFAULT_TEMPLATES[kind])
        named = [template for template in templates if folded_label(template.name) == called]
        if named:
            return max(named, key=lambda template: template.newest)  # a template made again replaces the old one
        return templates[0] if len(templates) == 1 else None

    def new_records(self, entity: Entity, *, only_known: bool = False) -> dict[str, object]:
        """Return the facts about new documents for a plan: see ``Target.snapshot``.

        ``only_known``: make no call.
        """
        find = self._known if only_known else self.for_new
        found = [self._of_template(entity, find(entity, named)) for named in self._mapping.templates(entity)]
        return {**self._of_template(entity, find(entity, "")), "templates": found}

    def _of_template(self, entity: Entity, template: Template | None) -> dict[str, object]:
        if template is None:
            problem = NewRecords.TEMPLATE_UNKNOWN.value
            return {"template": None, "template_id": None, "places": [], "problem": problem, "needs": []}
        fields = self._reader.fields_of(entity, template.id)
        labels = self._mapping.labels(entity, template.id)
        links = self._mapping.links(entity)
        columns = [
            column
            for column, label in labels.items()
            if column != "name" and (fields.takes_link(label) if column in links else fields.takes(label))
        ]
        is_marked = encoding.can_bear_marker(fields.can_mark, self._dialect, fields.notes)
        return {
            # Without a name: no document of it was read, so its fields are not known.
            "template": template.name or (template.id if template.documents or fields.places else None),
            "template_id": template.id,
            "places": ["name", *columns],
            "problem": None if is_marked else NewRecords.NO_PLACE_FOR_MARKER.value,
            "needs": self._needs(entity, template, labels, fields),
        }

    def _needs(
        self, entity: Entity, template: Template, labels: Mapping[str, str], fields: Fields
    ) -> list[dict[str, object]]:
        """Return the labels required by the template, each with the field filling it, or None.

        A line of the manifest without an element, such as the client's name, is none of them.
        """
        stated = self._required.of(entity, template.name)
        learned = [label for label in self._memory.needed(template.id) if label not in stated]
        by_label = {folded_label(label): column for column, label in labels.items() if column != "name"}
        elements = {folded_label(label) for label in fields.places}
        filled_anyway = {folded_label(encoding.NAME), folded_label(labels["name"])}
        if self._dialect.marker == "notes":
            filled_anyway.add(folded_label(fields.notes))
        return [
            {"label": label, "field": by_label.get(key), "is_learned": label in learned}
            for label in (*stated, *learned)
            if (key := folded_label(label)) not in filled_anyway and (key in elements or key in by_label)
        ]

    def learn(self, new: NewDocument, words: str) -> None:
        """Remember the labels named by the service, in its ``words``, when it refused a new document without them."""
        if found := needed_by(new.document, words):
            template_id = new.document.template_id
            self._memory.note_needed(template_id, found | set(self._memory.needed(template_id)))

    def forget(self, taken: Sequence[NewDocument]) -> None:
        """Forget a label a new document did without."""
        for template_id in {new.document.template_id for new in taken}:
            if needed := set(self._memory.needed(template_id)):
                blank = [blank_labels(new.document) for new in taken if new.document.template_id == template_id]
                self._memory.note_needed(template_id, needed.difference(*blank))

    def fill(
        self, entity: Entity, template: Template, writes: Sequence[Write]
    ) -> tuple[list[NewDocument], dict[int, Written]]:
        """Return the documents to send; refuse those with a value without a place."""
        fields = self._reader.fields_of(entity, template.id)
        labels = self._mapping.labels(entity, template.id)
        shown = self._mapping.shown_labels(entity, template.id)
        made, failed = [], {}
        for write in writes:
            title = write.values["name"] or ""
            texts = {column: text for column, text in write.values.items() if column != "name"}
            values = {labels[column]: text for column, text in texts.items() if column in labels}
            lacking = {label for label, text in values.items() if text and not fields.takes(label)}
            lacking |= {shown[column] for column, text in texts.items() if text and column not in labels}
            if encoding.NAME in fields.places and fields.takes(encoding.NAME):
                values[encoding.NAME] = title
            blank = Document("", write.client_id, title, template.id, "", elements=fields.places, notes=fields.notes)
            document = replace(blank, values=values)
            document = encoding.marked(document, write.bms_id, fields.can_mark, self._dialect)
            lacking |= {fields.notes} if document.marker is None else set()
            if lacking:
                failed[write.bms_id] = refused(write, no_field(template.name or template.id, sorted(lacking)))
            else:
                made.append(NewDocument(write, document))
        return made, failed

    def why_unknown(self, entity: Entity) -> str:
        """Return why ``for_new`` has none, and the setting that chooses one."""
        templates = self._memory.templates(entity.singular)
        seen = "; ".join(f"{template.id} ({template.name}, {template.documents:,} documents)" for template in templates)
        kind = entity.singular
        return (
            f"which template new {entity.name} get cannot be told: Passportal has"
            f" {f'documents of the templates {seen}' if seen else f'no {kind} document yet'}."
            f" Set PASSPORTAL_TEMPLATES={kind}=ID" + ("" if seen else f", or make one {kind} by hand in Passportal")
        )


def _named(template_id: str, templates: Sequence[Template]) -> Template:
    return next((template for template in templates if template.id == template_id), Template(template_id, "", 0))


def chosen_templates(text: str) -> dict[str, str]:
    """Parse ``asset=79,contact=5000`` into type → id. Raises ``SettingsError``."""
    chosen: dict[str, str] = {}
    for part in filter(None, (text_part.strip() for text_part in text.split(","))):
        kind, _, template = (text_part.strip() for text_part in part.partition("="))
        number = encoding.template_id(template)
        if kind not in DEFAULT_TEMPLATES or not (number.isascii() and number.isdigit()):
            raise SettingsError(
                f"PASSPORTAL_TEMPLATES has {part!r}, which names no template.",
                f"Write it as asset=79,contact=5000; the types are {', '.join(DEFAULT_TEMPLATES)}.",
            )
        chosen[kind] = number
    return chosen
