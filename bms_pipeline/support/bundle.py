"""Make a support bundle: read, replace, prove, write. Nothing is sent anywhere.

home folder ──read──▶ report + chosen records ──replace──▶ ZIP ──prove──▶ FILE.zip
                                                   │
                                                   └──▶ support/whois (stays at home)
"""

from __future__ import annotations

import json
import re
import secrets
import zipfile
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from bms_pipeline.core import junk
from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.files import atomic_write
from bms_pipeline.core.mapping import Mapping
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.text import printable
from bms_pipeline.core.version import VERSION
from bms_pipeline.reconcile import matching
from bms_pipeline.support import mapped, proof, report, selection, tenant, whois
from bms_pipeline.support.manifest import MANIFEST, manifest
from bms_pipeline.support.program_words import program_words
from bms_pipeline.support.selection import Request
from bms_pipeline.support.values import How, Ids, Values
from bms_pipeline.sync.progress import Progress, silent
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import Warehouse

REPORT = "report.json"
ABOUT = f"{tenant.FOLDER}/about.json"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The moment of every file in a ZIP: the real one says when somebody worked."""
_LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))


@dataclass(frozen=True)
class Bundle:
    """A bundle as written to ``file``. ``records``: those of BMS that it is about; ``differences``: see ``proof``."""

    file: Path
    name: str
    records: int
    related: int
    differences: Sequence[proof.Difference]


@dataclass
class _Read:
    """What was read in the home folder, before anything is replaced."""

    report: dict[str, Any] = field(default_factory=dict)
    rows: tenant.Rows = field(default_factory=dict)
    standings: dict[tuple[str, int], proof.Standing] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    mappings: list[Mapping] = field(default_factory=list)
    made: list[mapped.Made] = field(default_factory=list)
    mentioned: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    all_words: set[str] = field(default_factory=set)


def make_bundle(
    settings: Settings,
    warehouse: Warehouse,
    request: Request,
    file: Path,
    progress: Progress = silent,
    key: bytes | None = None,
) -> Bundle:
    """Write a bundle about ``request`` to ``file``, readable by its owner only, and return it.

    ``key`` decides all stand-ins; a new one by default. Raises ``RecordNotFound``, and ``OriginalFound`` where the
    bundle would have shown something of the tenant: then nothing is written.
    """
    key = key or secrets.token_bytes(32)
    read = _read(settings, warehouse, request, progress)
    progress("replace", 0, None)
    replacement = _replacement(key, read, settings)
    rows = _replaced_rows(read, replacement) if request.has_records else {}
    name, sync_settings = secrets.token_hex(4), replacement.settings(read.settings)
    about = {"bundle": name, "target": settings.passportal_target, "sync_settings": sync_settings}
    progress("replace", sum(map(len, rows.values())), None)
    differing = _differences(read, rows, sync_settings, replacement, progress)
    bundle = Bundle(file, name, len(read.standings), _related(read), differing)
    shown = report.Cleaner(replacement.values, replacement.bms_ids, read.mentioned).cleaned(read.report)
    files = {
        MANIFEST: manifest(bundle.name, request, bundle.records, bundle.related, differing).encode(),
        REPORT: _json({"made_by": VERSION, **shown}),
        **({ABOUT: _json(about)} if rows else {}),
        **{tenant.file_of_table(name): tenant.lines_of(found) for name, found in rows.items()},
    }
    with atomic_write(file) as unfinished:
        _write(unfinished, files)
        progress("search for originals", 0, None)
        _originals(settings, read, replacement).check(unfinished)
        progress("search for originals", len(files), len(files))
        whois.store_key(settings.bms_pipeline_home, bundle.name, key, _stand_ins(replacement))
    return bundle


def _read(settings: Settings, warehouse: Warehouse, request: Request, progress: Progress) -> _Read:
    progress("read the home folder", 0, None)
    read = _Read()
    try:
        with warehouse.trial() as connection:  # reconciling brings the dispositions up to date, for this moment only
            if request.has_records:
                matching.reconcile_all(connection, ENTITIES)
                selection.choose(connection, request)
                read.rows = tenant.read_rows(connection)
                read.standings = proof.standings(connection, chosen=True)
                read.settings = tenant.read_settings_of_sync(connection)
                read.all_words = tenant.all_words(connection)
                read.made = [mapped.made_texts(connection, it) for it in tenant.mappings_in(read.settings)]
            read.mappings = tenant.mappings_in(tenant.read_settings_of_sync(connection))
            read.report = report.report_of(settings, connection)
            texts = list(report.free_texts(read.report))
            read.mentioned = report.mentioned_names(connection, texts)
            read.people = {row[0] for row in connection.execute(sql.read("support/people")).fetchall()}
    except PipelineError as error:
        if request.has_records:
            raise
        read.report = report.read_without_warehouse(settings, error)
    progress("read the home folder", sum(map(len, read.rows.values())), None)
    return read


def _replacement(key: bytes, read: _Read, settings: Settings) -> tenant.Replacement:
    if read.rows:
        values, bms_ids, passportal_ids = tenant.found_values(read.rows)
    else:
        values, bms_ids, passportal_ids = {}, set(), set()
    words = values.get(How.TEXT, set()) | tenant.words_in_settings(read.settings)
    found = {**values, How.TEXT: words, How.NAME: values.get(How.NAME, set()) | read.mentioned}
    for how, texts in mapped.mapping_texts(read.mappings).items():
        found[how] = found.get(how, set()) | texts
    named, _ = _of_settings(settings)
    hidden = {word.casefold() for text in named | read.people for word in re.findall(r"[^\W_]+", text)}
    return tenant.Replacement(
        Values(key, found, hidden, read.all_words), Ids(key + b"BMS", bms_ids), Ids(key + b"Passportal", passportal_ids)
    )


def _replaced_rows(read: _Read, replacement: tenant.Replacement) -> tenant.Rows:
    """Return the rows with every value replaced, and with what the replaced mapping makes of the replaced records."""
    rows = tenant.replaced_rows(read.rows, replacement)
    if any(read.made):
        copies = proof.made_in_copy(rows, tenant.mappings_in(replacement.settings(read.settings)))
        made = mapped.MadeTexts(list(zip(read.made, copies, strict=True)), replacement.bms_ids)
        tenant.with_made_texts(read.rows, rows, made)
    return rows


def _differences(
    read: _Read,
    rows: tenant.Rows,
    settings: Table[str, Any],
    replacement: tenant.Replacement,
    progress: Progress,
) -> list[proof.Difference]:
    if not rows:
        return []
    progress("reconcile the copy", 0, None)
    copies = proof.reconciled_copy(rows, settings)
    found = proof.differing_records(read.standings, copies, replacement)
    progress("reconcile the copy", len(copies), len(copies))
    return found


def _related(read: _Read) -> int:
    """Return the number of BMS records that a bundle has only because matching looks at them, too."""
    return sum(len(read.rows.get(f"bms.{entity.name}", ())) for entity in ENTITIES) - len(read.standings)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str).encode()


def _write(file: Path, files: Table[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            bundle.writestr(entry, content)


def _originals(settings: Settings, read: _Read, replacement: tenant.Replacement) -> proof.Originals:
    public = program_words() | junk.WORDS | set(map(str, range(10_000)))
    kept = {word for word in replacement.values.words.known if word in junk.WORDS or junk.is_junk_text(word)}
    texts = proof.searched(replacement.values.given(), replacement.values.words.known, kept)
    hosts, hidden = _of_settings(settings)
    return proof.Originals({**texts, "host or account": hosts, "person": read.people}, {"secret": hidden}, public)


def _of_settings(settings: Settings) -> tuple[set[str], set[str]]:
    """Return what the settings say about the tenant (hosts, accounts, paths of certificates), and the secrets."""
    named: set[str] = set()
    hidden: set[str] = set()
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            hidden.add(value.get_secret_value())
        elif isinstance(value, str) and name not in report.SHOWN_SETTINGS:
            named.add((urlsplit(value).hostname or "") if "://" in value else value)
    return named - _LOOPBACK - {""}, hidden - {""}


def _stand_ins(replacement: tenant.Replacement) -> dict[str, dict[str, str]]:
    """Return by kind: stand-in → original."""
    found: dict[str, dict[str, str]] = {}
    for how, value, standin in replacement.values.given():
        if value != standin and how is not How.NOTES:
            found.setdefault(how.value, {})[standin] = printable(value, 200)
    words = replacement.values.words.known
    found["word"] = {standin: word for word, standin in words.items() if word != standin}
    found[How.BMS_ID.value] = {str(number): str(original) for original, number in replacement.bms_ids.given()}
    found[How.PASSPORTAL_ID.value] = {
        str(number): str(original) for original, number in replacement.passportal_ids.given()
    }
    return found


def default_file(home: Path, at: datetime) -> Path:
    """Return where a bundle goes that nobody named a file for."""
    return home / "support" / f"support-{at:%Y%m%dT%H%M%S}.zip"
