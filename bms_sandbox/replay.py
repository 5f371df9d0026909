"""The tenant of a support bundle: served by both stand-ins, with a home folder that knows what the bundle's knew."""

from __future__ import annotations

import json
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Table
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from bms_pipeline.core.entities import ENTITIES, LIST_CALLS, Entity
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.mapping import Mapping, folded_label
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.reconcile.sync_settings import store_sync_setting
from bms_pipeline.support import tenant as tables
from bms_pipeline.support.bundle import ABOUT
from bms_pipeline.sync.recovery import RESTORED
from bms_pipeline.warehouse.connection import Warehouse, connect, now
from bms_sandbox import records as wire
from bms_sandbox.documents_api import templates
from bms_sandbox.documents_api.store import Record, Store, Value
from bms_sandbox.population.truth import EntityTruth, Truth
from bms_sandbox.tenant import Tenant

MOST_BYTES = 4_000_000_000
"""A bundle that unpacks to more than this is refused."""
_FOREIGN_KIND = "Kaseya BMS"


class BundleUnreadable(PipelineError):
    """A file is no support bundle, or has no records."""


@dataclass(frozen=True)
class Replay:
    """The content of a bundle: ``rows`` by table, the sync settings, the target of its home folder, its name."""

    name: str
    target: str
    sync_settings: dict[str, Any]
    rows: tables.Rows

    def prepare(self, home: Path) -> None:
        """Put the tenant, Passportal's records and the warehouse into ``home``; what is there already stays."""
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (home / "tenant" / "truth.json").exists():
            tenant_of(self.rows).save(home / "tenant")
        settings = Settings(_env_file=None, bms_pipeline_home=home)  # type: ignore[call-arg]  # pydantic adds it
        mapping = parse_mapping(self.sync_settings.get("mapping") or {})
        if self.target == "embedded":
            _fill_embedded(settings.passportal_file, self.rows, mapping)
        else:
            _fill_service(home / "passportal", self.rows, mapping)
        if not settings.warehouse_file.exists():
            unfinished = home / ".warehouse.filling.duckdb"
            unfinished.unlink(missing_ok=True)
            with Warehouse(unfinished).transaction() as connection:
                tables.fill(connection, self.rows, self.sync_settings, now())
                # Passportal has markers of loads that this database did not make: a bundle is like a copy put back.
                store_sync_setting(connection, RESTORED, str(now()), now())
            unfinished.replace(settings.warehouse_file)


def read_bundle(file: Path) -> Replay:
    """Read the bundle ``file``. Raises ``BundleUnreadable``."""
    try:
        with zipfile.ZipFile(file) as bundle:
            if sum(entry.file_size for entry in bundle.infolist()) > MOST_BYTES:
                raise BundleUnreadable(
                    f"{file} unpacks to more than {MOST_BYTES:,} bytes.", "Ask for a smaller bundle."
                )
            names = set(bundle.namelist())
            if ABOUT not in names:
                raise BundleUnreadable(
                    f"{file} has no records to replay.",
                    "Ask for one made with `bms-pipeline support --client ID` or `--about ENTITY ID`.",
                )
            about = json.loads(bundle.read(ABOUT))
            rows = {
                table.name: tables.rows_in(bundle.read(tables.file_of_table(table.name)))
                for table in tables.bundle_tables()
                if tables.file_of_table(table.name) in names
            }
    except (OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise BundleUnreadable(
            f"{file} cannot be read: {error}.", "Name a file made by `bms-pipeline support`."
        ) from error
    return Replay(str(about["bundle"]), str(about["target"]), about["sync_settings"], rows)


def tenant_of(rows: tables.Rows) -> Tenant:
    """Return the tenant that BMS listed when the bundle was made, in the shape of BMS's answers."""
    listed = {
        entity.name: [
            row for row in rows[f"bms.{entity.name}"] if not (row["missing_since"] or row["left_client_since"])
        ]
        for entity in ENTITIES
    }
    inside: dict[int, list[tables.Row]] = defaultdict(list)
    for row in listed["locations"]:
        inside[row["account_id"]].append(row)
    made: dict[str, Sequence[wire.Record]] = {
        "accounts": [_account(row, inside.get(row["bms_id"], [])) for row in listed["clients"]],
        "employees": [_employee(row) for row in listed["users"]],
        "contacts": [_contact(row) for row in listed["contacts"]],
        "assets": [_asset(row) for row in listed["assets"]],
    }
    return Tenant(
        rows={call.name: [record.encode() for record in made[call.name]] for call in LIST_CALLS},
        account_types=[wire.AccountType(**row).encode() for row in rows["bms.account_types"]],
        passportal={entity.name: [_imported(entity, row) for row in _passportal(rows, entity)] for entity in ENTITIES},
        truth=Truth("replay", 0, {entity.name: EntityTruth() for entity in ENTITIES}),
        details={row["bms_id"]: _detail(row) for row in listed["assets"]},
    )


def _account(row: tables.Row, locations: list[tables.Row]) -> wire.Account:
    """Return the account; its phone and e-mail are those of a first address at one of its locations."""
    by_phone = [location for location in locations if location["phone"] == row["phone"]]
    main = next(iter(by_phone or locations), None)
    return wire.Account(
        id=row["bms_id"],
        account_name=row["name"],
        account_type_id=row["account_type_id"],
        is_active=row["is_active"],
        is_billing=False,
        modified_on=row["modified_on"],
        locations=[_location(location, row if location is main else None) for location in locations],
    )


def _location(row: tables.Row, client: tables.Row | None) -> wire.Location:
    own = wire.Address(
        id=row["bms_id"],
        address1=row["address_1"],
        address2=row["address_2"],
        city=row["city"],
        state=row["state"],
        zip_code=row["postal_code"],
        country=row["country"],
        phone=row["phone"],
        fax=row["fax"],
        is_main=True,
        is_billing=False,
    )
    of_client = client and wire.Address(
        id=client["bms_id"], phone=client["phone"], email_address=client["email"], is_main=False, is_billing=True
    )
    return wire.Location(
        id=row["bms_id"],
        location_name=row["name"],
        is_main=client is not None,
        is_active=row["is_active"],
        modified_on=row["modified_on"],
        addresses=[of_client, own] if of_client else [own],
    )


def _employee(row: tables.Row) -> wire.Employee:
    return wire.Employee(
        id=row["bms_id"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        email_address=row["email"],
        is_active=row["is_active"],
    )


def _contact(row: tables.Row) -> wire.Contact:
    phones = [(1, row["phone"], "Work", True), (2, row["mobile_phone"], "Mobile", False)]
    return wire.Contact(
        id=row["bms_id"],
        account_id=row["account_id"],
        location_name=row["location"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        job_title=row["job_title"],
        is_poc=row["primary_contact"] == "Yes",
        is_active=row["is_active"],
        is_billable=False,
        can_recieve_invoices=False,
        modified_on=row["modified_on"],
        emails=[wire.ContactEmail(id=1, email_address=row["email"], email_type_id=1, is_default=True)],
        phones=[
            wire.ContactPhone(id=number, phone=phone, phone_type_id=number, phone_type=kind, is_default=is_default)
            for number, phone, kind, is_default in phones
            if phone is not None or is_default
        ],
    )


def _asset(row: tables.Row) -> wire.Asset:
    return wire.Asset(
        id=row["bms_id"],
        account_id=row["account_id"],
        asset_name=row["name"],
        category_name=row["type"],
        category_id=row["category_id"] or 0,
        location_name=row["location"],
        serial_number=row["serial_number"],
        ip_address=row["primary_ip"],
        contact_id=0,
        contact_name=row["assigned_user"],
        is_active=row["is_active"],
    )


def _detail(row: tables.Row) -> bytes:
    return wire.AssetDetail(
        id=row["bms_id"],
        name=row["name"],
        account_id=row["account_id"],
        brand=row["manufacturer"],
        model_number=row["model"],
        os_info=row["operating_system"],
        os_type=row["platform"],
        mac_address=row["mac_address"],
        default_gateway=row["default_gateway"],
        asset_tag=row["asset_tag"],
        state=row["status"],
        description=row["notes"],
        acquisition_date=row["purchase_date"],
        warranty_expiration_date=row["expiration_date"],
        is_active=row["is_active"],
        dhcp_enabled=False,
        wins_enabled=False,
    ).encode()


def _passportal(rows: tables.Rows, entity: Entity) -> list[tables.Row]:
    return rows[f"passportal.{entity.name}"]


def _imported(entity: Entity, row: tables.Row) -> bytes:
    """Return a record of Passportal as the embedded store imports it."""
    return msgspec.json.encode({column: row[column] for column in ("passportal_id", "client_id", *entity.columns)})


def _fill_embedded(file: Path, rows: tables.Rows, mapping: Mapping) -> None:
    """Make the embedded Passportal ``file``, whole or not at all, with the markers of its records."""
    if file.exists():
        return
    unfinished = file.with_name(f"{file.name}.filling")
    unfinished.unlink(missing_ok=True)
    with TemporaryDirectory(prefix="bms_sandbox-") as folder:
        for entity in ENTITIES:
            lines = Path(folder) / f"{entity.name}.ndjson"
            lines.write_bytes(b"".join(_imported(entity, row) + b"\n" for row in _passportal(rows, entity)))
            EmbeddedPassportal(unfinished, mapping).import_file(entity, lines)
    with closing(connect(unfinished)) as connection:
        for entity in ENTITIES:
            marked = [row for row in _passportal(rows, entity) if row["bms_id"] is not None]
            connection.execute(
                "UPDATE records SET marker = found.marker FROM (SELECT unnest($ids::VARCHAR[]) AS id,"
                " unnest($markers::VARCHAR[]) AS marker) found WHERE records.id = found.id AND type = $type",
                {
                    "ids": [row["passportal_id"] for row in marked],
                    "markers": [str(row["bms_id"]) for row in marked],
                    "type": entity.singular,
                },
            )
    unfinished.replace(file)


def _fill_service(folder: Path, rows: tables.Rows, mapping: Mapping) -> None:
    """Make the files of the stand-in for Passportal's API: its templates, and documents with their markers."""
    file = folder / "passportal.ndjson"
    if file.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    own = _own_templates(rows, mapping)
    if own:
        (folder / "templates.toml").write_text(_as_toml(own), encoding="utf-8")
    Store.make(file, _documents(rows, mapping, own or templates.TEMPLATES))


def _own_templates(rows: tables.Rows, mapping: Mapping) -> dict[int, templates.Template]:
    """Return the tenant's templates by id, with the labels for which its documents had places.

    Empty where the bundle does not know the template of some document.
    """
    found: dict[int, templates.Template] = {}
    for entity in (entity for entity in ENTITIES if entity.has_client):
        kept = _passportal(rows, entity)
        new = [row for row in rows.get("passportal.new_records", []) if row["entity"] == entity.name]
        numbered: dict[int, list[tables.Row]] = defaultdict(list)
        for row in (*kept, *new):
            if (row["template_id"] or "").isdecimal():
                numbered[int(row["template_id"])].append(row)
        if any(not (row["template_id"] or "").isdecimal() for row in kept):
            return {}
        for number, its_rows in numbered.items():
            columns = {column for row in its_rows for column in row["places"] or ()}
            name = next((row["template"] for row in its_rows if row["template"]), "") or str(number)
            labels = _labels(entity, mapping, str(number), columns, its_rows)
            found[number] = templates.Template(number, name, entity.singular, labels)
    return found


def _labels(
    entity: Entity, mapping: Mapping, template_id: str, columns: set[str], rows: list[tables.Row]
) -> tuple[str, ...]:
    """Return the labels of a template in the order of our fields, with those of the marker and of a foreign id."""
    labels = [label for column, label in mapping.labels(entity, template_id).items() if column in columns]
    if any(row.get("bms_id") is not None for row in rows):
        labels.append(mapping.marker_label)
    if any(row.get("claimed_id") is not None for row in rows):
        labels += ["ID", "Integration Type"]
    return tuple({folded_label(label): label for label in reversed(labels)}.values())[::-1]


def _as_toml(found: dict[int, templates.Template]) -> str:
    """Return the templates as a file of a tenant's own; a string of JSON is one of TOML, too."""
    blocks = [
        f"[[template]]\nid = {template.id}\nname = {json.dumps(template.name)}\ntype = {json.dumps(template.type)}\n"
        "[template.fields]\n" + "".join(f'{json.dumps(label)} = ""\n' for label in template.labels)
        for template in found.values()
    ]
    return "\n".join(blocks)


def _documents(rows: tables.Rows, mapping: Mapping, known: Table[int, templates.Template]) -> Iterator[Record]:
    for entity in ENTITIES:
        for row in _passportal(rows, entity):
            yield _document(entity, row, mapping, known)


def _document(entity: Entity, row: tables.Row, mapping: Mapping, known: Table[int, templates.Template]) -> Record:
    labels = mapping.labels(entity, row["template_id"] or "")
    values: dict[str, Value] = {
        label: row[column] for column, label in labels.items() if column != "name" and row[column]
    }
    record = Record(int(row["passportal_id"]), entity.singular, row["name"] or "", int(time.time()), values)
    if not entity.has_client:
        return record
    template = _template(entity, row, known)
    record.client_id, record.template = int(row["client_id"] or 0), template.id
    if entity.labels["name"] in template.labels:
        values[entity.labels["name"]] = record.title
    if row["bms_id"] is not None:
        notes = values.get(mapping.marker_label)
        values[mapping.marker_label] = f"{notes}\n" * bool(notes) + f"Kaseya BMS ID: {row['bms_id']}"
    elif row["claimed_id"] is not None:
        values |= {"ID": str(row["claimed_id"]), "Integration Type": _FOREIGN_KIND}
    return record


def _template(entity: Entity, row: tables.Row, known: Table[int, templates.Template]) -> templates.Template:
    """Return the template of a document: by its id, else by its name, else the usual one for the entity."""
    number = row["template_id"] or ""
    if number.isdecimal() and int(number) in known:
        return known[int(number)]
    usual = {"assets": templates.GENERIC_ASSET, "contacts": templates.CONTACT, "locations": templates.LOCATION}
    of_type = [template for template in known.values() if template.type == entity.singular]
    return next((template for template in of_type if template.name == row["template"]), usual[entity.name])
