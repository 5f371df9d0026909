"""Passportal by its Documents API: lists and writes everything the API allows.

Clients and users are only ever read: no call creates or changes them [D]. A new document gets its id by a search for
its marker, because no answer has it [D]. A changed document is read, compared with the plan's values,
written whole and read again. After a lost answer nothing is sent again: the write is looked for first.

The reading that proves a write is late enough to count as the next snapshot's, too. Until then the next writes go out:
see ``flow``.

The fields of a document are known from the documents read, and go into the snapshot. The first new document of each
template goes out alone and is read back before any other.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeAlias, TypeVar

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.errors import (
    AnswerUnreadable,
    LoginRefused,
    PipelineError,
    RequestRefused,
    ServiceError,
    ServiceUnreachable,
    SettingsError,
)
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import NewRecords, Outcome
from bms_pipeline.passportal import snapshots
from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.client import PAGE_SIZE, DocumentsClient, Read, Row, base_address
from bms_pipeline.passportal.documents.encoding import Document
from bms_pipeline.passportal.documents.flow import Flow, Later, Step
from bms_pipeline.passportal.documents.last_write import LastWrite
from bms_pipeline.passportal.documents.memory import (
    Fields,
    ListedDocument,
    RememberedDocuments,
    Template,
    Trial,
    places,
)
from bms_pipeline.passportal.target import Leaving, Write, Written, unmarked

READ_AT_ONCE = 200
"""Documents to read between two commits: as many calls as an interruption costs."""
UNSETTLED_SECONDS = 2.0
"""``last_modified`` has whole seconds, and a service has several clocks. A document changed this shortly before its
reading may have been changed once more without another stamp."""
NEW_IN_ONE_CALL = 50
"""Documents in a creating POST. They are all looked for when its answer is lost."""
CHANGED_IN_ONE_CALL = 12
"""Documents in a batched PUT: they are read one after the other right before it, in about a second."""
FEW = 10
"""Fewer writes than this are read at once, which is quicker than waiting. They are read once more behind the next
writes, or by the next snapshot."""
MANY = 50
"""When this many wait for the first to be proven, it is read at once, and once more by the next snapshot: one in fifty.
Fewer wait until its reading is a settled one."""
LOST_AT_MOST = 3
"""After this many changes in a row without answer and effect, no other is sent for now."""
TEMPLATE_LOOKED_AT_SECONDS = 86400.0
"""One document of each template is read again after this time: adding or removing a label changes no document."""
LOOK_AGAIN_AFTER = (0.5, 1.0, 2.0, 4.0)
"""Seconds to wait for a write to show."""
DEFAULT_TEMPLATES = {"asset": "Generic Asset", "contact": "Contact", "location": "Location"}
"""Passportal's names of its own templates [L]; their ids differ by tenant."""

_LOST = (ServiceUnreachable, AnswerUnreadable)
_TAKES_NO_WRITES = "not sent: Passportal did not answer the writes before it, and none of them took effect"
_T = TypeVar("_T")
_R = TypeVar("_R")


_Verb: TypeAlias = Literal["create", "update"]


class DocumentsPassportal:
    """The Passportal named in the settings. ``clock`` and ``sleep`` are for tests.

    Raises ``SettingsError`` for impossible settings, before any call.
    """

    can_write = frozenset(entity.name for entity in ENTITIES if entity.has_client)
    batch_size = 1000

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = f"documents_api {base_address(settings)}"
        self.can_list = self.can_write | {"clients"} | ({"users"} if settings.passportal_users_file else set())
        self._users_file = settings.passportal_users_file
        self._connections = settings.passportal_connections
        self._chosen = _chosen_templates(settings.passportal_templates)
        self._dialect = encoding.dialect_of(settings)
        self.unknown_seconds = settings.passportal_unknown_seconds
        self._last_write = LastWrite(settings.last_write_file, clock)
        self._client = DocumentsClient(settings, clock=clock, sleep=sleep, before_write=self._last_write)
        self._memory = RememberedDocuments(settings.documents_file)
        self._sleep = sleep
        self._clock = clock
        self._flow = Flow(self._connections, clock=clock, sleep=sleep)
        self._fields: dict[str, Fields] = {}  # by template
        self._names: dict[str, dict[str, str]] = {}  # by template: an element's key → its name, as documents showed it
        self._names_lock = Lock()
        self._leaving: Leaving = unmarked
        self._keeps_fields = False
        self._lost_in_a_row = 0
        self._read_at_once: dict[str, tuple[Entity, float]] = {}  # id → from when on its reading is a settled one
        self._proven: set[str] = set()  # templates of which a new document kept all its values
        self._prefixes: dict[_Verb, str] = {}  # of a template's id, where one was taken
        self._titles_are_encoded: bool | None = None

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    # Reading

    def snapshot(self, entity: Entity, file: Path) -> None:
        """See ``Target.snapshot``."""
        if entity.name in self.can_write:
            with self._memory.opened():
                self._list_documents(entity)
                self._read_details(entity)
                self._memory.write_snapshot(entity, file, self._new_records(entity))
        elif entity.name == "clients":
            rows = [{"passportal_id": id_, "name": name} for id_, name in self._client.clients().items()]
            snapshots.write_snapshot(entity, file, rows)
        else:
            snapshots.write_snapshot(entity, file, snapshots.users_in(self._users_file) if self._users_file else [])

    def _list_documents(self, entity: Entity) -> None:
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
        for id_, read in zip(missing, self._at_once(self._client.document, missing), strict=True):
            if read is not None:
                rows[id_] = replace(missing[id_], document=self._as_listed(read, missing[id_].document))
        self._memory.list_anew(kind, rows.values())
        self._titles_are_encoded = None

    def _as_listed(self, read: Read, known: Document) -> Document:
        found = encoding.decoded_document(read.document)
        return replace(known, title=found.title or known.title, last_modified=found.last_modified)

    def _read_details(self, entity: Entity) -> None:
        """Read the documents new or changed since their last reading."""
        due = self._memory.not_looked_at(entity.singular, self._clock() - TEMPLATE_LOOKED_AT_SECONDS)
        self._read(entity, dict.fromkeys((*self._memory.unread(entity), *due), 0.0))

    def _read(self, entity: Entity, due: Mapping[str, float]) -> list[Document]:
        """Read these documents (id → from when on, by our clock) and remember them; return the existing ones."""
        found: dict[str, Document] = {}
        without_names: list[Read] = []
        readings = _Readings(partial(self._remember, entity))

        def keep(read: Read) -> Document:
            document = self._decoded(entity, read)
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
            self._flow.run(itertools.chain([begin], () if len(due) < FEW else self._reading_again()))
            readings.remember()
        for read in without_names:  # another document, which was read after it, may show them
            keep(read)
        if without_names:
            readings.remember()
        return list(found.values())

    def _read_again_later(self, entity: Entity, ids: Iterable[str]) -> None:
        """Schedule a second reading of documents read at once, behind many writes, to spare the next snapshot."""
        at = self._client.passed(self._client.date(), UNSETTLED_SECONDS)
        self._read_at_once |= dict.fromkeys(ids, (entity, at))

    def _reading_again(self) -> Iterator[Step]:
        """Yield steps for the due second readings of documents read at once."""
        due = [id_ for id_, (_, at) in self._read_at_once.items() if at <= self._clock()]
        return (partial(self._read_once_more, id_, self._read_at_once.pop(id_)[0]) for id_ in due)

    def _read_once_more(self, id_: str, entity: Entity) -> Sequence[Later]:
        read = self._client.document(id_)
        if read is not None:
            document = self._decoded(entity, read)
            self._remember(entity, [(document, _is_settled(document, read))])
        return ()

    def _settled_from(self, last_modified: str) -> float:
        """Return when, by our clock, a reading of a document will be a settled one."""
        modified = _moment(last_modified)
        return 0.0 if modified is None else self._client.passed(modified, UNSETTLED_SECONDS)

    def _remember(self, entity: Entity, found: Sequence[tuple[Document, bool]]) -> None:
        self._memory.remember(entity, found, self._clock())
        self._fields.clear()

    def _decoded(self, entity: Entity, read: Read) -> Document:
        """Return the document with its fields by our labels, including unnamed fields."""
        shown = encoding.decoded_document(read.document)
        known = self._fields_of(shown.template_id)
        with self._names_lock:
            names = self._names.setdefault(shown.template_id, {})
            names |= {place.key: place.name for place in shown.elements.values() if place.has_name}
            names = {place.key: place.name for place in known.places.values() if place.has_name} | names
        return encoding.decoded_document(read.document, entity.labels.values(), names)

    def _fields_of(self, template_id: str) -> Fields:
        """Return the known fields of new documents of this template."""
        fields = self._fields.get(template_id)
        if fields is None:
            fields = self._fields[template_id] = self._memory.fields(template_id)
        return fields

    def _new_records(self, entity: Entity) -> dict[str, object]:
        """Return the facts about new documents for a plan: see ``Target.snapshot``."""
        template = self._template(entity)
        if template is None:
            return {"template": None, "places": [], "problem": NewRecords.TEMPLATE_UNKNOWN.value}
        fields = self._fields_of(template.id)
        columns = [column for column in entity.columns[1:] if fields.takes(entity.labels[column])]
        is_marked = encoding.can_bear_marker(fields.can_mark, self._dialect)
        problem = None if is_marked else NewRecords.NO_PLACE_FOR_MARKER.value
        return {"template": template.name or template.id, "places": ["name", *columns], "problem": problem}

    def find(self, entity: Entity, writes: Sequence[Write]) -> dict[int, str]:
        """See ``Target.find``. The search for a missing document is repeated after a while, a few times."""
        found = self._found(entity, writes, at_once=len(writes) < FEW)
        if len(writes) < FEW:
            self._read_again_later(entity, found.values())
        return found

    def last_write_at(self) -> datetime | None:
        """See ``Target.last_write_at``."""
        return self._last_write.read()

    def _found(self, entity: Entity, writes: Sequence[Write], *, at_once: bool) -> dict[int, str]:
        """Do as ``find``; unless ``at_once``, read a new document only when its reading is a settled one."""
        with self._memory.opened():
            found = self._look(entity, writes, at_once=at_once)
            for seconds in LOOK_AGAIN_AFTER:
                missing = [write for write in writes if write.bms_id not in found]
                if not missing:
                    break
                self._sleep(seconds)
                found |= self._look(entity, missing, at_once=at_once)
            return found

    def _look(self, entity: Entity, writes: Sequence[Write], *, at_once: bool) -> dict[int, str]:
        """Look for these markers: among the newest documents first, then client by client, the newest first."""
        clients = {write.bms_id: write.client_id for write in writes}
        found: dict[int, str] = {}
        if not clients:
            return found
        page_size = min(PAGE_SIZE, 2 * max(NEW_IN_ONE_CALL, len(clients)))
        newest = self._client.pages(entity.singular, newest_first=True, page_size=page_size)
        rows = itertools.chain.from_iterable(itertools.islice(newest, math.ceil(len(clients) / page_size)))
        self._take(entity, rows, clients, found, at_once=at_once)
        for client_id in dict.fromkeys(clients.values()):
            wanted = {id_ for id_, client in clients.items() if client == client_id}
            pages = self._client.pages(entity.singular, client_id=client_id, newest_first=True)
            while wanted - found.keys() and (page := next(pages, [])):
                self._take(entity, page, clients, found, at_once=at_once)
        return found

    def _take(
        self,
        entity: Entity,
        page: Iterable[Row],
        clients: Mapping[int, str | None],
        found: dict[int, str],
        *,
        at_once: bool,
    ) -> None:
        """Note the documents with a wanted marker; read only those not read yet."""
        wanted = set(clients.values())
        rows = {row.id: row for row in map(encoding.decoded_document, page) if row.client_id in wanted}
        known = self._memory.markers(entity.singular, list(rows))
        markers = {id_: row.marker or known.get(id_, ("", None))[1] for id_, row in rows.items()}
        unread = {
            id_: 0.0 if at_once else self._settled_from(row.last_modified)
            for id_, row in rows.items()
            if row.marker is None and (id_ not in known or known[id_][0] != row.last_modified)
        }
        markers |= {document.id: document.marker for document in self._read(entity, unread)}
        for id_, marker in markers.items():
            if marker is not None and clients.get(marker, "") == rows[id_].client_id:
                found.setdefault(marker, id_)

    # Creating

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.create``."""
        self._leaving = leaving
        self._check_can_write(entity)
        with self._memory.opened():
            return self._create(entity, writes)

    def _create(self, entity: Entity, writes: Sequence[Write]) -> list[Written]:
        self._release(entity, writes)
        failed = {write.bms_id: _refused(write, why) for write in writes if (why := _why_not_new(write))}
        wanted = [write for write in writes if write.bms_id not in failed]
        if wanted:
            failed |= self._create_by(self._template(entity), entity, wanted)
        return [failed.get(write.bms_id, Written(write.bms_id, Outcome.DONE)) for write in writes]

    def _create_by(self, template: Template | None, entity: Entity, writes: Sequence[Write]) -> dict[int, Written]:
        """Create documents of this template; return BMS id → outcome for all that are not there as they should be."""
        if template is None:
            return _not_sent(writes, self._why_no_template(entity))
        if why := self._why_not_trusted(template):
            return _not_sent(writes, why)
        failed: dict[int, Written] = {}
        left = list(writes)
        while left and template.id not in self._proven:
            new, refused = self._new_documents(entity, template, left[:1])
            tried = refused or self._post(entity, [new])
            failed |= tried
            first, left = left[0], left[1:]
            if any(written.outcome is Outcome.UNKNOWN for written in tried.values()):
                why = "not sent: the answer to the first new document of its template was lost"
                return failed | {write.bms_id: Written(write.bms_id, Outcome.NOT_SENT, why) for write in left}
            if not tried:
                at_once = len(writes) < FEW or len(left) >= MANY
                why = self._read_back(entity, template, new[0], at_once=at_once)
                failed |= {first.bms_id: _refused(first, why)} if why else {}
                if template.id not in self._proven:
                    return failed | self._not_proven(template, why, left)
        new, refused = self._new_documents(entity, template, left)
        return failed | refused | self._post(entity, list(_cut(new, NEW_IN_ONE_CALL)))

    def _not_proven(self, template: Template, why: str, left: Sequence[Write]) -> dict[int, Written]:
        """Return the outcomes of the others when the first new document is not listed, or did not keep its values."""
        if why:
            return _not_sent(left, self._why_not_trusted(template) or why)
        unlisted = "not sent: Passportal accepted the first new document of its template and does not list it"
        return {write.bms_id: Written(write.bms_id, Outcome.NOT_SENT, unlisted) for write in left}

    def _new_documents(
        self, entity: Entity, template: Template, writes: Sequence[Write]
    ) -> tuple[list[_New], dict[int, Written]]:
        """Return the documents to send; refuse those with a value without a place."""
        fields = self._fields_of(template.id)
        made, refused = [], {}
        for write in writes:
            title = write.values["name"] or ""
            values = {entity.labels[column]: text for column, text in write.values.items() if column != "name"}
            lacking = {label for label, text in values.items() if text and not fields.takes(label)}
            if encoding.NAME in fields.places and fields.takes(encoding.NAME):
                values[encoding.NAME] = title
            document = Document("", write.client_id, title, template.id, "", values=values, elements=fields.places)
            document = encoding.marked(document, write.bms_id, fields.can_mark, self._dialect)
            lacking |= {encoding.NOTES} if document.marker is None else set()
            if lacking:
                refused[write.bms_id] = _refused(write, _no_field(template.name or template.id, sorted(lacking)))
            else:
                made.append(_New(write, document))
        return made, refused

    def _read_back(self, entity: Entity, template: Template, new: _New, *, at_once: bool) -> str:
        """Read the first new document of a template; return its differences, empty if none or unlisted."""
        found = self._shown(entity, new, at_once=at_once)
        if found is None:
            return ""
        if new.document.custom_id and found.custom_id != new.document.custom_id:
            raise _ignores_custom_id(found.id)
        lacking = _lacking(new.document, found)
        gone = [label for label in lacking if label not in found.elements and found.elements]
        if lacking == gone and found.marker is not None:
            self._proven.add(template.id)
            self._memory.note_trial(template.id, self._form, None)
            self._memory.forget_fields(template.id, gone)
            self._fields.clear()
            no_field = _no_field(template.name or template.id, gone)
            return f"it is there as document {found.id}, which the next sync links; {no_field}" if gone else ""
        self._memory.note_trial(template.id, self._form, Trial(found.id, tuple(lacking)))
        return f"Passportal made document {found.id} of it and did not keep {', '.join(lacking)}"

    def _shown(self, entity: Entity, new: _New, *, at_once: bool) -> Document | None:
        """Return the created document as soon as it shows the values sent, or as it is after a while."""
        found_id = self._found(entity, [new.write], at_once=at_once).get(new.write.bms_id)
        found_id = found_id or self._unmarked(entity, new)
        found: Document | None = None
        for seconds in (0.0, *LOOK_AGAIN_AFTER) if found_id else ():
            self._sleep(seconds) if seconds else None
            read = self._client.document(found_id) if found_id else None
            found = self._decoded(entity, read) if read else None
            if read is None or found is None or found.marker not in (None, new.write.bms_id):
                return None
            self._remember(entity, [(found, _is_settled(found, read))])
            if all(label not in found.elements for label in _lacking(new.document, found)):
                break
        return found

    def _unmarked(self, entity: Entity, new: _New) -> str | None:
        """Return the document created without its marker: the newest one with its title that was not there before."""
        known = self._memory.listed(entity.singular)
        for row in next(self._client.pages(entity.singular, client_id=new.write.client_id, newest_first=True)):
            document = encoding.decoded_document(row)
            if document.id not in known and _same(document.title, new.document.title):
                return document.id
        return None

    def _why_not_trusted(self, template: Template) -> str:
        """Return why no new document of this template is sent: an earlier one did not keep its values.

        This holds until a person removes that document or changes the form of sending. A later change of the document
        proves nothing about new ones.
        """
        trial = self._memory.trial(template.id, self._form)
        if trial is None:
            return ""
        if self._client.document(trial.document_id) is None:
            self._memory.note_trial(template.id, self._form, None)
            return ""
        return (
            f"not sent: document {trial.document_id}, the first new one of template {template.name or template.id},"
            f" did not keep {', '.join(trial.labels)}. Compare PASSPORTAL_VALUES and PASSPORTAL_BODY with the tenant's"
            " swagger page, or disable that document in Passportal and sync again"
        )

    @property
    def _form(self) -> str:
        """The form in which new documents are sent."""
        return f"{self._dialect.body} {self._dialect.values} {self._dialect.marker}"

    def _post(self, entity: Entity, batches: Sequence[Sequence[_New]]) -> dict[int, Written]:
        """Create documents; return BMS id → outcome for all that are not there.

        After a lost answer, a document not found is unknown: it may still come. Nothing more is sent before this check.
        Of a refused batch, existing documents are left alone. The others are sent one by one, so only the wrong ones
        are refused.
        """
        failed: dict[int, Written] = {}
        left = [_Batch(new) for new in batches if new]
        while left:
            self._flow.run(_unless(self._post_one, left, partial(_any_is_lost, left)))
            lost = _writes(batch for batch in left if batch.lost)
            missing = self._missing_of(entity, lost, settle=True)
            why = next((batch.lost.message for batch in left if batch.lost), "")
            failed |= {write.bms_id: Written(write.bms_id, Outcome.UNKNOWN, why) for write in missing}
            failed |= self._post_alone(entity, [batch for batch in left if batch.refusal])
            left = [batch for batch in left if not batch.is_sent]
            if lost and len(missing) == len(lost):
                return failed | _not_sent_yet(_writes(left))
        return failed

    def _mark(self, writes: Iterable[Write]) -> None:
        """Sign in, then mark ``writes`` as leaving: a failed sign-in leaves no write whose answer is unknown."""
        self._client.sign_in()
        self._leaving([write.bms_id for write in writes])

    def _post_one(self, batch: _Batch) -> Sequence[Later]:
        """Send one batch and note its answer."""
        self._mark([new.write for new in batch.new])
        batch.is_sent = True

        def send(prefix: str) -> None:
            items = [encoding.new_document(new.document, self._dialect, prefix=prefix) for new in batch.new]
            self._client.create(encoding.batch(items, self._dialect))

        try:
            self._send("create", send, alone=len(batch.new) == 1)
        except LoginRefused:
            raise
        except RequestRefused as refusal:
            batch.refusal = refusal.message
        except _LOST as error:
            batch.lost = error
        return ()

    def _post_alone(self, entity: Entity, refused: Sequence[_Batch]) -> dict[int, Written]:
        """Send the documents of refused batches one by one, except existing ones."""
        single = [batch for batch in refused if len(batch.new) == 1]
        failed = {
            write.bms_id: _refused(write, batch.refusal) for batch, write in zip(single, _writes(single), strict=True)
        }
        several = [new for batch in refused if len(batch.new) > 1 for new in batch.new]
        missing = self._missing_of(entity, [new.write for new in several], settle=False)
        return failed | self._post(entity, [[new] for new in several if new.write in missing])

    def _missing_of(self, entity: Entity, writes: Sequence[Write], *, settle: bool) -> list[Write]:
        """Return the writes whose document is not there; with ``settle`` after looking several times."""
        look = self._found if settle else self._look
        there = look(entity, writes, at_once=len(writes) < FEW) if writes else {}
        return [write for write in writes if write.bms_id not in there]

    def _send(self, verb: _Verb, send: Callable[[str], None], *, alone: bool) -> None:
        """Send a write with the template prefix proven for this verb; else try each prefix, with one document.

        A refused document did nothing, so it may be sent again. A prefix accepted for a change may be refused for a
        new document. Raises the error of the first try.
        """
        proven = self._prefixes.get(verb)
        tries = [proven] if proven is not None else [*self._prefixes.values(), *encoding.TEMPLATE_PREFIXES]
        first: RequestRefused | None = None
        for prefix in dict.fromkeys(tries if alone else tries[:1]):
            try:
                send(prefix)
            except LoginRefused:
                raise
            except RequestRefused as refusal:
                first = first or refusal
            else:
                self._prefixes[verb] = prefix
                return
        if first is not None:
            raise first

    def _template(self, entity: Entity) -> Template | None:
        """Return the template of new documents; None where it is not known."""
        kind = entity.singular
        templates = self._memory.templates(kind)
        if not templates:
            self._list_documents(entity)
            templates = self._memory.templates(kind)
        template = self._template_among(kind, templates)
        if template is not None and template.documents and not self._fields_of(template.id).places:
            listed = [document.document for document in self._memory.listed(kind).values() if document.readable]
            ids = [document.id for document in listed if document.template_id == template.id][-5:]
            self._read(entity, dict.fromkeys(ids, 0.0))
        return template

    def _template_among(self, kind: str, templates: Sequence[Template]) -> Template | None:
        if kind in self._chosen:
            chosen = self._chosen[kind]
            return next((template for template in templates if template.id == chosen), Template(chosen, "", 0))
        called = encoding.folded(DEFAULT_TEMPLATES[kind])
        named = [template for template in templates if encoding.folded(template.name) == called]
        if named:
            return max(named, key=lambda each: each.newest)  # a template made again replaces the old one
        return templates[0] if len(templates) == 1 else None

    def _why_no_template(self, entity: Entity) -> str:
        templates = self._memory.templates(entity.singular)
        seen = "; ".join(f"{template.id} ({template.name}, {template.documents:,} documents)" for template in templates)
        kind = entity.singular
        return (
            f"which template new {entity.name} get cannot be told: Passportal has"
            f" {f'documents of the templates {seen}' if seen else f'no {kind} document yet'}."
            f" Set PASSPORTAL_TEMPLATES={kind}=ID" + ("" if seen else f", or make one {kind} by hand in Passportal")
        )

    # Changing

    def update(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.update``."""
        self._leaving = leaving
        self._check_can_write(entity)
        with self._memory.opened():
            outcomes = self._update(entity, writes)
        if len(writes) < FEW:
            self._read_again_later(entity, [write.passportal_id for write in writes if write.passportal_id])
        return outcomes

    def _update(self, entity: Entity, writes: Sequence[Write]) -> list[Written]:
        self._release(entity, [write for write in writes if write.unmark_id != write.passportal_id])
        outcomes: list[Written] = []
        left, few = list(writes), len(writes) < FEW
        while left and not self._keeps_fields:
            # Until a document is seen to keep its values, they go one by one: a wrong guess must not spoil many.
            outcomes += self._change(entity, left[:1], at_once=few or len(left) > MANY)
            left = left[1:]
            if [written.outcome for written in outcomes[-LOST_AT_MOST:]] == [Outcome.UNKNOWN] * LOST_AT_MOST:
                return outcomes + list(_not_sent_yet(left).values())
        return outcomes + self._change(entity, left, at_once=few)

    def _release(self, entity: Entity, writes: Iterable[Write]) -> None:
        """Take the markers off released documents."""
        released = [
            Write(write.bms_id, None, write.unmark_id, unmark_id=write.unmark_id) for write in writes if write.unmark_id
        ]
        for outcome in self._change(entity, released, at_once=len(released) < FEW):
            done = outcome.outcome is Outcome.DONE
            if not done and outcome.is_ours:
                raise ServiceError(
                    f"The marker of BMS id {outcome.bms_id} could not be taken off: {outcome.detail}",
                    "Nothing else of this batch was sent. Run again.",
                )

    def _change(self, entity: Entity, writes: Sequence[Write], *, at_once: bool) -> list[Written]:
        """Read, compare and write; read again once the reading is a settled one, or ``at_once``.

        A change without answer and effect is unknown: it may still come. After an error nothing else is sent. The
        error is raised when none of these writes had an outcome, or where the tenant contradicts the settings.
        """
        changes = [_Change(write) for write in writes]
        readings = _Readings(partial(self._remember, entity))
        size = CHANGED_IN_ONE_CALL if self._dialect.update == "batch" else 1
        send = partial(self._send_changes, entity, readings, at_once=at_once)
        error: PipelineError | None = None
        self._lost_in_a_row = 0
        try:
            steps = _unless(send, list(_cut(changes, size)), lambda: self._lost_in_a_row >= LOST_AT_MOST)
            self._flow.run(itertools.chain(steps, () if len(writes) < FEW else self._reading_again()))
        except PipelineError as stopped:
            error = stopped
        readings.remember()
        for change in changes:
            if change.error is not None and not isinstance(change.error, _LOST):
                raise change.error
        if error is not None and not any(change.is_concluded for change in changes):
            raise error
        return [change.written(error) for change in changes]

    def _send_changes(
        self, entity: Entity, readings: _Readings, changes: Sequence[_Change], *, at_once: bool
    ) -> Sequence[Later]:
        """Read, compare and write; then they are due to be verified."""
        for change in changes:
            self._prepare(entity, readings, change)
        due = [change for change in changes if change.is_due]
        if not due:
            return ()
        self._mark([change.write for change in due])
        for change in due:
            change.is_sent = True
        if self._dialect.update == "batch":
            self._put_batch(due)
        else:
            self._put(due[0])
        date, now = self._client.date(), self._clock()
        settled = now if at_once else self._client.passed(date, UNSETTLED_SECONDS)
        for change in due:
            change.answered_at = date
        return [
            Later(
                # Whether a lost change took effect decides whether others go out.
                now if change.error or change.refused else settled,
                step=partial(self._verify, entity, readings, change),
            )
            for change in due
        ]

    def _prepare(self, entity: Entity, readings: _Readings, change: _Change) -> None:
        """Read the document and set its new content, or the reason why it may not be changed."""
        write = change.write
        read = self._client.document(write.passportal_id) if write.passportal_id else None
        if read is None:
            change.conclude("the record is gone from Passportal", is_ours=False)
            return
        before = self._decoded(entity, read)
        if why := _why_not_changed(entity, write, before):
            change.conclude(why, is_ours=not _is_of_another(write, before))
            return
        fields = self._fields_of(before.template_id)
        columns = places(before, entity, fields)
        values = {entity.labels[column]: text for column, text in write.values.items() if column != "name"}
        lacking = [
            entity.labels[column]
            for column, text in write.values.items()
            if column not in columns and not _same(text, before.values.get(entity.labels[column]))
        ]
        if lacking:
            self._remember(entity, [(before, False)])  # the next plan knows better
            change.conclude(_no_field(before.template_id, lacking))
            return

        def can_write(label: str) -> bool:
            place = before.elements.get(label)
            return place.form.is_plain if place else not before.shows_blanks and fields.can_mark(label)

        elements = {**fields.places, **before.elements}
        title = write.values.get("name") or before.title
        if title != before.title and encoding.NAME in elements and can_write(encoding.NAME):
            values[encoding.NAME] = title
        after = encoding.with_values(before, title, values)
        after = encoding.marked(replace(after, elements=elements), write.marker, can_write, self._dialect)
        change.read, change.before, change.after = read.document, before, after
        change.ours = {label for label in after.values if after.values[label] != before.values.get(label)}
        change.is_due = replace(after, elements=before.elements) != before
        if not change.is_due:
            readings.add(before, read)
            change.conclude()

    def _item(self, change: _Change, prefix: str) -> dict[str, Any]:
        """Return the whole document as a change sends it."""
        if self._titles_are_encoded is None:
            self._titles_are_encoded = self._memory.titles_are_encoded()
        return encoding.merged(
            change.read,
            change.before,
            change.after,
            self._dialect,
            prefix=prefix,
            decoded_titles=self._titles_are_encoded,
        )

    def _put(self, change: _Change) -> None:
        def send(prefix: str) -> None:
            self._client.update(change.after.id, self._item(change, prefix))

        try:
            self._send("update", send, alone=not self._keeps_fields)
        except LoginRefused:
            raise
        except RequestRefused as refusal:
            change.refused = refusal.message
        except _LOST as error:
            change.error = error

    def _put_batch(self, changes: Sequence[_Change]) -> None:
        """Send one call for all changes; if it is refused, one call for each: only one may be wrong."""

        def send(prefix: str) -> None:
            items = [self._item(change, prefix) for change in changes]
            self._client.update(None, encoding.batch(items, self._dialect))

        try:
            self._send("update", send, alone=len(changes) == 1)
        except LoginRefused:
            raise
        except RequestRefused as refusal:
            if len(changes) == 1:
                changes[0].refused = refusal.message
                return
            for change in changes:
                self._put_batch([change])
        except _LOST as error:
            for change in changes:
                change.error = error

    def _verify(self, entity: Entity, readings: _Readings, change: _Change) -> Sequence[Later]:
        """Check whether the document shows the change, independent of the write's answer; if not, look again."""
        read = self._client.document(change.after.id)
        missing = [encoding.NAME]
        if read is not None:
            names = {place.key: place.name for place in change.after.elements.values()}
            if spoilt := encoding.lost(change.read, read.document, change.ours, names):
                change.error = _spoilt(change.after.id, spoilt)
                raise change.error
            found = self._decoded(entity, read)
            readings.add(found, read)
            missing = _missing(change, found)
        if not missing:
            self._keeps_fields = True
            self._lost_in_a_row = 0
            change.error = None
            change.conclude()
        elif change.refused or change.error or change.looks == len(LOOK_AGAIN_AFTER):
            self._give_up(change, missing)
        else:
            change.looks += 1
            at = self._clock() + LOOK_AGAIN_AFTER[change.looks - 1]
            return [Later(at, step=partial(self._verify, entity, readings, change))]
        return ()

    def _give_up(self, change: _Change, missing: Sequence[str]) -> None:
        """Note why a document does not show a change. Raises an error that concerns all documents."""
        if change.refused or change.error:
            self._lost_in_a_row += 0 if change.refused else 1
            change.conclude(change.refused)
        elif missing == ["customId"]:
            change.error = _ignores_custom_id(change.after.id)
            raise change.error
        else:
            change.conclude(f"Passportal accepted the change and does not show it: {', '.join(missing)}")

    def _check_can_write(self, entity: Entity) -> None:
        if entity.name not in self.can_write:
            raise AssertionError(f"no call of the Documents API writes {entity.name}")

    def _at_once(self, call: Callable[[_T], _R], each: Iterable[_T]) -> list[_R]:
        """Return the results of ``call`` in order, several calls at once; an error is raised when all have ended."""
        with ThreadPoolExecutor(self._connections) as pool:
            return list(pool.map(call, each))


@dataclass(frozen=True)
class _New:
    """A document to create."""

    write: Write
    document: Document


@dataclass
class _Batch:
    """New documents for one call, and its answer: success, a refusal, or lost."""

    new: Sequence[_New]
    is_sent: bool = False
    refusal: str = ""
    lost: ServiceError | None = None


@dataclass
class _Change:
    """A write on its way: the document as it was read and understood, its new content, and the outcome.

    ``refused``: why it was, empty if it was not. ``is_due``: whether anything has to be sent. ``answered_at``: when
    its call ended, by the service's clock. ``looks``: how often it was looked for in vain.
    """

    write: Write
    read: Row = field(default_factory=dict)
    before: Document = field(default_factory=lambda: Document("", None, "", "", ""))
    after: Document = field(default_factory=lambda: Document("", None, "", "", ""))
    is_due: bool = False
    ours: set[str] = field(default_factory=set)
    is_sent: bool = False
    answered_at: float = 0.0
    looks: int = 0
    is_concluded: bool = False
    is_ours: bool = True
    refused: str = ""
    error: ServiceError | SettingsError | None = None

    def conclude(self, refused: str = "", *, is_ours: bool = True) -> None:
        """Conclude the change: done, refused, or with a lost answer."""
        self.refused = refused
        self.is_ours = is_ours
        self.is_concluded = True

    def written(self, stopped_by: PipelineError | None) -> Written:
        """Return the outcome; a remaining error is a lost answer."""
        bms_id = self.write.bms_id
        if self.is_concluded and self.error is None:
            if self.refused:
                return replace(_refused(self.write, self.refused), is_ours=self.is_ours)
            return Written(bms_id, Outcome.DONE)
        why = self.error or stopped_by
        if self.is_sent:
            return Written(bms_id, Outcome.UNKNOWN, why.message if why else _TAKES_NO_WRITES)
        return Written(bms_id, Outcome.NOT_SENT, f"not sent: {why.message}" if why else _TAKES_NO_WRITES)


class _Readings:
    """Documents read but not remembered yet. Safe to share between threads."""

    def __init__(self, remember: Callable[[Sequence[tuple[Document, bool]]], None]) -> None:
        self._remember = remember
        self._lock = Lock()
        self._kept: dict[str, tuple[Document, bool]] = {}

    def add(self, document: Document, read: Read) -> None:
        """Keep a document just read; remember it with others."""
        with self._lock:
            self._kept[document.id] = document, _is_settled(document, read)
            is_full = len(self._kept) >= READ_AT_ONCE
        if is_full:
            self.remember()

    def remember(self) -> None:
        """Remember the remaining documents."""
        with self._lock:
            kept, self._kept = self._kept, {}
        self._remember(list(kept.values()))


def _unless(send: Callable[[_T], Sequence[Later]], items: Iterable[_T], stop: Callable[[], bool]) -> Iterator[Step]:
    """Return steps that send these items, and do nothing once ``stop`` returns true."""
    return (partial(lambda item: () if stop() else send(item), item) for item in items)


def _cut(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Return ``items`` in portions of ``size``."""
    return (items[first : first + size] for first in range(0, len(items), size))


def _writes(batches: Iterable[_Batch]) -> list[Write]:
    return [new.write for batch in batches for new in batch.new]


def _any_is_lost(batches: Iterable[_Batch]) -> bool:
    return any(batch.lost for batch in batches)


def _refused(write: Write, why: str) -> Written:
    return Written(write.bms_id, Outcome.REFUSED, why)


def _listed(row: Row) -> ListedDocument:
    readable = row.get("accessible") is not False
    return ListedDocument(
        encoding.decoded_document(row), str(row.get("templateName") or ""), readable, encoding.raw_title(row)
    )


def _is_settled(document: Document, read: Read) -> bool:
    """Return whether this reading shows every change of the second in which the document was last modified."""
    modified = _moment(document.last_modified)
    return modified is not None and read.at - modified > UNSETTLED_SECONDS


def _moment(last_modified: str) -> float | None:
    """Return ``last_modified`` as seconds since the epoch; None where it is no date."""
    try:
        modified = datetime.fromisoformat(last_modified)
    except ValueError:
        return None
    return (modified if modified.tzinfo else modified.replace(tzinfo=UTC)).timestamp()


def _why_not_new(write: Write) -> str:
    if not write.values.get("name"):
        return "a record needs a title"
    return "" if write.client_id else f"Passportal has no client {write.client_id}"


def _is_of_another(write: Write, found: Document) -> bool:
    """Return whether a document has the marker of another record than the write's."""
    return found.marker not in (None, write.bms_id, write.replaces_marker_of)


def _why_not_changed(entity: Entity, write: Write, found: Document) -> str:
    """Return why a document may not be changed: it is another record's, or changed since the plan. Empty if it may."""
    if _is_of_another(write, found):
        return f"it bears the marker of BMS id {found.marker}"
    now = found.fields
    labels = entity.labels
    moved = [
        labels[column]
        for column, text in write.before.items()
        if _plain(found.title if column == "name" else now.get(labels[column])) != _plain(text)
    ]
    return f"stale: changed meanwhile: {', '.join(moved)}" if moved else ""


def _missing(change: _Change, found: Document) -> list[str]:
    """Return the parts of a change missing in a document.

    A person's edit is not missing: the document was changed since, and has neither its old value nor the one sent.
    """
    modified = _moment(found.last_modified)
    was_accepted = not change.refused and change.error is None
    was_edited = was_accepted and modified is not None and modified > change.answered_at

    def is_shown(now: str | None, sent: str | None, was: str | None) -> bool:
        return _same(now, sent) or (was_edited and not _same(now, was))

    before, after = change.before, change.after
    missing = [
        label
        for label in sorted(change.ours)
        if not is_shown(found.values.get(label), after.values[label], before.values.get(label))
    ]
    missing += [] if is_shown(found.title, after.title, before.title) else ["title"]
    return missing + (["customId"] if found.custom_id != after.custom_id else [])


def _plain(text: str | None) -> str:
    """Return ``text`` as in a snapshot: without blanks around it, a blank one as none, and any line end as one."""
    return (text or "").replace("\r\n", "\n").strip()


def _same(one: str | None, other: str | None) -> bool:
    """Return whether two texts are the same, in any encoding of the service."""
    return _plain(one) == _plain(other) or _plain(encoding.decoded_name(one or "")) == _plain(
        encoding.decoded_name(other or "")
    )


def _lacking(sent: Document, found: Document) -> list[str]:
    """Return the labels without the value sent."""
    return [label for label, text in sent.values.items() if not _same(text, found.values.get(label))]


def _no_field(template: str, labels: Sequence[str]) -> str:
    return f"no place: template {template} has no field of plain text called {', '.join(labels)}"


def _not_sent(writes: Iterable[Write], why: str) -> dict[int, Written]:
    return {write.bms_id: _refused(write, why) for write in writes}


def _not_sent_yet(writes: Iterable[Write]) -> dict[int, Written]:
    return {write.bms_id: Written(write.bms_id, Outcome.NOT_SENT, _TAKES_NO_WRITES) for write in writes}


def _ignores_custom_id(document_id: str) -> SettingsError:
    return SettingsError(
        f"Passportal does not keep the customId that it is sent; document {document_id} bears no marker.",
        "Set PASSPORTAL_MARKER=notes and sync again: the document is found by its name. Nothing is sent twice.",
    )


def _spoilt(document_id: str, labels: Sequence[str]) -> ServiceError:
    return ServiceError(
        f"Passportal dropped what was sent back to it: {', '.join(labels)} of document {document_id}.",
        "Nothing else was written. Restore the document from its versions in Passportal, and compare PASSPORTAL_VALUES"
        " with the tenant's swagger page.",
    )


def _chosen_templates(text: str) -> dict[str, str]:
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
