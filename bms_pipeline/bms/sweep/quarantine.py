"""The second check of a sweep's pages, for when the database refuses one.

Every page gets the cheap checks of a sweep (``rows``). They do not cover two cases: a repeated key in one object,
which DuckDB refuses when it reads the object into columns, and any other cause of a refusal. So landing first reads the
pages unchanged. Only after a failure is each record checked, at about 1 ms a page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import zstandard

from bms_pipeline.bms.spelling import Spelling
from bms_pipeline.bms.sweep import page_files
from bms_pipeline.bms.sweep.manifest import Manifest, QuarantinedRecord, read_manifest
from bms_pipeline.bms.sweep.rows import Quarantined, rows_of

_elements = msgspec.json.Decoder(list[msgspec.Raw])


def quarantine(home: Path, suspect: Callable[[bytes], str | None] | None = None) -> list[QuarantinedRecord]:
    """Quarantine the unstorable records in the pages of a finished sweep; return them.

    ``home``: the sweep's folder. ``suspect``: returns the reason why a record (its JSON) cannot be stored, or ``None``;
    the default finds repeated keys in an object. The records go to ``quarantine.ndjson`` and the manifest.
    Pages are replaced whole. Raises ``StorageFull`` or ``WarehouseError`` when the folder cannot be written.
    """
    from bms_pipeline.bms.client import Page  # late: asking which details wait needs no client

    why_not = suspect or repeated_key
    manifest = read_manifest(home)
    found: list[QuarantinedRecord] = []
    for file in sorted(home.glob("*.json.zst")):
        number, records = page_files.page_number(file.name), zstandard.ZstdDecompressor().decompress(file.read_bytes())
        rows = [(position, bytes(raw)) for position, raw in enumerate(_elements.decode(records), start=1)]
        reasons = {position: why for position, raw in rows if (why := why_not(raw)) is not None}
        if reasons:
            # The id is sure: the sweep has read it.
            bad = tuple(
                Quarantined(position, reasons[position], rows_of(b"[%b]" % raw, file.name).ids[0], raw)
                for position, raw in rows
                if position in reasons
            )
            page_files.append_quarantined(home, Page(number, b"[]", [], None, bad))
            good = b",".join(raw for position, raw in rows if position not in reasons)
            page_files.save_page(home, file.name, b"[%b]" % good)
            found += [QuarantinedRecord(number, record.position, record.why, record.id) for record in bad]
    if found and manifest is not None:
        _tell(manifest, home, found)
    return found


def respell(home: Path, declared: Iterable[str]) -> None:
    """Rewrite the pages of a finished sweep with keys not spelled as ``declared``. Raises as ``quarantine``."""
    known = set(declared)
    for file in sorted(home.glob("*.json.zst")):
        records = zstandard.ZstdDecompressor().decompress(file.read_bytes())
        spelling = Spelling(known, records)
        if spelling.differs:
            page_files.save_page(home, file.name, spelling.declared(records))


def repeated_key(record: bytes) -> str | None:
    """Return a reason if a key comes twice in one object of ``record``, at any depth; else ``None``."""
    repeated = False

    def notice(pairs: list[tuple[str, object]]) -> None:
        nonlocal repeated
        repeated = repeated or len({key for key, _ in pairs}) < len(pairs)

    try:
        json.loads(record, object_pairs_hook=notice, parse_int=len)  # numbers of any length
    except RecursionError:
        return "nested too deeply"
    return "a key comes twice in one object" if repeated else None


def _tell(manifest: Manifest, home: Path, found: list[QuarantinedRecord]) -> None:
    manifest.quarantined += [record for record in found if record not in manifest.quarantined]
    manifest.save(home)
