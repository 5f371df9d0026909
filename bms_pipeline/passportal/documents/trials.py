"""The trial of a template: its first new document goes out alone and is read back before any other.

    first new document ──▶ read back ──▶ kept all its values: the template is proven, the others follow
                                    └──▶ dropped some: nothing more is sent, until a person looks

The failed trial is remembered between runs, by template and form of sending.
"""

from __future__ import annotations

from collections.abc import Callable

from bms_pipeline.core.entities import Entity
from bms_pipeline.passportal.documents import encoding, pace
from bms_pipeline.passportal.documents.client import DocumentsClient
from bms_pipeline.passportal.documents.encoding import Dialect, Document
from bms_pipeline.passportal.documents.memory import RememberedDocuments, Template, Trial
from bms_pipeline.passportal.documents.reader import DocumentReader, is_settled
from bms_pipeline.passportal.documents.search import MarkerSearch
from bms_pipeline.passportal.documents.templates import NewDocument
from bms_pipeline.passportal.documents.verdicts import ignores_custom_id, no_field


class TemplateTrials:
    """The templates of which a new document was read back, and the outcome, for one form of sending."""

    def __init__(
        self,
        client: DocumentsClient,
        memory: RememberedDocuments,
        reader: DocumentReader,
        search: MarkerSearch,
        dialect: Dialect,
        sleep: Callable[[float], None],
    ) -> None:
        self._client = client
        self._memory = memory
        self._reader = reader
        self._search = search
        self._form = f"{dialect.body} {dialect.values} {dialect.marker}"
        self._sleep = sleep
        self._proven: set[str] = set()

    def is_proven(self, template: Template) -> bool:
        """Return whether a new document of this template kept all its values, in this process."""
        return template.id in self._proven

    def why_not_trusted(self, template: Template) -> str:
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

    def read_back(self, entity: Entity, template: Template, new: NewDocument, *, at_once: bool) -> str:
        """Read the first new document of a template; return its differences, empty if none or unlisted."""
        found = self._shown(entity, new, at_once=at_once)
        if found is None:
            return ""
        if new.document.custom_id and found.custom_id != new.document.custom_id:
            raise ignores_custom_id(found.id)
        lacking = _lacking(new.document, found)
        gone = [label for label in lacking if label not in found.elements and found.elements]
        if lacking == gone and found.marker is not None:
            self._proven.add(template.id)
            self._memory.note_trial(template.id, self._form, None)
            self._reader.forget_fields(template.id, gone)
            why = no_field(template.name or template.id, gone)
            return f"it is there as document {found.id}, which the next sync links; {why}" if gone else ""
        self._memory.note_trial(template.id, self._form, Trial(found.id, tuple(lacking)))
        return f"Passportal made document {found.id} of it and did not keep {', '.join(lacking)}"

    def _shown(self, entity: Entity, new: NewDocument, *, at_once: bool) -> Document | None:
        """Return the created document as soon as it shows the values sent, or as it is after a while."""
        found_id = self._search.look_repeatedly(entity, [new.write], at_once=at_once).get(new.write.bms_id)
        found_id = found_id or self._unmarked(entity, new)
        found: Document | None = None
        for seconds in (0.0, *pace.LOOK_AGAIN_AFTER) if found_id else ():
            self._sleep(seconds) if seconds else None
            read = self._client.document(found_id) if found_id else None
            found = self._reader.decode(entity, read) if read else None
            if read is None or found is None or found.marker not in (None, new.write.bms_id):
                return None
            self._reader.remember(entity, [(found, is_settled(found, read))])
            if all(label not in found.elements for label in _lacking(new.document, found)):
                break
        return found

    def _unmarked(self, entity: Entity, new: NewDocument) -> str | None:
        """Return the document created without its marker: the newest one with its title that was not there before."""
        known = self._memory.listed(entity.singular)
        for row in next(self._client.pages(entity.singular, client_id=new.write.client_id, newest_first=True)):
            document = encoding.decoded_document(row)
            if document.id not in known and encoding.is_same_text(document.title, new.document.title):
                return document.id
        return None


def _lacking(sent: Document, found: Document) -> list[str]:
    """Return the labels without the value sent."""
    return [label for label, text in sent.values.items() if not encoding.is_same_text(text, found.values.get(label))]
