"""Write one document by its id, and read it until a change shows. The before-image knows of every call first.

image: "a change leaves" ──▶ PUT ──▶ answered: image: "answered" ──▶ read, a few times, until it shows
                               └──▶ no answer: the image stays marked, and the error is raised
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bms_pipeline.core.errors import LoginRefused, PipelineError, RequestRefused
from bms_pipeline.doctor import before_image
from bms_pipeline.doctor.before_image import BeforeImage, ImagePlace, WriteForm
from bms_pipeline.doctor.document_content import decoded
from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.client import DocumentsClient, Row
from bms_pipeline.passportal.documents.encoding import TEMPLATE_PREFIXES, Dialect, Document

LOOK_AGAIN_AFTER = (0.0, 0.5, 1.0, 2.0)
"""Seconds to wait before each reading after a change, until the change shows."""


class DocumentWriter:
    """Writes the document of ``image``, which is kept at ``place``, by ``client``. ``sleep`` and ``clock``: for tests.

    ``writes``: changes sent so far.
    """

    def __init__(
        self,
        client: DocumentsClient,
        image: BeforeImage,
        place: ImagePlace,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.image = image
        self.writes = 0
        self._client = client
        self._place = place
        self._sleep = sleep
        self._clock = clock

    def put(self, row: Row, form: WriteForm, changed: Callable[[Document], Document] = lambda same: same) -> str:
        """Send ``row``, or the document that ``changed`` makes of it; return the reason of a refusal, or "".

        Raises ``ServiceUnreachable`` or ``AnswerUnreadable`` where it may have taken effect.
        """
        before = decoded(row)
        dialect = Dialect(form.body, form.values, form.update)
        item = encoding.merged(
            row, before, changed(before), dialect, prefix=form.prefix, decoded_titles=self.image.decoded_titles
        )
        self._client.sign_in()
        earlier = self.image.unanswered_at
        self._note(is_written=True, unanswered_at=before_image.as_moment(self._clock()))
        self.writes += 1
        try:
            if form.update == "one":
                self._client.update(self.image.document, item)
            else:
                self._client.update(None, encoding.batch([item], dialect))
        except LoginRefused:
            self._note(is_written=True, unanswered_at=earlier)
            raise
        except RequestRefused as refusal:
            self._note(is_written=True, unanswered_at=earlier)
            return refusal.message
        self._note(is_written=True, unanswered_at=earlier)
        return ""

    def remember_form(self, form: WriteForm) -> None:
        """Note the form that was taken, by which a restore begins."""
        self.image.form = form
        before_image.save(self.image, self._place)

    def read(self) -> Row:
        """Return the document as it is. Raises ``PipelineError`` where it is gone."""
        read = self._client.document(self.image.document)
        if read is None:
            raise PipelineError(
                f"Document {self.image.document} is gone from Passportal, or this key may not read it any more.",
                f"Its before-image is in {self._place}.",
            )
        return read.document

    def read_until(self, shows: Callable[[Row], bool]) -> Row:
        """Return the document as soon as ``shows`` is true of it, or as it is after a few readings."""
        row: Row = {}
        for seconds in LOOK_AGAIN_AFTER:
            self._sleep(seconds) if seconds else None
            row = self.read()
            if shows(row):
                break
        return row

    def _note(self, *, is_written: bool, unanswered_at: object) -> None:
        self.image.is_written = is_written
        self.image.unanswered_at = unanswered_at  # type: ignore[assignment]
        before_image.save(self.image, self._place)


def forms(first: Dialect, prefix: str | None, proven: WriteForm | None = None) -> Iterator[WriteForm]:
    """Yield every form of a change: the proven one, then the chosen one, then those that differ ever more from it."""
    updates = (first.update, "batch" if first.update == "one" else "one")
    bodies = (first.body, "object" if first.body == "array" else "array")
    values = (first.values, "element" if first.values == "text" else "text")
    prefixes = dict.fromkeys([*([] if prefix is None else [prefix]), *TEMPLATE_PREFIXES])
    found = [
        WriteForm(update, body, value, text)  # type: ignore[arg-type]
        for update in updates
        for body in (bodies if update == "batch" else bodies[:1])
        for value in values
        for text in prefixes
    ]
    yield from dict.fromkeys([*([] if proven is None else [proven]), *found])
