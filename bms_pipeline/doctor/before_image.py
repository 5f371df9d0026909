"""The before-image of the one document that a trial writes to: a file of the state, so it outlives the process.

    saved ──▶ marked before each call, unmarked after its answer ──▶ put back, identical: moved to ``restored/``

An image that was not moved says: this document may still show the trial, so put the image back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.settings import Settings
from bms_pipeline.state.folder import FolderState
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import StateFiles

_ENDING = ".json"
RESTORED = "restored"


class WriteForm(msgspec.Struct, frozen=True):
    """The form of a change: its call, its body, its values, and the prefix of the template's id."""

    update: Literal["one", "batch"]
    body: Literal["array", "object"]
    values: Literal["text", "element"]
    prefix: str


class BeforeImage(msgspec.Struct, kw_only=True):
    """A document as it was before the trial, with what a restore needs.

    ``row``: the document as it came. ``decoded_titles``: a title is sent decoded. ``form``: the form that was taken,
    None before one was. ``is_written``: a change may have left. ``unanswered_at``: when a change left whose answer
    never came (UTC).
    """

    passportal: str
    document: str
    saved_at: datetime
    title: str
    row: dict[str, Any]
    decoded_titles: bool
    form: WriteForm | None = None
    is_written: bool = False
    unanswered_at: datetime | None = None


@dataclass(frozen=True)
class ImagePlace:
    """The place of a before-image: the file ``name`` among the ``files`` of a state."""

    files: StateFiles
    name: str

    def __str__(self) -> str:
        return self.files.named(self.name)

    @property
    def document(self) -> str:
        """The id of the document, as long as the image is open."""
        return self.name.removesuffix(_ENDING)


def image_place(settings: Settings, document_id: str) -> ImagePlace:
    """Return where the before-image of a document goes."""
    return ImagePlace(open_state(settings).before_images, f"{document_id}{_ENDING}")


def open_images(settings: Settings) -> list[ImagePlace]:
    """Return the before-images that were not put back yet, by document id.

    Where the state is shared, those that an earlier trial left in the home folder come last.
    """
    state = open_state(settings)
    kept = [state.before_images, *([FolderState(settings).before_images] if state.is_shared else [])]
    return [ImagePlace(files, name) for files in kept for name in files.names() if name.endswith(_ENDING)]


def save(image: BeforeImage, place: ImagePlace) -> None:
    """Save a before-image, durable when this returns. Raises a ``PipelineError``."""
    content = msgspec.json.format(msgspec.json.encode(image), indent=2)
    place.files.write(place.name, _checksum(content) + b"\n" + content)


def read_image(place: ImagePlace) -> BeforeImage:
    """Return the before-image at ``place``. Raises ``PipelineError`` where it cannot be read or is damaged."""
    checksum, _, content = (place.files.read(place.name) or b"").partition(b"\n")
    try:
        if checksum != _checksum(content):
            raise ValueError
        return msgspec.json.decode(content, type=BeforeImage)
    except ValueError:
        raise PipelineError(
            f"The before-image {place} cannot be read: it is damaged.",
            "Restore the document from its versions in Passportal (Version Control), then delete the file.",
        ) from None


def _checksum(content: bytes) -> bytes:
    """Return the first line of a file: a damaged image must never be written over a document."""
    return hashlib.sha256(content).hexdigest().encode()


def put_away(image: BeforeImage, place: ImagePlace) -> ImagePlace:
    """Move an image that was put back to the restored ones, and return its new place."""
    kept = replace(place, name=f"{RESTORED}/{image.document}-{image.saved_at:%Y%m%dT%H%M%S}{_ENDING}")
    place.files.move(place.name, kept.name)
    return kept


def as_moment(seconds: float) -> datetime:
    """Return seconds since the epoch as a moment in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
