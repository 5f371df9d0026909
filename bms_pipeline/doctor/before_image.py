"""The before-image of the one document that a trial writes to: a file that outlives a kill.

    saved ──▶ marked before each call, unmarked after its answer ──▶ put back, identical: moved to ``restored/``

An image in the folder itself says: this document may still show the trial, so put the image back.
"""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.files import atomic_write, make_durable
from bms_pipeline.core.settings import Settings

FOLDER = "before_images"
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


def images_folder(settings: Settings) -> Path:
    """Return the folder of the before-images in the home folder."""
    return settings.bms_pipeline_home / FOLDER


def image_file(settings: Settings, document_id: str) -> Path:
    """Return the file of a document's before-image."""
    return images_folder(settings) / f"{document_id}.json"


def open_images(settings: Settings) -> list[Path]:
    """Return the files of the before-images that were not put back yet, the oldest document id first."""
    return sorted(images_folder(settings).glob("*.json"))


def save(image: BeforeImage, file: Path) -> None:
    """Save a before-image, readable by its owner only, and make it durable. Raises a ``PipelineError``."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with atomic_write(file) as unfinished:
        content = msgspec.json.format(msgspec.json.encode(image), indent=2)
        unfinished.write_bytes(_checksum(content) + b"\n" + content)
        make_durable(unfinished)
    make_durable(file.parent)


def read_image(file: Path) -> BeforeImage:
    """Return the before-image in ``file``. Raises ``PipelineError`` where it cannot be read or is damaged."""
    try:
        checksum, _, content = file.read_bytes().partition(b"\n")
        if checksum != _checksum(content):
            raise ValueError
        return msgspec.json.decode(content, type=BeforeImage)
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is damaged"
        raise PipelineError(
            f"The before-image {file} cannot be read: {why}.",
            "Restore the document from its versions in Passportal (Version Control), then delete the file.",
        ) from None


def _checksum(content: bytes) -> bytes:
    """Return the first line of a file: a damaged image must never be written over a document."""
    return hashlib.sha256(content).hexdigest().encode()


def put_away(image: BeforeImage, file: Path) -> Path:
    """Move the file of an image that was put back to the restored ones, and return its new place."""
    folder = file.parent / RESTORED
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = folder / f"{image.document}-{image.saved_at:%Y%m%dT%H%M%S}.json"
    file.replace(kept)
    return kept


def as_moment(seconds: float) -> datetime:
    """Return seconds since the epoch as a moment in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
