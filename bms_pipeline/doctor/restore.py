"""Put a before-image back, and prove the document to be as before.

Every form of a change is tried until the document is identical: a refused form did nothing, and after one lost a link
another may keep it. An edit made by a person in between stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from bms_pipeline.doctor import before_image
from bms_pipeline.doctor.before_image import BeforeImage, ImagePlace, WriteForm
from bms_pipeline.doctor.document_content import differences, with_edits_kept
from bms_pipeline.doctor.document_writer import DocumentWriter, forms
from bms_pipeline.passportal.documents.client import Row
from bms_pipeline.passportal.documents.encoding import Dialect
from bms_pipeline.passportal.documents.sending import LOST

Labels: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class RestoredDocument:
    """The outcome of a restore.

    ``differing``: labels with another value than before. ``edited``: labels with a person's edit, which stays.
    ``form``: the form of the successful change, None where nothing had to be sent. ``again_at``: until then (UTC)
    a change without answer may still come, so restore once more afterwards. ``refusal``: why no form was taken.
    ``place``: that of the before-image now.
    """

    document: str
    differing: tuple[str, ...]
    edited: tuple[str, ...]
    form: WriteForm | None
    again_at: datetime | None
    refusal: str
    place: ImagePlace

    @property
    def is_identical(self) -> bool:
        """Whether the document is as it was, and stays so."""
        return not self.differing and self.again_at is None


def put_back(
    writer: DocumentWriter,
    place: ImagePlace,
    first: Dialect,
    unknown_seconds: float,
    clock: Callable[[], float],
) -> RestoredDocument:
    """Put the before-image back in the form proven for it, or any other. Move it away once that is proven."""
    image = writer.image
    wanted, edited = with_edits_kept(image.row, writer.read())
    differing: Labels = ()
    form, refusal = None, ""
    if image.is_written:
        differing, form, refusal = _sent_in_any_form(writer, wanted, first)
    again_at = _again_at(image, unknown_seconds, clock)
    if not differing and again_at is None:
        place = before_image.put_away(image, place)
    return RestoredDocument(image.document, differing, tuple(edited), form, again_at, refusal, place)


def _sent_in_any_form(writer: DocumentWriter, wanted: Row, first: Dialect) -> tuple[Labels, WriteForm | None, str]:
    """Return the labels still different, the form of the last change, and the refusal where no form was taken.

    Where no form brings everything back, the form with the fewest differences is sent once more. Raises the error
    of a call without answer, unless the document shows all of it.
    """
    refusal = ""
    found: dict[WriteForm, Labels] = {}
    for form in forms(first, None, writer.image.form):
        if form.values not in {taken.values for taken in found}:
            try:
                why = writer.put(wanted, form)
            except LOST:
                if labels := _left_after(writer, wanted):
                    raise
                return labels, form, ""
            refusal = refusal or why
            if not why:
                found[form] = _left_after(writer, wanted)
            if found.get(form) == ():
                return (), form, ""
    if not found:
        return differences(wanted, writer.read()).labels, None, refusal
    best = min(found, key=lambda form: len(found[form]))
    if best != list(found)[-1] and not writer.put(wanted, best):
        found[best] = _left_after(writer, wanted)
    return found[best], best, ""


def _left_after(writer: DocumentWriter, wanted: Row) -> Labels:
    """Return the labels with a difference: at once if there is none, else after a few readings."""
    row = writer.read_until(lambda row: not differences(wanted, row).labels)
    return differences(wanted, row).labels


def _again_at(image: BeforeImage, unknown_seconds: float, clock: Callable[[], float]) -> datetime | None:
    if image.unanswered_at is None:
        return None
    safe_from = image.unanswered_at + timedelta(seconds=unknown_seconds)
    return safe_from if before_image.as_moment(clock()) < safe_from else None
