"""Reading documents into the memory: their lists, the new or changed ones, and single ones around a write.

    lists, up and down ──▶ memory ──▶ unread or changed ──▶ details, several at once ──▶ memory

A reading counts for the next snapshot, too, once it is *settled*: late enough to show all of a second's changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from threading import Lock

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.mapping import DEFAULT
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.passportal.documents import encoding, pace
from bms_pipeline.passportal.documents.client import DocumentsClient, Read, Row
from bms_pipeline.passportal.documents.encoding import Document
from bms_pipeline.passportal.documents.flow import Flow, Later, Step
from bms_pipeline.passportal.documents.memory import Fields, ListedDocument, RememberedDocuments


class DocumentReader:
    """Reads documents by ``client`` and keeps them in ``memory``.

    ``flow`` takes the details; ``connections`` calls look for missing documents at once. ``mapping``: the labels.
    """

    def __init__(
        self,
        client: DocumentsClient,
        memory: RememberedDocuments,
        flow: Flow,
        *,
        connections: int,
        clock: Callable[[], float],
        mapping: FieldMapping = DEFAULT,
    ) -> None:
        self._client = client
        self._memory = memory
        self._mapping = mapping
        self._flow = flow
        self._connections = connections
        self._clock = clock
        self._fields: dict[str, Fields] = {}  # by template
        self._names: dict[str, dict[str, str]] = {}  # by template: an element's key → its name, as documents showed it
        self._names_lock = Lock()
        self._read_at_once: dict[str, tuple[Entity, float]] = {}  # id → from when on its reading is a settled one
        self._titles_are_encoded: bool | None = None

    def list_documents(self, entity: Entity) -> None:
        """List the documents and remember them.

        Read upwards and downwards: each alone misses documents while others come and go. A known document missing in
        both is asked for before it counts as gone.
        """
        kind = entity.singular
        rows: dict[str, ListedDocument] = {}
        for newest_first in (False, True):
            for page in self._client.pages(kind, newest_first=newest_first):
                rows |= {str(row["id"]): _listed(row) for row in page}
        missing = {id_: known for id_, known in self._memory.listed(kind).items() if id_ not in rows}
        with ThreadPoolExecutor(self._connections) as pool:
            found = list(pool.map(self._client.document, missing))
        for (id_, known), read in zip(missing.items(), found, strict=True):
            if read is not None:
                rows[id_] = replace(known, document=_as_listed(read, known.document))
        self._memory.list_anew(kind, rows.values())
        self._titles_are_encoded = None

    def read_details(self, entity: Entity) -> None:
        """Read the documents new or changed since their last reading."""
        due = self._memory.not_looked_at(entity.singular, self._clock() - pace.TEMPLATE_LOOKED_AT_SECONDS)
        self.read_documents(entity, dict.fromkeys((*self._memory.unread(entity), *due), 0.0))

    def read_documents(self, entity: Entity, due: Mapping[str, float]) -> list[Document]:
        """Read these documents (id → from when on, by our clock) and remember them; return the existing ones."""
        found: dict[str, Document] = {}
        without_names: list[Read] = []
        readings = self.readings(entity)

        def keep(read: Read) -> Document:
            document = self.decode(entity, read)
            found[document.id] = document
            readings.add(document, read)
            return document

        def read_one(id_: str) -> Sequence[Later]:
            read = self._client.document(id_)
            if read is not None and keep(read).lacks_names:
                without_names.append(read)
            return ()

        def begin() -> Sequence[Later]:
            return [Later(at, step=partial(read_one, id_)) for id_, at in due.items()]

        if due:
            self._flow.run(itertools.chain([begin], () if len(due) < pace.FEW else self.second_readings()))
            readings.remember()
        for read in without_names:  # another document, which was read after it, may show them
            keep(read)
        if without_names:
            readings.remember()
        return list(found.values())

    def read_again_later(self, entity: Entity, ids: Iterable[str]) -> None:
        """Schedule a second reading of documents read at once, behind many writes, to spare the next snapshot."""
        at = self._client.passed(self._client.date(), pace.UNSETTLED_SECONDS)
        self._read_at_once |= dict.fromkeys(ids, (entity, at))

    def second_readings(self) -> Iterator[Step]:
        """Yield steps for the due second readings of documents read at once."""
        due = [id_ for id_, (_, at) in self._read_at_once.items() if at <= self._clock()]
        return (partial(self._read_once_more, id_, self._read_at_once.pop(id_)[0]) for id_ in due)

    def _read_once_more(self, id_: str, entity: Entity) -> Sequence[Later]:
        read = self._client.document(id_)
        if read is not None:
            document = self.decode(entity, read)
            self.remember(entity, [(document, is_settled(document, read))])
        return ()

    def settled_from(self, last_modified: str) -> float:
        """Return when, by our clock, a reading of a document will be a settled one."""
        modified = moment_of(last_modified)
        return 0.0 if modified is None else self._client.passed(modified, pace.UNSETTLED_SECONDS)

    def remember(self, entity: Entity, found: Sequence[tuple[Document, bool]]) -> None:
        """Remember documents just read, each with whether its reading is a settled one."""
        self._memory.remember(entity, found, self._clock())
        self._fields.clear()

    def readings(self, entity: Entity) -> Readings:
        """Return a place for documents of ``entity`` that are read one by one and remembered many at a time."""
        return Readings(partial(self.remember, entity))

    def decode(self, entity: Entity, read: Read) -> Document:
        """Return the document with its fields by our labels, including unnamed fields."""
        shown = encoding.decoded_document(read.document)
        known = self.fields_of(entity, shown.template_id)
        with self._names_lock:
            names = self._names.setdefault(shown.template_id, {})
            names |= {place.key: place.name for place in shown.elements.values() if place.has_name}
            names = {place.key: place.name for place in known.places.values() if place.has_name} | names
        labels = self._mapping.labels(entity, shown.template_id)
        links = [labels[column] for column in self._mapping.links(entity) if column in labels]
        return encoding.decoded_document(read.document, labels.values(), names, self._mapping.marker_label, links)

    def title(self, kind: str, document_id: str) -> str | None:
        """Return the title of a listed document; None where it is not listed."""
        return self._memory.title(kind, document_id)

    def titles_are_encoded(self) -> bool:
        """Return whether the service encodes its titles, judged by all listed titles."""
        if self._titles_are_encoded is None:
            self._titles_are_encoded = self._memory.titles_are_encoded()
        return self._titles_are_encoded

    def fields_of(self, entity: Entity, template_id: str) -> Fields:
        """Return the known fields of new documents of this template."""
        fields = self._fields.get(template_id)
        if fields is None:
            fields = self._fields[template_id] = self._memory.fields(entity, template_id)
        return fields

    def forget_fields(self, template_id: str, labels: Sequence[str]) -> None:
        """Note fields that new documents of this template turned out to lack."""
        self._memory.forget_fields(template_id, labels)
        self._fields.clear()


class Readings:
    """Documents read but not remembered yet. Safe to share between threads."""

    def __init__(self, remember: Callable[[Sequence[tuple[Document, bool]]], None]) -> None:
        self._remember = remember
        self._lock = Lock()
        self._kept: dict[str, tuple[Document, bool]] = {}

    def add(self, document: Document, read: Read) -> None:
        """Keep a document just read; remember it with others."""
        with self._lock:
            self._kept[document.id] = document, is_settled(document, read)
            is_full = len(self._kept) >= pace.READ_AT_ONCE
        if is_full:
            self.remember()

    def remember(self) -> None:
        """Remember the remaining documents."""
        with self._lock:
            kept, self._kept = self._kept, {}
        self._remember(list(kept.values()))


def is_settled(document: Document, read: Read) -> bool:
    """Return whether this reading shows every change of the second in which the document was last modified."""
    modified = moment_of(document.last_modified)
    return modified is not None and read.at - modified > pace.UNSETTLED_SECONDS


def moment_of(last_modified: str) -> float | None:
    """Return ``last_modified`` as seconds since the epoch; None where it is no date."""
    try:
        modified = datetime.fromisoformat(last_modified)
    except ValueError:
        return None
    return (modified if modified.tzinfo else modified.replace(tzinfo=UTC)).timestamp()


def _listed(row: Row) -> ListedDocument:
    readable = row.get("accessible") is not False
    return ListedDocument(
        encoding.decoded_document(row), str(row.get("templateName") or ""), readable, encoding.raw_title(row)
    )


def _as_listed(read: Read, known: Document) -> Document:
    found = encoding.decoded_document(read.document)
    return replace(known, title=found.title or known.title, last_modified=found.last_modified)
