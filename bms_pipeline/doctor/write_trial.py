"""The trial of one document: what only a write can show. It never creates, and touches this document alone.

    sent back unchanged ──▶ a line in Notes, a text field ──▶ a link by its id ──▶ a word that is no option ──▶ customId
          └─────────────────────────┴───── something else of the document changed: stop ─────┴──────────────────────┘

Each change is the whole before-image with one thing changed, so each undoes the one before it. A refusal is an answer:
it did nothing, and the next step follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.mapping import folded_label
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.text import printable
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.before_image import WriteForm
from bms_pipeline.doctor.document_content import MARK, decoded, differences, shown_text
from bms_pipeline.doctor.document_writer import DocumentWriter, forms
from bms_pipeline.doctor.findings import Finding
from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.client import Row
from bms_pipeline.passportal.documents.encoding import NOTES, DetailsForm, Dialect, Document, Element
from bms_pipeline.warehouse import facts

SHORT, LONG = 300, 5_000
"""Lengths of the texts to try."""
SIGNS = "& < ä ö ü ß é €"
NOTES_LINES = f"{MARK}: {SIGNS}\na second line"
_TEXT_FIELDS = (
    "Asset Tag", "Platform", "Operating System", "Job Title", "Address 2", "Model", "Manufacturer", "Hostname",
)  # fmt: skip
"""Labels of free text, in the order of choice."""
_OF_OTHER_KINDS = ("date", "ip", "mac", "mail", "phone", "fax", "number", "url", "web", "id", "type", "name", "code")
"""Words in labels and types of fields with a list of options."""
_NO_ELEMENTS = frozenset({"name", "tags"})
"""Keys of ``details`` sent by some tenants next to the elements: the title and the tags [L]."""


@dataclass
class Places:
    """The labels of a document for the trial; empty where it has none of a kind."""

    notes: str = ""
    text: str = ""
    link: str = ""
    choice: str = ""
    custom_id: bool = False

    @property
    def steps(self) -> list[str]:
        """What the trial does, step by step, for a person."""
        return [
            "send the document back unchanged",
            *([f"write two lines into {self.notes}"] if self.notes else []),
            *([f"write {SHORT} and {LONG:,} characters into {self.text}"] if self.text else []),
            *([f"send the link {self.link} again by its id"] if self.link else []),
            *([f"write a word that is no option into {self.choice}"] if self.choice else []),
            *(["write a customId"] if self.custom_id else []),
            "put everything back, and compare",
        ]


def places_in(document: Document, row: Row) -> Places:
    """Return the places in a document open to a trial."""

    def first(fits: Callable[[str, Element], bool]) -> str:
        return next((label for label, place in elements.items() if fits(label, place)), "")

    elements = {label: place for label, place in document.elements.items() if place.key not in _NO_ELEMENTS}
    plain = [label for label, place in elements.items() if place.form.is_plain]
    known = [label for name in _TEXT_FIELDS for label in plain if folded_label(label) == folded_label(name)]
    free = [label for label in plain if label != NOTES and not _is_of_another_kind(label, document, row)]
    may_hide_notes = not document.shows_blanks and NOTES not in elements
    return Places(
        notes=NOTES if NOTES in plain or may_hide_notes else "",
        text=next(iter([*known, *free]), ""),
        link=first(lambda _, place: place.form is DetailsForm.LINK and bool(_link_id(row, place))),
        choice=first(lambda _, place: place.form is DetailsForm.CHOICE),
        custom_id="customId" in row and not document.custom_id,
    )


@dataclass
class DocumentTrial:
    """A trial on its way. ``findings``: what it showed so far. ``stopped``: why it ended early, empty if it did not."""

    writer: DocumentWriter
    settings: Settings
    dialect: Dialect
    prefix: str | None
    places: Places
    findings: list[Finding] = field(default_factory=list)
    stopped: str = ""
    _form: WriteForm | None = None

    def run(self) -> None:
        """Do the steps until one of them changes anything else of the document. Raises errors of lost answers."""
        steps = (self._unchanged, self._notes, self._text, self._link, self._choice, self._custom_id)
        for step in steps:
            step()
            if self.stopped:
                return

    @property
    def _row(self) -> Row:
        return self.writer.image.row

    def _unchanged(self) -> None:
        refusal = ""
        for form in forms(self.dialect, self.prefix):
            why = self.writer.put(self._row, form)
            if not why:
                self._form = form
                break
            refusal = refusal or why
        if self._form is None:
            text = f"Passportal refuses a change in every form: {printable(refusal, 120)}"
            step = "In Passportal, may the key's user edit this document? Compare with the tenant's swagger page."
            self._stop("every change was refused", Finding("PP-WRITES", Verdict.BLOCKED, text, step, is_short=True))
            return
        self.writer.remember_form(self._form)
        stamp = decoded(self._row).last_modified
        row = self.writer.read_until(lambda row: decoded(row).last_modified != stamp)
        found = differences(self._row, row)
        if found.lost:
            listed = printable(", ".join(found.lost), 120)
            text = f"A change loses what was sent back as it came: {listed}"
            step = f"Set PASSPORTAL_VALUES={'element' if self._form.values == 'text' else 'text'} and try again."
            self._stop(f"it lost {listed}", _fact(facts.KEEPS, text, f"loses {listed}", step, is_good=False))
            return
        kept = "keeps everything" if not found.reformatted else f"reformats {', '.join(found.reformatted)}"
        self._add(_fact(facts.KEEPS, f"a change {kept} that was sent back as it came", kept))

    def _notes(self) -> None:
        label = self.places.notes
        if not label:
            self._unknown(
                "PP-NOTES", "how Notes keep lines and signs", "this document shows no plain Notes; fill them in"
            )
            return
        text = _below(decoded(self._row).values.get(label), NOTES_LINES)
        row, refusal = self._written(label, text)
        if refusal:
            self._unknown("PP-NOTES", "how Notes keep lines and signs", f"refused: {printable(refusal, 80)}")
        if refusal or self.stopped:
            return
        shown = decoded(row)
        kind = "formatted text" if shown.elements[label].form is DetailsForm.RICH else "plain text"
        signs = _signs(self._shown(row, label), text)
        self._add(_fact("PP-NOTES", f"Notes are kept as {kind}", kind))
        self._add(_fact("PP-SIGNS", f"lines and signs in Notes: {signs}", signs))
        self._add(_stamp(moved=shown.last_modified != decoded(self._row).last_modified))
        self._length("PP-NOTES-LENGTH", label, LONG)

    def _text(self) -> None:
        if not self.places.text:
            self._unknown("PP-TEXT-LENGTH", "how long a text may be", "this document shows no field of free text")
            return
        if self._length("PP-TEXT-LENGTH", self.places.text, SHORT):
            self._length("PP-TEXT-LENGTH", self.places.text, LONG)

    def _length(self, code: str, label: str, length: int) -> bool:
        """Try a text of this length; note how many of its characters are kept, and return whether all are."""
        row, refusal = self._written(label, f"{MARK} {SIGNS} ".ljust(length, "x"))
        if self.stopped:
            return False
        shown = encoding.decoded_name(self._shown(row, label))
        is_whole = not refusal and len(shown) >= length
        value = f"refuses {length}" if refusal else f"keeps {length}" if is_whole else f"cuts to {len(shown)}"
        self.findings = [finding for finding in self.findings if finding.code != code]  # of a shorter text
        self._add(_fact(code, f"{label} {value} characters", value))
        return is_whole

    def _link(self) -> None:
        label = self.places.link
        if not label:
            self._unknown(facts.LINKS, "whether a link is kept by its id", "this document has no link")
            return
        form = replace_values(self._proven, "element")
        refusal = self.writer.put(self._row, form)
        row = self._row if refusal else self.writer.read_until(lambda row: not differences(self._row, row).lost)
        lost = differences(self._row, row).lost
        if lost:
            self._stop(
                f"it lost {', '.join(lost)}",
                _fact(facts.LINKS, f"a link sent by its id loses {', '.join(lost)}", facts.LOST, is_good=False),
            )
            return
        value = facts.BY_TEXT if refusal else facts.BY_ID
        self._add(_fact(facts.LINKS, f"links are kept {value}", value))

    def _choice(self) -> None:
        label = self.places.choice
        if not label:
            self._unknown("PP-CHOICES", "what a word that is no option does", "this document has no field with options")
            return
        row, refusal = self._sent(label, MARK)
        if self.stopped:
            return
        is_taken = MARK in self._shown(row, label)
        value = "refused" if refusal else "taken" if is_taken else "ignored"
        self._add(_fact("PP-CHOICES", f"a word that is no option is {value}", value))

    def _custom_id(self) -> None:
        if not self.places.custom_id:
            if "customId" in self._row:
                self._unknown(facts.SENT_CUSTOM_ID, "whether customId is kept", "this document's is used by others")
            return
        refusal = self.writer.put(self._row, self._proven, lambda same: replace(same, custom_id=MARK))
        row = self._row if refusal else self.writer.read_until(lambda row: row.get("customId") == MARK)
        if not refusal and self._is_spoilt(row, except_for=("customId",)):
            return
        value = "refused" if refusal else facts.KEPT if row.get("customId") == MARK else "ignored"
        is_wrong = value != facts.KEPT and self.settings.passportal_marker == "custom_id"
        step = "Set PASSPORTAL_MARKER=notes." if is_wrong else ""
        self._add(_fact(facts.SENT_CUSTOM_ID, f"a customId that is sent is {value}", value, step, is_good=not is_wrong))

    def _shown(self, row: Row, label: str) -> str:
        return shown_text(row, decoded(self._row), label)

    @property
    def _proven(self) -> WriteForm:
        assert self._form is not None  # noqa: S101  # the first step found it
        return self._form

    def _written(self, label: str, text: str) -> tuple[Row, str]:
        """Write ``text`` under ``label``; return the document after it, and why it was refused.

        Its effect proves the form of a change; a change without refusal and effect stops the trial.
        """
        row, refusal = self._sent(label, text)
        if refusal or self.stopped:
            return row, refusal
        if MARK not in self._shown(row, label):
            found = f"Passportal accepts a change of {label} and does not show it"
            step = f"Set PASSPORTAL_VALUES={'element' if self._proven.values == 'text' else 'text'} and try again."
            self._stop(f"{label} did not change", Finding("PP-WRITES", Verdict.DECIDE, found, step, is_short=True))
        elif facts.UPDATE not in {finding.code for finding in self.findings}:
            self._add_forms()
        return row, ""

    def _sent(self, label: str, text: str) -> tuple[Row, str]:
        """Send the before-image with ``text`` under ``label``; return the document after it, and why it was refused."""

        def changed(same: Document) -> Document:
            return replace(same, values={**same.values, label: text})

        refusal = self.writer.put(self._row, self._proven, changed)
        if refusal:
            return self.writer.read(), refusal
        row = self.writer.read_until(lambda row: MARK in self._shown(row, label))
        self._is_spoilt(row, except_for=(label,))
        return row, ""

    def _is_spoilt(self, row: Row, except_for: Sequence[str]) -> bool:
        """Stop, and return True, where something else of the document is lost."""
        lost = differences(self._row, row, except_for).lost
        if lost:
            listed = printable(", ".join(lost), 120)
            text = f"A change of {except_for[0]} also changed {listed}"
            self._stop(f"it also changed {listed}", _fact(facts.KEEPS, text, f"loses {listed}", is_good=False))
        return bool(lost)

    def _add_forms(self) -> None:
        """Note the form of a change, after its effect was seen."""
        form, given = self._proven, self.settings.model_fields_set
        stated: dict[str, tuple[str, str, str]] = {
            facts.UPDATE: ("PASSPORTAL_UPDATE", form.update, self.settings.passportal_update),
            facts.VALUES: ("PASSPORTAL_VALUES", form.values, self.settings.passportal_values),
        }
        if form.update == "batch":
            stated[facts.BODY] = ("PASSPORTAL_BODY", form.body, self.settings.passportal_body)
        for code, (name, value, ours) in stated.items():
            is_wrong = value != ours and name.lower() in given
            step = f"Set {name}={value}, or leave it out." if is_wrong else ""
            words = name.removeprefix("PASSPORTAL_").lower()
            self._add(_fact(code, f"takes changes with {words} {value}", value, step, is_good=not is_wrong))
        prefix = facts.prefix_value(form.prefix)
        self._add(_fact(facts.TEMPLATE_PREFIX, f"takes a template's id with {prefix}", prefix))

    def _unknown(self, code: str, what: str, why: str) -> None:
        self._add(Finding(code, Verdict.UNKNOWN, f"{what}: {why}", "Try another document to see it."))

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)

    def _stop(self, why: str, finding: Finding) -> None:
        self.stopped = why
        self._add(finding)


def replace_values(form: WriteForm, values: str) -> WriteForm:
    """Return the same form of a change with another form of values."""
    return WriteForm(form.update, form.body, values, form.prefix)  # type: ignore[arg-type]


def stopped_by(error: PipelineError) -> Finding:
    """Return the finding for a trial ended by an error."""
    return Finding("PP-TRIAL", Verdict.BLOCKED, f"The trial stopped: {error.message}", error.next_step, is_short=True)


def _fact(code: str, text: str, value: str, step: str = "", *, is_good: bool = True) -> Finding:
    verdict = Verdict.READY if is_good else Verdict.DECIDE
    return Finding(code, verdict, text, step, value, "the trial of a document", is_short=not is_good)


def _stamp(*, moved: bool) -> Finding:
    if moved:
        return _fact("PP-STAMP-MOVES", "last_modified moves with a change", "moves")
    text = "last_modified did not move with a change: an edit in Passportal may be seen late"
    return _fact("PP-STAMP-MOVES", text, "stands still", is_good=False)


def _signs(kept: str, sent: str) -> str:
    """Return how a text with several lines and signs came back."""
    if kept.strip() == sent.strip():
        return "kept"
    if encoding.decoded_name(kept).strip() == sent.strip():
        return "encoded"
    return "lines joined" if kept.split() == sent.split() else "changed"


def _below(text: str | None, lines: str) -> str:
    return f"{text}\n{lines}" if text else lines


def _link_id(row: Row, place: Element) -> object:
    value = (row.get("details") or {})[place.key].get("value")
    return value.get("id") if isinstance(value, dict) else None


def _is_of_another_kind(label: str, document: Document, row: Row) -> bool:
    """Return whether a field may take only some texts, by the words of its label and the type of its value."""
    element = (row.get("details") or {}).get(document.elements[label].key)
    value = element.get("value") if isinstance(element, dict) else None
    kind = str(value.get("type") or "") if isinstance(value, dict) else ""
    words = folded_label(f"{label} {kind}")
    return any(word in words for word in _OF_OTHER_KINDS) or label.isdecimal()
