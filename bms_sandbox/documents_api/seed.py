"""What a sandbox tenant's Passportal already holds, with what people and other systems keep there beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_sandbox.documents_api.store import Link, Record, Value
from bms_sandbox.documents_api.templates import (
    CONTACT,
    GENERIC_ASSET,
    LOCATION,
    NETWORK_DEVICE,
    SSL,
    TEMPLATES,
    VENDOR,
    Template,
)

_FIRST_OTHER_ID = 59_000_000
_CLIENTS_WITH_OTHERS = 5
_NETWORK_TYPES = frozenset({"Firewall", "Network Switch"})

Row = Mapping[str, str | None]


def records(tenant_folder: Path, now: int, templates: Mapping[int, Template] = TEMPLATES) -> Iterator[Record]:
    """The records of a saved tenant's ``passportal`` folder, last modified ``now`` (seconds since the epoch).

    Documents are made by ``templates``: those of Passportal itself, or all of them a tenant's own.
    """
    rows = {each.name: _rows(tenant_folder, each) for each in ENTITIES}
    sites = {(each["client_id"], each["name"]): int(each["passportal_id"] or 0) for each in rows["locations"]}
    is_own = templates is not TEMPLATES
    for entity in ENTITIES:
        for each in rows[entity.name]:
            if is_own and entity.has_client:
                yield _own_document(entity, each, sites, now, templates)
            else:
                yield _record(entity, each, sites, now)
    if is_own:
        return
    clients = sorted(int(each["passportal_id"] or 0) for each in rows["clients"])
    for number, client_id in enumerate(clients[:_CLIENTS_WITH_OTHERS]):
        first = _FIRST_OTHER_ID + 2 * number
        host = f"www.client{client_id}.example"
        yield _other(SSL, first, client_id, host, now, {"Issued To": host, "Issued By": "A Certificate Authority"})
        yield _other(VENDOR, first + 1, client_id, "Fibre & Copper Telecom", now, {"Account Number": f"FC-{number:04}"})


def _rows(tenant_folder: Path, entity: Entity) -> list[Row]:
    content = (tenant_folder / "passportal" / f"{entity.name}.ndjson").read_bytes()
    return msgspec.json.Decoder(dict[str, str | None]).decode_lines(content)  # type: ignore[return-value]


def _record(entity: Entity, row: Row, sites: Mapping[tuple[str | None, str | None], int], now: int) -> Record:
    record_id = int(row["passportal_id"] or 0)
    values: dict[str, Value] = {
        entity.labels[column]: text for column, text in row.items() if column in entity.columns[1:] and text
    }
    record = Record(record_id, entity.singular, row["name"] or "", now, values)
    if entity.name == "users":
        # A user has no title of its own: an export gives these two, which together are the name.
        values["First Name"], _, values["Last Name"] = record.title.rpartition(" ")
    if not entity.has_client:
        return record
    record.client_id = int(row["client_id"] or 0)
    template = _template(entity, row)
    record.template = template.id
    values.update({label: text for label, text in _kept_by_others(record, template).items() if label not in values})
    site = sites.get((row["client_id"], row.get("location")))
    if site and record_id % 2:
        values["Location"] = Link(row["location"] or "", site, "location")
    if record_id % 5 == 0:
        record.description = "Checked by hand at the last visit."
    return record


def _template(entity: Entity, row: Row) -> Template:
    if entity.name == "assets":
        return NETWORK_DEVICE if row["type"] in _NETWORK_TYPES else GENERIC_ASSET
    return CONTACT if entity.name == "contacts" else LOCATION


def _kept_by_others(record: Record, template: Template) -> dict[str, Value]:
    """Values under labels that the pipeline does not map, in some documents."""
    kept: dict[str, Value] = {} if template is CONTACT else {"Name": record.title}
    if template is GENERIC_ASSET:
        kept |= {"Hostname": record.title.upper(), "Install Date": "2021-03-04"} if record.id % 3 == 0 else {}
        kept |= {"ID": f"rmm-{record.id}", "Integration Type": "Some RMM"} if record.id % 17 == 0 else {}
    elif template is NETWORK_DEVICE and record.id % 2:
        kept |= {"Firmware": "7.4.2", "Management URL": f"https://{record.id}.example/"}
    elif template is CONTACT:
        kept |= {"Middle Name": "Q.", "Extension": "12", "Contact Type": "Technical"} if record.id % 4 == 0 else {}
        kept |= {"Notes": "Prefers e-mail.\n\nNever before 10 am."} if record.id % 6 == 0 else {}
    elif template is LOCATION and record.id % 3 == 0:
        kept |= {"Notes": "Keys are at the reception."}
    return kept


def _other(
    template: Template, document_id: int, client_id: int, title: str, now: int, values: dict[str, Value]
) -> Record:
    return Record(
        document_id, template.type, title, now, {"Name": title, **values}, client_id=client_id, template=template.id
    )


def _own_document(
    entity: Entity,
    row: Row,
    sites: Mapping[tuple[str | None, str | None], int],
    now: int,
    templates: Mapping[int, Template],
) -> Record:
    """A document by a template of the tenant's own, with what its labels hold."""
    record_id = int(row["passportal_id"] or 0)
    template = _own_template(entity, row, record_id, templates)
    site = sites.get((row["client_id"], row.get("location")))
    values: dict[str, Value] = dict(template.always)
    for label, column in template.holds.items():
        text = row.get(column)
        if template.types.get(label) == "link":
            values |= {label: Link(text or "", site, "location")} if site else {}
        elif text:
            values[label] = template.words.get(label, {}).get(text, text)
    return Record(record_id, entity.singular, row["name"] or "", now, values, int(row["client_id"] or 0), template.id)


def _own_template(entity: Entity, row: Row, record_id: int, templates: Mapping[int, Template]) -> Template:
    """The template of a document: one for its category, else one for any; several take turns."""
    fitting = [template for template in templates.values() if template.type == entity.singular]
    named = [template for template in fitting if row.get("type") in template.categories]
    chosen = named or [template for template in fitting if not template.categories]
    return chosen[record_id % len(chosen)]
