"""The wire format of documents: the one place for everything marked in the reference as a guess [G].

Reading takes every form ever seen; writing takes the form chosen in the settings. A tenant's own
``/api/documentation/v2/swagger`` settles most of it.

Reading. ``details`` are elements under snake_case keys made from their labels, each an object ``{name, description,
value: {type, text}}``, a bare text or null [D]; or under positions ``"0", "1", ...`` [L]. Links are ``value: {text, id,
type}`` with an ``attribute`` list of the same [L]. An element is known by its inner label, a bare one by its key;
labels are compared as people read them (``folded_label``) and written as the tenant spells them. Only elements of
plain text are ever written (``DetailsForm``), and links where the mapping says so: their value is ``#`` and the id of
the linked document. Any other link, a choice, a yes/no and a formatted text are read and sent back as they came.

Writing. A change is the whole document read, with our fields changed: the service drops omitted fields [D]. In the form
of texts a link is sent as its text, because this form has nothing else; as an element it goes back as it came. So a
change of a link is sent in elements, as ``doctor --write`` proved it.

The marker, by which a document is found when our database is lost, is in one of three places: the row's ``customId``,
the template's field "ID", both with our prefix, or a line of its own in "Notes" or the label that the mapping has for
it (``Document.notes``). A plain number in "ID" with "Integration Type" Kaseya BMS is only a ``claim``: Passportal's own
integrations write such, with whatever number.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal
from urllib.parse import unquote

from bms_pipeline.core.mapping import LINK_SIGN, MARKER_LABEL, folded_label
from bms_pipeline.core.settings import Settings

NAME, NOTES = "Name", MARKER_LABEL
TEMPLATE_PREFIX = "tpl-"
TEMPLATE_PREFIXES = (TEMPLATE_PREFIX, "", TEMPLATE_PREFIX.upper())
"""The prefixes of a template's id when writing, in the order of trying; all were seen [C]."""
ID_LABEL, KIND_LABEL, KIND = "ID", "Integration Type", "Kaseya BMS"
PREFIX = "kaseya-bms:"
"""The prefix of an id in ``customId`` or in the field "ID" if it is a marker of ours."""
NOTES_LINE = "Kaseya BMS ID: "
PLAIN_TYPES = frozenset(
    {
        "", "text", "string", "plain", "textfield", "textbox", "textarea", "singleline", "multiline", "longtext",
        "shorttext", "memo", "note", "notes", "number", "numeric", "integer", "date", "datetime", "email", "url",
        "website", "phone", "telephone", "ip", "ipaddress", "mac", "macaddress",
    }
)  # fmt: skip
"""Types of values that hold plain text, without blanks and hyphens; any other is left alone [G]."""
_CHOICE_TYPES = frozenset(
    {"select", "multiselect", "dropdown", "list", "choice", "option", "options", "radio", "combo"}
)
_YES_NO_TYPES = frozenset({"boolean", "bool", "checkbox", "check", "switch", "toggle", "yesno"})
_RICH_TYPES = frozenset({"html", "richtext", "rich", "wysiwyg", "editor", "formatted", "markdown"})
_LINK_TYPES = frozenset({"link", "links", "linked", "relation", "reference", "document", "lookup", "tag", "tags"})

_MARKED_NOTES = re.compile(rf"(?:^|\r?\n)[ \t]*{NOTES_LINE}([0-9]{{1,18}})[ \t]*(?=\r?\n|\Z)")
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")
_TAG = re.compile(
    r"</?(?:p|br|div|span|b|i|u|s|em|strong|a|ul|ol|li|h[1-6]|table|thead|tbody|tr|td|th|font|img|hr|pre|code"
    r"|blockquote|sub|sup)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_LINE_END = re.compile(r"<br\s*/?>|</(?:p|div|li|tr|h[1-6]|pre|blockquote)\s*>", re.IGNORECASE)
_LINE_START = re.compile(r"[ \n]*<(?:p|div|li|tr|h[1-6]|pre|blockquote)(?:\s[^<>]*)?>", re.IGNORECASE)
_MARKED_RICH = re.compile(
    rf"(?:<br\s*/?>\s*)?(?:<(?P<tag>p|div|span|li)(?:\s[^<>]*)?>\s*)?{NOTES_LINE.strip()}(?:\s|&nbsp;)*"
    r"[0-9]{1,18}\s*(?(tag)</(?P=tag)\s*>)",
    re.IGNORECASE,
)
_PLEASE_SELECT = re.compile(
    r"[-–—.*<>\[\]( ]*(?:please )?(?:select|choose|pick)"
    r"(?: (?:one|an?|option|value|item|type|from|list|the|your|here))*"
    r"[-–—.…*<>\[\]) ]*|-+ ?none ?-+|-{2,}",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Dialect:
    """The guesses used for writing; see the settings of these names. ``links``: only read, or written by their id."""

    body: Literal["array", "object"] = "array"
    values: Literal["text", "element"] = "text"
    update: Literal["one", "batch"] = "one"
    marker: Literal["notes", "id_fields", "custom_id"] = "notes"
    links: Literal["read", "by_id"] = "read"


class DetailsForm(StrEnum):
    """The kind of content of a document's element. Only ``EMPTY`` and ``TEXT`` are ever written."""

    EMPTY = "empty"
    TEXT = "text"
    LINK = "link"
    CHOICE = "choice"
    YES_NO = "yes/no"
    RICH = "formatted text"
    OTHER = "other"

    @property
    def is_plain(self) -> bool:
        """Whether it is plain text, or nothing so far."""
        return self in {DetailsForm.EMPTY, DetailsForm.TEXT}


@dataclass(frozen=True)
class Element:
    """The place of a value in a document: the key of its element, its label as the tenant spells it, and its form."""

    key: str
    name: str
    form: DetailsForm = DetailsForm.TEXT

    @property
    def has_name(self) -> bool:
        """Whether its name was shown; the label of a bare element is its position."""
        return self.name != self.key


@dataclass(frozen=True)
class LinkedDocument:
    """A document that a link points to, as the link shows it: its title, and its type."""

    title: str
    type: str


@dataclass(frozen=True)
class Document:
    """A document as we understand it. ``values``: label → text, None where a field is empty.

    A label that is one of ours is called as we do, whatever its spelling; ``elements`` knows its own. ``fields``: the
    values without what marks the document, blank as None. ``title``: decoded. ``notes``: the label of the
    marker's line. ``links``: the labels that are links by the mapping; ``linked``: the documents that new links
    point to, by the value of the link.
    """

    id: str
    client_id: str | None
    title: str
    template_id: str
    last_modified: str
    custom_id: str = ""
    values: Mapping[str, str | None] = field(default_factory=dict)
    elements: Mapping[str, Element] = field(default_factory=dict)
    notes: str = NOTES
    links: frozenset[str] = frozenset()
    linked: Mapping[str, LinkedDocument] = field(default_factory=dict)

    @property
    def lacks_names(self) -> bool:
        """Whether it has unnamed elements, whose names only another document of its template can show."""
        return any(place.key.isdecimal() and not place.has_name for place in self.elements.values())

    @property
    def marker(self) -> int | None:
        """The BMS id in its marker, in any of the places."""
        return marker_in(self.custom_id, self.values, self.notes)

    @property
    def claim(self) -> int | None:
        """The id for Kaseya BMS in its fields, written by anybody; None where this is our marker."""
        number = (self.values.get(ID_LABEL) or "").strip()
        is_claim = folded_label(self.values.get(KIND_LABEL) or "") == folded_label(KIND) and _is_id(number)
        return int(number) if is_claim else None

    @property
    def shows_blanks(self) -> bool:
        """Whether it shows elements without a value: then a label not shown does not exist.

        A list's prompt ("Please Select") is no proof: a service that leaves out blanks may show it all the same.
        """

        def is_blank(label: str, form: DetailsForm) -> bool:
            text = self.values.get(label)
            match form:
                case DetailsForm.EMPTY:
                    return True
                case DetailsForm.RICH:
                    return not (text or "").strip()
                case DetailsForm.CHOICE:
                    return text is not None and not text.strip()
                case _:
                    return False

        return any(is_blank(label, place.form) for label, place in self.elements.items())

    @property
    def fields(self) -> dict[str, str | None]:
        """Label → text as it was before the marker came into it."""
        found = dict(self.values)
        if self.notes in found:
            found[self.notes] = without_marker(found[self.notes]) or None
        return found


def dialect_of(settings: Settings) -> Dialect:
    """Return the forms chosen in these settings."""
    return Dialect(
        settings.passportal_body, settings.passportal_values, settings.passportal_update, settings.passportal_marker
    )


# Names and labels


def decoded_name(text: str) -> str:
    """Decode a client's name, which comes URL- and HTML-encoded [L], or a title, which may be [C]. A plus stays [G].

    Only whole entities count: in ``M&Region`` nothing is encoded.
    """
    return _ENTITY.sub(lambda entity: html.unescape(entity.group()), unquote(text))


def trimmed_text(text: str | None) -> str:
    """Return ``text`` as in a snapshot: without blanks around it, a blank one as none, and any line end as one."""
    return (text or "").replace("\r\n", "\n").strip()


def is_same_text(text: str | None, sent: str | None) -> bool:
    """Return whether two texts are the same, in any encoding of the service."""
    return trimmed_text(text) == trimmed_text(sent) or trimmed_text(decoded_name(text or "")) == trimmed_text(
        decoded_name(sent or "")
    )


def titles_are_encoded(titles: Iterable[str]) -> bool:
    """Return whether the service encodes every title that it shows, judged by these raw titles.

    If so, a title is sent decoded; else a title stored in an encoded form is sent back as it came.
    """
    seen = list(titles)
    bare = any(re.search(r"[\s<>]|&(?!(?:#\d+|#[xX][0-9a-fA-F]+|\w+);)", title) for title in seen)
    return not bare and any(decoded_name(title) != title for title in seen)


def snake_case(label: str) -> str:
    """Return the service's key for a label [D]: ``State / Province`` → ``state_/_province``."""
    return label.strip().lower().replace(" ", "_")


def template_id(uid: object) -> str:
    """Return the id of a template, in any of its forms."""
    text = str(uid or "").strip()
    return text[len(TEMPLATE_PREFIX) :] if text.lower().startswith(TEMPLATE_PREFIX) else text


# Reading


def decoded_document(
    row: Mapping[str, Any],
    ours: Iterable[str] = (),
    names_by_key: Mapping[str, str] | None = None,
    notes: str = NOTES,
    links: Collection[str] = (),
) -> Document:
    """Return the document in a row of a list, or in an answer with ``details``.

    ``ours``: the labels with our own spelling. ``names_by_key``: the names of bare elements. ``notes``: the label of
    the marker's line. ``links``: the labels that are links by the mapping.
    """
    values: dict[str, str | None] = {}
    elements: dict[str, Element] = {}
    for label, at, element in _elements(row.get("details"), (*ours, notes, ID_LABEL, KIND_LABEL), names_by_key or {}):
        elements[label] = at
        linked = link_id(element) if label in links and at.form is DetailsForm.LINK else ""
        values[label] = f"{LINK_SIGN}{linked}" if linked else _text(element, at.form)
    client = _first(row, "client_id", "clientId")
    return Document(
        id=str(row.get("id", "")),
        client_id=None if client is None else str(client),
        title=decoded_name(raw_title(row)),
        template_id=template_id(_first(row, "templateId", "template_id", "templateUid")),
        last_modified=str(_first(row, "last_modified", "lastModified") or ""),
        custom_id=str(row.get("customId") or ""),
        values=values,
        elements=elements,
        notes=notes,
        links=frozenset(links),
    )


def raw_title(row: Mapping[str, Any]) -> str:
    """Return the title as it came."""
    return str(_first(row, "label", "title") or "")


def _elements(details: object, ours: Iterable[str], names_by_key: Mapping[str, str]) -> list[tuple[str, Element, Any]]:
    """Return label, place and element, in order.

    Where several elements fold to one of our labels, the element with our spelling counts, or none of them.
    """
    items = list(details.items()) if isinstance(details, Mapping) else []
    ours = tuple(ours)
    made_from = {snake_case(label): label for label in ours}
    places = [
        Element(
            str(key),
            _own_name(element) or names_by_key.get(str(key)) or made_from.get(str(key), str(key)),
            details_form(element),
        )
        for key, element in items
    ]
    labels = our_labels(places, ours)
    return [(label, place, element) for label, place, (_, element) in zip(labels, places, items, strict=True)]


def our_labels(places: Sequence[Element], ours: Collection[str]) -> list[str]:
    """Return the label of each place: one of ``ours`` where it alone folds to it or alone has its spelling.

    Any other keeps its name, with its key where the name is taken.
    """
    called = {folded_label(label): label for label in ours}
    alike = Counter(folded_label(place.name) for place in places)
    exactly = Counter(place.name for place in places)
    found: dict[str, None] = {}
    for place in places:
        label = called.get(folded_label(place.name))
        is_the_one = alike[folded_label(place.name)] == 1 or (place.name == label and exactly[place.name] == 1)
        name = label if label is not None and is_the_one else place.name
        if name in found or (name in called.values() and not is_the_one):
            name = f"{place.name} ({place.key})"
        found[name] = None
    return list(found)


def _own_name(element: object) -> str | None:
    return _plain_text(element.get("name")) if isinstance(element, Mapping) else None


def details_form(element: object) -> DetailsForm:
    """Return the form of an element, by the type of its value, its structure and its text."""
    value = element.get("value") if isinstance(element, Mapping) else element
    inner = value if isinstance(value, Mapping) else {}
    outer = element if isinstance(element, Mapping) else {}
    kinds = {re.sub(r"[\s_-]", "", str(kind or "")).lower() for kind in (inner.get("type"), outer.get("type"))}
    said = inner.get("text") if isinstance(value, Mapping) else value
    words = str(said) if isinstance(said, str | int | float) else ""
    signs = (
        (DetailsForm.LINK, inner.get("id") is not None or outer.get("attribute") or kinds & _LINK_TYPES),
        (DetailsForm.YES_NO, isinstance(said, bool) or kinds & _YES_NO_TYPES),
        (DetailsForm.CHOICE, isinstance(said, list) or "options" in {*inner, *outer} or kinds & _CHOICE_TYPES),
        (DetailsForm.RICH, kinds & _RICH_TYPES),
        (DetailsForm.OTHER, not kinds <= PLAIN_TYPES or not (said is None or isinstance(said, str | int | float))),
        (DetailsForm.CHOICE, _is_please_select(words)),
        (DetailsForm.RICH, _TAG.search(words)),
        (DetailsForm.TEXT, words.strip()),
    )
    return next((form for form, shows in signs if shows), DetailsForm.EMPTY)


def link_id(element: object) -> str:
    """Return the id of the document that an element links to, by its value or else its attribute; empty for none."""
    if not isinstance(element, Mapping):
        return ""
    attribute = element.get("attribute")
    shown = [element.get("value"), *(attribute if isinstance(attribute, list) else [attribute])]
    ids = (part["id"] for part in shown if isinstance(part, Mapping) and part.get("id") is not None)
    return next(map(str, ids), "")


def _is_please_select(text: str) -> bool:
    """Return whether a text is the prompt of a list without a choice."""
    return len(text) < 60 and _PLEASE_SELECT.fullmatch(text.strip()) is not None


def _text(element: object, form: DetailsForm) -> str | None:
    """Return the text of an element: formatted text without its tags, None without a choice."""
    text = _plain_text(element.get("value")) if isinstance(element, Mapping) else _plain_text(element)
    if text is None or _is_please_select(text):
        return None
    return without_tags(text) if form is DetailsForm.RICH else text


def without_tags(text: str) -> str:
    """Return a formatted text as its lines of plain text."""
    in_one_line = re.sub(r"[\r\n]+", " ", text) if _LINE_END.search(text) else text
    lines = _TAG.sub("", _LINE_START.sub("\n", _LINE_END.sub("\n", in_one_line)))
    plain = html.unescape(lines).replace("\xa0", " ")
    return "\n".join(line.strip() for line in plain.split("\n")).strip("\n")


def _plain_text(value: object) -> str | None:
    """Return the text of a value: itself, or the text in its object; None for anything else."""
    if isinstance(value, Mapping):
        value = value.get("text")
    if isinstance(value, list):
        words = [_plain_text(part) for part in value]
        return ", ".join(word for word in words if word) or None
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return str(value) if isinstance(value, str | int | float) else None


def _first(row: Mapping[str, Any], *keys: str) -> Any:  # noqa: ANN401  # JSON
    return next((row[key] for key in keys if row.get(key) is not None), None)


# Writing


def batch(items: Sequence[Mapping[str, Any]], dialect: Dialect) -> object:
    """Return the body of a call with several documents."""
    return list(items) if dialect.body == "array" else {"documents": list(items)}


def new_document(document: Document, dialect: Dialect, *, prefix: str = TEMPLATE_PREFIX) -> dict[str, Any]:
    """Return the body of a document to create: ``templateUid``, ``clientId`` and ``title`` are needed [D]."""
    item: dict[str, Any] = {
        "templateUid": f"{prefix}{document.template_id}",
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


def merged(
    row: Mapping[str, Any],
    before: Document,
    changed: Document,
    dialect: Dialect,
    *,
    prefix: str = TEMPLATE_PREFIX,
    decoded_titles: bool = True,
) -> dict[str, Any]:
    """Return all of ``row`` as it was read, with title, ``customId`` and the differing values from ``changed``.

    ``before`` is ``row`` as understood. Everything read is sent back unchanged, including content unknown to us.
    ``decoded_titles``: an unchanged title is sent decoded and not as it came.
    """
    uid = f"{prefix}{before.template_id}"
    item = {**row, "templateUid": uid, "clientId": _number(before.client_id)}
    item["title"] = changed.title if decoded_titles or changed.title != before.title else raw_title(row)
    if "label" in item:
        item["label"] = item["title"]
    if changed.custom_id != before.custom_id:
        item["customId"] = changed.custom_id
    sent = row.get("details")
    elements = sent if isinstance(sent, Mapping) else {}
    by_key = {str(key): element for key, element in elements.items()}
    details: dict[str, Any] = {}
    if any(changed.values.get(label) != before.values.get(label) for label in before.links):
        dialect = replace(dialect, values="element")
    for label, place in before.elements.items():
        element, text = by_key[place.key], changed.values.get(label)
        is_changed = (text or "") != (before.values[label] or "")
        raw = _plain_text(element.get("value")) if isinstance(element, Mapping) else _plain_text(element)
        if is_changed and place.form is DetailsForm.RICH:
            text = _marked_rich(raw or "", line_in(text))
        if dialect.values == "text":
            details[place.name] = (text or "") if is_changed else _as_it_came(element, raw)
        elif is_changed and label in changed.links:
            details[place.key] = _link(place.name, text, element, changed)
        else:
            details[place.key] = _element(place.name, text, element) if is_changed else element
    for label, text in changed.values.items():
        if label not in before.values and text:
            details |= _new_element(label, text, changed, dialect)
    item["details"] = details
    return item


def _as_it_came(element: object, text: str | None) -> object:
    """Return an element for the form of texts: its text; a value that is no text (yes/no, a list) as it is."""
    value = element.get("value") if isinstance(element, Mapping) else element
    value = value.get("text") if isinstance(value, Mapping) else value
    return value if isinstance(value, bool | list) else text


def lost(
    before: Mapping[str, Any], after: Mapping[str, Any], ours: Collection[str], names: Mapping[str, str]
) -> list[str]:
    """Return the labels, except ``ours``, whose text or link is in ``before`` but not in ``after``.

    ``names``: the names of bare elements, by key.
    """
    left = {folded_label(label): element for label, _, element in _elements(after.get("details"), (), names)}
    mine = {folded_label(label) for label in ours}
    return [
        label
        for label, _, element in _elements(before.get("details"), (), names)
        if (at := folded_label(label)) not in mine
        and ((_said(element) and not _said(left.get(at))) or (_links(element) and not _links(left.get(at))))
    ]


def _said(element: object) -> str | None:
    return _plain_text(element.get("value")) if isinstance(element, Mapping) else _plain_text(element)


def _new_element(label: str, text: str, document: Document, dialect: Dialect) -> dict[str, Any]:
    place = document.elements.get(label, Element(snake_case(label), label))
    if label in document.links:
        return {place.key: _link(place.name, text, None, document)}
    if dialect.values == "text":
        return {place.name: text}
    return {place.key: _element(place.name, text)}


def _element(label: str, text: str | None, element: object = None) -> dict[str, Any]:
    """Return an element with this text; the other parts of an existing element stay, also the type of its value."""
    kept = dict(element) if isinstance(element, Mapping) else {"name": label}
    value = kept.get("value")
    kind = value.get("type") if isinstance(value, Mapping) else None
    return {**kept, "value": {"type": kind or "text", "text": text or ""}}


def _link(name: str, value: str | None, element: object, document: Document) -> dict[str, Any]:
    """Return an element with this link, or with none; its type stays, as far as there was a link before."""
    whole = _element(name, None, element)
    kept = {key: part for key, part in whole.items() if key != "attribute"}
    if not value:
        return kept
    linked, number = document.linked[value], value.removeprefix(LINK_SIGN)
    kind = whole["value"]["type"] if link_id(element) else linked.type
    link = {"text": linked.title, "id": _number(number), "type": kind}
    return {**kept, "value": link, "attribute": [link]}


def _links(element: object) -> bool:
    value = element.get("value") if isinstance(element, Mapping) else None
    return isinstance(value, Mapping) and value.get("id") is not None


def _number(client_id: str | None) -> int | str | None:
    """Return an id as a number if it looks like one, as it was read."""
    plain = client_id is not None and client_id.isascii() and client_id.isdigit() and str(int(client_id)) == client_id
    return int(client_id) if plain and client_id is not None else client_id


# Markers


def marker_in(custom_id: str, values: Mapping[str, str | None], notes: str = NOTES) -> int | None:
    """Return the BMS id in a document's marker: in its ``customId``, its field "ID", or the last such line in notes.

    ``notes``: their label.
    """
    for text in (custom_id, values.get(ID_LABEL) or ""):
        if text.strip().startswith(PREFIX) and _is_id(number := text.strip().removeprefix(PREFIX)):
            return int(number)
    return line_in(values.get(notes))


def line_in(text: str | None) -> int | None:
    """Return the BMS id in the last marker's line of a text."""
    lines = _MARKED_NOTES.findall(text or "")
    return int(lines[-1]) if lines else None


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def without_marker(notes: str | None) -> str:
    """Return the text of notes without the marker's line."""
    text = notes or ""
    lines = list(_MARKED_NOTES.finditer(text))
    if not lines:
        return text
    before, after = text[: lines[-1].start()], text[lines[-1].end() :]
    return before + after if before else re.sub(r"\A\r?\n", "", after)


def _marked_rich(text: str, marker: int | None) -> str:
    """Return a formatted text with the line of ``marker`` below it, or without any such line; all else as it was."""
    lines = list(_MARKED_RICH.finditer(text))
    rest = text[: lines[-1].start()] + text[lines[-1].end() :] if lines else text
    return rest if marker is None else f"{rest}<p>{NOTES_LINE}{marker}</p>"


def marked(document: Document, marker: int | None, can_write: Callable[[str], bool], dialect: Dialect) -> Document:
    """Return ``document`` with ``marker``, or without any, only in the place chosen in the settings.

    ``can_write``: whether plain text can be written under a label. Where "ID" and "Integration Type" are missing or
    another system's, it is marked in its notes, also in formatted ones; where those are missing too, not at all. An
    existing marker stays in its place.
    """
    values = dict(document.values)
    custom_id = document.custom_id
    if marker is not None and document.marker == marker:
        return document
    if custom_id.startswith(PREFIX):
        custom_id = ""
    if (values.get(ID_LABEL) or "").strip().startswith(PREFIX):
        values |= {ID_LABEL: None, KIND_LABEL: None}
    notes = document.notes
    if line_in(values.get(notes)) is not None:
        values[notes] = without_marker(values[notes])
    if marker is not None:
        if dialect.marker == "custom_id":
            custom_id = f"{PREFIX}{marker}"
        elif dialect.marker == "id_fields" and _has_room(values, can_write):
            values |= {ID_LABEL: f"{PREFIX}{marker}", KIND_LABEL: KIND}
        elif can_write(notes) or _is_rich(document, notes):
            values[notes] = with_line(values.get(notes), marker)
    return replace(document, custom_id=custom_id, values=values)


def can_bear_marker(can_write: Callable[[str], bool], dialect: Dialect, notes: str = NOTES) -> bool:
    """Return whether a new document can be marked; ``can_write``: whether plain text can be written under a label.

    ``notes``: the label of the marker's line.
    """
    return marked(Document("", None, "", "", "", notes=notes), 1, can_write, dialect).marker is not None


def _is_rich(document: Document, label: str) -> bool:
    return label in document.elements and document.elements[label].form is DetailsForm.RICH


def _has_room(values: Mapping[str, str | None], can_write: Callable[[str], bool]) -> bool:
    """Return whether a document has room for its marker in its fields: they exist, and are no other system's."""
    return all(can_write(label) and not values.get(label) for label in (ID_LABEL, KIND_LABEL))


def with_line(notes: str | None, marker: int) -> str:
    """Return ``notes`` with the marker's line below them."""
    return f"{notes}\n{NOTES_LINE}{marker}" if notes else f"{NOTES_LINE}{marker}"


def with_values(document: Document, title: str, values: Mapping[str, str | None]) -> Document:
    """Return ``document`` with this title and these values by label; new notes keep the marker's line."""
    values = dict(values)
    line, notes = line_in(document.values.get(document.notes)), document.notes
    if notes in values and line is not None:
        values[notes] = with_line(values[notes], line)
    return replace(document, title=title, values={**document.values, **values})
