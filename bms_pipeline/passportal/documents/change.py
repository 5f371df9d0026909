"""Changing documents: each is read, compared with the plan's values, written whole and read again.

    read ──▶ compare ──▶ mark, send ──▶ a while later: read again ──▶ shown: done
                │                              └──▶ not yet: look again, a few times ──▶ refused or unknown
                └──▶ another record's, changed since the plan, no field for a value: refused

The reading that proves a write is late enough to count as the next snapshot's, too. Until then the next writes go out:
see ``flow``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from bms_pipeline.core.entities import BY_NAME, Entity, Link
from bms_pipeline.core.errors import (
    AccessRefused,
    LoginRefused,
    PipelineError,
    RequestRefused,
    ServiceError,
    SettingsError,
)
from bms_pipeline.core.mapping import DEFAULT, LINK_SIGN
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.passportal.documents import encoding, pace
from bms_pipeline.passportal.documents.client import DocumentsClient, Row
from bms_pipeline.passportal.documents.encoding import Dialect, Document, LinkedDocument
from bms_pipeline.passportal.documents.flow import Flow, Later
from bms_pipeline.passportal.documents.memory import places
from bms_pipeline.passportal.documents.reader import DocumentReader, Readings, moment_of
from bms_pipeline.passportal.documents.sending import LOST, WriteSender, portions_of, steps_unless
from bms_pipeline.passportal.documents.verdicts import (
    TAKES_NO_WRITES,
    all_not_sent,
    drops_values,
    ignores_custom_id,
    no_field,
    refused,
)
from bms_pipeline.passportal.target import Leaving, Write, Written


class DocumentChange:
    """Changes documents by ``sender``, and proves each change by reading with ``client``."""

    def __init__(
        self,
        client: DocumentsClient,
        flow: Flow,
        sender: WriteSender,
        reader: DocumentReader,
        dialect: Dialect,
        clock: Callable[[], float],
        mapping: FieldMapping = DEFAULT,
    ) -> None:
        self._mapping = mapping
        self._client = client
        self._flow = flow
        self._sender = sender
        self._reader = reader
        self._dialect = dialect
        self._clock = clock
        self._keeps_fields = False
        self._lost_in_a_row = 0

    def update(self, entity: Entity, writes: Sequence[Write], leaving: Leaving) -> list[Written]:
        """Change the documents of ``writes``: see ``Target.update``."""
        self.release(entity, [write for write in writes if write.unmark_id != write.passportal_id], leaving)
        outcomes: list[Written] = []
        left, few = list(writes), len(writes) < pace.FEW
        while left and not self._keeps_fields:
            # Until a document is seen to keep its values, they go one by one: a wrong guess must not spoil many.
            outcomes += self._change(entity, left[:1], leaving, at_once=few or len(left) > pace.MANY)
            left = left[1:]
            if [written.outcome for written in outcomes[-pace.LOST_AT_MOST :]] == [Outcome.UNKNOWN] * pace.LOST_AT_MOST:
                return outcomes + list(all_not_sent(left).values())
        return outcomes + self._change(entity, left, leaving, at_once=few)

    def release(self, entity: Entity, writes: Iterable[Write], leaving: Leaving) -> None:
        """Take the markers off released documents."""
        released = [
            Write(write.bms_id, None, write.unmark_id, unmark_id=write.unmark_id) for write in writes if write.unmark_id
        ]
        for outcome in self._change(entity, released, leaving, at_once=len(released) < pace.FEW):
            done = outcome.outcome is Outcome.DONE
            if not done and outcome.is_ours:
                raise ServiceError(
                    f"The marker of BMS id {outcome.bms_id} could not be taken off: {outcome.detail}",
                    "Nothing else of this batch was sent. Run again.",
                )

    def _change(self, entity: Entity, writes: Sequence[Write], leaving: Leaving, *, at_once: bool) -> list[Written]:
        """Read, compare and write; read again once the reading is a settled one, or ``at_once``.

        A change without answer and effect is unknown: it may still come. After an error nothing else is sent. The
        error is raised when none of these writes had an outcome, or where the tenant contradicts the settings.
        """
        changes = [_Change(write) for write in writes]
        readings = self._reader.readings(entity)
        size = pace.CHANGED_IN_ONE_CALL if self._dialect.update == "batch" else 1
        send = partial(self._send_changes, entity, readings, leaving, at_once=at_once)
        error: PipelineError | None = None
        self._lost_in_a_row = 0
        try:
            steps = steps_unless(self._takes_no_writes, send, list(portions_of(changes, size)))
            self._flow.run(itertools.chain(steps, () if len(writes) < pace.FEW else self._reader.second_readings()))
        except PipelineError as stopped:
            error = stopped
        readings.remember()
        for change in changes:
            if change.error is not None and not isinstance(change.error, LOST):
                raise change.error
        if error is not None and not any(change.is_concluded for change in changes):
            raise error
        return [change.written(error) for change in changes]

    def _takes_no_writes(self) -> bool:
        return self._lost_in_a_row >= pace.LOST_AT_MOST

    def _send_changes(
        self, entity: Entity, readings: Readings, leaving: Leaving, changes: Sequence[_Change], *, at_once: bool
    ) -> Sequence[Later]:
        """Read, compare and write; then they are due to be verified."""
        for change in changes:
            self._prepare(entity, readings, change)
        due = [change for change in changes if change.is_due]
        if not due:
            return ()
        self._sender.mark(leaving, [change.write for change in due])
        for change in due:
            change.is_sent = True
        if self._dialect.update == "batch":
            self._put_batch(due)
        else:
            self._put(due[0])
        date, now = self._client.date(), self._clock()
        settled = now if at_once else self._client.passed(date, pace.UNSETTLED_SECONDS)
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

    def _prepare(self, entity: Entity, readings: Readings, change: _Change) -> None:
        """Read the document and set its new content, or the reason why it may not be changed."""
        write = change.write
        read = self._client.document(write.passportal_id) if write.passportal_id else None
        if read is None:
            change.conclude("the record is gone from Passportal", is_ours=False)
            return
        before = self._reader.decode(entity, read)
        labels = self._mapping.labels(entity, before.template_id)
        if why := _why_not_changed(labels, write, before):
            change.conclude(why, is_ours=not _is_of_another(write, before))
            return
        fields = self._reader.fields_of(entity, before.template_id)
        links = self._mapping.links(entity)
        columns = places(before, labels, fields, links)
        if self._dialect.links == "read":
            columns = [column for column in columns if column not in links]
        texts = {column: text for column, text in write.values.items() if column != "name"}
        values = {labels[column]: text for column, text in texts.items() if column in labels}
        shown = self._mapping.shown_labels(entity, before.template_id)
        lacking = [
            shown[column]
            for column, text in write.values.items()
            if column not in columns
            and not (column in labels and encoding.is_same_text(text, before.values.get(labels[column])))
        ]
        if lacking:
            self._reader.remember(entity, [(before, False)])  # the next plan knows better
            change.conclude(no_field(before.template_id, lacking))
            return
        linked = self._linked(entity, write, links)
        unlisted = [text for column, text in write.values.items() if column in links and text and text not in linked]
        if unlisted:
            change.conclude(f"stale: the document {unlisted[0]} that it links to is not listed in Passportal any more")
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
        change.after = replace(after, linked=linked)
        if not change.is_due:
            readings.add(before, read)
            change.conclude()

    def _linked(self, entity: Entity, write: Write, links: Mapping[str, Link]) -> dict[str, LinkedDocument]:
        """Return the listed documents that a write links to, by the value of the link."""
        found: dict[str, LinkedDocument] = {}
        for column, text in write.values.items():
            kind = BY_NAME[links[column].entity].singular if column in links and text else ""
            title = self._reader.title(kind, (text or "").removeprefix(LINK_SIGN)) if kind else None
            if text and title is not None:
                found[text] = LinkedDocument(title, kind)
        return found

    def _item(self, change: _Change, prefix: str) -> dict[str, Any]:
        """Return the whole document as a change sends it."""
        return encoding.merged(
            change.read,
            change.before,
            change.after,
            self._dialect,
            prefix=prefix,
            decoded_titles=self._reader.titles_are_encoded(),
        )

    def _put(self, change: _Change) -> None:
        try:
            self._sender.change(change.after.id, partial(self._item, change), alone=not self._keeps_fields)
        except LoginRefused:
            raise
        except RequestRefused as refusal:
            change.note_refusal(refusal)
        except LOST as error:
            change.error = error

    def _put_batch(self, changes: Sequence[_Change]) -> None:
        """Send one call for all changes; if it is refused, one call for each: only one may be wrong."""
        try:
            self._sender.change_batch([partial(self._item, change) for change in changes])
        except LoginRefused:
            raise
        except RequestRefused as refusal:
            if len(changes) == 1:
                changes[0].note_refusal(refusal)
                return
            for change in changes:
                self._put_batch([change])
        except LOST as error:
            for change in changes:
                change.error = error

    def _verify(self, entity: Entity, readings: Readings, change: _Change) -> Sequence[Later]:
        """Check whether the document shows the change, independent of the write's answer; if not, look again."""
        read = self._client.document(change.after.id)
        missing = [encoding.NAME]
        if read is not None:
            names = {place.key: place.name for place in change.after.elements.values()}
            if spoilt := encoding.lost(change.read, read.document, change.ours, names):
                change.error = drops_values(change.after.id, spoilt)
                raise change.error
            found = self._reader.decode(entity, read)
            readings.add(found, read)
            missing = _missing(change, found)
        if not missing:
            self._keeps_fields = True
            self._lost_in_a_row = 0
            change.error = None
            change.conclude()
        elif change.refused or change.error or change.looks == len(pace.LOOK_AGAIN_AFTER):
            self._give_up(change, missing)
        else:
            change.looks += 1
            at = self._clock() + pace.LOOK_AGAIN_AFTER[change.looks - 1]
            return [Later(at, step=partial(self._verify, entity, readings, change))]
        return ()

    def _give_up(self, change: _Change, missing: Sequence[str]) -> None:
        """Note why a document does not show a change. Raises an error that concerns all documents."""
        if change.refused or change.error:
            self._lost_in_a_row += 0 if change.refused else 1
            change.conclude(change.refused)
        elif missing == ["customId"]:
            change.error = ignores_custom_id(change.after.id)
            raise change.error
        else:
            change.of_values = True
            change.conclude(f"Passportal accepted the change and does not show it: {', '.join(missing)}")


@dataclass
class _Change:
    """A write on its way: the document as it was read and understood, its new content, and the outcome.

    ``refused``: why it was, empty if it was not; ``of_values``: for what was sent. ``is_due``: whether anything has to
    be sent. ``answered_at``: when its call ended, by the service's clock. ``looks``: how often it was looked for in
    vain.
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
    of_values: bool = False
    error: ServiceError | SettingsError | None = None

    def note_refusal(self, refusal: RequestRefused) -> None:
        """Note that the service refused the change: because of its values, or because the key may not make it."""
        self.refused = refusal.message
        self.of_values = not isinstance(refusal, AccessRefused)

    def conclude(self, refusal: str = "", *, is_ours: bool = True) -> None:
        """Conclude the change: done, refused, or with a lost answer."""
        self.refused = refusal
        self.is_ours = is_ours
        self.is_concluded = True

    def written(self, stopped_by: PipelineError | None) -> Written:
        """Return the outcome; a remaining error is a lost answer."""
        bms_id = self.write.bms_id
        if self.is_concluded and self.error is None:
            if self.refused:
                return replace(refused(self.write, self.refused, of_values=self.of_values), is_ours=self.is_ours)
            return Written(bms_id, Outcome.DONE)
        why = self.error or stopped_by
        if self.is_sent:
            return Written(bms_id, Outcome.UNKNOWN, why.message if why else TAKES_NO_WRITES)
        return Written(bms_id, Outcome.NOT_SENT, f"not sent: {why.message}" if why else TAKES_NO_WRITES)


def _is_of_another(write: Write, found: Document) -> bool:
    """Return whether a document has the marker of another record than the write's."""
    return found.marker not in (None, write.bms_id, write.replaces_marker_of)


def _why_not_changed(labels: Mapping[str, str], write: Write, found: Document) -> str:
    """Return why a document may not be changed: it is another record's, or changed since the plan. Empty if it may.

    ``labels``: column → label in documents of its template. A column without one is not compared.
    """
    if _is_of_another(write, found):
        return f"it bears the marker of BMS id {found.marker}"
    now = found.fields
    moved = [
        labels[column]
        for column, text in write.before.items()
        if column in labels
        and encoding.trimmed_text(found.title if column == "name" else now.get(labels[column]))
        != encoding.trimmed_text(text)
    ]
    return f"stale: changed meanwhile: {', '.join(moved)}" if moved else ""


def _missing(change: _Change, found: Document) -> list[str]:
    """Return the parts of a change missing in a document.

    A person's edit is not missing: the document was changed since, and has neither its old value nor the one sent.
    """
    modified = moment_of(found.last_modified)
    was_accepted = not change.refused and change.error is None
    was_edited = was_accepted and modified is not None and modified > change.answered_at

    def is_shown(now: str | None, sent: str | None, was: str | None) -> bool:
        return encoding.is_same_text(now, sent) or (was_edited and not encoding.is_same_text(now, was))

    before, after = change.before, change.after
    missing = [
        label
        for label in sorted(change.ours)
        if not is_shown(found.values.get(label), after.values[label], before.values.get(label))
    ]
    missing += [] if is_shown(found.title, after.title, before.title) else ["title"]
    return missing + (["customId"] if found.custom_id != after.custom_id else [])
