"""How the stand-in's records travel. All that is written here is as the reference has it; a [G] is a switch.

A document is read with its ``details``, in one of two forms, and written with ``details`` in one of two others.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from bms_pipeline.sandbox.documents_api.behaviour import PassportalBehaviour
from bms_pipeline.sandbox.documents_api.store import Link, Record, Value
from bms_pipeline.sandbox.documents_api.templates import TEMPLATES, Template, key

ORGANISATION = 4711
Json = dict[str, Any]


class BadRequest(Exception):
    """The service cannot read, or does not take, what it was sent: 400."""


def template_of(record: Record, behaviour: PassportalBehaviour) -> Template:
    """The template that the document was made by, as the tenant has it."""
    if record.template is None:
        raise LookupError(f"{record.id} is no document")
    template = TEMPLATES[record.template]
    return template.without(behaviour.missing_labels.get(template.name, ()))


def client_row(client: Record, behaviour: PassportalBehaviour) -> Json:
    """A client in the list of clients: neither phone nor e-mail."""
    name = quote(html.escape(client.title), safe="") if behaviour.encoded_names else client.title
    return {"id": client.id, "name": name}


def row(document: Record, client: Record | None) -> Json:
    """A document in a list."""
    template = TEMPLATES[document.template or 0]
    return {
        "id": document.id,
        "organization_id": ORGANISATION,
        "label": document.title,
        "description": document.description,
        "client_id": document.client_id,
        "clientName": client.title if client else None,
        "customId": document.custom_id,
        "templateId": template.id,
        "templateName": template.name,
        "type": document.type,
        "accessible": True,
        "last_modified": datetime.fromtimestamp(document.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def details(document: Record, behaviour: PassportalBehaviour) -> Json:
    """The values of a document, every label of its template with one."""
    shown: Json = {}
    for number, label in enumerate(template_of(document, behaviour).labels):
        value = document.values.get(label)
        if behaviour.details_form == "positions":
            shown[str(number)] = _element(label, value, bare=behaviour.bare_values and number % 2 == 1)
        elif behaviour.bare_values and (value is None or (number % 2 == 1 and isinstance(value, str))):
            shown[key(label)] = value
        else:
            shown[key(label)] = _element(label, value, bare=False)
    return shown


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
    read = _text_value if behaviour.values == "text" else _element_value
    values = dict(read(name, value, stored, template, behaviour) for name, value in sent.items())
    return {label: value for label, value in values.items() if value}


def _text_value(
    name: str, sent: object, stored: Mapping[str, Value], template: Template, behaviour: PassportalBehaviour
) -> tuple[str, Value | None]:
    """A value named by its label, or by the key that is made from it; the text of a link leaves it a link."""
    label = next((each for each in template.labels if key(each) == key(name)), None)
    if label is None:
        raise BadRequest(f"{template.name} has no field {name!r}")
    if sent is None:
        return label, None
    if not isinstance(sent, str):
        raise BadRequest(f"the value of {name!r} must be a text")
    held = stored.get(label)
    return label, held if isinstance(held, Link) and held.text == sent else sent


def _element_value(
    name: str, sent: object, stored: Mapping[str, Value], template: Template, behaviour: PassportalBehaviour
) -> tuple[str, Value | None]:
    """A value in an element, which comes under the key that it is read with and bears its label."""
    positions = behaviour.details_form == "positions"
    keys = {str(number) if positions else key(label): label for number, label in enumerate(template.labels)}
    label = keys.get(name)
    if label is None:
        raise BadRequest(f"{template.name} has no field {name!r}")
    if not positions and (sent is None or (behaviour.bare_values and isinstance(sent, str))):
        return label, sent
    if not isinstance(sent, dict) or sent.get("name") != label:
        raise BadRequest(f"{name!r} must be an element with the name {label!r}")
    value = sent.get("value")
    if value is None or (behaviour.bare_values and isinstance(value, str)):
        return label, value
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or "type" not in value:
        raise BadRequest(f"the value of {name!r} must be an object with type and text")
    if "id" in value:
        return label, Link(value["text"], int(value["id"]), str(value["type"]))
    return label, value["text"]
