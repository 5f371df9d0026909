"""``doctor --write``: try one document named by a person, and put it back; ``doctor --restore`` after a kill.

look: which document, which steps ──▶ save the before-image ──▶ trial ──▶ put back ──▶ keep the facts
                                           │  killed, refused, no answer
                                           └──▶ the next ``--write`` of it, or ``--restore``, puts it back first
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bms_pipeline.core.errors import PipelineError, SettingsError
from bms_pipeline.core.settings import PASSPORTAL_NEEDS, Settings, check_given
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor import before_image
from bms_pipeline.doctor.before_image import BeforeImage, ImagePlace
from bms_pipeline.doctor.document_content import decoded
from bms_pipeline.doctor.document_writer import DocumentWriter
from bms_pipeline.doctor.findings import Finding
from bms_pipeline.doctor.restore import RestoredDocument, put_back
from bms_pipeline.doctor.write_trial import DocumentTrial, Places, places_in, stopped_by
from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.client import DocumentsClient, Row, base_address
from bms_pipeline.passportal.documents.habits import NOTHING_KNOWN, WritingHabits, dialect_for, habits_in
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import HeldLock, LockName
from bms_pipeline.warehouse import facts
from bms_pipeline.warehouse.connection import now, open_warehouse
from bms_pipeline.warehouse.facts import Fact

WAREHOUSE_SECONDS = 3.0
_ID = re.compile(r"[A-Za-z0-9-]{1,40}")


@dataclass(frozen=True)
class Candidate:
    """The document named by a person, and the steps of a trial."""

    document: str
    title: str
    client: str
    template: str
    places: Places


@dataclass(frozen=True)
class Tried:
    """The outcome of a trial. ``stopped``: why it ended early. ``not_stored``: why its facts were not kept."""

    findings: Sequence[Finding]
    stopped: str
    restored: RestoredDocument
    writes: int
    not_stored: str


@dataclass(frozen=True)
class Clock:
    """The time and the pauses; others for tests."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


def candidate_for(settings: Settings, document_id: str) -> Candidate:
    """Return what a trial of this document would do; write nothing.

    Raises ``SettingsError`` where there is no Passportal to ask, ``PipelineError`` where the document is not to be
    tried.
    """
    with _client(settings, Clock()) as client:
        row = _readable(client, settings, document_id)
    return _candidate(document_id, row)


def try_document(
    settings: Settings,
    document_id: str,
    on_saved: Callable[[ImagePlace, Candidate], None],
    on_restored: Callable[[RestoredDocument], None] = lambda _: None,
    clock: Clock = Clock(),
) -> Tried:
    """Try the document, put it back, and keep the facts. ``on_saved``: called before the first change.

    An image of an earlier trial is put back first, and ``on_restored`` is called. Where that fails, nothing else is
    done. Raises ``PipelineError``; then the before-image is still there.
    """
    _checked(document_id)
    with _alone(settings), _client(settings, clock) as client:
        for left in before_image.open_images(settings):
            if left.document != document_id:
                continue
            earlier = _put_back(settings, client, left, clock)
            on_restored(earlier)
            if not earlier.is_identical:
                raise PipelineError(
                    f"Document {document_id} does not show its before-image again: nothing new was tried.",
                    "Look at it in Passportal (Version Control), then run `bms-pipeline doctor --restore` again.",
                )
        row = _readable(client, settings, document_id)
        image = BeforeImage(
            passportal=base_address(settings),
            document=document_id,
            saved_at=before_image.as_moment(clock.now()),
            title=encoding.decoded_name(encoding.raw_title(row)),
            row=row,
            decoded_titles=_are_titles_encoded(client, row),
        )
        place = before_image.image_place(settings, document_id)
        before_image.save(image, place)
        candidate = _candidate(document_id, row)
        on_saved(place, candidate)
        return _tried(settings, client, image, place, candidate.places, clock)


def restore_all(settings: Settings, clock: Clock = Clock()) -> list[RestoredDocument]:
    """Put back every open before-image; raises the error of the first failure."""
    if not before_image.open_images(settings):
        return []
    with _alone(settings), _client(settings, clock) as client:
        return [_put_back(settings, client, place, clock) for place in before_image.open_images(settings)]


def _tried(
    settings: Settings, client: DocumentsClient, image: BeforeImage, place: ImagePlace, places: Places, clock: Clock
) -> Tried:
    """Do the trial, then put the document back, whatever the trial ended with."""
    writer = DocumentWriter(client, image, place, clock.sleep, clock.now)
    habits = _known(settings)
    dialect = dialect_for(settings, habits)
    trial = DocumentTrial(writer, settings, dialect, habits.prefix, places)
    error: PipelineError | None = None
    try:
        trial.run()
    except PipelineError as stopped:
        error = stopped
        trial.findings.append(stopped_by(stopped))
        trial.stopped = "an error ended it"
    try:
        restored = put_back(writer, place, dialect, settings.passportal_unknown_seconds, clock.now)
    except PipelineError as failed:
        raise PipelineError(
            f"Document {image.document} may still show the trial: {(error or failed).message}",
            f"Run `bms-pipeline doctor --restore` as soon as Passportal answers. The before-image is {place}.",
        ) from failed
    findings, not_stored = _stored(settings, [*trial.findings, *_proven_by(restored, image)])
    return Tried(findings, trial.stopped, restored, writer.writes, not_stored)


def _proven_by(restored: RestoredDocument, image: BeforeImage) -> list[Finding]:
    """Return the form of values for a document which the trial's own form did not bring back."""
    form = restored.form
    if form is None or image.form is None or restored.differing or form.values == image.form.values:
        return []
    text = f"values as {form.values} bring back what values as {image.form.values} lost"
    step = f"Set PASSPORTAL_VALUES={form.values}."
    return [Finding(facts.VALUES, Verdict.DECIDE, text, step, form.values, "the restore of a document", is_short=True)]


def _put_back(settings: Settings, client: DocumentsClient, place: ImagePlace, clock: Clock) -> RestoredDocument:
    image = before_image.read_image(place)
    here = base_address(settings)
    if image.passportal != here:
        raise SettingsError(
            f"The before-image {place} is of {image.passportal}, and the settings name {here}.",
            "Correct PASSPORTAL_URL, or restore the document from its versions in Passportal and delete the file.",
        )
    writer = DocumentWriter(client, image, place, clock.sleep, clock.now)
    dialect = dialect_for(settings, _known(settings))
    return put_back(writer, place, dialect, settings.passportal_unknown_seconds, clock.now)


def _readable(client: DocumentsClient, settings: Settings, document_id: str) -> Row:
    """Return the document. Raises ``PipelineError`` where it is none, or is written by a sync."""
    read = client.document(_checked(document_id))
    if read is None:
        raise PipelineError(
            f"Passportal has no document {document_id}, or this key may not read it.",
            "Take the number from the address of the document's page in Passportal.",
        )
    document = decoded(read.document)
    if document.marker is not None or _is_matched(settings, document_id):
        of = f" of BMS id {document.marker}" if document.marker is not None else ""
        raise PipelineError(
            f"Document {document_id} is synced{of}: a trial writes only to a document that no sync writes.",
            "Make a document by hand in a test client of Passportal, fill in every field, and name that.",
        )
    return read.document


def _candidate(document_id: str, row: Row) -> Candidate:
    document = decoded(row)
    return Candidate(
        document_id,
        document.title,
        encoding.decoded_name(str(row.get("clientName") or document.client_id or "")),
        str(row.get("templateName") or document.template_id),
        places_in(document, row),
    )


def _checked(document_id: str) -> str:
    if not _ID.fullmatch(document_id):
        raise PipelineError(
            f"{document_id[:60]!r} is no id of a document.",
            "Take the number from the address of the document's page in Passportal.",
        )
    return document_id


def _client(settings: Settings, clock: Clock) -> DocumentsClient:
    if settings.passportal_target != "documents_api":
        raise SettingsError(
            "The embedded store stands in for Passportal: there is no document to try.",
            "Set PASSPORTAL_TARGET=documents_api, PASSPORTAL_URL and the key.",
        )
    check_given(settings, PASSPORTAL_NEEDS)
    return DocumentsClient(settings, clock=clock.now, sleep=clock.sleep)


def _alone(settings: Settings) -> AbstractContextManager[HeldLock]:
    """Keep runs away, which could write to the same document."""
    return open_state(settings).locked(LockName.RUN, "bms-pipeline doctor --write", now())


def _are_titles_encoded(client: DocumentsClient, row: Row) -> bool:
    """Return whether this Passportal encodes its titles, judged by a page of them."""
    kind = row.get("type")
    page = next(client.pages(kind if isinstance(kind, str) else None), [])
    return encoding.titles_are_encoded([encoding.raw_title(row), *map(encoding.raw_title, page)])


def _is_matched(settings: Settings, document_id: str) -> bool:
    warehouse = open_warehouse(settings, WAREHOUSE_SECONDS)
    if not warehouse.exists():
        return False
    with warehouse.open() as connection:
        query = "SELECT 1 FROM sync.matches WHERE passportal_id = ? AND entity NOT IN ('clients', 'users')"
        return connection.execute(query, [document_id]).fetchone() is not None


def _known(settings: Settings) -> WritingHabits:
    """Return the forms proved by an earlier trial; an unreadable warehouse is no reason not to restore."""
    warehouse = open_warehouse(settings, WAREHOUSE_SECONDS)
    with contextlib.suppress(PipelineError):
        if warehouse.exists():
            with warehouse.open() as connection:
                return habits_in(facts.read_facts(connection))
    return NOTHING_KNOWN


def _stored(settings: Settings, findings: Sequence[Finding]) -> tuple[list[Finding], str]:
    """Keep what was proved; return the findings compared with what was kept before, and why nothing was kept."""
    moment = now()
    seen = [Fact(found.code, found.value, found.how, moment) for found in findings if found.value is not None]
    try:
        with open_warehouse(settings, WAREHOUSE_SECONDS).transaction() as connection:
            before = facts.add_facts(connection, seen)
    except PipelineError as error:
        return list(findings), error.message
    return [finding.compared(before.get(finding.code), moment) for finding in findings], ""
