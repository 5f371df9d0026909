"""The elements that a template requires: by the manifest of Passportal's importer, and by what creates were refused.

manifest.csv ──────────────┐
refusals of new documents ─┴─▶ the labels that a plan looks at before it creates anything
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.mapping import folded_label
from bms_pipeline.passportal.documents.encoding import Document

MANIFEST = "manifest.csv"
_SECTION, _TEMPLATE, _LABEL, _REQUIRED = (
    "Passportal Import Type",
    "Template Name",
    "Internal Identifier Column",
    "Required",
)
_YES = frozenset({"yes", "y", "true", "1", "required", "x", "*"})
"""How a line of the manifest may say that its element is required [G], folded."""


@dataclass(frozen=True)
class RequiredElements:
    """The labels that the manifest calls required: folded section and template → labels."""

    labels: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def of(self, entity: Entity, template: str) -> tuple[str, ...]:
        """Return the required labels of the template with this name, of the section for ``entity`` if there is one."""
        by_section = {
            section: labels for (section, name), labels in self.labels.items() if name == folded_label(template)
        }
        own = {folded_label(entity.name), folded_label(entity.singular)} & by_section.keys()
        return tuple(dict.fromkeys(label for section in own or by_section for label in by_section[section]))


def read_required(file: Path | None) -> RequiredElements:
    """Return what the ``manifest.csv``, or the ZIP that holds it, says. Raises ``SettingsError`` with the fault."""
    if file is None:
        return RequiredElements()
    try:
        rows = list(csv.DictReader(io.StringIO(_text(file), newline=""), strict=True))
    except (OSError, zipfile.BadZipFile) as error:
        raise _wrong(file, f"cannot be read: {str(getattr(error, 'strerror', None) or error).lower()}") from None
    except KeyError:
        raise _wrong(file, f"holds no {MANIFEST}") from None
    except UnicodeDecodeError as error:
        raise _wrong(file, f"is not UTF-8 text (byte {error.start:,})") from None
    except csv.Error as error:
        raise _wrong(file, f"is no CSV file: {error}") from None
    lacking = [name for name in (_SECTION, _TEMPLATE, _LABEL, _REQUIRED) if not rows or name not in rows[0]]
    if lacking:
        raise _wrong(file, f"has no column {', '.join(map(repr, lacking))}, or no line")
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if folded_label(row[_REQUIRED] or "") in _YES and (row[_LABEL] or "").strip():
            template = folded_label(row[_SECTION] or ""), folded_label(row[_TEMPLATE] or "")
            found.setdefault(template, []).append(row[_LABEL].strip(" *"))
    return RequiredElements({template: tuple(labels) for template, labels in found.items()})


def _text(file: Path) -> str:
    if not zipfile.is_zipfile(file):
        return file.read_text(encoding="utf-8-sig")
    with zipfile.ZipFile(file) as archive:
        inside = next((name for name in archive.namelist() if Path(name).name == MANIFEST), MANIFEST)
        return archive.read(inside).decode("utf-8-sig")


def _wrong(file: Path, what: str) -> SettingsError:
    return SettingsError(
        f"PASSPORTAL_TEMPLATES_FILE ({file}) {what}.",
        "Download the import templates again in Passportal (Settings > Import / Export > Document Importer) and name"
        f" that ZIP, or its {MANIFEST}.",
    )


def blank_labels(document: Document) -> set[str]:
    """Return the labels of a new document's template under which it has no text."""
    return {label for label in document.elements if not (document.values.get(label) or "").strip()}


def needed_by(document: Document, words: str) -> set[str]:
    """Return the blank labels that the service named when it refused a new ``document``; ``words`` are its own.

    Where it named a filled label, too, the value there may be the cause, and nothing is known.
    """
    named = _named(document, words)
    return named if named <= blank_labels(document) else set()


def _named(document: Document, words: str) -> set[str]:
    """Return the labels in ``words``, as the tenant spells them. A label inside another one is not named by it."""
    spelled = {
        label: (place.name if place.has_name else label).strip(" :*").casefold()
        for label, place in document.elements.items()
    }
    found: set[str] = set()
    left = words.casefold()
    for label, text in sorted(spelled.items(), key=lambda item: len(item[1]), reverse=True):
        pattern = rf"(?<!\w){re.escape(text)}(?!\w)"
        if text and re.search(pattern, left):
            found.add(label)
            left = re.sub(pattern, " ", left)
    return found
