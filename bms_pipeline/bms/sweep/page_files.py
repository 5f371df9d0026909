"""The files of a sweep: pages, re-reads, quarantine, progress. Each is either whole or absent.

::

    <landing>/<list call>/<sweep id>/
        000001.page-000001.json.zst  a reading of page 1: the JSON array as BMS sent it
        000002.page-000026.json.zst  the next reading, of page 26; a page read again has two files
        quarantine.ndjson            unstorable records, with page, position, reason and bytes
        progress.ndjson              finished windows of pages (for resuming)
        manifest.json                the sweep's settings and counts; once finished, its proof

The name order of ``*.json.zst`` is the order of reading: of two versions of a record, the later file has the later one.
"""

from __future__ import annotations

import base64
import errno
import re
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import zstandard

from bms_pipeline.bms.sweep.rows import rows_of
from bms_pipeline.core.errors import AnswerUnreadable
from bms_pipeline.core.files import refused_by_system

if TYPE_CHECKING:
    from bms_pipeline.bms.client import Page

QUARANTINE = "quarantine.ndjson"
PROGRESS = "progress.ndjson"
MANIFEST = "manifest.json"

_PAGE = re.compile(r"^(\d{6,})\.page-(\d{6,})\.json\.zst$")
_thread = threading.local()


def page_name(sequence: int, number: int) -> str:
    """Return the file name of a reading of page ``number``; ``sequence`` counts the readings of the sweep."""
    return f"{sequence:06d}.page-{number:06d}.json.zst"


def page_number(name: str) -> int:
    """Return the page number in a file name; 0 if the name is not a page's."""
    found = _PAGE.match(name)
    return int(found.group(2)) if found else 0


def readings(folder: Path) -> list[tuple[int, int]]:
    """Return sequence and page number of all readings, in order."""
    found = (_PAGE.match(file.name) for file in folder.iterdir())
    return sorted((int(match.group(1)), int(match.group(2))) for match in found if match)


def make_folder(folder: Path) -> None:
    """Create a sweep's folder, for its owner only: it holds customers' data. Raises as ``write_page``."""
    with _explained(folder):
        folder.mkdir(mode=0o700, parents=True)


def save_page(folder: Path, name: str, records: bytes) -> None:
    """Compress a page and put it in place. Safe in several threads. Raises as ``write_page``."""
    compressor = getattr(_thread, "compressor", None)
    if compressor is None:  # not shared: a zstandard object serves one thread at a time
        compressor = _thread.compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    write_page(folder, name, compressor.compress(records))


def load_ids(folder: Path, name: str) -> array[int] | None:
    """Return the ids of a saved page after checking all of it. Delete a damaged page and return ``None``."""
    try:
        records = zstandard.ZstdDecompressor().decompress((folder / name).read_bytes())
        return array("q", rows_of(records, name).ids)
    except (OSError, zstandard.ZstdError, ValueError, RecursionError, AnswerUnreadable):
        with _explained(folder):
            (folder / name).unlink(missing_ok=True)
        return None


def write_page(folder: Path, name: str, content: bytes) -> None:
    """Write a file whole or not at all. Raises ``StorageFull`` or ``WarehouseError`` naming the folder."""
    temporary = folder / f".{name}.{threading.get_ident()}.tmp"
    with _explained(folder):
        try:
            temporary.write_bytes(content)
            temporary.replace(folder / name)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def append_page(folder: Path, name: str, line: object) -> None:
    """Append ``line`` as JSON. ``lines`` ignores a line cut short by a crash. Raises as ``write_page``."""
    with _explained(folder), (folder / name).open("ab") as file:
        # A line break comes first too, so that a cut line does not spoil the next one.
        file.write(b"\n" + msgspec.json.encode(line) + b"\n")


def lines(folder: Path, name: str) -> Iterator[dict[str, object]]:
    """Yield the complete lines."""
    with suppress(FileNotFoundError):
        for line in (folder / name).read_bytes().split(b"\n"):
            with suppress(ValueError):
                if line:
                    yield msgspec.json.decode(line, type=dict[str, object])


def append_quarantined(folder: Path, page: Page) -> None:
    """Save the unstorable records of ``page``, byte for byte."""
    for record in page.quarantined:
        line = {"page": page.number, "position": record.position, "why": record.why, "id": record.id}
        append_page(folder, QUARANTINE, {**line, "raw_base64": base64.b64encode(record.raw).decode()})


def quarantined_lines(folder: Path) -> Iterator[tuple[int, int, str, int | None, bytes]]:
    """Yield page, position, reason, id and bytes of the records from ``append_quarantined``."""
    for line in lines(folder, QUARANTINE):
        with suppress(ValueError):
            kept = msgspec.convert(line, _Kept)
            yield kept.page, kept.position, kept.why, kept.id, base64.b64decode(kept.raw_base64)


class _Kept(msgspec.Struct):
    page: int
    position: int
    why: str
    id: int | None
    raw_base64: str


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise refused_by_system(error.errno or errno.EIO, folder) from None
