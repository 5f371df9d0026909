"""The content of a document as it came, part by part: what differs between two readings, and which edit is whose."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.client import Row
from bms_pipeline.passportal.documents.encoding import Document

MARK = "bms-pipeline-doctor-trial"
"""Every text of the trial has it, so that what the trial left behind is known for sure."""


_OURS = tuple(dict.fromkeys(label for entity in ENTITIES for label in entity.labels.values()))


def decoded(row: Row) -> Document:
    """Return the document in an answer, with our spelling of our labels, also where an empty element has no name."""
    return encoding.decoded_document(row, _OURS)


def shown_text(row: Row, before: Document, label: str) -> str:
    """Return the text that a document shows at the place of ``label`` in ``before``.

    An empty element may have no name, so the place is known by its key where there was one.
    """
    now = decoded(row)
    key = before.elements[label].key if label in before.elements else None
    found = next((at for at, place in now.elements.items() if place.key == key), label)
    return (now.values.get(found) or "").replace("\r\n", "\n")


@dataclass(frozen=True)
class Part:
    """One part of a document: its ``label``, what a person reads (``text``), its link's id, and it ``exactly``."""

    label: str
    text: str
    link: str
    exactly: str


@dataclass(frozen=True)
class Differences:
    """Labels that differ. ``lost``: another text or link; ``reformatted``: the same words in another form."""

    lost: tuple[str, ...]
    reformatted: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.lost, *self.reformatted)


def parts(row: Row) -> dict[str, Part]:
    """Return the parts of a document: title, description, ``customId``, every list in it, and every element."""
    found = {
        "title": _bare("title", encoding.raw_title(row)),
        "description": _bare("description", row.get("description")),
        "customId": _bare("customId", row.get("customId")),
    }
    found |= {key: _bare(key, value) for key, value in row.items() if isinstance(value, list)}
    document, details = decoded(row), row.get("details") or {}
    for label, place in document.elements.items():
        found[f"details {place.key}"] = _part(label, details[place.key], document.values.get(label))
    return found


def differences(before: Row, now: Row, except_for: Collection[str] = ()) -> Differences:
    """Return the labels whose content differs between two readings of a document."""
    old, new = parts(before), parts(now)
    lost: list[str] = []
    reformatted: list[str] = []
    for key in {**old, **new}:
        was, became = old.get(key), new.get(key)
        label = (was or became or _NOTHING).label
        was, became = was or _NOTHING, became or _NOTHING
        if label in except_for or was.exactly == became.exactly:
            continue
        is_same = encoding.is_same_text(was.text, became.text) and was.link == became.link
        (reformatted if is_same else lost).append(label)
    return Differences(tuple(lost), tuple(reformatted))


def with_edits_kept(before: Row, now: Row) -> tuple[Row, list[str]]:
    """Return the before-image with the edits that a person made since, and the labels of these edits.

    An edit is a person's if it is neither blank nor a text of the trial nor the old words in another form.
    """
    old, new = parts(before), parts(now)
    edited = {key for key, part in new.items() if _is_a_persons(old.get(key, _NOTHING), part)}
    row = {**before, "details": dict(before.get("details") or {})}
    details = now.get("details") or {}
    for key in edited:
        kind, _, place = key.partition(" ")
        if kind == "details":
            row["details"][place] = details.get(place)
        elif key == "title":
            row |= {name: now[name] for name in ("label", "title") if name in now}
        else:
            row[key] = now.get(key)
    return row, sorted(new[key].label for key in edited)


def _is_a_persons(was: Part, now: Part) -> bool:
    is_blank = not now.text.strip() and not now.link
    is_same = encoding.is_same_text(was.text, now.text) and now.link in {was.link, ""}
    return not is_blank and not is_same and MARK not in now.text


def _bare(label: str, value: object) -> Part:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return Part(label, "" if text == "[]" else text, "", "" if text == "[]" else text)


def _part(label: str, element: object, text: str | None) -> Part:
    value: Any = element.get("value") if isinstance(element, Mapping) else element
    inner = value if isinstance(value, Mapping) else {"text": value}
    content, link = inner.get("text"), inner.get("id")
    if isinstance(content, list | dict):
        content = json.dumps(content, sort_keys=True) if content else None
    exact = "" if content is None else str(content)
    linked = "" if link is None else str(link)
    return Part(label, text or "", linked, f"{exact} {linked}" if linked else exact)


_NOTHING = Part("", "", "", "")
