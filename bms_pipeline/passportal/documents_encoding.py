"""How documents are written on the wire: the one place for all that the reference marks as a guess [G].

Reading takes every form that was ever seen; writing takes the one that the settings choose. A tenant's own
``/api/documentation/v2/swagger`` settles most of it.

Reading. ``details`` are elements under snake_case keys made from their labels, each an object ``{name, description,
value: {type, text}}``, a bare text or null [D]; or under positions ``"0", "1", ...`` [L]. Links are ``value: {text, id,
type}`` with an ``attribute`` list of the same [L]. An element is known by its inner label, a bare one by its key.

Writing. A change is everything that was read, with our fields changed: the service drops what is left out [D]. In the
form of texts a link is sent as what it says, because that form has nothing else; as an element it goes back as it came.

The marker, by which a document is found when our database is lost, is in one of three places: the row's ``customId``,
the template's fields "ID" and "Integration Type", or a line of its own in "Notes".
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import unquote

from bms_pipeline.settings import Settings

NAME, NOTES = "Name", "Notes"
ID_LABEL, KIND_LABEL, KIND = "ID", "Integration Type", "Kaseya BMS"
CUSTOM_ID = "kaseya-bms:"
NOTES_LINE = "Kaseya BMS ID: "

_MARKED_NOTES = re.compile(rf"(?:^|\r?\n)[ \t]*{NOTES_LINE}([0-9]{{1,18}})[ \t]*(?=\r?\n|\Z)")
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")


@dataclass(frozen=True)
class Dialect:
    """Which of the guesses is used for writing; see the settings of these names."""

    body: Literal["array", "object"] = "array"
    values: Literal["text", "element"] = "text"
    update: Literal["one", "batch"] = "one"
    marker: Literal["notes", "id_fields", "custom_id"] = "notes"


@dataclass(frozen=True)
class Document:
    """A document as we understand it. ``values``: label → text, None where a field is empty.

    ``keys``: label → the key of its element. ``fields``: the values without what marks the document, blank as None.
    """

    id: str
    client_id: str | None
    title: str
    template_id: str
    last_modified: str
    custom_id: str = ""
    values: Mapping[str, str | None] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def marker(self) -> int | None:
        """The id of the BMS record that it bears, in whichever place."""
        return marker_in(self.custom_id, self.values)

    @property
    def has_own_marker(self) -> bool:
        """Whether it bears a marker in a form that only this program writes."""
        return is_own_marker_in(self.custom_id, self.values)

    @property
    def fields(self) -> dict[str, str | None]:
        """Label → text as it was before the marker came into it."""
        found = dict(self.values)
        if NOTES in found:
            found[NOTES] = without_marker(found[NOTES]) or None
        return found


def dialect_of(settings: Settings) -> Dialect:
    """The forms that these settings choose."""
    return Dialect(
        settings.passportal_body, settings.passportal_values, settings.passportal_update, settings.passportal_marker
    )


# Names and labels


def decoded_name(text: str) -> str:
    """The name of a client, which comes URL- and HTML-encoded [L]. A plus stays one [G].

    Only whole entities count: in ``M&Region`` nothing is encoded.
    """
    return _ENTITY.sub(lambda entity: html.unescape(entity.group()), unquote(text))


def snake_case(label: str) -> str:
    """The key that the service makes from a label [D]: ``State / Province`` → ``state_/_province``."""
    return label.strip().lower().replace(" ", "_")


def template_uid(template_id: str) -> str:
    """What a template is called when writing [G]."""
    return f"tpl-{template_id}"


# Reading


def decoded(row: Mapping[str, Any], labels_by_key: Mapping[str, str] | None = None) -> Document:
    """The document in a row of a list, or in an answer with ``details``.

    ``labels_by_key``: what bare elements are called, beside their own names (see ``keys_of``).
    """
    values: dict[str, str | None] = {}
    keys: dict[str, str] = {}
    for key, label, element in _elements(row.get("details"), labels_by_key or {}):
        keys[label] = key
        values[label] = _text(element)
    client = _first(row, "client_id", "clientId")
    return Document(
        id=str(row.get("id", "")),
        client_id=None if client is None else str(client),
        title=str(_first(row, "label", "title") or ""),
        template_id=str(_first(row, "templateId", "template_id", "templateUid") or "").removeprefix("tpl-"),
        last_modified=str(_first(row, "last_modified", "lastModified") or ""),
        custom_id=str(row.get("customId") or ""),
        values=values,
        keys=keys,
    )


def keys_of(labels: Iterable[str]) -> dict[str, str]:
    """Key → label of these, as the service makes keys; for elements that do not say their own."""
    return {snake_case(each): each for each in labels}


def _elements(details: object, labels_by_key: Mapping[str, str]) -> list[tuple[str, str, Any]]:
    """Key, label and element, in order. Of two elements with one label the first has it, the other goes by its key."""
    found: list[tuple[str, str, Any]] = []
    taken: set[str] = set()
    for key, element in details.items() if isinstance(details, Mapping) else ():
        own = _plain_text(element.get("name")) if isinstance(element, Mapping) else None
        label = own or labels_by_key.get(str(key), str(key))
        label = label if label not in taken else f"{label} ({key})"
        taken.add(label)
        found.append((str(key), label, element))
    return found


def _text(element: object) -> str | None:
    return _plain_text(element.get("value")) if isinstance(element, Mapping) else _plain_text(element)


def _plain_text(value: object) -> str | None:
    """The text of a value: itself, or what its object says; none for what is neither."""
    if isinstance(value, Mapping):
        value = value.get("text")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)


def _first(row: Mapping[str, Any], *keys: str) -> Any:  # noqa: ANN401  # JSON
    return next((row[each] for each in keys if row.get(each) is not None), None)


# Writing


def batch(items: Sequence[Mapping[str, Any]], dialect: Dialect) -> object:
    """The body of a call that takes several documents."""
    return list(items) if dialect.body == "array" else {"documents": list(items)}


def new_document(document: Document, dialect: Dialect) -> dict[str, Any]:
    """A document to create: ``templateUid``, ``clientId`` and ``title`` are needed [D]. ``keys``: of its template."""
    item: dict[str, Any] = {
        "templateUid": template_uid(document.template_id),
        "clientId": _number(document.client_id),
        "title": document.title,
        "details": {},
    }
    if document.custom_id:
        item["customId"] = document.custom_id
    for label, text in document.values.items():
        if text:
            item["details"] |= _new_element(label, text, document, dialect)
    return item


def merged(row: Mapping[str, Any], changed: Document, dialect: Dialect) -> dict[str, Any]:
    """All of ``row`` as it was read, with title, ``customId`` and those values that differ taken from ``changed``.

    Nothing that was read is left out or told otherwise, also what we do not know.
    """
    labels_by_key = {key: label for label, key in changed.keys.items()}
    before = decoded(row, labels_by_key)
    item = {**row, "templateUid": template_uid(before.template_id), "clientId": _number(before.client_id)}
    item["title"] = changed.title
    if "label" in item:
        item["label"] = changed.title
    if changed.custom_id != before.custom_id:
        item["customId"] = changed.custom_id
    details: dict[str, Any] = {}
    for key, label, element in _elements(row.get("details"), labels_by_key):
        text = changed.values.get(label)
        is_changed = (text or "") != (before.values[label] or "")
        if dialect.values == "text":
            details[label] = (text or "") if is_changed else before.values[label]
        else:
            details[key] = _element(label, text, element) if is_changed else element
    for label, text in changed.values.items():
        if label not in before.values and text:
            details |= _new_element(label, text, changed, dialect)
    item["details"] = details
    return item


def lost(
    before: Mapping[str, Any], after: Mapping[str, Any], ours: Collection[str], labels_by_key: Mapping[str, str]
) -> list[str]:
    """The labels, but for ``ours``, whose text or link was there ``before`` and is not ``after``."""
    left = {label: element for _, label, element in _elements(after.get("details"), labels_by_key)}
    return [
        label
        for _, label, element in _elements(before.get("details"), labels_by_key)
        if label not in ours
        and ((_text(element) and not _text(left.get(label))) or (_links(element) and not _links(left.get(label))))
    ]


def _new_element(label: str, text: str, document: Document, dialect: Dialect) -> dict[str, Any]:
    if dialect.values == "text":
        return {label: text}
    return {document.keys.get(label, snake_case(label)): _element(label, text)}


def _element(label: str, text: str | None, element: object = None) -> dict[str, Any]:
    """An element with this text; what is said about an existing one stays, save what it linked to."""
    kept = dict(element) if isinstance(element, Mapping) else {"name": label}
    kept.pop("attribute", None)
    return {**kept, "value": {"type": "text", "text": text or ""}}


def _links(element: object) -> bool:
    value = element.get("value") if isinstance(element, Mapping) else None
    return isinstance(value, Mapping) and value.get("id") is not None


def _number(client_id: str | None) -> int | str | None:
    """Ids are numbers where they look like some, as they were read."""
    plain = client_id is not None and client_id.isascii() and client_id.isdigit() and str(int(client_id)) == client_id
    return int(client_id) if plain and client_id is not None else client_id


# Markers


def marker_in(custom_id: str, values: Mapping[str, str | None]) -> int | None:
    """The BMS id that a document bears: in its ``customId``, its fields, or the last such line of its notes."""
    number = custom_id.strip().removeprefix(CUSTOM_ID) if custom_id.strip().startswith(CUSTOM_ID) else ""
    if not _is_id(number) and (values.get(KIND_LABEL) or "").strip().lower() == KIND.lower():
        number = (values.get(ID_LABEL) or "").strip()
    if not _is_id(number):
        found = _MARKED_NOTES.findall(values.get(NOTES) or "")
        number = found[-1] if found else ""
    return int(number) if _is_id(number) else None


def is_own_marker_in(custom_id: str, values: Mapping[str, str | None]) -> bool:
    """Whether a document has our prefix in its ``customId`` or our line in its notes.

    "ID" and "Integration Type" alone never count: the vendor's own integration fills them too.
    """
    return marker_in(custom_id, {NOTES: values.get(NOTES)}) is not None


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def without_marker(notes: str | None) -> str:
    """The text of notes without the line that marks the document."""
    text = notes or ""
    lines = list(_MARKED_NOTES.finditer(text))
    if not lines:
        return text
    before, after = text[: lines[-1].start()], text[lines[-1].end() :]
    return before + after if before else re.sub(r"\A\r?\n", "", after)


def marked(document: Document, marker: int | None, labels: Iterable[str], dialect: Dialect) -> Document:
    """``document`` bearing ``marker``, or none, in the place that the settings choose and no other.

    ``labels``: the fields of its template. Where "ID" and "Integration Type" are missing or another system's, it is
    marked in its notes; where those are missing too, not at all. A marker that it bears already stays where it is.
    """
    labels = set(labels)
    values = dict(document.values)
    custom_id = document.custom_id
    if marker is not None and document.marker == marker:
        return document
    if custom_id.startswith(CUSTOM_ID):
        custom_id = ""
    if (values.get(KIND_LABEL) or "").strip().lower() == KIND.lower():
        values |= {ID_LABEL: None, KIND_LABEL: None}
    if marker_in("", {NOTES: values.get(NOTES)}) is not None:
        values[NOTES] = without_marker(values[NOTES])
    if marker is not None:
        if dialect.marker == "custom_id":
            custom_id = f"{CUSTOM_ID}{marker}"
        elif dialect.marker == "id_fields" and _has_room(values, labels):
            values |= {ID_LABEL: str(marker), KIND_LABEL: KIND}
        elif NOTES in labels:
            values[NOTES] = with_line(values.get(NOTES), marker)
    return replace(document, custom_id=custom_id, values=values)


def _has_room(values: Mapping[str, str | None], labels: Collection[str]) -> bool:
    """Whether a document can bear its marker in its fields: they are there, and no other system's."""
    return {ID_LABEL, KIND_LABEL} <= set(labels) and not values.get(ID_LABEL) and not values.get(KIND_LABEL)


def with_line(notes: str | None, marker: int) -> str:
    """``notes`` and below them the line that marks a document."""
    return f"{notes}\n{NOTES_LINE}{marker}" if notes else f"{NOTES_LINE}{marker}"


def with_values(document: Document, title: str, values: Mapping[str, str | None]) -> Document:
    """``document`` with this title and these values by label; new notes keep the line that marks it."""
    values = dict(values)
    line = marker_in("", {NOTES: document.values.get(NOTES)})
    if NOTES in values and line is not None:
        values[NOTES] = with_line(values[NOTES], line)
    return replace(document, title=title, values={**document.values, **values})
