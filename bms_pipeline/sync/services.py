"""Both services as one run uses them: sign in, open the target, and refuse another tenant or another Passportal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from bms_pipeline.bms.asset_detail import Patience
from bms_pipeline.bms.client import BmsClient, Identity
from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import (
    SettingsError,
)
from bms_pipeline.core.mapping import Mapping
from bms_pipeline.core.settings import Settings, check_given, needed_settings
from bms_pipeline.load import journal
from bms_pipeline.passportal.documents.client import Access, DocumentsClient
from bms_pipeline.passportal.documents.habits import LearnsForms, habits_in
from bms_pipeline.passportal.documents.target import DocumentsPassportal
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.passportal.target import Target
from bms_pipeline.reconcile.scope_ids import note_scope_ids
from bms_pipeline.reconcile.sync_settings import read_sync_settings, store_sync_setting
from bms_pipeline.warehouse import landing
from bms_pipeline.warehouse.connection import Warehouse, now, open_warehouse
from bms_pipeline.warehouse.facts import read_facts
from bms_pipeline.warehouse.inputs import bump_version
from bms_pipeline.warehouse.stored_mapping import read_mapping

FORM_OF_WRITES = "form_of_writes"
"""The name under which the settings of this kind are stored."""


@dataclass(frozen=True)
class Authenticated:
    """The identity of this login: in BMS, and in Passportal where that is a service (else None)."""

    bms: Identity
    passportal: Access | None


def open_bms(settings: Settings, patience: Patience | None = None) -> BmsClient:
    """Return a client of BMS, for a ``with`` block; ``patience`` has its clock and its pauses."""
    if patience is None:
        return BmsClient(settings)
    return BmsClient(settings, clock=patience.clock, sleep=patience.sleep)


def authenticate(settings: Settings) -> Authenticated:
    """Log in to both services and change nothing.

    Raises ``SettingsError`` naming every missing setting of both, or the errors of their clients.
    """
    check_given(settings, needed_settings(settings))
    with open_bms(settings) as client:
        identity = client.authenticate()
    if settings.passportal_target == "embedded":
        return Authenticated(identity, None)
    with DocumentsClient(settings) as passportal:
        return Authenticated(identity, passportal.check())


def open_target(settings: Settings, mapping: Mapping | None = None) -> Target:
    """Open the Passportal of these settings; ``mapping``: None for the one stored in this home folder.

    Raises ``SettingsError`` where they cannot be right.
    """
    found = mapping_of(settings) if mapping is None else mapping
    if settings.passportal_target == "documents_api":
        return DocumentsPassportal(settings, found)
    return EmbeddedPassportal(settings.passportal_file, found)


def mapping_of(settings: Settings, wait_seconds: float | None = None) -> Mapping:
    """Return the mapping stored in this home folder; the one without any setting in a new one."""
    warehouse = open_warehouse(settings, wait_seconds)
    if not warehouse.exists():
        return Mapping()
    with warehouse.open() as connection:
        return read_mapping(connection)


def is_passportal_here(settings: Settings) -> bool:
    """Return whether Passportal is a file of this machine, so its use calls no service."""
    return settings.passportal_target == "embedded"


def check_tenant(warehouse: Warehouse, client: BmsClient) -> str:
    """Return the tenant of this data; raises ``SettingsError`` when the home folder holds another tenant's."""
    identity = client.identity()
    with warehouse.open() as connection:
        known = known_tenant(connection)
        found = check_same_tenant(identity, known)
        if known is None:
            with warehouse.transaction() as writing:
                writing.execute(
                    "INSERT INTO sync.settings VALUES ('bms_tenant', to_json(?::VARCHAR), ?)", [found, now()]
                )
    return found


def check_target(warehouse: Warehouse, target: Target) -> None:
    """Note which Passportal this home folder belongs to, and which entities can be written and listed there.

    The target learns in which forms it takes changes, as far as ``doctor`` proved them.
    Raises ``SettingsError`` when the same home folder meets another Passportal: its ids mean other records.
    """
    with warehouse.open() as connection:
        if isinstance(target, LearnsForms):
            target.learn(habits_in(read_facts(connection)))
        able: dict[str, object] = {
            "can_write": [entity.name for entity in ENTITIES if entity.name in target.can_write],
            "can_list": [entity.name for entity in ENTITIES if entity.name in target.can_list],
            "can_link": target.can_link,
        }
        known, settings = _known(connection, "passportal"), read_sync_settings(connection)
        if known not in (None, target.name):
            raise SettingsError(
                f"The Passportal of the settings is {target.name}, and this home folder holds the records of {known}.",
                "Use another BMS_PIPELINE_HOME for another Passportal, or correct PASSPORTAL_TARGET and"
                " PASSPORTAL_URL.",
            )
        changed = {name: ability for name, ability in able.items() if ability != getattr(settings, name)}
        if known is not None and not changed:
            return
        with warehouse.transaction() as writing:
            if known is None:
                stored = "INSERT INTO sync.settings VALUES ('passportal', to_json(?::VARCHAR), ?)"
                writing.execute(stored, [target.name, now()])
            for name, ability in changed.items():
                store_sync_setting(writing, name, ability, now())


def note_form_of_writes(warehouse: Warehouse, settings: Settings) -> None:
    """Note in which form the settings write documents; a new form may write what Passportal refused before."""
    if is_passportal_here(settings):
        return
    form = [
        settings.passportal_body,
        settings.passportal_values,
        settings.passportal_update,
        settings.passportal_marker,
        settings.passportal_templates,
    ]
    with warehouse.open() as connection:
        known = _known(connection, FORM_OF_WRITES)
        if known == str(form):
            return
        with warehouse.transaction() as writing:
            store_sync_setting(writing, FORM_OF_WRITES, str(form), now())
            if known is not None:
                for entity in ENTITIES:
                    journal.send_again(writing, entity, None, now())


def known_tenant(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Return the BMS tenant of this home folder; None before its first sync."""
    return _known(connection, "bms_tenant")


def _known(connection: duckdb.DuckDBPyConnection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM sync.settings WHERE name = ?", [name]).fetchone()
    return str(json.loads(row[0])) if row else None


def check_same_tenant(identity: Identity, known: str | None) -> str:
    """Return the tenant of this login. Raises ``SettingsError`` where this home folder holds another one's records."""
    found = f"{identity.tenant_id} {identity.business_name}"
    if known not in (None, found):
        raise SettingsError(
            f"BMS answers as tenant {found}, and this home folder holds the records of {known}.",
            "Use another BMS_PIPELINE_HOME for another tenant, or correct BMS_URL and BMS_TENANT.",
        )
    return found


def account_types(client: BmsClient) -> list[tuple[int, str, bool, bool, bool]]:
    """Read the kinds of accounts: id, name, and whether it is for clients, for vendors, and active."""
    return [(kind.id, kind.name, kind.is_client, kind.is_vendor, kind.is_active) for kind in client.account_types()]


def update_account_types(warehouse: Warehouse, rows: Sequence[tuple[int, str, bool, bool, bool]]) -> None:
    """Land the kinds of accounts where they changed."""
    with warehouse.open() as connection:
        if not landing.is_other_account_types(connection, rows):
            return
        with warehouse.transaction() as writing:
            note_scope_ids(writing, now())
            landing.land_account_types(writing, rows)
            bump_version(writing, "bms.account_types", now())
