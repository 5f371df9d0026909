"""How the stand-in's records travel. All that is written here is as the reference has it; a [G] is a switch.

A document is read with its ``details``, in one of two forms, and written with ``details`` in one of two others.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote

from bms_sandbox.documents_api.behaviour import PassportalBehaviour
from bms_sandbox.documents_api.store import Link, Record, Value
from bms_sandbox.documents_api.templates import PLAIN, Template, key

ORGANISATION = 4711
Json = dict[str, Any]
Templates = Mapping[int, Template]


class BadRequest(Exception):
    """The service cannot read, or does not take, what it was sent: 400."""


def template_of(record: Record, templates: Templates, behaviour: PassportalBehaviour) -> Template:
    """The one of ``templates`` that the document was made by, as the tenant has it."""
    if record.template is None:
        raise LookupError(f"{record.id} is no document")
    template = templates[record.template]
    name = template.name
    return template.changed(
        missing=behaviour.missing_labels.get(name, ()),
        added=behaviour.added_labels.get(name, ()),
        spelled=behaviour.spelled_labels.get(name, {}),
        types=behaviour.label_types.get(name, {}),
        options=behaviour.label_options.get(name, {}),
        required=behaviour.required_labels.get(name, ()),
    )


def client_row(client: Record, behaviour: PassportalBehaviour) -> Json:
    """A client in the list of clients: neither phone nor e-mail."""
    return {"id": client.id, "name": encoded(client.title) if behaviour.encoded_names else client.title}


def encoded(text: str) -> str:
    """A name or a title, URL- and HTML-encoded [C]."""
    return quote(html.escape(text), safe="")


def row(document: Record, client: Record | None, templates: Templates, behaviour: PassportalBehaviour) -> Json:
    """A document in a list."""
    template = templates[document.template or 0]
    return {
        "id": document.id,
        "organization_id": ORGANISATION,
        "label": encoded(document.title) if behaviour.encoded_titles else document.title,
        "description": document.description,
        "client_id": document.client_id,
        "clientName": client.title if client else None,
        "customId": document.custom_id,
        "templateId": template.uid if behaviour.template_ids == "uid" else template.id,
        "templateName": template.name,
        "type": document.type,
        "accessible": True,
        "last_modified": datetime.fromtimestamp(document.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def details(document: Record, template: Template, behaviour: PassportalBehaviour) -> Json:
    """The values of a document made by ``template``, every label of it with one."""
    shown: Json = {}
    for number, label in enumerate(template.labels):
        value, name = document.values.get(label), template.shown(label)
        if value is None and behaviour.blanks == "left out":
            continue
        if label in template.types or label in template.options:
            place = str(number) if behaviour.details_form == "positions" else key(name)
            shown[place] = _typed(template, label, value)
        elif behaviour.details_form == "positions":
            shown[str(number)] = _element(name, value, bare=behaviour.bare_values and number % 2 == 1)
        elif behaviour.bare_values and (value is None or (number % 2 == 1 and isinstance(value, str))):
            shown[key(name)] = value
        else:
            shown[key(name)] = _element(name, value, bare=False)
    return shown


def _typed(template: Template, label: str, value: Value | None) -> Json:
    """An element that holds no plain text."""
    kind = template.types.get(label, "select")
    if isinstance(value, Link):
        return _element(template.shown(label), value, bare=False)
    text: Any = value in {"Yes", "true", "1"} if kind == "boolean" else value or ""
    inner: Json = {"type": kind, "text": text}
    if label in template.options:
        inner |= {"text": text or "Please Select", "options": list(template.options[label])}
    return {"name": template.shown(label), "description": f"{label} of the record", "value": inner}


def _element(label: str, value: Value | None, *, bare: bool) -> Json:
    element: Json = {"name": label, "description": f"{label} of the record"}
    if isinstance(value, Link):
        link = {"text": value.text, "id": value.id, "type": value.type}
        return {**element, "value": link, "attribute": [link]}
    return {**element, "value": value if bare else {"type": "text", "text": value or ""}}


def read_details(
    sent: object, stored: Mapping[str, Value], template: Template, behaviour: PassportalBehaviour
) -> dict[str, Value]:
    """The values that a document holds once ``sent`` is written over ``stored``: what is left out is gone.

    Raises ``BadRequest`` for a label that the template lacks, and for a value in a form that is not switched on.
    """
    if not isinstance(sent, dict):
        raise BadRequest("details must be an object")
    values = dict(
        _reading(value, behaviour)(name, value, stored, template, behaviour)
        for name, value in sent.items()
        if not behaviour.ignores_unknown or _is_known(name, template, behaviour)
    )
    held = {label: _kept(label, value, stored, template) for label, value in values.items() if value}
    if lacking := [label for label in template.required if not held.get(label)]:
        raise BadRequest(f"{template.name} requires {', '.join(lacking)}")
    if behaviour.notes_as_html:
        held = {label: _as_html(label, value) for label, value in held.items()}
    return held


_Reading = Callable[[str, object, Mapping[str, Value], Template, PassportalBehaviour], tuple[str, Value | None]]


def _reading(sent: object, behaviour: PassportalBehaviour) -> _Reading:
    """How a value is read that comes in this form."""
    is_element = behaviour.values == "element" or (behaviour.values == "either" and isinstance(sent, dict))
    return _element_value if is_element else _text_value


def _is_known(name: str, template: Template, behaviour: PassportalBehaviour) -> bool:
    labels = [key(template.shown(label)) for label in template.labels]
    is_number = behaviour.values == "element" and behaviour.details_form == "positions"
    return name in map(str, range(len(labels))) if is_number else key(name) in labels


def _kept(label: str, value: Value, stored: Mapping[str, Value], template: Template) -> Value:
    """``value`` as the label holds it. Raises ``BadRequest`` for one that is none of its options or of its type."""
    kind, options = template.types.get(label), template.options.get(label)
    if isinstance(value, str) and len(value) > template.most.get(label, len(value)):
        raise BadRequest(f"{label!r} takes at most {template.most[label]} characters")
    if kind in PLAIN and isinstance(value, str) and value != stored.get(label) and not _is_of_type(value, kind):
        raise BadRequest(f"{label!r} takes a {kind}")
    if options is not None and value not in (*options, "Please Select", stored.get(label)):
        raise BadRequest(f"{value!r} is none of the options of {label!r}")
    if kind == "link" and value != stored.get(label) and not isinstance(value, Link):
        raise BadRequest(f"{label!r} takes a link")
    if kind == "boolean" and value not in {"Yes", "No", "true", "false"}:
        raise BadRequest(f"{label!r} takes yes or no")
    return value


def _is_of_type(text: str, kind: str) -> bool:
    try:
        _ = date.fromisoformat(text) if kind == "date" else float(text)
    except ValueError:
        return False
    return True


def _as_html(label: str, value: Value) -> Value:
    if not isinstance(value, str) or value.startswith("<p>") or not (label == "Notes" or "\n" in value):
        return value
    return "".join(f"<p>{html.escape(line)}</p>" for line in value.splitlines())


def _text_value(
    name: str, sent: object, stored: Mapping[str, Value], template: Template, behaviour: PassportalBehaviour
) -> tuple[str, Value | None]:
    """A value named by its label, or by the key that is made from it; the text of a link leaves it a link."""
    label = next((each for each in template.labels if key(template.shown(each)) == key(name)), None)
    if label is None:
        raise BadRequest(f"{template.name} has no field {name!r}")
    if sent is None:
        return label, None
    if isinstance(sent, bool):
        return label, "Yes" if sent else "No"
    if not isinstance(sent, str):
        raise BadRequest(f"the value of {name!r} must be a text")
    held = stored.get(label)
    return label, held if isinstance(held, Link) and held.text == sent else sent


def _element_value(
    name: str, sent: object, stored: Mapping[str, Value], template: Template, behaviour: PassportalBehaviour
) -> tuple[str, Value | None]:
    """A value in an element, which comes under the key that it is read with and bears its label."""
    positions = behaviour.details_form == "positions"
    keys = {
        str(number) if positions else key(template.shown(label)): label for number, label in enumerate(template.labels)
    }
    label = keys.get(name)
    if label is None:
        raise BadRequest(f"{template.name} has no field {name!r}")
    if not positions and (sent is None or (behaviour.bare_values and isinstance(sent, str))):
        return label, sent
    if not isinstance(sent, dict) or sent.get("name") != template.shown(label):
        raise BadRequest(f"{name!r} must be an element with the name {template.shown(label)!r}")
    value = sent.get("value")
    if value is None or (behaviour.bare_values and isinstance(value, str)):
        return label, value
    if isinstance(value, dict) and isinstance(value.get("text"), bool):
        return label, "Yes" if value["text"] else "No"
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or "type" not in value:
        raise BadRequest(f"the value of {name!r} must be an object with type and text")
    if "id" in value:
        return label, Link(value["text"], int(value["id"]), str(value["type"]))
    return label, value["text"]
